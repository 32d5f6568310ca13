//! `AbortUpload`: the upload is given up, its parts are queued. A part that is still on its way finds it closed.

use s3o_types::Right;

use super::upload::{close, open, queue_part};
use super::{Batch, Slot, Subject};
use crate::call::{AbortUpload, Outcome, Refusal};
use crate::cleanup::Reason;
use crate::outcome_log::Logged;
use crate::upload::{UploadFacts, UploadState};

pub(super) fn decide(batch: &mut Batch, slot: Slot, access_key: &str, abort: &AbortUpload) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    match find(batch, access_key, abort) {
        Ok(upload) => give_up(batch, slot, upload),
        Err(refusal) => refusal.into(),
    }
}

fn find(batch: &mut Batch, access_key: &str, abort: &AbortUpload) -> Result<UploadFacts, Refusal> {
    let AbortUpload { bucket, key, upload, stale } = abort;
    if !stale {
        batch.may(access_key, Right::Write, (*bucket, key))?;
    }
    open(batch, *bucket, key, *upload).cloned()
}

pub(super) fn give_up(batch: &mut Batch, slot: Slot, upload: UploadFacts) -> Outcome {
    let UploadFacts { mut row, attempts: _, parts } = upload;
    for part in parts.into_values() {
        queue_part(batch, &row, part, Reason::AbortedUpload);
    }
    row.state = UploadState::Aborted;
    let (bucket, key, version) = (row.bucket, row.key.clone(), row.version);
    close(batch, row);
    batch.log(
        slot,
        Logged::UploadAborted,
        Subject { bucket, key: &key, version: Some(version), object: None },
    )
}
