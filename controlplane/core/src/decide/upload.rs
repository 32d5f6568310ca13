//! What the rules of multipart uploads share.

use s3o_types::{BlobName, BucketId, StorageKey, UploadId};

use super::Batch;
use crate::call::Refusal;
use crate::cleanup::{CleanupEntry, Reason};
use crate::outcome_log::no_such_upload;
use crate::upload::{PartRow, UploadFacts, UploadRow, UploadState};
use crate::usage::{Usage, signed};

/// The upload, if it is one of this key.
pub(super) fn find<'a>(
    batch: &'a mut Batch,
    bucket: BucketId,
    key: &str,
    id: UploadId,
) -> Result<&'a mut UploadFacts, Refusal> {
    let upload = batch.facts.uploads.get_mut(&id);
    upload.filter(|upload| upload.row.bucket == bucket && upload.row.key == key).ok_or_else(no_such_upload)
}

/// The upload, if it takes parts.
pub(super) fn open<'a>(
    batch: &'a mut Batch,
    bucket: BucketId,
    key: &str,
    id: UploadId,
) -> Result<&'a mut UploadFacts, Refusal> {
    let upload = find(batch, bucket, key, id)?;
    if upload.row.state == UploadState::Open { Ok(upload) } else { Err(no_such_upload()) }
}

/// Queues a part: its reservation becomes orphaned bytes. Nobody can have read it.
pub(super) fn queue_part(batch: &mut Batch, upload: &UploadRow, part: PartRow, reason: Reason) {
    let bucket = batch.facts.buckets.get(&upload.bucket).map(|bucket| bucket.name.clone());
    let blob: BlobName = part.blob(upload.version);
    let size = signed(part.size);
    let storage_key = StorageKey::format(&bucket.unwrap_or_default(), &upload.key, blob);
    for copy in part.copies {
        batch.add_usage(copy.backend, Usage { reserved: -size, orphaned: size, ..Usage::default() });
        batch.effects.cleanup.push(CleanupEntry {
            backend: copy.backend,
            storage_key: storage_key.clone(),
            blob,
            backend_version: copy.backend_version,
            size: part.size,
            reason,
            uncertain: false,
        });
    }
}

/// Takes the upload out of `open`: its part rows go, whatever becomes of the blobs.
pub(super) fn close(batch: &mut Batch, upload: UploadRow) {
    if let Some(facts) = batch.facts.uploads.get_mut(&upload.id) {
        facts.row = upload.clone();
        facts.parts.clear();
    }
    batch.effects.uploads.closed.push(upload);
}
