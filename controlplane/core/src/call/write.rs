//! The steps of a write.

use s3o_types::{
    BackendId, BucketId, Checksums, Conditions, CopiedPiece, Digest, Encoding, Etag, Extent,
    ObjectAttributes, ObjectLock, UploadId, VersionId,
};

use crate::intent::{Target, TargetEnd, WriteKind};

/// The first step of a write.
#[derive(Debug, Clone)]
pub struct Begin {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Bytes of the object.
    pub size: u64,
    /// Checked here to spare the upload; decided in Commit.
    pub conditions: Conditions,
    /// PUT, copy or part.
    pub kind: WriteKind,
    /// Which part of which upload, where `kind` says part.
    pub part: Option<PartOf>,
    /// Backends that the caller sees as down.
    pub down: Vec<BackendId>,
    /// Backends to take first when they qualify.
    pub prefer: Vec<BackendId>,
    /// What the version is to be kept by, checked here to spare the upload; Commit has it among the attributes.
    pub lock: ObjectLock,
}

/// A part of a multipart upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOf {
    /// Which upload.
    pub upload: UploadId,
    /// The part's number, which is its extent.
    pub number: Extent,
}

/// Asks for a replacement of a target that failed.
#[derive(Debug, Clone)]
pub struct Retarget {
    /// As the caller knows it.
    pub intent: CarriedIntent,
    /// The target that failed.
    pub failed: BackendId,
    /// Backends that the caller sees as down.
    pub down: Vec<BackendId>,
}

/// What a caller carries of its intent, so that Commit and Abort can be decided without the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedIntent {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// The write's version.
    pub version: VersionId,
    /// Bytes of the object.
    pub size: u64,
    /// The write's conditions.
    pub conditions: Conditions,
    /// The multipart upload whose part it is.
    pub upload: Option<UploadId>,
    /// One more copy of a version that is there, made by a worker.
    pub replica: bool,
    /// Every place that may hold a blob.
    pub targets: Vec<Target>,
}

/// A verified blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// Where.
    pub target: TargetId,
    /// Bytes on the backend.
    pub stored_size: u64,
    /// The backend's ETag.
    pub backend_etag: Option<Etag>,
    /// The backend's version id, where its bucket is versioned.
    pub backend_version: Option<String>,
    /// How the bytes are encoded.
    pub encoding: Encoding,
    /// What the bytes are checked against when they are read; `None`: not known.
    pub digest: Option<Digest>,
}

/// Names a target within an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    /// The backend.
    pub backend: BackendId,
    /// The piece of the version.
    pub extent: s3o_types::Extent,
    /// The attempt at it.
    pub r#gen: s3o_types::Gen,
}

/// How the caller left a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedTarget {
    /// Which.
    pub target: TargetId,
    /// How.
    pub end: TargetEnd,
    /// The backend's version id, where it answered with one: deleting without it would only hide.
    pub backend_version: Option<String>,
}

/// Makes a write the current version.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The whole intent.
    pub intent: CarriedIntent,
    /// The object's ETag.
    pub etag: Etag,
    /// Headers, metadata, tags.
    pub attributes: ObjectAttributes,
    /// Additional checksums.
    pub checksums: Checksums,
    /// Verified copies.
    pub copies: Vec<StoredCopy>,
    /// Targets without a copy.
    pub failed: Vec<FinishedTarget>,
    /// Of a part: what it was copied from.
    pub copied: Vec<CopiedPiece>,
}

/// Gives a write up.
#[derive(Debug, Clone)]
pub struct Abort {
    /// The whole intent.
    pub intent: CarriedIntent,
    /// How each target ended; one that is not named counts as unknown.
    pub targets: Vec<FinishedTarget>,
}
