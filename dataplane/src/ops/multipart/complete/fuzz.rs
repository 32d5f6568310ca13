//! The list of parts that an upload is completed with.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3s::dto::{CompleteMultipartUploadInput, CompletedMultipartUpload};

use super::listed;
use crate::ops::fuzz::{read, refused};

fn documents() -> BoxedStrategy<String> {
    let etag = prop_oneof!["(&quot;|\")[0-9a-f]{32}(&quot;|\")", "[0-9a-f]{32}", "W/\"[a-z]{0,3}\""];
    let number = prop_oneof![8 => 1..6_i32, 1 => 9_999..10_002_i32, 1 => any::<i32>()];
    let crc = "(<ChecksumCRC32>[A-Za-z0-9+/]{6}==</ChecksumCRC32>)?";
    let part = (number, etag, crc).prop_map(|(number, etag, crc)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{crc}</Part>")
    });
    let valid = prop::collection::vec(part, 0..5)
        .prop_map(|parts| format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.concat()));
    texts(
        valid,
        &["<Part>", "</Part>", "<PartNumber>1</PartNumber>", "<ETag/>", "<", "&#0;", "<!--", "é", "\""],
    )
}

#[test]
fn parts() {
    check(&documents(), |text| {
        let Some(document) = read::<CompletedMultipartUpload>(text.as_bytes()) else { return Ok(()) };
        let mut input = CompleteMultipartUploadInput::builder();
        input.set_bucket("b".to_owned()).set_key("k".to_owned()).set_upload_id("u".to_owned());
        input.set_multipart_upload(Some(document));
        let mut input = input.build().expect("complete");
        let read = listed(&mut input);
        refused(&read, &["MalformedXML", "InvalidPartOrder", "InvalidArgument"])?;
        if let Ok(parts) = read {
            prop_assert!(!parts.is_empty() && parts.len() <= text.matches("Part").count());
            prop_assert!(parts.iter().all(|part| (1..=10_000).contains(&part.number)));
            prop_assert!(parts.is_sorted_by(|a, b| a.number < b.number), "each once");
        }
        Ok(())
    });
}
