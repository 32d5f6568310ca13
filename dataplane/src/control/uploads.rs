//! Multipart uploads at the control plane.

use s3o_proto::v1;
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_types::{BucketId, Checksums, Conditions, CopiedPiece, Etag, ObjectAttributes, Timestamp};
use s3o_wire::{conditions, copied};
use uuid::Uuid;

use super::calls::BUSY_PATIENCE;
use super::convert::{Committed, attributes_to_wire, committed_of, sorted, told, uuid_bytes};
use super::{Caller, Failure};

/// What an upload is opened with.
pub(crate) struct NewUpload<'a> {
    pub attributes: &'a ObjectAttributes,
    /// Algorithm and kind of the checksum that was asked for.
    pub checksum: Option<(&'a str, &'a str)>,
}

/// What CompleteUpload says.
pub(crate) struct CompleteRequest<'a> {
    pub upload: Uuid,
    pub conditions: &'a Conditions,
    pub etag: &'a Etag,
    pub checksums: &'a Checksums,
    /// Number and attempt, ascending.
    pub parts: Vec<(u32, u32)>,
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadState {
    Open,
    Completed,
    Aborted,
}

/// An upload.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub key: String,
    pub id: Uuid,
    pub state: UploadState,
    pub initiated: Timestamp,
    pub initiator: String,
    /// Empty for STANDARD.
    pub storage_class: String,
    /// As S3 names them; empty where none was asked for.
    pub checksum_algorithm: String,
    pub checksum_type: String,
    /// Of a completed one: what it became.
    pub etag: String,
    pub checksums: Checksums,
    pub version_id: Option<String>,
}

/// A part that is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredPart {
    pub number: u32,
    /// The attempt that stored it.
    pub attempt: u32,
    pub size: u64,
    pub etag: Etag,
    pub modified: Timestamp,
    pub checksums: Checksums,
    /// What it was copied from and could not be compared with yet.
    pub copied: Vec<CopiedPiece>,
}

/// An upload with a page of its parts.
#[derive(Debug)]
pub(crate) struct Parts {
    pub upload: Upload,
    pub stored: Vec<StoredPart>,
    pub truncated: bool,
}

/// Which uploads to list.
#[derive(Debug, Clone)]
pub(crate) struct UploadsQuery {
    pub prefix: String,
    /// Only of greater keys, and of this one those behind `upload_after`.
    pub key_after: String,
    pub upload_after: Option<Uuid>,
    pub max_uploads: u32,
}

/// A page of open uploads.
#[derive(Debug)]
pub(crate) struct OpenUploads {
    pub open: Vec<Upload>,
    pub truncated: bool,
}

impl Caller {
    /// Opens an upload. Its id is that of the operation.
    pub(crate) async fn create_upload(
        &self,
        bucket: BucketId,
        key: &str,
        new: &NewUpload<'_>,
    ) -> Result<Uuid, Failure> {
        let (algorithm, kind) = new.checksum.unwrap_or_default();
        let create = v1::CreateUpload {
            bucket: bucket.0,
            key: key.to_owned(),
            attributes: Some(attributes_to_wire(new.attributes)),
            checksum_algorithm: algorithm.to_owned(),
            checksum_type: kind.to_owned(),
        };
        let called = self.call(0, false, Call::CreateUpload(create), self.call_patience, BUSY_PATIENCE).await;
        match called.map_err(|failure| Self::newer(failure, "open multipart uploads"))? {
            Outcome::UploadCreated(v1::UploadCreated {}) => Ok(self.op),
            _ => Err(Failure::Unknown),
        }
    }

