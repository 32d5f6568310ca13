//! What the rules share: ending an intent, displacing a version, and a write that nobody knows.

use std::collections::{BTreeMap, HashMap};

use s3o_types::{BackendId, BlobName, BucketId, StorageKey};

use super::lock::{Leave, Unlocked};
use super::{Batch, Slot, Subject};
use crate::call::{CarriedIntent, FinishedTarget, Outcome, TargetId};
use crate::cleanup::{CleanupEntry, Reason, VersionCleanup};
use crate::facts::CurrentObject;
use crate::intent::{Intent, Target, TargetEnd};
use crate::object::{CopyRow, EXTENT_ROWS, ObjectRow};
use crate::outcome_log::Logged;
use crate::usage::{Usage, signed};

/// How a target ended, and the backend's version id where there is one.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) end: TargetEnd,
    pub(super) backend_version: Option<String>,
}

/// How targets ended, by their names. One that is not named may have completed.
pub(super) type Ends = HashMap<TargetId, Ended>;

fn end_of(ends: &Ends, target: TargetId) -> Ended {
    ends.get(&target).cloned().unwrap_or(Ended { end: TargetEnd::Unknown, backend_version: None })
}

pub(super) fn ends(finished: &[FinishedTarget]) -> Ends {
    finished
        .iter()
        .map(|f| (f.target, Ended { end: f.end, backend_version: f.backend_version.clone() }))
        .collect()
}

/// How targets ended, by what is known of their places: a blob that went where its backend is not any more is
/// out of our reach, but may be copied to the new place yet, so that its key is uncertain. `used` are the
/// targets as whoever wrote to them knows them.
pub(super) fn ends_in_place(batch: &Batch, mut ends: Ends, used: &[&[Target]]) -> Ends {
    let is_in_place =
        |target: &Target| batch.facts.places.get(&target.backend).copied() == Some(target.place);
    for target in used.iter().copied().flatten().filter(|target| !is_in_place(target)) {
        if let Some(ended) = ends.get_mut(&target.id()).filter(|ended| ended.end != TargetEnd::NotSent) {
            ended.end = TargetEnd::Unknown;
        }
    }
    ends
}

/// Ends an intent: its reservations go; what may be stored at a target that `keep` does not name is
/// queued and counts as orphaned until it is gone.
pub(super) fn end_intent(batch: &mut Batch, intent: &Intent, ends: &Ends, keep: &[TargetId], reason: Reason) {
    for target in &intent.targets {
        batch.add_usage(target.backend, Usage { reserved: -signed(intent.size), ..Usage::default() });
        if !keep.contains(&target.id()) {
            let end = end_of(ends, target.id());
            queue_target(batch, target, intent.version, intent.size, end, reason);
        }
    }
    batch.facts.intents.remove(&intent.op);
    batch.effects.drop_intents.push(intent.op);
}

