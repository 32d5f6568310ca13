//! Attributes survive the way to a backend and back, or the description says that they did not.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use http::HeaderMap;
use proptest::prelude::*;
use s3o_blob::{META_DESCRIPTION, META_KEY, SelfDescription, from_blob_headers, to_blob_headers};
use s3o_types::{ContentHeaders, ObjectAttributes, ObjectLock, Retention, RetentionMode, Timestamp};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "\\PC{0,20}", "(=\\?|%s3o:|%20|  | |é){0,6}"]
}

fn attributes() -> impl Strategy<Value = ObjectAttributes> {
    let headers = prop::collection::vec(prop::option::of(text()), 8).prop_map(|v| ContentHeaders {
        content_type: v[0].clone(),
        content_encoding: v[1].clone(),
        content_disposition: v[2].clone(),
        content_language: v[3].clone(),
        cache_control: v[4].clone(),
        expires: v[5].clone(),
        website_redirect: v[6].clone().filter(|_| v[6] == v[7]),
        storage_class: None,
    });
    let names = prop_oneof!["[a-z0-9_-]{1,12}", "s3o[a-z-]{0,4}", "[A-Z é]{1,3}"];
    let metadata = prop::collection::btree_map(names, prop_oneof![9 => text(), 1 => "[a-z]{900}"], 0..6);
    let tags = prop_oneof![4 => Just(BTreeMap::new()), 1 => Just(BTreeMap::from([("a".to_owned(), "b".to_owned())]))];
    let lock = prop::option::of(0_i64..1 << 55).prop_map(|until| {
        let retention = Retention { mode: RetentionMode::Compliance, until: Timestamp(until.unwrap_or(0)) };
        ObjectLock { retention: until.map(|_| retention), legal_hold: until.map(|until| until % 2 == 0) }
    });
    (headers, metadata, tags, lock).prop_map(|(headers, metadata, tags, lock)| ObjectAttributes {
        headers,
        metadata,
        tags,
        lock,
    })
}

proptest! {
    #[test]
    fn round_trip(attributes in attributes(), key in prop_oneof!["[a-z]{1,9}", "/[a-z/]{0,900}"]) {
        let sent = to_blob_headers("bucket", &key, &attributes, &SelfDescription::plain(7)).unwrap();
        let metadata: usize = sent.iter().filter(|(n, _)| n.as_str().starts_with("x-amz-meta-")).map(|(n, v)| n.as_str().len() + v.len()).sum();
        prop_assert!(metadata <= 2048, "{metadata} bytes of metadata");
        prop_assert!(sent.iter().all(|(_, value)| value.to_str().is_ok()));
        let headers: HeaderMap = sent.into_iter().collect();
        let stored = from_blob_headers(&headers).unwrap();
        prop_assert_eq!(stored.description.size, 7);
        prop_assert_eq!(stored.attributes.lock, attributes.lock, "complete or not");
        if stored.description.incomplete {
            // What is there is right all the same.
            for (name, value) in &stored.attributes.metadata {
                prop_assert_eq!(attributes.metadata.get(name), Some(value));
            }
        } else {
            prop_assert_eq!(&stored.attributes, &attributes);
        }
        let hashed = key.starts_with('/');
        prop_assert_eq!(stored.bucket_key, hashed.then(|| ("bucket".to_owned(), key)));
    }
}

#[test]
fn ordinary_attributes_are_complete_and_readable() {
    let mut attributes = ObjectAttributes::default();
    attributes.headers.content_type = Some("text/plain; charset=utf-8".to_owned());
    attributes.metadata =
        BTreeMap::from([("owner".to_owned(), "Ann".to_owned()), ("ort".to_owned(), "Köln".to_owned())]);
    let sent: HeaderMap =
        to_blob_headers("b", "k", &attributes, &SelfDescription::plain(1)).unwrap().into_iter().collect();
    assert_eq!(sent["x-amz-meta-owner"], "Ann");
    assert_eq!(sent[META_DESCRIPTION], "1 k=blob s=1");
    assert!(!sent.contains_key(META_KEY));
    assert_eq!(from_blob_headers(&sent).unwrap().attributes, attributes);
}

#[test]
fn clients_cannot_pose_as_us() {
    let metadata = BTreeMap::from([
        ("s3o".to_owned(), "1 k=blob s=999".to_owned()),
        ("s3o-key".to_owned(), "x".to_owned()),
    ]);
    let attributes = ObjectAttributes { metadata, ..ObjectAttributes::default() };
    let sent: HeaderMap =
        to_blob_headers("b", "k", &attributes, &SelfDescription::plain(1)).unwrap().into_iter().collect();
    let stored = from_blob_headers(&sent).unwrap();
    assert!(stored.description.incomplete && stored.description.size == 1 && stored.bucket_key.is_none());
}
