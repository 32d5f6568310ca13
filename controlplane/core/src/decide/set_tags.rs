//! `SetTags`: a version gets other tags. No blob is touched, and nothing is superseded: the version,
//! its place in the key's order (`seq`), its ETag and its time stay. The row as it is now goes into the log, so that
//! a replay has the tags too.

use super::{Batch, Slot, Subject};
use crate::call::{Outcome, Refusal, SetTags};
use crate::object::ObjectRow;
use crate::outcome_log::Logged;
use s3o_types::Right;

pub(super) fn decide(batch: &mut Batch, slot: Slot, access_key: &str, set: &SetTags) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    match changed(batch, access_key, set) {
        Ok((row, is_current)) => {
            let tagged =
                if is_current { &mut batch.effects.set_tags } else { &mut batch.effects.versions.tagged };
            tagged.push(row.clone());
            let subject =
                Subject { bucket: set.bucket, key: &set.key, version: Some(row.version), object: Some(row) };
            batch.log(slot, Logged::TagsSet, subject)
        }
        Err(refusal) => refusal.into(),
    }
}

/// The row as it is now, and whether it is the current one.
fn changed(batch: &mut Batch, access_key: &str, set: &SetTags) -> Result<(ObjectRow, bool), Refusal> {
    let SetTags { bucket, key, tags, version } = set;
    batch.may(access_key, Right::Write, (*bucket, key))?;
    batch.writable_bucket(*bucket)?;
    let (row, is_current) = batch.row_of(*bucket, key, *version)?;
    row.attributes.tags.clone_from(tags);
    Ok((row.clone(), is_current))
}
