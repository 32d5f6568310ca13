//! One value of each kind, as the domain has it and as the wire has it.

use std::collections::BTreeMap;

use s3o_core::call::{CarriedIntent, FinishedTarget};
use s3o_core::intent::{Target, TargetEnd};
use s3o_proto::v1;
use s3o_proto::v1::outcome::Result as WireResult;
use s3o_types::{
    BackendId, BucketId, Conditions, ContentHeaders, CopiedPiece, Encoding, ErrorCode, Etag, Extent,
    ObjectAttributes, ObjectLock, Place, Retention, RetentionMode, Timestamp, VersionId,
};

pub(super) fn id() -> VersionId {
    VersionId::mint(1, 2)
}

pub(super) fn wire_target() -> v1::Target {
    v1::Target { backend: 3, extent: 0, r#gen: 1, storage_key: "photos/k~x".into(), place: 2 }
}

pub(super) fn target() -> Target {
    Target {
        backend: BackendId(3),
        place: Place::from_number(2),
        extent: Extent::ZERO,
        r#gen: s3o_types::Gen::new(1).unwrap(),
        storage_key: "photos/k~x".into(),
    }
}

pub(super) fn wire_conditions() -> v1::Conditions {
    v1::Conditions { if_absent: true, if_match: Some("\"e\"".into()) }
}

pub(super) fn conditions() -> Conditions {
    Conditions { if_absent: true, if_match: Some(Etag::new("e")) }
}

pub(super) fn wire_intent() -> v1::Intent {
    v1::Intent {
        upload: Vec::new().into(),
        bucket: 1,
        key: "k".into(),
        version: id().to_uuid().as_bytes().to_vec().into(),
        size: 9,
        conditions: Some(wire_conditions()),
        targets: vec![wire_target()],
    }
}

pub(super) fn intent() -> CarriedIntent {
    CarriedIntent {
        upload: None,
        replica: false,
        bucket: BucketId(1),
        key: "k".into(),
        version: id(),
        size: 9,
        conditions: conditions(),
        targets: vec![target()],
    }
}

pub(super) fn attributes() -> ObjectAttributes {
    ObjectAttributes {
        headers: ContentHeaders {
            content_type: Some("text/plain".into()),
            content_encoding: Some("gzip".into()),
            content_disposition: Some("inline".into()),
            content_language: Some("de".into()),
            cache_control: Some("no-store".into()),
            expires: Some("never".into()),
            website_redirect: Some("/x".into()),
            storage_class: Some("STANDARD_IA".into()),
        },
        metadata: BTreeMap::from([("colour".into(), "red".into())]),
        tags: BTreeMap::from([("t".into(), "v".into())]),
        lock: ObjectLock {
            retention: Some(Retention { mode: RetentionMode::Governance, until: Timestamp(8) }),
            legal_hold: Some(true),
        },
    }
}

pub(super) fn wire_attributes() -> v1::ObjectAttributes {
    v1::ObjectAttributes {
        headers: Some(v1::ContentHeaders {
            content_type: Some("text/plain".into()),
            content_encoding: Some("gzip".into()),
            content_disposition: Some("inline".into()),
            content_language: Some("de".into()),
            cache_control: Some("no-store".into()),
            expires: Some("never".into()),
            website_redirect: Some("/x".into()),
            storage_class: Some("STANDARD_IA".into()),
        }),
        metadata: [("colour".to_owned(), "red".to_owned())].into(),
        tags: [("t".to_owned(), "v".to_owned())].into(),
        lock: Some(v1::ObjectLock {
            retention: Some(v1::Retention { mode: v1::RetentionMode::Governance.into(), until_us: 8 }),
            legal_hold: Some(true),
        }),
    }
}

pub(super) fn copied_piece() -> CopiedPiece {
    CopiedPiece {
        version: id(),
        extent_offset: 1,
        extent_size: 2,
        extent_digest: "AAAAAAAAAAA=".into(),
        first: 1,
        size: 2,
        digest: "AAAAAAAAAAE=".into(),
        bucket: BucketId(1),
        key: "source".into(),
    }
}

pub(super) fn wire_encoding() -> v1::Encoding {
    v1::Encoding { cipher: "c".into(), key_id: "i".into(), chunk_size: 4, compression: "z".into() }
}

pub(super) fn encoding() -> Encoding {
    Encoding { cipher: "c".into(), key_id: "i".into(), chunk_size: 4, compression: "z".into() }
}

pub(super) fn wire_finished(end: i32) -> v1::FinishedTarget {
    v1::FinishedTarget { backend: 3, extent: 0, r#gen: 1, end, backend_version: "v7".to_owned() }
}

pub(super) fn finished(end: TargetEnd) -> FinishedTarget {
    FinishedTarget { target: target().id(), end, backend_version: Some("v7".to_owned()) }
}

/// Sends one call, checks what the ledger was asked and returns what came back.
pub(super) fn refused(code: ErrorCode, message: &str) -> WireResult {
    WireResult::Refused(v1::Refused { code: code.info().wire, message: message.into() })
}
