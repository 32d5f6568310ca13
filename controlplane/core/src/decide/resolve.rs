//! Resolve: what becomes of an intent whose lease ran out and that the reaper has claimed.
//!
//! The write was never acknowledged, so giving it up is always right. It is promoted where that is
//! surely right too: nobody asked for a condition, the blob is whole and tells all that a version
//! needs, its backend is where it was, and nothing has happened to the key since the write began.

use s3o_types::{Checksums, Etag, ObjectAttributes};

use super::commit::{copy_row_of, make_current};
use super::settle::{Ended, Ends, end_intent, ends_in_place};
use super::versions::{self, Room};
use super::{Batch, Slot, Subject};
use crate::call::{Found, Outcome, Resolution, Resolve, StoredCopy, TargetId};
use crate::cleanup::Reason;
use crate::intent::{Intent, Target, TargetEnd, WriteKind};
use crate::object::ObjectRow;
use crate::outcome_log::Logged;

/// Half of the 24 h for which the change log is kept at least (DESIGN §6), in microseconds.
pub(super) const PROMOTABLE_US: i64 = 12 * 60 * 60 * 1_000_000;

pub(super) fn decide(batch: &mut Batch, slot: Slot, resolve: &Resolve) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        release_stray(batch, slot.op, resolve);
        return outcome.replay_to_reaper();
    }
    let intent = match batch.facts.intents.get(&slot.op) {
        Some(intent) if intent.claimed_by == Some(resolve.owner) => intent.clone(),
        _ => return Outcome::Resolved(Resolution::AlreadyResolved),
    };
    let overtaken = batch.facts.overtaken.contains(&slot.op);
    match promotable(batch, &intent, resolve, overtaken) {
        Some((whole, room)) => promote(batch, slot, (&intent, room), whole, &resolve.found),
        None => drop_intent(batch, slot, &intent, &resolve.found, overtaken),
    }
}

/// An intent beside its own outcome was made by a Begin that came after its repeat had been settled: its
/// caller never heard of it, so nothing was sent to its targets. Only its reservation has to go.
fn release_stray(batch: &mut Batch, op: s3o_types::Op, resolve: &Resolve) {
    let stray =
        batch.facts.intents.get(&op).filter(|intent| intent.claimed_by == Some(resolve.owner)).cloned();
    if let Some(intent) = stray {
        let unsent =
            |target: &Target| (target.id(), Ended { end: TargetEnd::NotSent, backend_version: None });
        let ends = intent.targets.iter().map(unsent).collect();
        end_intent(batch, &intent, &ends, &[], Reason::Reaped);
    }
}

/// Blobs that agree with the intent and with each other.
struct Whole {
    etag: Etag,
    attributes: ObjectAttributes,
    copies: Vec<StoredCopy>,
}

fn promotable(batch: &Batch, intent: &Intent, resolve: &Resolve, overtaken: bool) -> Option<(Whole, Room)> {
    // Of a part nobody but its writer knows the ETag that it was told; a copy is made again by whoever needs it.
    if intent.upload.is_some() || intent.kind == WriteKind::Replicate {
        return None;
    }
    if overtaken || !intent.conditions.is_empty() || batch.writable_bucket(intent.bucket).is_err() {
        return None;
    }
    if is_too_old(batch, intent) || is_outnumbered(batch, intent) {
        return None;
    }
    let mut whole: Option<Whole> = None;
    for (target, found) in &resolve.found {
        let seen = whole_blob(intent, *target, found).filter(|_| is_in_place(batch, intent, *target));
        let Some((etag, attributes, copy)) = seen else {
            continue;
        };
        let whole = whole.get_or_insert_with(|| Whole {
            etag: etag.clone(),
            attributes: attributes.clone(),
            copies: Vec::new(),
        });
        if whole.etag == *etag && !whole.copies.iter().any(|c| c.target.backend == target.backend) {
            whole.copies.push(copy);
        }
    }
    let whole = whole.filter(|whole| whole.copies.len() >= usize::from(intent.required_copies.max(1)))?;
    let room = versions::room(batch, intent.bucket, &intent.key).ok()?;
    (whole.attributes.lock.is_none() || batch.has_lock(intent.bucket)).then_some((whole, room))
}

