//! Delete: the key has no current version any more, or not the version that is named. A key that had none gets its row
//! in the log too, so that a repeat cannot remove what another client wrote in between. Where versions are kept, a
//! delete that names none removes nothing: it leaves a marker (`versions.rs`).

use s3o_types::Right;

use super::lock::Leave;
use super::settle::displace;
use super::{Batch, Slot, Subject, begin, conditions, versions};
use crate::call::{Delete, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::outcome_log::Logged;

pub(super) fn decide(batch: &mut Batch, slot: Slot, access_key: &str, delete: &Delete) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    match allowed(batch, access_key, delete) {
        Ok(bucket_name) => {
            let place = (delete.bucket, delete.key.as_str());
            let bypass = batch.bypasses(access_key, delete.bypass_governance, place);
            carry_out(batch, slot, (delete, bypass), &bucket_name)
        }
        Err(refusal) => refusal.into(),
    }
}

/// The delete itself, when it is allowed. Whether a lock lets the version go is seen here; `bypass`: a governance
/// retention does.
pub(super) fn carry_out(
    batch: &mut Batch,
    slot: Slot,
    (delete, bypass): (&Delete, bool),
    bucket_name: &str,
) -> Outcome {
    match delete.version {
        Some(named) => versions::remove(batch, slot, (delete, bypass), named, bucket_name),
        None if batch.versioning(delete.bucket).is_versioned() => match begin::mint(batch) {
            Ok(version) => versions::mark(batch, slot, (delete.bucket, &delete.key), bucket_name, version),
            Err(outcome) => outcome,
        },
        None => remove(batch, slot, (delete, bypass), bucket_name),
    }
}

fn allowed(batch: &Batch, access_key: &str, delete: &Delete) -> Result<String, Refusal> {
    batch.may(access_key, Right::Delete, (delete.bucket, &delete.key))?;
    let bucket = batch.writable_bucket(delete.bucket)?;
    let current = batch.facts.objects.get(&(delete.bucket, delete.key.clone()));
    conditions::check(&delete.conditions, current)?;
    Ok(bucket.name.clone())
}

fn remove(batch: &mut Batch, slot: Slot, (delete, bypass): (&Delete, bool), bucket_name: &str) -> Outcome {
    let Delete { bucket, key, conditions: _, version: _, bypass_governance: _ } = delete;
    let current = batch.facts.objects.get(&(*bucket, key.clone())).map(|current| &current.row);
    let version = current.map(|row| row.version);
    let leave = match current.map(|row| Leave::of(batch, row, bypass)).transpose() {
        Ok(leave) => leave,
        Err(refusal) => return refusal.into(),
    };
    let logged = if leave.is_some() { Logged::Deleted } else { Logged::DeletedNothing };
    if let Some(leave) = leave {
        displace(batch, leave, (*bucket, key), bucket_name, Reason::Deleted);
        batch.effects.drop_objects.push((*bucket, key.clone()));
    }
    batch.log(slot, logged, Subject { bucket: *bucket, key, version, object: None })
}
