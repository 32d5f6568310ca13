//! Calls of data planes, as bytes of the wire.

use std::collections::HashMap;

use proptest::prelude::*;
use prost::Message as _;
use s3o_core::object::{Locate, Want};
use s3o_fuzz::{bytes, check};
use s3o_proto::v1;
use s3o_proto::v1::operation::Call as Wire;

use super::request::{Work, work};

/// Short texts, some with what PostgreSQL does not take.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[a-z/~.]{0,9}", 1 => Just("null".to_owned()), 1 => Just("a\0b".to_owned())]
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 16),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..4_u32, 1 => any::<u32>(), 1 => 9_999..10_002_u32, 1 => 32_766..32_770_u32]
}

fn pairs() -> impl Strategy<Value = HashMap<String, String>> {
    prop::collection::hash_map(text(), text(), 0..3)
}

fn attributes() -> impl Strategy<Value = v1::ObjectAttributes> {
    (prop::option::of(text()), pairs(), pairs()).prop_map(|(content_type, metadata, tags)| {
        v1::ObjectAttributes {
            headers: Some(v1::ContentHeaders { content_type, ..v1::ContentHeaders::default() }),
            metadata,
            tags,
            lock: None,
        }
    })
}

fn lock() -> impl Strategy<Value = v1::ObjectLock> {
    let retention = (-1..4_i32, any::<i64>()).prop_map(|(mode, until_us)| v1::Retention { mode, until_us });
    (prop::option::of(retention), any::<Option<bool>>())
        .prop_map(|(retention, legal_hold)| v1::ObjectLock { retention, legal_hold })
}

fn intent() -> impl Strategy<Value = v1::Intent> {
    let target =
        (number(), number(), text(), any::<i32>()).prop_map(|(extent, attempt, storage_key, place)| {
            v1::Target { backend: 1, extent, r#gen: attempt, storage_key, place }
        });
    let targets = prop::collection::vec(target, 0..3);
    let upload = prop_oneof![Just(Vec::new()), id()];
    (text(), id(), any::<u64>(), upload, targets).prop_map(|(key, version, size, upload, targets)| {
        v1::Intent {
            bucket: 1,
            key,
            version: version.into(),
            size: size >> 1,
            conditions: None,
            targets,
            upload: upload.into(),
        }
    })
}

fn finished() -> impl Strategy<Value = v1::FinishedTarget> {
    (number(), number(), any::<i8>(), text()).prop_map(|(extent, attempt, end, backend_version)| {
        v1::FinishedTarget { backend: 1, extent, r#gen: attempt, end: i32::from(end), backend_version }
    })
}

fn commit() -> impl Strategy<Value = Wire> {
    let digest = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 8), id()];
    let copy =
        (number(), any::<u64>(), text(), digest).prop_map(|(extent, size, text, digest)| v1::StoredCopy {
            backend: 1,
            extent,
            stored_size: size >> 1,
            backend_etag: text.clone(),
            backend_version: text,
            digest: digest.into(),
            ..v1::StoredCopy::default()
        });
    let copies = prop::collection::vec(copy, 0..3);
    let failed = prop::collection::vec(finished(), 0..2);
    (intent(), text(), attributes(), pairs(), copies, failed, 0..2_usize).prop_map(
        |(intent, etag, attributes, checksums, copies, failed, pieces)| {
            Wire::Commit(v1::Commit {
                intent: Some(intent),
                etag,
                attributes: Some(attributes),
                checksums,
                copies,
                failed,
                copied: vec![v1::CopiedPiece::default(); pieces],
            })
        },
    )
}

