//! Expire: a version, a marker or an upload that a worker has found to be due by its bucket's rules goes, if it is due
//! still. Rows and rules are read again under the key's lock: what was overwritten, retagged or deleted meanwhile is
//! another version, or is due no more. What expires goes the way of any delete.

use s3o_types::{BucketId, Conditions, ErrorCode, Timestamp, VersionId, VersionRef};

use super::{Batch, Slot, abort_upload, delete, upload};
use crate::call::{Delete, Expire, Expiring, Outcome, Refusal};
use crate::facts::CurrentObject;
use crate::lifecycle::{Aged, expires, noncurrent_expires, upload_expires};

pub(super) fn decide(batch: &mut Batch, slot: Slot, expire: &Expire) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let Expire { bucket, key, what } = expire;
    let bucket_name = match batch.writable_bucket(*bucket) {
        Ok(facts) => facts.name.clone(),
        Err(refusal) => return refusal.into(),
    };
    let remove = |batch: &mut Batch, version| {
        let conditions = Conditions::default();
        let bypass_governance = false;
        let removed = Delete { bucket: *bucket, key: key.clone(), conditions, version, bypass_governance };
        delete::carry_out(batch, slot, (&removed, bypass_governance), &bucket_name)
    };
    match *what {
        Expiring::Current(version) if is_current_due(batch, *bucket, key, version) => remove(batch, None),
        Expiring::Noncurrent { version, is_null }
            if is_noncurrent_due(batch, slot, expire, version, is_null) =>
        {
            remove(batch, Some(VersionRef::of(version, is_null)))
        }
        Expiring::Upload(id) => match upload::open(batch, *bucket, key, id).cloned() {
            Ok(open) if is_upload_due(batch, *bucket, key, open.row.initiated) => {
                abort_upload::give_up(batch, slot, open)
            }
            Ok(_) => not_due(),
            Err(refusal) => refusal.into(),
        },
        Expiring::Current(_) | Expiring::Noncurrent { .. } => not_due(),
    }
}

fn not_due() -> Outcome {
    Refusal::new(ErrorCode::PreconditionFailed, "no rule says any more that it goes").into()
}

fn aged(object: &CurrentObject, delete_marker: bool) -> Aged<'_> {
    let row = &object.row;
    let contents = (!delete_marker).then_some((row.size, &row.attributes.tags));
    Aged { key: &row.key, contents, modified: row.modified, lock: row.attributes.lock }
}

fn is_current_due(batch: &Batch, bucket: BucketId, key: &str, version: VersionId) -> bool {
    let current = batch.facts.objects.get(&(bucket, key.to_owned()));
    let Some(current) = current.filter(|current| current.row.version == version) else { return false };
    expires(batch.rules(bucket), &aged(current, false), batch.facts.now).is_some()
}

fn is_noncurrent_due(batch: &Batch, slot: Slot, expire: &Expire, version: VersionId, is_null: bool) -> bool {
    let Expire { bucket, key, what: _ } = expire;
    let standing = batch.facts.standings.get(&slot.op).copied();
    let seq = batch.noncurrent(*bucket, key, VersionRef::of(version, is_null));
    let rows = batch.facts.versions.get(&(*bucket, key.clone()));
    let row = rows.zip(seq).and_then(|(rows, seq)| rows.get(&seq));
    // Of the null version the name alone would not tell that it is the one that was looked at.
    let row = row.filter(|row| row.object.row.version == version);
    let (Some(row), Some(standing)) = (row, standing) else { return false };
    let aged = aged(&row.object, row.delete_marker);
    noncurrent_expires(batch.rules(*bucket), &aged, standing, batch.facts.now).is_some()
}

fn is_upload_due(batch: &Batch, bucket: BucketId, key: &str, initiated: Timestamp) -> bool {
    upload_expires(batch.rules(bucket), key, initiated, batch.facts.now).is_some()
}

impl Batch {
    fn rules(&self, bucket: BucketId) -> &[s3o_types::LifecycleRule] {
        self.facts.lifecycle.get(&bucket).map(Vec::as_slice).unwrap_or_default()
    }
}
