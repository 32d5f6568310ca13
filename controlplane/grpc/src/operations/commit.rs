//! Commit as it comes from the wire, and the attributes that Locate sends back.

use s3o_core::call::{Commit, StoredCopy};
use s3o_proto::v1;
use s3o_types::{Checksums, CopiedPiece, Digest, Etag, ObjectAttributes};
use s3o_wire::{copied, headers, lock};

use super::request::{carried_intent, finished_target, fits_table, target_id};
use crate::field::{self, Bad};
use crate::object_lock;

pub(super) fn commit(wire: v1::Commit) -> Result<Commit, Bad> {
    let v1::Commit { intent, etag, attributes, checksums, copies, failed, copied } = wire;
    let copies: Result<_, Bad> = copies.into_iter().map(stored_copy).collect();
    let failed: Result<_, Bad> = failed.into_iter().map(finished_target).collect();
    let copied: Result<_, Bad> = copied.into_iter().map(copied_piece).collect();
    Ok(Commit {
        intent: carried_intent(intent)?,
        etag: field::etag("etag", &etag)?,
        attributes: attributes_from_wire(attributes)?,
        checksums: Checksums { values: checksums.into_iter().collect() },
        copies: copies.map_err(|bad| bad.within("copies"))?,
        failed: failed.map_err(|bad| bad.within("failed"))?,
        copied: copied.map_err(|bad| bad.within("copied"))?,
    })
}

fn copied_piece(wire: v1::CopiedPiece) -> Result<CopiedPiece, Bad> {
    copied::from_wire(wire).ok_or_else(|| Bad::new("version", "is not 16 bytes"))
}

fn stored_copy(wire: v1::StoredCopy) -> Result<StoredCopy, Bad> {
    let v1::StoredCopy {
        backend,
        extent,
        r#gen,
        stored_size,
        backend_etag,
        backend_version,
        encoding,
        digest,
    } = wire;
    Ok(StoredCopy {
        target: target_id(backend, extent, r#gen)?,
        stored_size: fits_table(stored_size)?,
        backend_etag: field::non_empty(backend_etag).map(|text| Etag::new(&text)),
        backend_version: field::non_empty(backend_version),
        encoding: field::encoding_from_wire(encoding),
        digest: Digest::from_bytes(&digest).map_err(|why| Bad::new("digest", why))?,
    })
}

pub(super) fn attributes_from_wire(wire: Option<v1::ObjectAttributes>) -> Result<ObjectAttributes, Bad> {
    let v1::ObjectAttributes { headers, metadata, tags, lock } = wire.unwrap_or_default();
    Ok(ObjectAttributes {
        headers: headers::from_wire(headers),
        metadata: metadata.into_iter().collect(),
        tags: tags.into_iter().collect(),
        lock: object_lock::from_wire(lock).map_err(|bad| bad.within("attributes.lock"))?,
    })
}

pub(super) fn attributes_to_wire(attributes: ObjectAttributes) -> v1::ObjectAttributes {
    let ObjectAttributes { headers, metadata, tags, lock } = attributes;
    v1::ObjectAttributes {
        headers: Some(headers::to_wire(headers)),
        metadata: metadata.into_iter().collect(),
        tags: tags.into_iter().collect(),
        lock: lock::to_wire(lock),
    }
}
