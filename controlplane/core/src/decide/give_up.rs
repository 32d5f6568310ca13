//! `GiveUp`: a copy on a backend that is given up goes, whatever is wanted. Of a version that has no other good copy of the
//! extent it is the whole version that goes, where the operator has accepted that; else the copy stays.

use s3o_types::{Conditions, ErrorCode, VersionRef};

use super::settle::take_copy;
use super::{Batch, Slot, Subject, versions};
use crate::call::{Delete, ExtentOf, GiveUp, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::object::{CopyRow, CopyState};
use crate::outcome_log::{Logged, unwanted};
use crate::removal::Removal;
use crate::replication::{CopyTask, ReplicationEntry};

pub(super) fn decide(batch: &mut Batch, slot: Slot, give_up: &GiveUp) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let GiveUp { of, .. } = give_up;
    match look(batch, give_up) {
        Ok((copy, Others::Good)) => let_go(batch, slot, of, &copy),
        // What has not been read yet may be good, and is better than nothing.
        Ok((copy, Others::Doubtful { accepts_losses: true })) => let_go(batch, slot, of, &copy),
        Ok((_, Others::None { accepts_losses: true })) => lose(batch, slot, of),
        Ok((_, Others::Doubtful { .. } | Others::None { .. })) => {
            let why = "it is the last good copy: a drain moves it, where another backend has room";
            Refusal::new(ErrorCode::PreconditionFailed, why).into()
        }
        Err(refusal) => refusal.into(),
    }
}

/// What the other backends have of the extent.
enum Others {
    Good,
    Doubtful { accepts_losses: bool },
    None { accepts_losses: bool },
}

fn look(batch: &Batch, give_up: &GiveUp) -> Result<(CopyRow, Others), Refusal> {
    let GiveUp { of, backend, r#gen } = give_up;
    let Removal { mode: _, accepts_losses } =
        batch.facts.removals.get(backend).copied().ok_or_else(|| {
            Refusal::new(ErrorCode::PreconditionFailed, "the backend is not given up, or not any more")
        })?;
    let facts = batch.facts.extents.get(&(of.version, of.extent)).ok_or_else(unwanted)?;
    let copies = facts.copies.iter().map(|(copy, _)| copy);
    let meant = |copy: &&CopyRow| copy.backend == *backend && copy.blob.r#gen == *r#gen;
    let copy = copies.clone().find(meant).cloned().ok_or_else(unwanted)?;
    let mut states = copies.filter(|copy| copy.backend != *backend).map(|copy| copy.state);
    let others = if states.clone().any(|state| state == CopyState::Verified) {
        Others::Good
    } else if states.any(CopyState::readable) {
        Others::Doubtful { accepts_losses }
    } else {
        Others::None { accepts_losses }
    };
    Ok((copy, others))
}

fn let_go(batch: &mut Batch, slot: Slot, of: &ExtentOf, copy: &CopyRow) -> Outcome {
    take_copy(batch, copy, Reason::GivenUp);
    let ExtentOf { bucket, key, version, extent: _ } = of;
    let entry =
        ReplicationEntry { version: *version, bucket: *bucket, key: key.clone(), task: CopyTask::Add };
    batch.effects.replicate.push(entry);
    let subject = Subject { bucket: *bucket, key, version: Some(*version), object: None };
    batch.log(slot, Logged::CopyDropped, subject)
}

/// The version goes like one that a client deletes by its name, with all its copies.
fn lose(batch: &mut Batch, slot: Slot, of: &ExtentOf) -> Outcome {
    let ExtentOf { bucket, key, .. } = of;
    let Some(named) = name_of(batch, of) else { return unwanted().into() };
    let name = batch.facts.buckets.get(bucket).map(|bucket| bucket.name.clone()).unwrap_or_default();
    let delete =
        Delete { bucket: *bucket, key: key.clone(), conditions: Conditions::default(), version: Some(named) };
    versions::remove(batch, slot, &delete, named, &name)
}

/// How the version is named among those of its key, current or not.
fn name_of(batch: &Batch, of: &ExtentOf) -> Option<VersionRef> {
    let place = (of.bucket, of.key.clone());
    let current = batch.facts.objects.get(&place);
    let noncurrent = batch.facts.versions.get(&place).into_iter().flatten();
    let rows = current.into_iter().chain(noncurrent.map(|(_, noncurrent)| &noncurrent.object));
    let row = rows.map(|object| &object.row).find(|row| row.version == of.version)?;
    Some(VersionRef::of(row.version, row.is_null))
}
