//! Texts and bytes from outside: keys as backends list them, versions, buckets and dates as clients name them.

use proptest::prelude::*;
use s3o_fuzz::{bytes, check, texts};

use crate::storage_key::{LONG_PREFIX, MAX_KEY_BYTES, RESERVED_PREFIX};
use crate::{
    BlobName, BucketName, Digest, Etag, Extent, Gen, LifecycleDate, StorageKey, VersionId, VersionRef,
};

fn blob() -> impl Strategy<Value = BlobName> {
    (any::<u128>(), 0..=Extent::MAX, 0..=Gen::MAX).prop_map(|(version, extent, generation)| BlobName {
        version: VersionId::from_uuid(uuid::Uuid::from_u128(version)),
        extent: Extent::new(extent).expect("in range"),
        r#gen: Gen::new(generation).expect("in range"),
    })
}

#[test]
fn storage_keys() {
    let key = prop_oneof!["[a-z/.~]{1,12}", "[a-z]{221,224}", "\\PC{0,20}", "([a-z]{1,200}/){4,6}"];
    let valid = ("[a-z0-9]{3,5}", key, blob())
        .prop_map(|(bucket, key, blob)| StorageKey::format(&bucket, &key, blob));
    let tokens =
        &["~", "/", "//", "..", "/./", "\\", "\0", "\u{85}", ".s3o/", ".s3o/long/", ".s3o/backend", "0000"];
    check(&texts(valid, tokens), |text| {
        match StorageKey::parse(&text) {
            StorageKey::Plain { bucket, key, blob } => {
                prop_assert!(text.len() <= MAX_KEY_BYTES && !StorageKey::is_hashed(&bucket, &key));
                prop_assert!(text.starts_with(&StorageKey::prefix(&bucket, &key)));
                prop_assert_eq!(StorageKey::format(&bucket, &key, blob), text);
            }
            StorageKey::Hashed { digest, blob } => {
                prop_assert_eq!(format!("{LONG_PREFIX}{digest}~{blob}"), text);
            }
            StorageKey::Reserved => prop_assert!(text.starts_with(RESERVED_PREFIX)),
            StorageKey::Foreign => prop_assert!(!text.starts_with(RESERVED_PREFIX)),
        }
        Ok(())
    });
}

#[test]
fn blob_names() {
    let valid = blob().prop_map(|blob| blob.to_string());
    check(&texts(valid, &["0", "Z", "I", "l", "é", "00000000000000000000000000"]), |text| {
        if let Some(blob) = BlobName::parse(&text) {
            prop_assert_eq!(blob.to_string(), text);
        }
        Ok(())
    });
}

#[test]
fn versions() {
    let valid = prop_oneof![
        3 => any::<u128>().prop_map(|id| VersionId::from_uuid(uuid::Uuid::from_u128(id)).to_string()),
        1 => Just("null".to_owned()),
    ];
    check(&texts(valid, &["null", "7ZZZZZZZ", "8", "o", "I", "é", "-"]), |text| {
        if let Ok(version) = text.parse::<VersionRef>() {
            prop_assert_eq!(version.to_string(), text);
        }
        Ok(())
    });
}

#[test]
fn bucket_names() {
    let valid = prop_oneof!["[a-z0-9]([a-z0-9-]|\\.[a-z0-9]){1,30}[a-z0-9]", "[0-9]{1,3}(\\.[0-9]{1,3}){3}"];
    let blob = BlobName::first(VersionId::mint(1, 2));
    check(&texts(valid, &[".", "..", "-", "_", "/", "\0", "A", "é", "10.0.0.1"]), move |text| {
        let Ok(name) = text.parse::<BucketName>() else { return Ok(()) };
        prop_assert_eq!(name.as_str(), &text);
        prop_assert!((3..=63).contains(&text.len()) && text.is_ascii());
        // Whatever is a bucket is the folder of its blobs, and theirs alone.
        let key = StorageKey::format(&text, "k", blob);
        prop_assert_eq!(
            StorageKey::parse(&key),
            StorageKey::Plain { bucket: text, key: "k".to_owned(), blob }
        );
        Ok(())
    });
}

#[test]
fn etags() {
    let valid = prop_oneof!["[0-9a-f]{32}", "\"[0-9a-f]{32}\"", "\"[0-9a-f]{32}-[0-9]{1,5}\""];
    check(&texts(valid, &["\"", "W/", "-1", "+", " ", "\u{a0}", "*"]), |text| {
        let etag = Etag::new(&text);
        prop_assert!(text.contains(etag.as_str()));
        prop_assert_eq!(etag.is_md5(), etag.md5().is_some());
        prop_assert_eq!(&Etag::new(etag.as_str()), &etag);
        // As HTTP has it.
        prop_assert_eq!(Etag::new(&format!("\"{etag}\"")), etag);
        Ok(())
    });
}

#[test]
fn dates() {
    let valid = (-719_528..2_932_897_i32).prop_map(|days| LifecycleDate::from_days(days).to_string());
    check(&texts(valid, &["-", "0000", "9999", "-02-29", "-13-", "+", "é", "T00:00:00Z"]), |text| {
        let Ok(date) = text.parse::<LifecycleDate>() else { return Ok(()) };
        prop_assert_eq!(LifecycleDate::beginning(date.begins()), Some(date));
        prop_assert_eq!(String::from(date), text);
        Ok(())
    });
}

#[test]
fn digests() {
    let valid = prop_oneof![prop::collection::vec(any::<u8>(), 8), prop::collection::vec(any::<u8>(), 32),];
    check(&bytes(valid, &["\0", "12345678"]), |bytes| {
        match Digest::from_bytes(&bytes) {
            Ok(Some(digest)) => prop_assert_eq!(digest.as_bytes(), &bytes[..]),
            Ok(None) => prop_assert!(bytes.is_empty()),
            Err(_) => prop_assert!(![0, 8, 32].contains(&bytes.len())),
        }
        Ok(())
    });
}
