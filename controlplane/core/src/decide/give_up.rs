//! `GiveUp`: a copy on a backend that is given up goes, whatever is wanted. Of a version that has no other good copy of the
//! extent it is the whole version that goes, where the operator has accepted that; else the copy stays. What is locked
//! stays, whatever was accepted: a lock is a promise to others than the operator, and ends by itself.

use s3o_types::{Conditions, ErrorCode, VersionRef};

use super::lock::Leave;
use super::settle::take_copy;
use super::{Batch, Slot, Subject, versions};
use crate::call::{Delete, ExtentOf, GiveUp, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::object::{CopyRow, ObjectRow};
use crate::outcome_log::{Logged, unwanted};
use crate::replication::{CopyTask, ReplicationEntry, others};

pub(super) fn decide(batch: &mut Batch, slot: Slot, give_up: &GiveUp) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let GiveUp { of, .. } = give_up;
    match look(batch, give_up) {
        Ok((copy, Others::Good)) => let_go(batch, slot, of, &copy),
        // What may be good is better than nothing.
        Ok((copy, Others::Doubtful)) if may_be_lost(batch, give_up) => let_go(batch, slot, of, &copy),
        Ok((_, Others::None)) if may_be_lost(batch, give_up) => lose(batch, slot, of),
        Ok((_, Others::Doubtful | Others::None)) => {
            let why = if is_locked(batch, of) {
                "it is the last good copy of a version that Object Lock keeps: it stays until the lock ends, or until a drain \
                 has moved it to a backend that has room"
            } else {
                "it is the last good copy: a drain moves it, where another backend has room"
            };
            Refusal::new(ErrorCode::PreconditionFailed, why).into()
        }
        Err(refusal) => refusal.into(),
    }
}

/// What the other backends have of the extent.
enum Others {
    /// A copy that counts: verified, on a backend that is relied on.
    Good,
    /// One that can be read, perhaps: not read yet, or on a backend that is drained, lost or given up itself.
    Doubtful,
    None,
}

fn look(batch: &Batch, give_up: &GiveUp) -> Result<(CopyRow, Others), Refusal> {
    let GiveUp { of, backend, r#gen } = give_up;
    if !batch.facts.removals.contains_key(backend) {
        let why = "the backend is not given up, or not any more";
        return Err(Refusal::new(ErrorCode::PreconditionFailed, why));
    }
    let facts = batch.facts.extents.get(&(of.version, of.extent)).ok_or_else(unwanted)?;
    let copies = facts.copies.iter().map(|(copy, _)| copy);
    let meant = |copy: &&CopyRow| copy.backend == *backend && copy.blob.r#gen == *r#gen;
    let copy = copies.clone().find(meant).cloned().ok_or_else(unwanted)?;
    let others = if others(&facts.copies, &copy) > 0 {
        Others::Good
    } else if copies.clone().any(|other| other.backend != *backend && other.state.readable()) {
        Others::Doubtful
    } else {
        Others::None
    };
    Ok((copy, others))
}

/// Whether a lock keeps the version; a governance retention too, since nobody asks to bypass it.
fn is_locked(batch: &Batch, of: &ExtentOf) -> bool {
    row_of(batch, of).is_some_and(|row| Leave::of(batch, row, false).is_err())
}

/// Whether the operator was told of the version when it was said that such may go: one that is newer came after that.
fn may_be_lost(batch: &Batch, give_up: &GiveUp) -> bool {
    if is_locked(batch, &give_up.of) {
        return false;
    }
    let upto = batch.facts.removals.get(&give_up.backend).and_then(|removal| removal.losses_upto);
    upto.zip(row_of(batch, &give_up.of)).is_some_and(|(upto, row)| row.seq <= upto)
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
    let delete = Delete {
        bucket: *bucket,
        key: key.clone(),
        conditions: Conditions::default(),
        version: Some(named),
        bypass_governance: false,
    };
    versions::remove(batch, slot, (&delete, false), named, &name)
}

fn name_of(batch: &Batch, of: &ExtentOf) -> Option<VersionRef> {
    row_of(batch, of).map(|row| VersionRef::of(row.version, row.is_null))
}

/// The version's row among those of its key, current or not.
fn row_of<'a>(batch: &'a Batch, of: &ExtentOf) -> Option<&'a ObjectRow> {
    let place = (of.bucket, of.key.clone());
    let current = batch.facts.objects.get(&place);
    let noncurrent = batch.facts.versions.get(&place).into_iter().flatten();
    let rows = current.into_iter().chain(noncurrent.map(|(_, noncurrent)| &noncurrent.object));
    rows.map(|object| &object.row).find(|row| row.version == of.version)
}
