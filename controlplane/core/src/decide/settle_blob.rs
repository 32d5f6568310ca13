//! `SettleBlob`: a blob of ours that reconcile found and that no row names. Decided under the key's lock, by what is
//! named there: it becomes a copy of its version, if that is there and lacks one on this backend; else it is queued for
//! deletion. It is never made into an object.
//!
//! Why nothing can claim it later: a blob is listed only after its PUT was complete, so its intent was there before. A
//! commit finds its intent or records `lost`; and a commit that came first has left a copy row, seen under this lock.

use s3o_types::{Checksums, Encoding, ErrorCode, StorageKey};

use super::replica::like;
use super::settle::take_copy;
use super::{Batch, Slot, Subject, internal};
use crate::call::{BlobFate, Outcome, Refusal, SettleBlob};
use crate::cleanup::{CleanupEntry, Reason};
use crate::effects::MarkedCopy;
use crate::facts::FoundBlob;
use crate::object::{CopyRow, CopyState};
use crate::outcome_log::Logged;
use crate::replication::{CopyTask, ReplicationEntry};
use crate::usage::{Usage, signed};

pub(super) fn decide(batch: &mut Batch, slot: Slot, settle: &SettleBlob) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let Some(found) = batch.facts.found_blobs.get(&slot.op).copied() else {
        return internal("what names the blob was not read");
    };
    if let Err(refusal) = check(batch, settle) {
        return refusal.into();
    }
    let logged = match judge(batch, settle, found) {
        Verdict::Return => {
            give_back(batch, settle);
            Logged::CopyAttached
        }
        Verdict::Attach(row) => {
            attach(batch, *row);
            to_be_read(batch, settle);
            Logged::CopyAttached
        }
        Verdict::Delete => {
            queue(batch, settle);
            Logged::BlobOrphaned
        }
        Verdict::Keep => return Outcome::BlobSettled(BlobFate::Kept),
    };
    let of = &settle.of;
    let subject = Subject { bucket: of.bucket, key: &of.key, version: Some(of.version), object: None };
    batch.log(slot, logged, subject)
}

enum Verdict {
    /// The copy that was missing is there.
    Return,
    /// One more copy.
    Attach(Box<CopyRow>),
    Delete,
    Keep,
}

/// The grammar decides the key, not the caller: a blob can only be settled as what it is.
fn check(batch: &Batch, settle: &SettleBlob) -> Result<(), Refusal> {
    let of = &settle.of;
    let bucket = batch.facts.buckets.get(&of.bucket);
    let bucket = bucket.ok_or_else(|| Refusal::new(ErrorCode::NoSuchBucket, "the bucket does not exist"))?;
    if StorageKey::format(&bucket.name, &of.key, settle.blob()) != settle.storage_key {
        let why = format!("`{}` is not the blob's storage key", settle.storage_key);
        return Err(Refusal::new(ErrorCode::InvalidArgument, why));
    }
    if !batch.facts.places.contains_key(&settle.backend) {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "there is no such backend"));
    }
    Ok(())
}

fn judge(batch: &Batch, settle: &SettleBlob, found: FoundBlob) -> Verdict {
    let facts = batch.facts.extents.get(&(settle.of.version, settle.of.extent));
    let copies = facts.map(|facts| facts.copies.as_slice()).unwrap_or_default();
    let here = copies.iter().map(|(copy, _)| copy).find(|copy| copy.backend == settle.backend);
    if let Some(row) = here.filter(|row| row.blob.r#gen == settle.r#gen) {
        let is_back = row.state == CopyState::Missing && row.stored_size == settle.stored_size;
        return if is_back { Verdict::Return } else { Verdict::Keep };
    }
    if found.is_named {
        return Verdict::Keep;
    }
    if !found.version_is_there {
        return Verdict::Delete;
    }
    if here.is_some_and(|row| row.state.readable()) {
        return Verdict::Delete;
    }
    // Of an extent without any copy row it is not known which bytes it has: the blob may be all that is left of it.
    let (Some(facts), Some((first, _))) = (facts, copies.first()) else { return Verdict::Keep };
    match &settle.encoding {
        Some(encoding) if first.stored_size == settle.stored_size && first.encoding == *encoding => {
            Verdict::Attach(Box::new(like(facts, row(settle, encoding.clone()))))
        }
        // Never whole, or of another encoding: it cannot replace the others.
        _ if copies.iter().any(|(copy, _)| copy.state.readable()) => Verdict::Delete,
        _ => Verdict::Keep,
    }
}

fn row(settle: &SettleBlob, encoding: Encoding) -> CopyRow {
    CopyRow {
        backend: settle.backend,
        blob: settle.blob(),
        bucket: settle.of.bucket,
        key: settle.of.key.clone(),
        state: CopyState::Uncertain,
        stored_size: settle.stored_size,
        backend_etag: settle.backend_etag.clone(),
        backend_version: settle.backend_version.clone(),
        encoding,
        foreign_key: None,
        piece: None,
        md5: None,
        digest: None,
        checksums: Checksums::default(),
    }
}

/// What was missing is there again, and has to be read before it counts.
fn give_back(batch: &mut Batch, settle: &SettleBlob) {
    let extent = (settle.of.version, settle.of.extent);
    if let Some(facts) = batch.facts.extents.get_mut(&extent) {
        let same = facts.copies.iter_mut().map(|(copy, _)| copy).find(|copy| copy.backend == settle.backend);
        if let Some(copy) = same {
            copy.state = CopyState::Uncertain;
        }
    }
    let (version, extent) = extent;
    let (backend, state) = (settle.backend, CopyState::Uncertain);
    batch.effects.mark_copies.push(MarkedCopy { version, extent, backend, state, digest: None });
    to_be_read(batch, settle);
}

/// The scrubber makes it one that counts, or finds out that it is none.
fn to_be_read(batch: &mut Batch, settle: &SettleBlob) {
    batch.effects.replicate.push(ReplicationEntry {
        version: settle.of.version,
        bucket: settle.of.bucket,
        key: settle.of.key.clone(),
        task: CopyTask::Verify,
    });
}

fn attach(batch: &mut Batch, row: CopyRow) {
    let extent = (row.blob.version, row.blob.extent);
    let useless = batch.facts.extents.get(&extent).and_then(|facts| {
        facts.copies.iter().map(|(copy, _)| copy).find(|copy| copy.backend == row.backend).cloned()
    });
    if let Some(useless) = useless {
        take_copy(batch, &useless, Reason::Repaired);
    }
    super::commit::count_copy(batch, &row);
    if let Some(facts) = batch.facts.extents.get_mut(&extent) {
        facts.copies.push((row.clone(), s3o_types::BackendState::Active));
    }
    batch.effects.add_copies.push(row);
}

/// Its bytes were not counted: they are, as orphaned, until they are gone.
fn queue(batch: &mut Batch, settle: &SettleBlob) {
    let orphaned = signed(settle.stored_size);
    batch.add_usage(settle.backend, Usage { orphaned, ..Usage::default() });
    batch.effects.cleanup.push(CleanupEntry {
        backend: settle.backend,
        storage_key: settle.storage_key.clone(),
        blob: settle.blob(),
        backend_version: settle.backend_version.clone(),
        size: settle.stored_size,
        reason: Reason::Orphaned,
        uncertain: false,
    });
}
