//! `CompleteUpload`: the parts that were picked become the key's current version, the others are queued. No byte
//! moves. One Complete wins; another one that asks for the same object gets the same answer, for as long as the
//! upload is remembered. A refusal closes nothing: the client may pick again, or abort.

use s3o_types::{Checksums, ErrorCode, Etag, Extent, Right};

use super::commit::make_current;
use super::lock::no_lock;
use super::upload::{close, find, queue_part};
use super::versions::{self, Room};
use super::{Batch, Slot, conditions};
use crate::call::{CompleteUpload, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::object::{CopyRow, CopyState, ObjectRow, Piece};
use crate::outcome_log::{Logged, no_such_upload};
use crate::upload::{Completed, MAX_OBJECT_BYTES, PartRow, UploadFacts, UploadRow, UploadState};
use crate::usage::{Usage, signed};

pub(super) fn decide(batch: &mut Batch, slot: Slot, access_key: &str, complete: &CompleteUpload) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    match check(batch, access_key, complete) {
        Ok(Checked::Open(upload, picked, room)) => make(batch, slot, complete, (*upload, room), picked),
        Ok(Checked::Done(Completed { seq, at, told, .. })) => {
            Outcome::Committed { seq, modified: at, version: told }
        }
        Err(refusal) => refusal.into(),
    }
}

enum Checked {
    /// To be completed, with the parts that were picked, and its place.
    Open(Box<UploadFacts>, Vec<PartRow>, Room),
    /// Completed to the same object before.
    Done(Completed),
}

fn check(batch: &mut Batch, access_key: &str, complete: &CompleteUpload) -> Result<Checked, Refusal> {
    let CompleteUpload { bucket, key, upload, conditions, etag, checksums: _, parts } = complete;
    batch.may(access_key, Right::Write, (*bucket, key))?;
    let max = batch.writable_bucket(*bucket)?.max_object_size.unwrap_or(u64::MAX).min(MAX_OBJECT_BYTES);
    let facts = find(batch, *bucket, key, *upload)?.clone();
    match facts.row.state {
        UploadState::Open => {}
        UploadState::Completed => return repeated(facts.row, etag),
        UploadState::Aborted => return Err(no_such_upload()),
    }
    conditions::check(conditions, batch.facts.objects.get(&(*bucket, key.clone())))?;
    // As with a commit: what Create saw is so still, but in a database that was set back.
    if !facts.row.attributes.lock.is_none() && !batch.has_lock(*bucket) {
        return Err(no_lock());
    }
    let picked = pick(&facts, parts)?;
    let size: u64 = picked.iter().map(|part| part.size).sum();
    if size > max {
        let why = format!("the bucket takes objects of up to {max} bytes, the parts have {size}");
        return Err(Refusal::new(ErrorCode::EntityTooLarge, why));
    }
    let room = versions::room(batch, *bucket, key)?;
    Ok(Checked::Open(Box::new(facts), picked, room))
}

/// Its parts are not known any more: the ETag, which is made of theirs, says whether the same ones are meant.
fn repeated(row: UploadRow, etag: &Etag) -> Result<Checked, Refusal> {
    let same = row.completed.filter(|completed| completed.etag == *etag);
    same.map(Checked::Done).ok_or_else(no_such_upload)
}

fn pick(facts: &UploadFacts, parts: &[(Extent, s3o_types::Gen)]) -> Result<Vec<PartRow>, Refusal> {
    if parts.is_empty() {
        return Err(Refusal::new(
            ErrorCode::InvalidArgument,
            "an upload is completed with one part at least",
        ));
    }
    if !parts.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "the parts are not in ascending order"));
    }
    let stored = |(number, attempt): &(Extent, s3o_types::Gen)| {
        let part = facts.parts.get(number).filter(|part| part.r#gen == *attempt);
        part.cloned().ok_or_else(|| {
            let why = format!("Part {} was not found, or was uploaded again meanwhile.", number.get());
            Refusal::new(ErrorCode::InvalidPart, why)
        })
    };
    parts.iter().map(stored).collect()
}

fn make(
    batch: &mut Batch,
    slot: Slot,
    complete: &CompleteUpload,
    (facts, room): (UploadFacts, Room),
    picked: Vec<PartRow>,
) -> Outcome {
    let UploadFacts { mut row, attempts: _, parts } = facts;
    let listed = |number: &Extent| picked.binary_search_by_key(number, |part| part.number).is_ok();
    for (_, part) in parts.into_iter().filter(|(number, _)| !listed(number)) {
        queue_part(batch, &row, part, Reason::UnlistedPart);
    }
    let object = ObjectRow {
        bucket: row.bucket,
        key: row.key.clone(),
        seq: slot.seq,
        version: row.version,
        size: picked.iter().map(|part| part.size).sum(),
        etag: complete.etag.clone(),
        modified: batch.facts.now,
        attributes: row.attributes.clone(),
        checksums: complete.checksums.clone(),
        is_null: batch.writes_null(row.bucket),
        parts: Some(u16::try_from(picked.len()).unwrap_or(u16::MAX)),
    };
    row.state = UploadState::Completed;
    row.completed = Some(Completed {
        seq: slot.seq,
        at: batch.facts.now,
        etag: complete.etag.clone(),
        checksums: complete.checksums.clone(),
        told: batch.told(object.bucket, object.version, object.is_null),
    });
    close(batch, row);
    let copies = copies(batch, &object, picked);
    make_current(batch, slot, (object, room), copies, Logged::Committed)
}

/// Each part as a piece of the object; what was reserved for it is used now.
fn copies(batch: &mut Batch, object: &ObjectRow, picked: Vec<PartRow>) -> Vec<CopyRow> {
    let mut offset = 0;
    let mut copies = Vec::with_capacity(picked.len());
    for part in picked {
        let (blob, size, md5) = (part.blob(object.version), part.size, part.etag.md5());
        let (digest, checksums) = (part.digest, told_of(&object.checksums, part.checksums));
        for copy in part.copies {
            batch.add_usage(copy.backend, Usage { reserved: -signed(size), ..Usage::default() });
            copies.push(CopyRow {
                backend: copy.backend,
                blob,
                bucket: object.bucket,
                key: object.key.clone(),
                state: CopyState::Verified,
                stored_size: size,
                backend_etag: copy.backend_etag,
                backend_version: copy.backend_version,
                encoding: s3o_types::Encoding::default(),
                foreign_key: None,
                piece: Some(Piece { offset, size }),
                md5,
                digest,
                checksums: checksums.clone(),
            });
        }
        offset += size;
    }
    copies
}

/// What is told of a part later: what the object has, too. An upload that asked for no checksum has none, whatever its client
/// sent with a part.
fn told_of(object: &Checksums, part: Checksums) -> Checksums {
    let Checksums { mut values } = part;
    values.retain(|algorithm, _| object.values.contains_key(algorithm));
    Checksums { values }
}
