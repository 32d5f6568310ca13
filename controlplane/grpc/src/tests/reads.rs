//! Locate and List, there and back.

use std::collections::BTreeMap;

use s3o_core::listing::{ListEntry, ListQuery, ListedObject, Page};
use s3o_core::object::{CopyRow, CopyState, Located, LocatedExtent, Lookup, ObjectRow};
use s3o_proto::v1;
use s3o_proto::v1::list_entry::Entry;
use s3o_proto::v1::operation::Call as WireCall;
use s3o_proto::v1::outcome::Result as WireResult;
use s3o_types::{BackendId, BlobName, BucketId, Checksums, Digest, Etag, Extent, Seq, Timestamp, VersionRef};
use tonic::Code;

use super::Plane;
use super::stream::Stream;
use super::values::{attributes, encoding, id, wire_attributes, wire_encoding};
use crate::status::fields;

fn checksums() -> Checksums {
    Checksums { values: BTreeMap::from([("crc32".into(), "AAAA".into())]) }
}

#[tokio::test]
async fn located_shows_readable_copies_only() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let copy = |state, foreign: Option<&str>| {
        let row = CopyRow {
            piece: None,
            md5: None,
            digest: Some(Digest::Sha256([7; 32])),
            checksums: Checksums::default(),
            backend: BackendId(3),
            blob: BlobName::first(id()),
            bucket: BucketId(1),
            key: "k".into(),
            state,
            stored_size: 10,
            backend_etag: Some(Etag::new("be")),
            backend_version: None,
            encoding: encoding(),
            foreign_key: foreign.map(str::to_owned),
        };
        (row, "photos/k~x".to_owned())
    };
    let object = ObjectRow {
        parts: Some(3),
        bucket: BucketId(1),
        key: "k".into(),
        seq: Seq(12),
        version: id(),
        size: 9,
        etag: Etag::new("e"),
        modified: Timestamp(34),
        attributes: attributes(),
        checksums: checksums(),
        is_null: true,
    };
    let copies = vec![
        copy(CopyState::Verified, None),
        copy(CopyState::Quarantined, None),
        copy(CopyState::Missing, None),
        copy(CopyState::Uncertain, Some("x")),
    ];
    let extent = LocatedExtent { extent: Extent::ZERO, offset: 0, size: 9, checksums: checksums(), copies };
    *plane.fakes.located.lock().unwrap() =
        Lookup::Found(Box::new(Located { object, told: Some(VersionRef::Null), extents: vec![extent] }));
    let mut stream = Stream::open(&plane).await;
    let locate = v1::Locate { bucket: 1, key: "k".into(), ..Default::default() };
    stream.send(vec![(1, Some(WireCall::Locate(locate)))]).await;
    let WireResult::Located(found) = stream.outcomes(1).await.remove(&1).unwrap() else {
        panic!("not located")
    };
    let wire_copy = |state: v1::CopyState, foreign_key| v1::LocatedCopy {
        backend: 3,
        storage_key: "photos/k~x".into(),
        stored_size: 10,
        backend_etag: "be".into(),
        encoding: Some(wire_encoding()),
        state: state.into(),
        foreign_key,
    };
    let expected = v1::Located {
        version_id: "null".into(),
        parts: Some(3),
        version: id().to_uuid().as_bytes().to_vec().into(),
        seq: 12,
        size: 9,
        etag: "e".into(),
        modified_us: 34,
        attributes: Some(wire_attributes()),
        checksums: [("crc32".to_owned(), "AAAA".to_owned())].into(),
        extents: vec![v1::LocatedExtent {
            extent: 0,
            offset: 0,
            size: 9,
            digest: vec![7; 32].into(),
            checksums: [("crc32".to_owned(), "AAAA".to_owned())].into(),
            copies: vec![
                wire_copy(v1::CopyState::Verified, false),
                wire_copy(v1::CopyState::Uncertain, true),
            ],
        }],
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_listing_there_and_back() {
    let plane = Plane::requiring(vec!["f1".into()]).await;
    let object = ListedObject {
        key: "p/k".into(),
        size: 9,
        etag: Etag::new("e"),
        modified: Timestamp(34),
        storage_class: "GLACIER".into(),
        checksum_algorithms: vec!["CRC32".into()],
    };
    let entries = vec![ListEntry::Object(object), ListEntry::CommonPrefix("p/q/".into())];
    *plane.fakes.page.lock().unwrap() = Page { entries, next: Some("p/q/".into()) };
    let request = |max_keys| v1::ListRequest {
        bucket: 1,
        prefix: "p/".into(),
        delimiter: "/".into(),
        after: "p/a".into(),
        max_keys,
        request_id: "r".into(),
    };
    let mut client = plane.dataplane();
    let reply = client.list(request(1000)).await.unwrap().into_inner();
    let object = v1::ListedObject {
        key: "p/k".into(),
        size: 9,
        etag: "e".into(),
        modified_us: 34,
        storage_class: "GLACIER".into(),
        checksum_algorithms: vec!["CRC32".into()],
    };
    let entry = |entry| v1::ListEntry { entry: Some(entry) };
    let expected = v1::ListReply {
        entries: vec![entry(Entry::Object(object)), entry(Entry::CommonPrefix("p/q/".into()))],
        next: Some("p/q/".into()),
        required_features: vec!["f1".into()],
    };
    assert_eq!(reply, expected);
    let query = ListQuery {
        bucket: BucketId(1),
        prefix: "p/".into(),
        delimiter: "/".into(),
        after: "p/a".into(),
        max_keys: 1000,
    };
    assert_eq!(*plane.fakes.lists.lock().unwrap(), [query]);
    let status = client.list(request(1001)).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["max_keys".to_owned()]));
}
