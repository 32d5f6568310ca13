//! Which row of a key leaves the current place, which one takes it, and what is removed for good.
//!
//! Invariants: what leaves the current place and is kept has its copies untouched; what is removed has them queued by
//! the one function that does it (`settle::discard`), by a leave that was got before anything was changed; a key has one
//! null row at most.

use s3o_types::{BucketId, ErrorCode, Seq, VersionId, VersionRef, Versioning};

use super::lock::Leave;
use super::settle::{discard, displace};
use super::{Batch, Slot, Subject};
use crate::call::{Delete, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::object::ObjectRow;
use crate::outcome_log::Logged;
use crate::versions::{Marker, is_marker, no_such_version};

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

    /// The row of a version, and whether it is the current one, which it is where none is named.
    pub(super) fn row_of(
        &mut self,
        bucket: BucketId,
        key: &str,
        named: Option<VersionRef>,
    ) -> Result<(&mut ObjectRow, bool), Refusal> {
        let place = (bucket, key.to_owned());
        let noncurrent = named.and_then(|named| self.noncurrent(bucket, key, named));
        let current = self.facts.objects.get_mut(&place);
        let current = match named {
            None => {
                Some(current.ok_or_else(|| Refusal::new(ErrorCode::NoSuchKey, "the key does not exist"))?)
            }
            Some(named) => current.filter(|current| named.names(current.row.version, current.row.is_null)),
        };
        if let Some(current) = current {
            return Ok((&mut current.row, true));
        }
        let rows = self.facts.versions.get_mut(&place);
        match rows.zip(noncurrent).and_then(|(rows, seq)| rows.get_mut(&seq)) {
            None => Err(no_such_version()),
            Some(marker) if marker.delete_marker => Err(is_marker()),
            Some(noncurrent) => Ok((&mut noncurrent.object.row, false)),
        }
    }
}

/// What becomes of what a write or a marker finds in its place. Asked for before anything is changed.
pub(super) struct Room {
    current: Occupant,
    /// The null version, where it is not the current one and a write replaces it.
    null: Option<(Seq, Leave)>,
}

enum Occupant {
    Nobody,
    /// It becomes noncurrent.
    Kept,
    /// It goes.
    Replaced(Leave),
}

/// `Err`: what would go is locked. A bucket with Object Lock keeps all its versions, so that no client ever hears it.
pub(super) fn room(batch: &Batch, bucket: BucketId, key: &str) -> Result<Room, Refusal> {
    let versioning = batch.versioning(bucket);
    let current = batch.facts.objects.get(&(bucket, key.to_owned())).map(|current| &current.row);
    let is_replaced = |row: &ObjectRow| match versioning {
        Versioning::Off => true,
        Versioning::Enabled => false,
        Versioning::Suspended => row.is_null,
    };
    let current = match current {
        None => Occupant::Nobody,
        Some(row) if is_replaced(row) => Occupant::Replaced(Leave::of(batch, row, false)?),
        Some(_) => Occupant::Kept,
    };
    let null = match versioning {
        Versioning::Suspended => leave_of_noncurrent(batch, (bucket, key), VersionRef::Null, false)?,
        Versioning::Off | Versioning::Enabled => None,
    };
    Ok(Room { current, null })
}

