//! Markers of listings of versions.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3o_types::VersionId;
use s3s::dto::ListObjectVersionsInput;

use super::{parse, query};
use crate::ops::fuzz::refused;

fn markers() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        1 => Just("null".to_owned()),
        2 => any::<(u64, u64)>().prop_map(|(sequence, random)| VersionId::mint(sequence, random).to_string()),
    ];
    let seq = prop_oneof![Just(String::new()), (1..=i64::MAX).prop_map(|seq| format!(".{seq}"))];
    let valid = (name, seq).prop_map(|(name, seq)| name + &seq);
    texts(valid, &[".", "null", "-1", "0", "+", "9223372036854775808", "é", "\0"])
}

#[test]
fn version_markers() {
    check(&markers(), |text| {
        if let Some((name, seq)) = parse(&text) {
            prop_assert!(seq.is_none_or(|seq| seq > 0));
            let said = seq.map_or_else(|| name.to_string(), |seq| format!("{name}.{seq}"));
            prop_assert_eq!(parse(&said), Some((name, seq)));
            prop_assert!(said.len() <= text.len());
        }
        Ok(())
    });
}

#[test]
fn queries() {
    let text = || texts("[a-z/]{0,8}", &["\0", "/", "é", "\u{10ffff}"]);
    let max_keys = prop_oneof![0..3_i32, Just(i32::MAX)];
    let input = (text(), text(), text(), prop::option::of(markers()), max_keys);
    check(&input, |(prefix, delimiter, key, marker, max_keys)| {
        let input = ListObjectVersionsInput {
            prefix: Some(prefix),
            delimiter: Some(delimiter),
            key_marker: Some(key),
            version_id_marker: marker,
            ..ListObjectVersionsInput::default()
        };
        let read = query(&input, max_keys);
        refused(&read, &["InvalidArgument"])?;
        if let Ok(read) = read {
            prop_assert!(
                ![&read.prefix, &read.delimiter, &read.key_after].iter().any(|text| text.contains('\0'))
            );
            // One place to go on from, and never a version of no key.
            prop_assert!(read.seq_after.is_none() || read.version_after.is_none());
            let names_one = read.seq_after.is_some() || read.version_after.is_some();
            prop_assert!(!names_one || !read.key_after.is_empty());
        }
        Ok(())
    });
}
