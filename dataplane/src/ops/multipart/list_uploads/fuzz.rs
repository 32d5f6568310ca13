//! Markers of listings of uploads.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3s::dto::ListMultipartUploadsInput;

use super::{common_prefix, first};
use crate::ops::fuzz::refused;
use crate::ops::multipart::fuzz::upload_ids;

#[test]
fn upload_markers() {
    let text = || texts("[a-c/é]{0,6}", &["/", "é", "\0", "\u{10ffff}", "//"]);
    let input = (text(), text(), text(), prop::option::of(upload_ids()));
    check(&input, |(prefix, delimiter, key, marker)| {
        let mut input = ListMultipartUploadsInput::builder();
        input.set_bucket("b".to_owned()).set_key_marker(Some(key.clone())).set_upload_id_marker(marker);
        let input = input.build().expect("complete");
        if let Some(common) = common_prefix(&key, &prefix, &delimiter) {
            prop_assert!(
                key.starts_with(common) && common.starts_with(&prefix) && common.ends_with(&delimiter)
            );
        }
        let read = first(&input, &prefix, &delimiter);
        refused(&read, &["InvalidArgument"])?;
        if let Ok(read) = read {
            prop_assert!(!read.key_after.contains('\0') && !read.prefix.contains('\0'));
            // Never before the marker, so that a listing ends.
            prop_assert!(read.key_after >= key);
        }
        Ok(())
    });
}
