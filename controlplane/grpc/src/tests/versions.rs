//! Versions: what is asked is checked field by field, what goes out says all there is; a versioned bucket asks for the
//! feature.

use std::sync::Arc;

use s3o_core::call::Outcome;
use s3o_core::listing::ListedObject;
use s3o_core::versions::{ListedVersion, VersionAfter, VersionEntry, VersionsPage};
use s3o_proto::v1;
use s3o_proto::v1::version_entry::Entry;
use s3o_types::{BucketId, Etag, Seq, Timestamp, VersionId, VersionRef, Versioning};
use tonic::Code;
use uuid::Uuid;

use super::Plane;
use super::fakes::config;
use crate::operations::outcome::{of_call, version_id};
use crate::status::fields;

fn page() -> VersionsPage {
    let row = |seq, version| ListedVersion {
        key: "k".into(),
        seq: Seq(seq),
        version,
        is_latest: seq == 9,
        modified: Timestamp(seq),
    };
    let object = ListedObject {
        key: "k".into(),
        size: 5,
        etag: Etag::new("e"),
        modified: Timestamp(3),
        storage_class: String::new(),
        checksum_algorithms: vec!["crc32".into()],
    };
    let entries = vec![
        VersionEntry::CommonPrefix("a/".into()),
        VersionEntry::Marker(row(9, VersionRef::Null)),
        VersionEntry::Version(row(3, VersionRef::Id(VersionId::mint(1, 2))), object),
    ];
    VersionsPage { entries, truncated: true }
}

#[tokio::test]
async fn pages_of_versions() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    *plane.fakes.versions_page.lock().unwrap() = page();
    let request = v1::ListVersionsRequest {
        bucket: 1,
        prefix: "p".into(),
        delimiter: "/".into(),
        key_after: "p1".into(),
        seq_after: Some(7),
        version_after: String::new(),
        max_keys: 10,
        request_id: "r".into(),
    };
    let reply = client.list_versions(request.clone()).await.unwrap().into_inner();
    assert!(reply.truncated);
    let entries: Vec<Entry> = reply.entries.into_iter().map(|entry| entry.entry.unwrap()).collect();
    assert_eq!(entries[0], Entry::CommonPrefix("a/".into()));
    let Entry::Marker(marker) = &entries[1] else { panic!("{entries:?}") };
    let object = marker.object.clone().unwrap();
    assert_eq!((marker.seq, marker.version_id.as_str(), marker.is_latest), (9, "null", true));
    assert_eq!((object.key.as_str(), object.size, object.modified_us), ("k", 0, 9));
    let Entry::Version(version) = &entries[2] else { panic!("{entries:?}") };
    assert_eq!(version.version_id, VersionId::mint(1, 2).to_string());
    assert_eq!((version.seq, version.is_latest, version.object.clone().unwrap().size), (3, false, 5));
    let asked = plane.fakes.versions_asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!((asked.bucket, asked.max_keys, asked.delimiter.as_str()), (BucketId(1), 10, "/"));
    assert_eq!(asked.version_after, Some(VersionAfter::Seq(Seq(7))));

    let named = v1::ListVersionsRequest { seq_after: None, version_after: "null".into(), ..request.clone() };
    client.list_versions(named).await.unwrap();
    let asked = plane.fakes.versions_asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!(asked.version_after, Some(VersionAfter::Version(VersionRef::Null)));
    let wrong = [
        v1::ListVersionsRequest { version_after: "nothing".into(), ..request.clone() },
        v1::ListVersionsRequest { max_keys: 1001, ..request },
    ];
    let mut named = Vec::new();
    for request in wrong {
        named.extend(fields(&client.list_versions(request).await.unwrap_err()));
    }
    assert_eq!(named, ["version_after", "max_keys"]);
}

#[tokio::test]
async fn versioning_is_told_and_set() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    let get = |bucket| v1::GetVersioningRequest { bucket, request_id: String::new() };
    let reply = client.get_versioning(get(1)).await.unwrap().into_inner();
    assert_eq!(reply.versioning(), v1::Versioning::Suspended);
    assert_eq!(client.get_versioning(get(2)).await.unwrap_err().code(), Code::NotFound);

    let op = Uuid::from_u128(5);
    let set = v1::SetVersioningRequest {
        op: op.as_bytes().to_vec().into(),
        bucket: 1,
        versioning: v1::Versioning::Enabled.into(),
        access_key: "client".into(),
        request_id: String::new(),
    };
    client.set_versioning(set.clone()).await.unwrap();
    let asked = plane.fakes.versioning_set.lock().unwrap().last().cloned().unwrap();
    assert_eq!((asked.op.id, asked.bucket, asked.wanted), (op, BucketId(1), Versioning::Enabled));
    assert_eq!(asked.access_key, "client");
    for versioning in [v1::Versioning::Off.into(), 99] {
        let wrong = client.set_versioning(v1::SetVersioningRequest { versioning, ..set.clone() }).await;
        assert_eq!(fields(&wrong.unwrap_err()), ["versioning"]);
    }
}

#[tokio::test]
async fn a_versioned_bucket_asks_for_the_feature() {
    let plane = Plane::start().await;
    let mut client = plane.dataplane();
    let get = v1::GetVersioningRequest { bucket: 1, request_id: String::new() };
    let before = client.get_versioning(get.clone()).await.unwrap().into_inner().required_features;
    let mut versioned = config(2);
    versioned.buckets[0].versioning = Versioning::Suspended;
    plane.fakes.config.send_replace(Arc::new(versioned));
    let after = client.get_versioning(get).await.unwrap().into_inner().required_features;
    assert!(!before.contains(&"versions".to_owned()) && after.contains(&"versions".to_owned()));
    assert!(s3o_proto::FEATURES.contains(&s3o_core::session::VERSIONS_FEATURE));
}

#[test]
fn outcomes_say_which_version() {
    assert_eq!(version_id(None), "");
    let version = Some(VersionRef::Null);
    let deleted = of_call(Outcome::Deleted { existed: true, version, delete_marker: true });
    let told = v1::Deleted { existed: true, version_id: "null".into(), delete_marker: true };
    assert_eq!(deleted, v1::outcome::Result::Deleted(told));
    let tagged = of_call(Outcome::TagsSet { version });
    assert_eq!(tagged, v1::outcome::Result::TagsSet(v1::TagsSet { version_id: "null".into() }));
}