fn call() -> impl Strategy<Value = Wire> {
    let part = prop::option::of((id(), number()));
    let begin = (text(), any::<u64>(), -1..5_i32, part, prop::option::of(lock())).prop_map(
        |(key, size, kind, part, lock)| {
            let part = part.map(|(upload, number)| v1::Part { upload: upload.into(), number });
            Wire::Begin(v1::Begin {
                bucket: 1,
                key,
                size: size >> 1,
                kind,
                part,
                lock,
                ..v1::Begin::default()
            })
        },
    );
    let abort = (intent(), prop::collection::vec(finished(), 0..3))
        .prop_map(|(intent, targets)| Wire::Abort(v1::Abort { intent: Some(intent), targets }));
    let delete = (text(), text(), prop::option::of(text())).prop_map(|(key, version_id, if_match)| {
        let conditions = Some(v1::Conditions { if_absent: false, if_match });
        let bypass_governance = key.len() % 2 == 1;
        Wire::Delete(v1::Delete { bucket: 1, key, conditions, version_id, bypass_governance })
    });
    let set_tags = (text(), pairs(), text())
        .prop_map(|(key, tags, version_id)| Wire::SetTags(v1::SetTags { bucket: 1, key, tags, version_id }));
    let set_lock = (text(), text(), lock()).prop_map(|(key, version_id, lock)| {
        use v1::set_lock::Change;
        let change = lock.retention.map(Change::Retention).or(lock.legal_hold.map(Change::LegalHold));
        Wire::SetLock(v1::SetLock { bucket: 1, key, version_id, change, bypass_governance: false })
    });
    let create = (text(), text(), text(), attributes()).prop_map(|(key, algorithm, kind, attributes)| {
        Wire::CreateUpload(v1::CreateUpload {
            bucket: 1,
            key,
            attributes: Some(attributes),
            checksum_algorithm: algorithm,
            checksum_type: kind,
        })
    });
    let parts = prop::collection::vec((number(), number()), 0..4);
    let complete = (text(), id(), text(), parts).prop_map(|(key, upload, etag, parts)| {
        let parts = parts.into_iter().map(|(number, attempt)| v1::PickedPart { number, r#gen: attempt });
        Wire::CompleteUpload(v1::CompleteUpload {
            bucket: 1,
            key,
            upload: upload.into(),
            etag,
            parts: parts.collect(),
            ..v1::CompleteUpload::default()
        })
    });
    let range = (prop::option::of(any::<u64>()), prop::option::of(any::<u64>()));
    let locate = (text(), range, prop::option::weighted(0.2, number()), text()).prop_map(
        |(key, (range_start, range_end), part, version_id)| {
            let wire = v1::Locate {
                bucket: 1,
                key,
                range_start,
                range_end,
                part,
                version_id,
                ..v1::Locate::default()
            };
            Wire::Locate(wire)
        },
    );
    prop_oneof![begin, commit(), abort, delete, set_tags, set_lock, create, complete, locate]
}

fn operation() -> impl Strategy<Value = Vec<u8>> {
    (call(), id(), id(), -1..3_i32, text()).prop_map(|(call, op, session, item, text)| {
        v1::Operation {
            op: op.into(),
            session: session.into(),
            item,
            request_id: text.clone(),
            access_key: text.clone(),
            source: text,
            call: Some(call),
            ..v1::Operation::default()
        }
        .encode_to_vec()
    })
}

#[test]
fn operations() {
    check(&bytes(operation(), &["\0", "null", "~", "\n\0", "\u{1a}\u{2}"]), |bytes| {
        let Ok(wire) = v1::Operation::decode(&bytes[..]) else { return Ok(()) };
        match work(wire) {
            Ok(Work::Submit(request)) => {
                prop_assert!(request.op.item >= 0);
                let (_, key) = request.call.bucket_and_key();
                prop_assert!((1..=1024).contains(&key.len()) && !key.contains('\0'));
                // Other texts with U+0000 the store refuses, before they reach a batch.
            }
            Ok(Work::Locate(Locate { key, want, .. })) => {
                prop_assert!((1..=1024).contains(&key.len()) && !key.contains('\0'));
                if let Want::Range(start, end) = want {
                    prop_assert!(start <= end);
                }
            }
            Err(bad) => prop_assert!(!bad.field.is_empty() && !bad.message.is_empty()),
        }
        Ok(())
    });
}