/// Clears the current place for what is written or marked now.
pub(super) fn make_room(
    batch: &mut Batch,
    room: Room,
    (bucket, key): (BucketId, &str),
    bucket_name: &str,
    reason: Reason,
) {
    let Room { current, null } = room;
    match current {
        Occupant::Nobody => {}
        Occupant::Replaced(leave) => displace(batch, leave, (bucket, key), bucket_name, reason),
        Occupant::Kept => {
            let place = (bucket, key.to_owned());
            batch.facts.objects.remove(&place);
            batch.effects.versions.retired.push(place);
        }
    }
    if let Some(null) = null {
        remove_noncurrent(batch, null, (bucket, key), bucket_name, reason);
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
    let room = match room(batch, bucket, key) {
        Ok(room) => room,
        Err(refusal) => return refusal.into(),
    };
    if batch.facts.objects.contains_key(&(bucket, key.to_owned())) {
        batch.effects.drop_objects.push((bucket, key.to_owned()));
    }
    make_room(batch, room, (bucket, key), bucket_name, Reason::Deleted);
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

/// A delete that names a version or a marker: it is gone for good, and what was below it is in its place. `bypass`: a
/// governance retention does not keep it.
pub(super) fn remove(
    batch: &mut Batch,
    slot: Slot,
    (delete, bypass): (&Delete, bool),
    named: VersionRef,
    bucket_name: &str,
) -> Outcome {
    let Delete { bucket, key, conditions: _, version: _, bypass_governance: _ } = delete;
    let removed = match take(batch, (*bucket, key), (named, bypass), bucket_name) {
        Ok(Some(removed)) => removed,
        Ok(None) => {
            let subject = Subject { bucket: *bucket, key, version: None, object: None };
            return batch.log(slot, Logged::DeletedNothing, subject);
        }
        Err(refusal) => return refusal.into(),
    };
    let (logged, version, is_null) = removed;
    restore(batch, *bucket, key);
    let told = batch.told(*bucket, version, is_null);
    let subject = Subject { bucket: *bucket, key, version: Some(version), object: None };
    batch.log_version(slot, logged, subject, told)
}

/// What was removed; `None`: there is none of that name.
type Removed = Option<(Logged, VersionId, bool)>;

fn take(
    batch: &mut Batch,
    (bucket, key): (BucketId, &str),
    (named, bypass): (VersionRef, bool),
    bucket_name: &str,
) -> Result<Removed, Refusal> {
    let place = (bucket, key.to_owned());
    let current = batch.facts.objects.get(&place).map(|current| &current.row);
    if let Some(row) = current.filter(|row| named.names(row.version, row.is_null)) {
        let (version, is_null) = (row.version, row.is_null);
        let leave = Leave::of(batch, row, bypass)?;
        displace(batch, leave, (bucket, key), bucket_name, Reason::Deleted);
        batch.effects.drop_objects.push(place);
        let off = !batch.versioning(bucket).is_versioned();
        let logged = if off { Logged::Deleted } else { Logged::VersionDeleted };
        return Ok(Some((logged, version, is_null)));
    }
    let leave = leave_of_noncurrent(batch, (bucket, key), named, bypass)?;
    Ok(leave.and_then(|leave| remove_noncurrent(batch, leave, (bucket, key), bucket_name, Reason::Deleted)))
}

/// Leave to remove the noncurrent version or marker of that name, and its place; `None`: there is none.
fn leave_of_noncurrent(
    batch: &Batch,
    (bucket, key): (BucketId, &str),
    named: VersionRef,
    bypass: bool,
) -> Result<Option<(Seq, Leave)>, Refusal> {
    let rows = batch.facts.versions.get(&(bucket, key.to_owned()));
    let seq = batch.noncurrent(bucket, key, named);
    let Some((seq, row)) = seq.and_then(|seq| Some((seq, rows?.get(&seq)?))) else { return Ok(None) };
    Leave::of(batch, &row.object.row, bypass).map(|leave| Some((seq, leave)))
}

fn remove_noncurrent(
    batch: &mut Batch,
    (seq, leave): (Seq, Leave),
    (bucket, key): (BucketId, &str),
    bucket_name: &str,
    reason: Reason,
) -> Removed {
    let (removed, delete_marker) = leave.take_noncurrent(batch, (bucket, key), seq)?;
    let (version, is_null) = (removed.row().version, removed.row().is_null);
    batch.effects.versions.dropped.push((bucket, key.to_owned(), seq));
    if delete_marker {
        return Some((Logged::MarkerDeleted, version, is_null));
    }
    discard(batch, removed, bucket_name, reason);
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