    /// Makes parts of an upload the current version.
    pub(crate) async fn complete_upload(
        &self,
        bucket: BucketId,
        key: &str,
        request: CompleteRequest<'_>,
    ) -> Result<Committed, Failure> {
        let CompleteRequest { upload, conditions, etag, checksums, parts } = request;
        let complete = v1::CompleteUpload {
            bucket: bucket.0,
            key: key.to_owned(),
            upload: uuid_bytes(upload),
            conditions: Some(conditions::to_wire(conditions)),
            etag: etag.as_str().to_owned(),
            checksums: checksums.values.clone().into_iter().collect(),
            parts: parts.into_iter().map(|(number, r#gen)| v1::PickedPart { number, r#gen }).collect(),
        };
        let call = Call::CompleteUpload(complete);
        match self.call(0, true, call, self.commit_patience, self.commit_patience).await? {
            Outcome::Committed(committed) => Ok(committed_of(committed)),
            _ => Err(Failure::Unknown),
        }
    }

    /// Gives an upload up.
    pub(crate) async fn abort_upload(
        &self,
        bucket: BucketId,
        key: &str,
        upload: Uuid,
    ) -> Result<(), Failure> {
        let abort = v1::AbortUpload { bucket: bucket.0, key: key.to_owned(), upload: uuid_bytes(upload) };
        match self.call(0, true, Call::AbortUpload(abort), self.call_patience, BUSY_PATIENCE).await? {
            Outcome::UploadAborted(v1::UploadAborted {}) => Ok(()),
            _ => Err(Failure::Unknown),
        }
    }

    /// An upload with the parts behind number `after`, `max_parts` at most. `None`: the key has no such upload.
    pub(crate) async fn list_parts(
        &self,
        bucket: BucketId,
        key: &str,
        upload: Uuid,
        (after, max_parts): (u32, u32),
    ) -> Result<Option<Parts>, Failure> {
        let request = v1::ListPartsRequest {
            bucket: bucket.0,
            key: key.to_owned(),
            upload: uuid_bytes(upload),
            after,
            max_parts,
            request_id: self.request_id.clone(),
        };
        let reply = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.list_parts(request).await }
            })
            .await?;
        let v1::ListPartsReply { upload, parts, truncated, required_features } = reply;
        self.control.see_required(&required_features);
        let Some(upload) = upload else { return Ok(None) };
        let upload = upload_of(upload).ok_or(Failure::Unknown)?;
        let mut said = String::new();
        let stored: Option<Vec<_>> = parts.into_iter().map(|part| part_of(part, &mut said)).collect();
        Ok(Some(Parts { upload, stored: stored.ok_or(Failure::Unknown)?, truncated }))
    }

    /// A page of a bucket's open uploads.
    pub(crate) async fn list_uploads(
        &self,
        bucket: BucketId,
        query: &UploadsQuery,
    ) -> Result<OpenUploads, Failure> {
        let UploadsQuery { prefix, key_after, upload_after, max_uploads } = query.clone();
        let request = v1::ListUploadsRequest {
            bucket: bucket.0,
            prefix,
            key_after,
            upload_after: upload_after.map(uuid_bytes).unwrap_or_default(),
            max_uploads,
            request_id: self.request_id.clone(),
        };
        let reply = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.list_uploads(request).await }
            })
            .await?;
        let v1::ListUploadsReply { uploads, truncated, required_features } = reply;
        self.control.see_required(&required_features);
        let uploads = uploads.into_iter().map(upload_of).collect::<Option<Vec<_>>>();
        Ok(OpenUploads { open: uploads.ok_or(Failure::Unknown)?, truncated })
    }
}

/// `None` when it makes no sense.
fn upload_of(upload: v1::Upload) -> Option<Upload> {
    let state = match upload.state() {
        v1::UploadState::Open => UploadState::Open,
        v1::UploadState::Completed => UploadState::Completed,
        v1::UploadState::Aborted => UploadState::Aborted,
        // A state of a later release: what it means is not known.
        v1::UploadState::Unspecified => return None,
    };
    let v1::Upload {
        key,
        upload,
        state: _,
        initiated_us,
        initiator,
        storage_class,
        checksum_algorithm,
        checksum_type,
        etag,
        completed_us: _,
        checksums,
        version_id,
    } = upload;
    Some(Upload {
        key,
        id: Uuid::from_slice(&upload).ok()?,
        state,
        initiated: Timestamp(initiated_us),
        initiator,
        storage_class,
        checksum_algorithm,
        checksum_type,
        etag,
        checksums: Checksums { values: sorted(checksums) },
        version_id: told(version_id),
    })
}

/// `said` is the key of the piece before. `None` when it makes no sense.
fn part_of(part: v1::StoredPart, said: &mut String) -> Option<StoredPart> {
    let v1::StoredPart { number, r#gen, size, etag, modified_us, checksums, copied } = part;
    Some(StoredPart {
        number,
        attempt: r#gen,
        size,
        etag: Etag::new(&etag),
        modified: Timestamp(modified_us),
        checksums: Checksums { values: sorted(checksums) },
        copied: copied::list_from_wire(copied, said)?,
    })
}