/// The change log keeps a day at least: of what came after an older intent it may know nothing any more.
fn is_too_old(batch: &Batch, intent: &Intent) -> bool {
    batch.facts.now.0.saturating_sub(intent.begun.0) > PROMOTABLE_US
}

/// Whether the target's backend is still where the write was meant to go.
fn is_in_place(batch: &Batch, intent: &Intent, target: TargetId) -> bool {
    let meant = intent.targets.iter().find(|t| t.id() == target).map(|t| t.place);
    meant.is_some() && meant == batch.facts.places.get(&target.backend).copied()
}

/// The key's current version came after the write began, whatever the log still holds.
fn is_outnumbered(batch: &Batch, intent: &Intent) -> bool {
    let current = batch.facts.objects.get(&(intent.bucket, intent.key.clone()));
    current.is_some_and(|current| current.row.seq > intent.log_floor)
}

fn whole_blob<'a>(
    intent: &Intent,
    target: TargetId,
    found: &'a Found,
) -> Option<(&'a Etag, &'a ObjectAttributes, StoredCopy)> {
    let Found::Blob { stored_size, size, etag: Some(etag), attributes: Some(attributes), backend_version } =
        found
    else {
        return None;
    };
    let ours = intent.targets.iter().any(|t| t.id() == target);
    let complete = *size == intent.size && *stored_size == intent.size;
    (ours && complete).then(|| {
        let copy = StoredCopy {
            target,
            stored_size: *stored_size,
            backend_etag: Some(etag.clone()),
            backend_version: backend_version.clone(),
            encoding: s3o_types::Encoding::default(),
            // Nobody has seen the bytes; the scrubber will.
            digest: None,
        };
        (etag, attributes, copy)
    })
}

fn promote(
    batch: &mut Batch,
    slot: Slot,
    (intent, room): (&Intent, Room),
    whole: Whole,
    found: &[(TargetId, Found)],
) -> Outcome {
    let keep: Vec<TargetId> = whole.copies.iter().map(|copy| copy.target).collect();
    let ends = ends_in_place(batch, found_ends(found), &[&intent.targets]);
    end_intent(batch, intent, &ends, &keep, Reason::Reaped);
    let row = ObjectRow {
        bucket: intent.bucket,
        key: intent.key.clone(),
        seq: slot.seq,
        version: intent.version,
        size: intent.size,
        etag: whole.etag,
        modified: batch.facts.now,
        attributes: whole.attributes,
        checksums: Checksums::default(),
        is_null: batch.writes_null(intent.bucket),
        parts: None,
    };
    let copies = whole.copies.iter().map(|copy| copy_row_of(intent, copy)).collect();
    make_current(batch, slot, (row, room), copies, Logged::Promoted);
    Outcome::Resolved(Resolution::Promoted)
}

fn drop_intent(
    batch: &mut Batch,
    slot: Slot,
    intent: &Intent,
    found: &[(TargetId, Found)],
    overtaken: bool,
) -> Outcome {
    let ends = ends_in_place(batch, found_ends(found), &[&intent.targets]);
    end_intent(batch, intent, &ends, &[], Reason::Reaped);
    let (logged, resolution) = if overtaken {
        (Logged::Superseded, Resolution::Superseded)
    } else {
        (Logged::Dropped, Resolution::Dropped)
    };
    let subject =
        Subject { bucket: intent.bucket, key: &intent.key, version: Some(intent.version), object: None };
    batch.log(slot, logged, subject);
    Outcome::Resolved(resolution)
}

/// A blob that is there is stored; a 404 proves nothing about a PUT that may still complete.
fn found_ends(found: &[(TargetId, Found)]) -> Ends {
    let ended = |found: &Found| match found {
        Found::Blob { backend_version, .. } => {
            Ended { end: TargetEnd::Stored, backend_version: backend_version.clone() }
        }
        Found::Nothing => Ended { end: TargetEnd::Unknown, backend_version: None },
    };
    found.iter().map(|(target, what)| (*target, ended(what))).collect()
}
