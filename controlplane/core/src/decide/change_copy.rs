//! `ChangeCopy`: a copy goes, or is marked as gone or wrong. Decided under the key's lock, by what is counted there:
//! two workers that would take different copies of one version leave as many as are wanted between them.

use s3o_types::{BackendState, Digest, ErrorCode};

use super::settle::take_copy;
use super::{Batch, Slot, Subject};
use crate::call::{ChangeCopy, CopyChange, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::effects::MarkedCopy;
use crate::object::{CopyRow, CopyState};
use crate::outcome_log::{Logged, unwanted};
use crate::replication::{CopyTask, ReplicationEntry, others};

pub(super) fn decide(batch: &mut Batch, slot: Slot, change: &ChangeCopy) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let checked = match change.change {
        CopyChange::Drop => check_drop(batch, change).map(|row| (row, Logged::CopyDropped)),
        CopyChange::Mark(state) => check_mark(batch, change, state).map(|row| (row, Logged::CopyMarked)),
        CopyChange::Verify(_) => find(batch, change).map(|(_, row)| (row, Logged::CopyMarked)),
    };
    let (row, logged) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refusal.into(),
    };
    match change.change {
        CopyChange::Drop => {
            // Readers may be at it still.
            let useful = row.state.readable();
            take_copy(batch, &row, if useful { Reason::Surplus } else { Reason::Repaired });
        }
        CopyChange::Mark(state) => mark(batch, &row, state, None),
        // Whatever it was marked as: it has been read since.
        CopyChange::Verify(digest) => mark(batch, &row, CopyState::Verified, digest),
    }
    let of = &change.of;
    let subject = Subject { bucket: of.bucket, key: &of.key, version: Some(of.version), object: None };
    batch.log(slot, logged, subject)
}

type Copies = Vec<(CopyRow, BackendState)>;

/// All copies of the extent, and the one that is meant.
fn find(batch: &Batch, change: &ChangeCopy) -> Result<(Copies, CopyRow), Refusal> {
    let facts = batch.facts.extents.get(&(change.of.version, change.of.extent)).ok_or_else(unwanted)?;
    let meant = |copy: &CopyRow| copy.backend == change.backend && copy.blob.r#gen == change.r#gen;
    let row = facts.copies.iter().map(|(copy, _)| copy).find(|copy| meant(copy)).ok_or_else(unwanted)?;
    Ok((facts.copies.clone(), row.clone()))
}

/// As many as are wanted stay, verified and on active backends: one in doubt stands in for none of them, and may go like
/// any other.
fn check_drop(batch: &Batch, change: &ChangeCopy) -> Result<CopyRow, Refusal> {
    let wanted = batch.facts.buckets.get(&change.of.bucket).map_or(1, |bucket| bucket.replication_factor);
    let (copies, row) = find(batch, change)?;
    let left = others(&copies, &row);
    if left < wanted.max(1) {
        let why = format!("without it {left} good copies are left, and {wanted} are wanted");
        return Err(Refusal::new(ErrorCode::PreconditionFailed, why));
    }
    Ok(row)
}

/// One that can be read stays: of an object that has no other copy, even a doubtful one is worth trying.
fn check_mark(batch: &Batch, change: &ChangeCopy, state: CopyState) -> Result<CopyRow, Refusal> {
    if state.readable() {
        let why = "a copy is marked as missing or quarantined; to verify it, it is read";
        return Err(Refusal::new(ErrorCode::InvalidArgument, why));
    }
    let (copies, row) = find(batch, change)?;
    let another = |copy: &CopyRow| copy.state == CopyState::Verified && copy.backend != row.backend;
    if !copies.iter().any(|(copy, _)| another(copy)) {
        let why = "it is the last copy that may be good";
        return Err(Refusal::new(ErrorCode::PreconditionFailed, why));
    }
    Ok(row)
}

fn mark(batch: &mut Batch, row: &CopyRow, state: CopyState, digest: Option<Digest>) {
    let extent = (row.blob.version, row.blob.extent);
    if let Some(facts) = batch.facts.extents.get_mut(&extent) {
        let same = facts.copies.iter_mut().map(|(copy, _)| copy).find(|copy| copy.backend == row.backend);
        if let Some(copy) = same {
            copy.state = state;
            copy.digest = copy.digest.or(digest);
        }
    }
    let (version, extent) = extent;
    batch.effects.mark_copies.push(MarkedCopy { version, extent, backend: row.backend, state, digest });
    if state == row.state {
        return;
    }
    batch.effects.replicate.push(ReplicationEntry {
        version: row.blob.version,
        bucket: row.bucket,
        key: row.key.clone(),
        task: CopyTask::Add,
    });
}
