//! `SetTags`: a version gets other tags. No blob is touched, and nothing is superseded: the version,
//! its place in the key's order (`seq`), its ETag and its time stay. The row as it is now goes into the log, so that
//! a replay has the tags too.

use super::{Batch, Slot, Subject};
use crate::call::{Outcome, Refusal, SetTags};
use crate::object::ObjectRow;
use crate::outcome_log::Logged;
use crate::versions::{is_marker, no_such_version};
use s3o_types::{ErrorCode, Right};

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
    let place = (*bucket, key.clone());
    let noncurrent = version.and_then(|named| batch.noncurrent(*bucket, key, named));
    let current = batch.facts.objects.get_mut(&place);
    let current = match version {
        None => Some(current.ok_or_else(|| Refusal::new(ErrorCode::NoSuchKey, "the key does not exist"))?),
        Some(named) => current.filter(|current| named.names(current.row.version, current.row.is_null)),
    };
    if let Some(current) = current {
        current.row.attributes.tags.clone_from(tags);
        return Ok((current.row.clone(), true));
    }
    let rows = batch.facts.versions.get_mut(&place);
    match rows.zip(noncurrent).and_then(|(rows, seq)| rows.get_mut(&seq)) {
        None => Err(no_such_version()),
        Some(marker) if marker.delete_marker => Err(is_marker()),
        Some(noncurrent) => {
            let row = &mut noncurrent.object.row;
            row.attributes.tags.clone_from(tags);
            Ok((row.clone(), false))
        }
    }
}
