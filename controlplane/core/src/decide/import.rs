//! `Import`: a key that somebody else wrote to a backend becomes an object. Decided under the key's lock, and only where
//! the key has nothing: no version, and no delete marker either, which says that a client removed what was there.
//!
//! The blob stays where and as it is. Its copy is uncertain until it was read, and readers name its `ETag` (DESIGN §3).

use s3o_types::{BlobName, Checksums, Encoding, ErrorCode, StorageKey};

use super::commit::make_current;
use super::versions::{self, Room};
use super::{Batch, Slot, begin, internal};
use crate::call::{Import, Outcome, Refusal};
use crate::object::{CopyRow, CopyState, ObjectRow};
use crate::outcome_log::Logged;

pub(super) fn decide(batch: &mut Batch, slot: Slot, import: &Import) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let Some(found) = batch.facts.found_blobs.get(&slot.op).copied() else {
        return internal("what names the blob was not read");
    };
    if found.is_named {
        return taken("the blob was imported before, or waits for its deletion").into();
    }
    let room = match check(batch, import) {
        Ok(room) => room,
        Err(refusal) => return refusal.into(),
    };
    let version = match begin::mint(batch) {
        Ok(version) => version,
        Err(outcome) => return outcome,
    };
    let blob = BlobName::first(version);
    let is_null = batch.writes_null(import.bucket);
    let row = object(import, slot, blob, is_null);
    make_current(batch, slot, (row, room), vec![copy(import, blob)], Logged::Imported)
}

fn taken(why: &str) -> Refusal {
    Refusal::new(ErrorCode::PreconditionFailed, why)
}

fn check(batch: &Batch, import: &Import) -> Result<Room, Refusal> {
    begin::check_key(&import.key)?;
    batch.writable_bucket(import.bucket)?;
    if StorageKey::parse(&import.foreign_key) != StorageKey::Foreign {
        let why = format!("`{}` reads as one of our own storage keys", import.foreign_key);
        return Err(Refusal::new(ErrorCode::InvalidArgument, why));
    }
    if !batch.facts.places.contains_key(&import.backend) {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "there is no such backend"));
    }
    let place = (import.bucket, import.key.clone());
    let noncurrent = batch.facts.versions.get(&place).is_some_and(|rows| !rows.is_empty());
    if noncurrent || batch.facts.objects.contains_key(&place) {
        return Err(taken("the key has a version, or a delete marker, already"));
    }
    versions::room(batch, import.bucket, &import.key)
}

fn object(import: &Import, slot: Slot, blob: BlobName, is_null: bool) -> ObjectRow {
    ObjectRow {
        bucket: import.bucket,
        key: import.key.clone(),
        seq: slot.seq,
        version: blob.version,
        size: import.size,
        etag: import.etag.clone(),
        modified: import.modified,
        attributes: import.attributes.clone(),
        checksums: Checksums::default(),
        is_null,
        parts: None,
    }
}

fn copy(import: &Import, blob: BlobName) -> CopyRow {
    CopyRow {
        backend: import.backend,
        blob,
        bucket: import.bucket,
        key: import.key.clone(),
        state: CopyState::Uncertain,
        stored_size: import.size,
        backend_etag: Some(import.backend_etag.clone()),
        backend_version: import.backend_version.clone(),
        encoding: Encoding::default(),
        foreign_key: Some(import.foreign_key.clone()),
        piece: None,
        md5: None,
        digest: None,
        checksums: Checksums::default(),
    }
}
