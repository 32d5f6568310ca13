//! Delete: the key has no current version any more. A key that had none gets its row in the log too,
//! so that a repeat cannot remove what another client wrote in between.

use s3o_types::Right;

use super::settle::displace;
use super::{Batch, Slot, Subject, conditions};
use crate::call::{Delete, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::outcome_log::Logged;

pub(super) fn decide(batch: &mut Batch, slot: Slot, access_key: &str, delete: &Delete) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    match allowed(batch, access_key, delete) {
        Ok(bucket_name) => remove(batch, slot, delete, &bucket_name),
        Err(refusal) => refusal.into(),
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
    let Delete { bucket, key, conditions: _ } = delete;
    let version = batch.facts.objects.get(&(*bucket, key.clone())).map(|current| current.row.version);
    let logged = if version.is_some() { Logged::Deleted } else { Logged::DeletedNothing };
    if version.is_some() {
        displace(batch, *bucket, bucket_name, key, Reason::Deleted);
        batch.effects.drop_objects.push((*bucket, key.clone()));
    }
    batch.log(slot, logged, Subject { bucket: *bucket, key, version, object: None })
}
