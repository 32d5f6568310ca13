//! Commit: the write becomes the key's current version, or is refused for good. Decided under the
//! key's lock; the number drawn there is the write's place in the key's order.

use std::collections::{HashMap, HashSet};

use s3o_types::{BackendId, BlobName, Checksums, ErrorCode, Extent};

use super::settle::{Ended, Ends, end_intent, ends, lose, queue_forgotten};
use super::versions::{self, Room, make_room};
use super::{Batch, Slot, Subject, busy, conditions, part, replica};
use crate::call::{Commit, Outcome, Refusal, StoredCopy, TargetId};
use crate::cleanup::Reason;
use crate::intent::{Intent, Target, TargetEnd, WriteKind};
use crate::object::{CopyRow, CopyState, ObjectRow};
use crate::outcome_log::Logged;
use crate::replication::{CopyTask, ReplicationEntry};
use crate::usage::{Usage, signed};

pub(super) fn decide(batch: &mut Batch, slot: Slot, commit: &Commit) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let ends = all_ends(commit);
    let Some(intent) = batch.facts.intents.get(&slot.op).cloned() else {
        return lose(batch, slot, &commit.intent, &ends);
    };
    if intent.claimed_by.is_some() {
        return busy("the write's lease ran out and it is being cleaned up");
    }
    if let Err(refusal) = check_copies(&intent, commit) {
        return refusal.into();
    }
    if has_forgotten_copy(&intent, commit) {
        queue_forgotten(batch, &intent, &commit.intent, &ends);
        return refuse(batch, slot, &intent, &ends, Logged::TooFewCopies);
    }
    if let Some(ends) = ends_of_moved(batch, &intent, commit, &ends) {
        return refuse(batch, slot, &intent, &ends, Logged::BackendMoved);
    }
    if let Some(upload) = intent.upload {
        return part::decide(batch, slot, (&intent, upload), commit, &ends);
    }
    if intent.kind == WriteKind::Replicate {
        return replica::commit(batch, slot, &intent, commit, &ends);
    }
    match room(batch, &intent, commit) {
        Err(logged) => refuse(batch, slot, &intent, &ends, logged),
        Ok(room) => accept(batch, slot, (&intent, room), commit, &ends),
    }
}

/// A target with a verified copy is stored, the others ended as the caller says.
fn all_ends(commit: &Commit) -> Ends {
    let mut all = ends(&commit.failed);
    all.extend(commit.copies.iter().map(|copy| {
        let backend_version = copy.backend_version.clone();
        (copy.target, Ended { end: TargetEnd::Stored, backend_version })
    }));
    all
}

/// A commit that contradicts its own intent is a bug of the caller: nothing is written, and the intent
/// stays for the reaper.
fn check_copies(intent: &Intent, commit: &Commit) -> Result<(), Refusal> {
    let wrong = |why: String| Err(Refusal::new(ErrorCode::InvalidArgument, why));
    if intent.version != commit.intent.version
        || intent.key != commit.intent.key
        || intent.bucket != commit.intent.bucket
        || intent.upload != commit.intent.upload
        || (intent.kind == WriteKind::Replicate) != commit.intent.replica
    {
        return wrong("the commit names another write than its intent".to_owned());
    }
    for copy in &commit.copies {
        if !commit.intent.targets.iter().any(|target| target.id() == copy.target) {
            return wrong(format!("backend {} is no target of the write", copy.target.backend.0));
        }
        if copy.stored_size > intent.size {
            return wrong(format!("{} bytes were stored, {} were reserved", copy.stored_size, intent.size));
        }
    }
    Ok(())
}

/// Whether a copy stands at a target of which the row knows nothing: PostgreSQL forgot the Retarget in a
/// crash, and with it the reservation, so the copy must not count.
fn has_forgotten_copy(intent: &Intent, commit: &Commit) -> bool {
    commit.copies.iter().any(|copy| !intent.targets.iter().any(|target| target.id() == copy.target))
}

/// How the targets ended, when a copy was made where its backend is not, or may not be, any more: at a
/// place that was edited away since, or by a caller that does not say which place it used. What stands
/// there is out of our reach, but may be copied to the new place yet: its key is uncertain.
fn ends_of_moved(batch: &Batch, intent: &Intent, commit: &Commit, ends: &Ends) -> Option<Ends> {
    let moved: Vec<&StoredCopy> =
        commit.copies.iter().filter(|copy| !is_in_place(batch, intent, commit, copy.target)).collect();
    if moved.is_empty() {
        return None;
    }
    let mut ends = ends.clone();
    for copy in moved {
        let backend_version = copy.backend_version.clone();
        ends.insert(copy.target, Ended { end: TargetEnd::Unknown, backend_version });
    }
    Some(ends)
}

/// Whether the place that was meant, the one that was used and the one that is are all the same.
fn is_in_place(batch: &Batch, intent: &Intent, commit: &Commit, target: TargetId) -> bool {
    let place = |targets: &[Target]| targets.iter().find(|t| t.id() == target).map(|t| t.place);
    let now = batch.facts.places.get(&target.backend).copied();
    now.is_some() && place(&intent.targets) == now && place(&commit.intent.targets) == now
}

