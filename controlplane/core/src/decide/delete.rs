//! Delete: the key has no current version any more, or not the version that is named. A key that had none gets its row
//! in the log too, so that a repeat cannot remove what another client wrote in between. Where versions are kept, a
//! delete that names none removes nothing: it leaves a marker (`versions.rs`).

use s3o_types::Right;

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
        Ok(bucket_name) => carry_out(batch, slot, delete, &bucket_name),
        Err(refusal) => refusal.into(),
    }
}

/// The delete itself, when it is allowed.
pub(super) fn carry_out(batch: &mut Batch, slot: Slot, delete: &Delete, bucket_name: &str) -> Outcome {
    match delete.version {
        Some(named) => versions::remove(batch, slot, delete, named, bucket_name),
        None if batch.versioning(delete.bucket).is_versioned() => match begin::mint(batch) {
            Ok(version) => versions::mark(batch, slot, (delete.bucket, &delete.key), bucket_name, version),
            Err(outcome) => outcome,
        },
        None => remove(batch, slot, delete, bucket_name),
    }
}

fn allowed(batch: &Batch, access_key: &str, delete: &Delete) -> Result<String, Refusal> {
    batch.may(access_key, Right::Delete, (delete.bucket, &delete.key))?;
    let bucket = batch.writable_bucket(delete.bucket)?;
    let current = batch.facts.objects.get(&(delete.bucket, delete.key.clone()));
    conditions::check(&delete.conditions, current)?;
    Ok(bucket.name.clone())
}

fn remove(batch: &mut Batch, slot: Slot, delete: &Delete, bucket_name: &str) -> Outcome {
    let Delete { bucket, key, conditions: _, version: _ } = delete;
    let version = batch.facts.objects.get(&(*bucket, key.clone())).map(|current| current.row.version);
    let logged = if version.is_some() { Logged::Deleted } else { Logged::DeletedNothing };
    if version.is_some() {
        displace(batch, *bucket, bucket_name, key, Reason::Deleted);
        batch.effects.drop_objects.push((*bucket, key.clone()));
    }
    batch.log(slot, logged, Subject { bucket: *bucket, key, version, object: None })
}
