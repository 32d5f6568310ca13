//! `CreateUpload`: a multipart upload is open. Nothing is placed: each part is, by its own Begin. No log row: the
//! upload's row, whose id is the operation's, is the outcome.

use s3o_types::{Right, UploadId};

use super::{Batch, begin, internal};
use crate::call::{CreateUpload, Outcome, Request};
use crate::upload::{UploadFacts, UploadRow, UploadState};

pub(super) fn decide(batch: &mut Batch, request: &Request, create: &CreateUpload) -> Outcome {
    let id = UploadId(request.op.id);
    if batch.facts.uploads.contains_key(&id) {
        return Outcome::UploadCreated;
    }
    match open(batch, request, id, create) {
        Ok(row) => {
            let facts = UploadFacts { row: row.clone(), attempts: [].into(), parts: [].into() };
            batch.facts.uploads.insert(id, facts);
            batch.effects.uploads.opened.push(row);
            Outcome::UploadCreated
        }
        Err(refused) => refused,
    }
}

fn open(
    batch: &mut Batch,
    request: &Request,
    id: UploadId,
    create: &CreateUpload,
) -> Result<UploadRow, Outcome> {
    let CreateUpload { bucket, key, attributes, checksum } = create;
    if request.op.item != 0 {
        return Err(internal("an upload is the only item of its operation"));
    }
    begin::check_key(key)?;
    batch.may(&request.access_key, Right::Write, (*bucket, key))?;
    batch.writable_bucket(*bucket)?;
    batch.check_lock(*bucket, &attributes.lock)?;
    Ok(UploadRow {
        id,
        bucket: *bucket,
        key: key.clone(),
        version: begin::mint(batch)?,
        state: UploadState::Open,
        attributes: attributes.clone(),
        checksum: checksum.clone(),
        initiated: batch.facts.now,
        initiator: request.access_key.clone(),
        completed: None,
    })
}
