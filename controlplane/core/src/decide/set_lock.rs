//! `SetLock`: a version gets another retention, or a legal hold on or off. As with tags, no blob is touched and the version
//! keeps its place; the row as it is now goes into the log, so that a replay has the lock too.

use s3o_types::Right;

use super::lock::{check_change, no_lock};
use super::{Batch, Slot, Subject};
use crate::call::{LockChange, Outcome, Refusal, SetLock};
use crate::object::ObjectRow;
use crate::outcome_log::Logged;

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
    let SetLock { bucket, key, version, change, bypass_governance } = set;
    batch.may(access_key, Right::Write, (*bucket, key))?;
    batch.writable_bucket(*bucket)?;
    if !batch.has_lock(*bucket) {
        return Err(no_lock());
    }
    let bypass = batch.bypasses(access_key, *bypass_governance, (*bucket, key));
    let now = batch.facts.now;
    let (row, _) = batch.row_of(*bucket, key, *version)?;
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