/// The write's place, or what stands against it now that its key is locked.
fn room(batch: &Batch, intent: &Intent, commit: &Commit) -> Result<Room, Logged> {
    if batch.writable_bucket(intent.bucket).is_err() {
        return Err(Logged::BucketGone);
    }
    let current = batch.facts.objects.get(&(intent.bucket, intent.key.clone()));
    if let Err(refusal) = conditions::check(&intent.conditions, current) {
        let missing = refusal.code == ErrorCode::NoSuchKey;
        return Err(if missing { Logged::MatchMissing } else { Logged::ConditionFailed });
    }
    if has_too_few_copies(intent, commit) {
        return Err(Logged::TooFewCopies);
    }
    // A bucket has its lock for good: what Begin saw is so still, but in a database that was set back.
    if !commit.attributes.lock.is_none() && !batch.has_lock(intent.bucket) {
        return Err(Logged::LockMissing);
    }
    versions::room(batch, intent.bucket, &intent.key).map_err(|_| Logged::Locked)
}

pub(super) fn has_too_few_copies(intent: &Intent, commit: &Commit) -> bool {
    let backends: HashSet<BackendId> = commit.copies.iter().map(|copy| copy.target.backend).collect();
    backends.len() < usize::from(intent.required_copies.max(1))
}

pub(super) fn refuse(batch: &mut Batch, slot: Slot, intent: &Intent, ends: &Ends, logged: Logged) -> Outcome {
    end_intent(batch, intent, ends, &[], Reason::Refused);
    let subject =
        Subject { bucket: intent.bucket, key: &intent.key, version: Some(intent.version), object: None };
    batch.log(slot, logged, subject)
}

fn accept(
    batch: &mut Batch,
    slot: Slot,
    (intent, room): (&Intent, Room),
    commit: &Commit,
    ends: &Ends,
) -> Outcome {
    let keep: Vec<TargetId> = commit.copies.iter().map(|copy| copy.target).collect();
    end_intent(batch, intent, ends, &keep, Reason::FailedTarget);
    let row = ObjectRow {
        bucket: intent.bucket,
        key: intent.key.clone(),
        seq: slot.seq,
        version: intent.version,
        size: intent.size,
        etag: commit.etag.clone(),
        modified: batch.facts.now,
        attributes: commit.attributes.clone(),
        checksums: commit.checksums.clone(),
        is_null: batch.writes_null(intent.bucket),
        parts: None,
    };
    let copies = commit.copies.iter().map(|copy| copy_row_of(intent, copy)).collect();
    make_current(batch, slot, (row, room), copies, Logged::Committed)
}

/// Puts a version in the place of the current one, with its bucket's retention where it has none of its own. The reaper's
/// promotion and the Complete of an upload end here too.
pub(super) fn make_current(
    batch: &mut Batch,
    slot: Slot,
    (mut row, room): (ObjectRow, Room),
    copies: Vec<CopyRow>,
    logged: Logged,
) -> Outcome {
    let bucket_name = batch.facts.buckets.get(&row.bucket).map(|b| b.name.clone()).unwrap_or_default();
    row.attributes.lock = batch.lock_of_new(row.bucket, row.attributes.lock);
    make_room(batch, room, (row.bucket, &row.key), &bucket_name, Reason::Displaced);
    copies.iter().for_each(|copy| count_copy(batch, copy));
    if wants_others(batch, &row, &copies) {
        let ObjectRow { version, bucket, ref key, .. } = row;
        batch.effects.replicate.push(ReplicationEntry {
            version,
            bucket,
            key: key.clone(),
            task: CopyTask::Add,
        });
    }
    batch.effects.add_copies.extend(copies);
    batch.effects.put_objects.push(row.clone());
    let (bucket, key, version) = (row.bucket, row.key.clone(), row.version);
    batch.log(slot, logged, Subject { bucket, key: &key, version: Some(version), object: Some(row) })
}

/// A copy uses what was reserved for it.
pub(super) fn count_copy(batch: &mut Batch, copy: &CopyRow) {
    let (used, objects) = (signed(copy.stored_size), i64::from(copy.is_first()));
    batch.add_usage(copy.backend, Usage { used, objects, ..Usage::default() });
}

/// Whether some of its bytes are on fewer backends than the bucket wants, or on more: it may want others than when
/// the write began.
fn wants_others(batch: &Batch, row: &ObjectRow, copies: &[CopyRow]) -> bool {
    let wanted = batch.facts.buckets.get(&row.bucket).map_or(1, |bucket| bucket.replication_factor);
    let mut by_extent: HashMap<Extent, u16> = HashMap::new();
    for copy in copies {
        *by_extent.entry(copy.blob.extent).or_default() += 1;
    }
    by_extent.values().any(|copies| *copies != wanted)
}

/// The row of a copy that was written for an intent, of all its bytes.
pub(super) fn copy_row_of(intent: &Intent, copy: &StoredCopy) -> CopyRow {
    let StoredCopy { target, stored_size, backend_etag, backend_version, encoding, digest } = copy;
    CopyRow {
        backend: target.backend,
        blob: BlobName { version: intent.version, extent: target.extent, r#gen: target.r#gen },
        bucket: intent.bucket,
        key: intent.key.clone(),
        state: CopyState::Verified,
        stored_size: *stored_size,
        backend_etag: backend_etag.clone(),
        backend_version: backend_version.clone(),
        encoding: encoding.clone(),
        foreign_key: None,
        piece: None,
        md5: None,
        digest: *digest,
        checksums: Checksums::default(),
    }
}
