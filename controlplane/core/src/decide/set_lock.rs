//! `SetLock`: a version gets another retention, or a legal hold on or off. As with tags, no blob is touched and the version
//! keeps its place; the row as it is now goes into the log, so that a replay has the lock too.

use s3o_types::{ErrorCode, Right};

use super::lock::{check_change, no_lock};
use super::{Batch, Slot, Subject};
use crate::call::{LockChange, Outcome, Refusal, SetLock};
use crate::object::ObjectRow;
use crate::outcome_log::Logged;
use crate::versions::{is_marker, no_such_version};

pub(super) fn decide(batch: &mut Batch, slot: Slot, access_key: &str, set: &SetLock) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    match changed(batch, access_key, set) {
        Ok(row) => {
            batch.effects.set_locks.push(row.clone());
            let subject =
                Subject { bucket: set.bucket, key: &set.key, version: Some(row.version), object: Some(row) };
            batch.log(slot, Logged::LockSet, subject)
        }
        Err(refusal) => refusal.into(),
    }
}

/// The row as it is now.
fn changed(batch: &mut Batch, access_key: &str, set: &SetLock) -> Result<ObjectRow, Refusal> {
    let SetLock { bucket, key, version: _, change, bypass_governance } = set;
    batch.may(access_key, Right::Write, (*bucket, key))?;
    batch.writable_bucket(*bucket)?;
    if !batch.has_lock(*bucket) {
        return Err(no_lock());
    }
    let bypass = batch.bypasses(access_key, *bypass_governance, (*bucket, key));
    let now = batch.facts.now;
    let row = find(batch, set)?;
    let lock = &mut row.attributes.lock;
    match change {
        LockChange::Retention(wanted) => {
            check_change(lock, *wanted, now, bypass)?;
            lock.retention = *wanted;
        }
        LockChange::LegalHold(on) => lock.legal_hold = Some(*on),
    }
    Ok(row.clone())
}

fn find<'a>(batch: &'a mut Batch, set: &SetLock) -> Result<&'a mut ObjectRow, Refusal> {
    let SetLock { bucket, key, version, change: _, bypass_governance: _ } = set;
    let place = (*bucket, key.clone());
    let noncurrent = version.and_then(|named| batch.noncurrent(*bucket, key, named));
    let current = batch.facts.objects.get_mut(&place);
    let current = match version {
        None => Some(current.ok_or_else(|| Refusal::new(ErrorCode::NoSuchKey, "the key does not exist"))?),
        Some(named) => current.filter(|current| named.names(current.row.version, current.row.is_null)),
    };
    if let Some(current) = current {
        return Ok(&mut current.row);
    }
    let rows = batch.facts.versions.get_mut(&place);
    match rows.zip(noncurrent).and_then(|(rows, seq)| rows.get_mut(&seq)) {
        None => Err(no_such_version()),
        Some(marker) if marker.delete_marker => Err(is_marker()),
        Some(noncurrent) => Ok(&mut noncurrent.object.row),
    }
}
