//! The Commit of a part: its blob becomes the part of its number. Its bytes stay reserved, the part that it
//! replaces is queued. An upload that was closed meanwhile takes it no more: then the blob is queued.

use s3o_types::UploadId;

use super::commit::{has_too_few_copies, refuse};
use super::settle::{Ends, end_intent};
use super::upload::{open, queue_part};
use super::{Batch, Slot, Subject};
use crate::call::{Commit, Outcome, StoredCopy, TargetId};
use crate::cleanup::Reason;
use crate::intent::Intent;
use crate::outcome_log::Logged;
use crate::upload::{PartCopy, PartRow};
use crate::usage::{Usage, signed};

pub(super) fn decide(
    batch: &mut Batch,
    slot: Slot,
    (intent, id): (&Intent, UploadId),
    commit: &Commit,
    ends: &Ends,
) -> Outcome {
    if batch.writable_bucket(intent.bucket).is_err() {
        return refuse(batch, slot, intent, ends, Logged::BucketGone);
    }
    if open(batch, intent.bucket, &intent.key, id).is_err() {
        return refuse(batch, slot, intent, ends, Logged::UploadGone);
    }
    // A part is kept as it came: its rows have no room for an encoding.
    let plain = commit.copies.iter().all(|copy| copy.encoding.is_plain());
    let stored = commit.copies.first().filter(|_| plain && !has_too_few_copies(intent, commit));
    let Some(first) = stored else {
        return refuse(batch, slot, intent, ends, Logged::TooFewCopies);
    };
    let keep: Vec<TargetId> = commit.copies.iter().map(|copy| copy.target).collect();
    end_intent(batch, intent, ends, &keep, Reason::FailedTarget);
    let part = PartRow {
        upload: id,
        number: first.target.extent,
        r#gen: first.target.r#gen,
        copies: commit.copies.iter().map(part_copy).collect(),
        size: first.stored_size,
        etag: commit.etag.clone(),
        checksums: commit.checksums.clone(),
        digest: commit.copies.iter().find_map(|copy| copy.digest),
        copied: commit.copied.clone(),
        modified: batch.facts.now,
    };
    for copy in &part.copies {
        batch.add_usage(copy.backend, Usage { reserved: signed(part.size), ..Usage::default() });
    }
    put(batch, part);
    let subject =
        Subject { bucket: intent.bucket, key: &intent.key, version: Some(intent.version), object: None };
    batch.log(slot, Logged::PartStored, subject)
}

fn part_copy(copy: &StoredCopy) -> PartCopy {
    PartCopy {
        backend: copy.target.backend,
        backend_etag: copy.backend_etag.clone(),
        backend_version: copy.backend_version.clone(),
    }
}

fn put(batch: &mut Batch, part: PartRow) {
    batch.effects.uploads.parts.push(part.clone());
    let Some(upload) = batch.facts.uploads.get_mut(&part.upload) else {
        return;
    };
    let replaced = upload.parts.insert(part.number, part);
    let row = upload.row.clone();
    if let Some(replaced) = replaced {
        queue_part(batch, &row, replaced, Reason::ReplacedPart);
    }
}
