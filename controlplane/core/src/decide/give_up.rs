//! `GiveUp`: a copy on a backend that is given up goes, whatever is wanted. Of a version that has no other good copy of the
//! extent it is the whole version that goes, where the operator has accepted that; else the copy stays.

use s3o_types::{Conditions, ErrorCode, VersionRef};

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
            let why = "it is the last good copy: a drain moves it, where another backend has room";
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

/// Whether the operator was told of the version when it was said that such may go: one that is newer came after that.
fn may_be_lost(batch: &Batch, give_up: &GiveUp) -> bool {
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
    let delete =
        Delete { bucket: *bucket, key: key.clone(), conditions: Conditions::default(), version: Some(named) };
    versions::remove(batch, slot, &delete, named, &name)
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