fn queue_target(
    batch: &mut Batch,
    target: &Target,
    version: s3o_types::VersionId,
    size: u64,
    ended: Ended,
    reason: Reason,
) {
    let Ended { end, backend_version } = ended;
    if end == TargetEnd::NotSent {
        return;
    }
    batch.add_usage(target.backend, Usage { orphaned: signed(size), ..Usage::default() });
    batch.effects.cleanup.push(CleanupEntry {
        backend: target.backend,
        storage_key: target.storage_key.clone(),
        blob: BlobName { version, extent: target.extent, r#gen: target.r#gen },
        backend_version,
        size,
        reason,
        uncertain: end == TargetEnd::Unknown,
    });
}

/// Takes the current version of a key out: its copies wait for readers that hold them, then go.
pub(super) fn displace(
    batch: &mut Batch,
    leave: Leave,
    (bucket, key): (BucketId, &str),
    bucket_name: &str,
    reason: Reason,
) {
    if let Some(current) = leave.take_current(batch, bucket, key) {
        discard(batch, current, bucket_name, reason);
    }
}

/// The one function that deletes a version, current or not. That no lock keeps it was asked by whoever has it
/// (`lock.rs`).
pub(super) fn discard(batch: &mut Batch, unlocked: Unlocked, bucket_name: &str, reason: Reason) {
    let CurrentObject { row, copies, sums } = unlocked.into_object();
    if row.has_many_extents() {
        return displace_many(batch, &row, &sums, bucket_name, reason);
    }
    if copies.len() >= EXTENT_ROWS {
        return displace_many(batch, &row, &sums_of(&copies), bucket_name, reason);
    }
    for copy in &copies {
        queue_copy(batch, copy, bucket_name, reason);
    }
    batch.effects.drop_copies.push(row.version);
}

/// Takes one copy of an extent away; its version stays.
pub(super) fn take_copy(batch: &mut Batch, copy: &CopyRow, reason: Reason) {
    let bucket = batch.facts.buckets.get(&copy.bucket).map(|bucket| bucket.name.clone()).unwrap_or_default();
    queue_copy(batch, copy, &bucket, reason);
    let extent = (copy.blob.version, copy.blob.extent);
    if let Some(facts) = batch.facts.extents.get_mut(&extent) {
        facts.copies.retain(|(other, _)| other.backend != copy.backend);
    }
    batch.effects.take_copies.push((extent.0, extent.1, copy.backend));
}

/// What was used counts as orphaned until it is gone.
fn queue_copy(batch: &mut Batch, copy: &CopyRow, bucket_name: &str, reason: Reason) {
    let bytes = signed(copy.stored_size);
    let objects = -i64::from(copy.is_first());
    batch.add_usage(copy.backend, Usage { used: -bytes, reserved: 0, orphaned: bytes, objects });
    batch.effects.cleanup.push(CleanupEntry {
        backend: copy.backend,
        storage_key: copy.storage_key(bucket_name),
        blob: copy.blob,
        backend_version: copy.backend_version.clone(),
        size: copy.stored_size,
        reason,
        uncertain: false,
    });
}

/// Bytes and objects, by backend.
fn sums_of(copies: &[CopyRow]) -> Vec<(BackendId, u64, u64)> {
    let mut sums: BTreeMap<BackendId, (u64, u64)> = BTreeMap::new();
    for copy in copies {
        let (bytes, objects) = sums.entry(copy.backend).or_default();
        *bytes += copy.stored_size;
        *objects += u64::from(copy.is_first());
    }
    sums.into_iter().map(|(backend, (bytes, objects))| (backend, bytes, objects)).collect()
}

/// The copy rows stay, and with them the way for readers that hold the version.
fn displace_many(
    batch: &mut Batch,
    row: &ObjectRow,
    sums: &[(BackendId, u64, u64)],
    bucket_name: &str,
    reason: Reason,
) {
    let mut size = 0;
    for (backend, bytes, objects) in sums {
        size += bytes;
        let (bytes, objects) = (signed(*bytes), -signed(*objects));
        batch.add_usage(*backend, Usage { used: -bytes, reserved: 0, orphaned: bytes, objects });
    }
    let prefix = StorageKey::prefix(bucket_name, &row.key);
    batch.effects.cleanup_versions.push(VersionCleanup { version: row.version, prefix, size, reason });
}

/// A write of which neither intent nor outcome is known: PostgreSQL lost the intent in a crash, or the
/// repeat came days late. Whatever it stored, and no copy row names, is queued.
pub(super) fn lose(batch: &mut Batch, slot: Slot, carried: &CarriedIntent, ends: &Ends) -> Outcome {
    let CarriedIntent { bucket, key, version, size: _, conditions: _, upload: _, replica: _, targets } =
        carried;
    queue_unnamed(batch, carried, targets.iter(), ends);
    batch.log(slot, Logged::Lost, Subject { bucket: *bucket, key, version: Some(*version), object: None })
}

/// Queues what the caller knows of and the intent's row does not: PostgreSQL forgot a Retarget in a crash.
pub(super) fn queue_forgotten(batch: &mut Batch, intent: &Intent, carried: &CarriedIntent, ends: &Ends) {
    if carried.version != intent.version || carried.key != intent.key || carried.bucket != intent.bucket {
        return;
    }
    let forgotten: Vec<&Target> = carried
        .targets
        .iter()
        .filter(|target| !intent.targets.iter().any(|t| t.id() == target.id()))
        .collect();
    queue_unnamed(batch, carried, forgotten.into_iter(), ends);
}

fn queue_unnamed<'a>(
    batch: &mut Batch,
    carried: &CarriedIntent,
    targets: impl Iterator<Item = &'a Target>,
    ends: &Ends,
) {
    let CarriedIntent { bucket, key, version, size, conditions: _, upload: _, replica: _, targets: _ } =
        carried;
    let name = batch.facts.buckets.get(bucket).map(|facts| facts.name.clone());
    for target in targets {
        let blob = BlobName { version: *version, extent: target.extent, r#gen: target.r#gen };
        if batch.facts.named_blobs.contains(&(target.backend, blob)) {
            continue;
        }
        // The grammar decides the key, not the caller: a lost write can only hit its own blobs.
        let storage_key = name
            .as_ref()
            .map_or_else(|| target.storage_key.clone(), |name| StorageKey::format(name, key, blob));
        let own = Target { storage_key, ..target.clone() };
        let end = end_of(ends, target.id());
        queue_target(batch, &own, *version, *size, end, Reason::Lost);
    }
}
