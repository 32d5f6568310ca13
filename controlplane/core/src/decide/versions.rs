//! Which row of a key leaves the current place, which one takes it, and what is removed for good.
//!
//! Invariants: what leaves the current place and is kept has its copies untouched; what is removed has them queued by
//! the one function that does it (`settle::discard`); a key has one null row at most.

use s3o_types::{BucketId, Seq, VersionId, VersionRef, Versioning};

use super::settle::{discard, displace};
use super::{Batch, Slot, Subject};
use crate::call::{Delete, Outcome};
use crate::cleanup::Reason;
use crate::outcome_log::Logged;
use crate::versions::Marker;

impl Batch {
    pub(super) fn versioning(&self, bucket: BucketId) -> Versioning {
        self.facts.buckets.get(&bucket).map(|facts| facts.versioning).unwrap_or_default()
    }

    /// Whether what is written to the bucket now is its key's null version.
    pub(super) fn writes_null(&self, bucket: BucketId) -> bool {
        self.versioning(bucket) != Versioning::Enabled
    }

    /// How clients are told of a version; not at all while the bucket was never versioned.
    pub(super) fn told(&self, bucket: BucketId, version: VersionId, is_null: bool) -> Option<VersionRef> {
        self.versioning(bucket).is_versioned().then(|| VersionRef::of(version, is_null))
    }

    /// The place of the noncurrent row of that name.
    pub(super) fn noncurrent(&self, bucket: BucketId, key: &str, named: VersionRef) -> Option<Seq> {
        let rows = self.facts.versions.get(&(bucket, key.to_owned()))?;
        let row = |seq: &Seq| &rows[seq].object.row;
        rows.keys().copied().find(|seq| named.names(row(seq).version, row(seq).is_null))
    }
}

/// Clears the current place for what is written or marked now.
pub(super) fn make_room(batch: &mut Batch, bucket: BucketId, bucket_name: &str, key: &str, reason: Reason) {
    let versioning = batch.versioning(bucket);
    let place = (bucket, key.to_owned());
    let current_is_null = batch.facts.objects.get(&place).map(|current| current.row.is_null);
    let replaced = match versioning {
        Versioning::Off => true,
        Versioning::Enabled => false,
        Versioning::Suspended => current_is_null == Some(true),
    };
    if replaced {
        displace(batch, bucket, bucket_name, key, reason);
    } else if current_is_null.is_some() {
        batch.facts.objects.remove(&place);
        batch.effects.versions.retired.push(place);
    }
    if versioning == Versioning::Suspended {
        remove_noncurrent(batch, (bucket, key), VersionRef::Null, bucket_name, reason);
    }
}

/// A delete that names no version, where versions are kept: nothing is current any more, and a marker says so.
pub(super) fn mark(
    batch: &mut Batch,
    slot: Slot,
    (bucket, key): (BucketId, &str),
    bucket_name: &str,
    version: VersionId,
) -> Outcome {
    if batch.facts.objects.contains_key(&(bucket, key.to_owned())) {
        batch.effects.drop_objects.push((bucket, key.to_owned()));
    }
    make_room(batch, bucket, bucket_name, key, Reason::Deleted);
    let is_null = batch.writes_null(bucket);
    let modified = batch.facts.now;
    let marker = Marker { bucket, key: key.to_owned(), seq: slot.seq, version, modified, is_null };
    batch.effects.versions.markers.push(marker);
    let told = batch.told(bucket, version, is_null);
    batch.log_version(
        slot,
        Logged::MarkerMade,
        Subject { bucket, key, version: Some(version), object: None },
        told,
    )
}

/// A delete that names a version or a marker: it is gone for good, and what was below it is in its place.
pub(super) fn remove(
    batch: &mut Batch,
    slot: Slot,
    delete: &Delete,
    named: VersionRef,
    bucket_name: &str,
) -> Outcome {
    let Delete { bucket, key, conditions: _, version: _ } = delete;
    let place = (*bucket, key.clone());
    let current = batch.facts.objects.get(&place).map(|current| (current.row.version, current.row.is_null));
    let (logged, version, is_null) = match current {
        Some((version, is_null)) if named.names(version, is_null) => {
            displace(batch, *bucket, bucket_name, key, Reason::Deleted);
            batch.effects.drop_objects.push(place);
            let off = !batch.versioning(*bucket).is_versioned();
            (if off { Logged::Deleted } else { Logged::VersionDeleted }, version, is_null)
        }
        _ => {
            let removed = remove_noncurrent(batch, (*bucket, key), named, bucket_name, Reason::Deleted);
            let Some(removed) = removed else {
                let subject = Subject { bucket: *bucket, key, version: None, object: None };
                return batch.log(slot, Logged::DeletedNothing, subject);
            };
            removed
        }
    };
    restore(batch, *bucket, key);
    let told = batch.told(*bucket, version, is_null);
    let subject = Subject { bucket: *bucket, key, version: Some(version), object: None };
    batch.log_version(slot, logged, subject, told)
}

/// Removes a noncurrent version or a marker, and says what it was; `None`: there is none of that name.
fn remove_noncurrent(
    batch: &mut Batch,
    (bucket, key): (BucketId, &str),
    named: VersionRef,
    bucket_name: &str,
    reason: Reason,
) -> Option<(Logged, VersionId, bool)> {
    let seq = batch.noncurrent(bucket, key, named)?;
    let removed = batch.facts.versions.get_mut(&(bucket, key.to_owned()))?.remove(&seq)?;
    let (version, is_null) = (removed.object.row.version, removed.object.row.is_null);
    batch.effects.versions.dropped.push((bucket, key.to_owned(), seq));
    if removed.delete_marker {
        return Some((Logged::MarkerDeleted, version, is_null));
    }
    discard(batch, removed.object, bucket_name, reason);
    Some((Logged::VersionDeleted, version, is_null))
}

/// Where nothing is current: the newest row that is left is, unless it is a marker.
fn restore(batch: &mut Batch, bucket: BucketId, key: &str) {
    let place = (bucket, key.to_owned());
    if batch.facts.objects.contains_key(&place) {
        return;
    }
    let Some(rows) = batch.facts.versions.get_mut(&place) else { return };
    let Some(newest) = rows.last_entry().filter(|newest| !newest.get().delete_marker) else { return };
    let (seq, noncurrent) = newest.remove_entry();
    batch.effects.versions.restored.push((bucket, key.to_owned(), seq));
    batch.facts.objects.insert(place, noncurrent.object);
}
