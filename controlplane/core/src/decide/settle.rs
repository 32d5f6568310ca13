//! What the rules share: ending an intent, displacing a version, and a write that nobody knows.

use std::collections::HashMap;

use s3o_types::{BlobName, BucketId, StorageKey};

use super::{Batch, Slot, Subject};
use crate::call::{CarriedIntent, FinishedTarget, Outcome, TargetId};
use crate::cleanup::{CleanupEntry, Reason};
use crate::facts::CurrentObject;
use crate::intent::{Intent, Target, TargetEnd};
use crate::outcome_log::Logged;
use crate::usage::{Usage, signed};

/// How targets ended, by their names. One that is not named may have completed.
pub(super) type Ends = HashMap<TargetId, TargetEnd>;

pub(super) fn ends(finished: &[FinishedTarget]) -> Ends {
    finished.iter().map(|f| (f.target, f.end)).collect()
}

/// Ends an intent: its reservations go; what may be stored at a target that `keep` does not name is
/// queued and counts as orphaned until it is gone.
pub(super) fn end_intent(batch: &mut Batch, intent: &Intent, ends: &Ends, keep: &[TargetId], reason: Reason) {
    for target in &intent.targets {
        batch.add_usage(target.backend, Usage { reserved: -signed(intent.size), ..Usage::default() });
        if !keep.contains(&target.id()) {
            let end = ends.get(&target.id()).copied().unwrap_or(TargetEnd::Unknown);
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
    end: TargetEnd,
    reason: Reason,
) {
    if end == TargetEnd::NotSent {
        return;
    }
    batch.add_usage(target.backend, Usage { orphaned: signed(size), ..Usage::default() });
    batch.effects.cleanup.push(CleanupEntry {
        backend: target.backend,
        storage_key: target.storage_key.clone(),
        blob: BlobName { version, extent: target.extent, r#gen: target.r#gen },
        backend_version: None,
        size,
        reason,
        uncertain: end == TargetEnd::Unknown,
    });
}

/// Takes the current version of a key out: its copies wait for readers that hold them, then go.
pub(super) fn displace(batch: &mut Batch, bucket: BucketId, bucket_name: &str, key: &str, reason: Reason) {
    let Some(CurrentObject { row, copies }) = batch.facts.objects.remove(&(bucket, key.to_owned())) else {
        return;
    };
    for copy in &copies {
        let bytes = signed(copy.stored_size);
        let objects = -i64::from(copy.blob.extent == s3o_types::Extent::ZERO);
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
    batch.effects.drop_copies.push(row.version);
}

/// A write of which neither intent nor outcome is known: PostgreSQL lost the intent in a crash, or the
/// repeat came days late. Whatever it stored, and no copy row names, is queued.
pub(super) fn lose(batch: &mut Batch, slot: Slot, carried: &CarriedIntent, ends: &Ends) -> Outcome {
    let CarriedIntent { bucket, key, version, size, conditions: _, targets } = carried;
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
        let end = ends.get(&target.id()).copied().unwrap_or(TargetEnd::Unknown);
        queue_target(batch, &own, *version, *size, end, Reason::Lost);
    }
    batch.log(slot, Logged::Lost, Subject { bucket: *bucket, key, version: Some(*version), object: None })
}
