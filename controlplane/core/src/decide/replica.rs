//! One more copy of a version that is there: by a worker, beside the clients' writes.
//!
//! Invariant: a copy row is added only under the key's lock, to an extent of a version that is there, on a
//! backend that has no good copy of it; whatever was written otherwise is queued.

use s3o_types::{BackendId, BlobName, Conditions, ErrorCode, Gen, Place};

use super::begin::{known, record};
use super::commit::{copy_row_of, has_too_few_copies, refuse};
use super::settle::{Ends, end_intent, take_copy};
use super::{Batch, Slot, Subject};
use crate::call::{BeginCopy, Commit, Outcome, Refusal, Request};
use crate::cleanup::Reason;
use crate::facts::BackendFacts;
use crate::facts::ExtentFacts;
use crate::intent::{Intent, Target, WriteKind};
use crate::object::{CopyRow, known_checksums, known_digest};
use crate::outcome_log::{Logged, unwanted};
use crate::placement::{self, Wanted};
use crate::replication::{CopyTask, ReplicationEntry};

pub(super) fn begin(batch: &mut Batch, request: &Request, begin: &BeginCopy) -> Outcome {
    if let Some(outcome) = known(batch, request) {
        return outcome;
    }
    match place(batch, request, begin) {
        Ok(intent) => record(batch, intent),
        Err(refusal) => refusal.into(),
    }
}

fn place(batch: &mut Batch, request: &Request, begin: &BeginCopy) -> Result<Intent, Refusal> {
    let BeginCopy { of, down } = begin;
    let bucket = batch.writable_bucket(of.bucket)?.name.clone();
    let facts = batch.facts.extents.get(&(of.version, of.extent)).ok_or_else(unwanted)?;
    let source = facts.copies.iter().map(|(copy, _)| copy).find(|copy| copy.state.readable());
    let size = source.ok_or_else(unreadable)?.stored_size;
    let all = |_: &CopyRow| true;
    let elsewhere = choose(batch, size, down, &holders(facts, all));
    // A copy that is of no use is replaced where it is, when no other backend has room.
    let backends =
        elsewhere.or_else(|_| choose(batch, size, down, &holders(facts, |copy| copy.state.readable())))?;

    let blob = BlobName { version: of.version, extent: of.extent, r#gen: next_attempt(batch, begin)? };
    Ok(Intent {
        op: request.op,
        session: request.session,
        bucket: of.bucket,
        key: of.key.clone(),
        version: of.version,
        size,
        kind: WriteKind::Replicate,
        upload: None,
        conditions: Conditions::default(),
        targets: backends.iter().map(|&at| Target::new(at, &bucket, &of.key, blob)).collect(),
        required_copies: 1,
        log_floor: batch.facts.log_head,
        begun: batch.facts.now,
        claimed_by: None,
    })
}

fn holders(facts: &ExtentFacts, of: impl Fn(&CopyRow) -> bool) -> Vec<BackendId> {
    facts.copies.iter().map(|(copy, _)| copy).filter(|copy| of(copy)).map(|copy| copy.backend).collect()
}

fn choose(
    batch: &Batch,
    size: u64,
    down: &[BackendId],
    exclude: &[BackendId],
) -> Result<Vec<(BackendId, Place)>, Refusal> {
    // Those that have it are none of those that could: where none qualifies, the reason is the others'.
    let has_none = |backend: &&BackendFacts| !exclude.contains(&backend.id);
    let others: Vec<BackendFacts> = batch.facts.backends.iter().filter(has_none).cloned().collect();
    let wanted = Wanted { size, down, prefer: &[], exclude: &[], count: 1, spare: 0 };
    placement::choose(&others, batch.facts.routing, wanted)
}

fn unreadable() -> Refusal {
    Refusal::new(ErrorCode::ServiceUnavailable, "no copy can be read that another one could be made from")
}

/// Counted in this transaction, and never given out again: no storage key is written twice.
fn next_attempt(batch: &mut Batch, begin: &BeginCopy) -> Result<Gen, Refusal> {
    let extent = (begin.of.version, begin.of.extent);
    let facts = batch.facts.extents.get_mut(&extent).ok_or_else(unwanted)?;
    let attempt = Gen::of_worker(facts.attempts).ok_or_else(|| {
        let why = format!("the extent was copied {} times, which is the limit", facts.attempts);
        Refusal::new(ErrorCode::InternalError, why)
    })?;
    facts.attempts += 1;
    batch.effects.copy_attempts.insert(extent, facts.attempts);
    Ok(attempt)
}

pub(super) fn commit(
    batch: &mut Batch,
    slot: Slot,
    intent: &Intent,
    commit: &Commit,
    ends: &Ends,
) -> Outcome {
    if has_too_few_copies(intent, commit) {
        return refuse(batch, slot, intent, ends, Logged::TooFewCopies);
    }
    let extent = commit.copies.first().map(|copy| (intent.version, copy.target.extent));
    let facts = extent.and_then(|extent| batch.facts.extents.get(&extent)).cloned();
    let (Some(copy), Some(facts)) = (commit.copies.first(), facts) else {
        return refuse(batch, slot, intent, ends, Logged::CopyUnwanted);
    };
    let here = facts.copies.iter().map(|(copy, _)| copy).find(|row| row.backend == copy.target.backend);
    if here.is_some_and(|row| row.state.readable()) {
        return refuse(batch, slot, intent, ends, Logged::CopyUnwanted);
    }
    end_intent(batch, intent, ends, &[copy.target], Reason::FailedTarget);
    if let Some(useless) = here {
        take_copy(batch, useless, Reason::Repaired);
    }
    let row =
        CopyRow { state: crate::object::CopyState::Verified, ..like(&facts, copy_row_of(intent, copy)) };
    add(batch, row);
    look_again_if_too_many(batch, intent, facts.copies.len() + 1);
    let subject =
        Subject { bucket: intent.bucket, key: &intent.key, version: Some(intent.version), object: None };
    batch.log(slot, Logged::CopyStored, subject)
}

/// The same bytes of the object as its other copies, of which not all say everything: some were made by older releases.
pub(super) fn like(facts: &ExtentFacts, row: CopyRow) -> CopyRow {
    let rows = || facts.copies.iter().map(|(copy, _)| copy);
    CopyRow {
        piece: rows().find_map(|copy| copy.piece),
        md5: rows().find_map(|copy| copy.md5),
        digest: known_digest(rows()).or(row.digest),
        checksums: known_checksums(rows()),
        ..row
    }
}

/// Another worker may have brought one too, and both think that they are done.
fn look_again_if_too_many(batch: &mut Batch, intent: &Intent, copies: usize) {
    let wanted = batch.facts.buckets.get(&intent.bucket).map_or(1, |bucket| bucket.replication_factor);
    if copies > usize::from(wanted) {
        batch.effects.replicate.push(ReplicationEntry {
            version: intent.version,
            bucket: intent.bucket,
            key: intent.key.clone(),
            task: CopyTask::Add,
        });
    }
}

fn add(batch: &mut Batch, row: CopyRow) {
    super::commit::count_copy(batch, &row);
    if let Some(facts) = batch.facts.extents.get_mut(&(row.blob.version, row.blob.extent)) {
        // Its backend is where it was, so it is one that takes writes, or was just now.
        facts.copies.push((row.clone(), s3o_types::BackendState::Active));
    }
    batch.effects.add_copies.push(row);
}
