//! Multipart uploads as rows, and what is asked of them.
//!
//! Invariants: a part is a blob of its own, at the extent of its number; its bytes stay reserved until the
//! upload is completed or given up; an upload leaves `open` once, under its key's lock.

use std::collections::BTreeMap;
use std::str::FromStr;

use s3o_types::{
    BackendId, BlobName, BucketId, Checksums, CopiedPiece, Digest, Etag, Extent, Gen, ObjectAttributes, Seq,
    Timestamp, UploadId, VersionId, VersionRef,
};

/// S3's greatest part number (Amazon S3 User Guide, "Amazon S3 multipart upload limits").
pub const MAX_PARTS: u16 = 10_000;

/// S3's largest object, in bytes (the same page).
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UploadState {
    /// It takes parts.
    Open,
    /// It became an object.
    Completed,
    /// It was given up.
    Aborted,
}

impl UploadState {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        }
    }
}

impl FromStr for UploadState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            "completed" => Ok(Self::Completed),
            "aborted" => Ok(Self::Aborted),
            other => Err(format!("upload state `{other}` is none of open, completed, aborted")),
        }
    }
}

/// The checksum that the client asked for when it opened the upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadChecksum {
    /// S3's name in lower case.
    pub algorithm: String,
    /// `COMPOSITE` or `FULL_OBJECT`.
    pub kind: String,
}

/// A multipart upload.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadRow {
    /// Its id.
    pub id: UploadId,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// The version that it is to become: it names the parts' blobs.
    pub version: VersionId,
    /// How far it is.
    pub state: UploadState,
    /// Of the object to be.
    pub attributes: ObjectAttributes,
    /// What was asked for.
    pub checksum: Option<UploadChecksum>,
    /// When it was opened, by the database's clock.
    pub initiated: Timestamp,
    /// The access key that opened it.
    pub initiator: String,
    /// What it became, once it is completed.
    pub completed: Option<Completed>,
}

/// What a completed upload became: the answer to repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// Its place in the key's order.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// The object's ETag.
    pub etag: Etag,
    /// The object's checksums.
    pub checksums: Checksums,
    /// How the client was told of the version; `None` while the bucket was never versioned.
    pub told: Option<VersionRef>,
}

/// A part on one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartCopy {
    /// Where.
    pub backend: BackendId,
    /// The backend's ETag.
    pub backend_etag: Option<Etag>,
    /// The backend's version id.
    pub backend_version: Option<String>,
}

/// A part that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRow {
    /// Whose.
    pub upload: UploadId,
    /// Its number, which is its extent.
    pub number: Extent,
    /// The attempt that stored it.
    pub r#gen: Gen,
    /// Where: as many as the bucket's ack level asks for, or more.
    pub copies: Vec<PartCopy>,
    /// Bytes.
    pub size: u64,
    /// Its MD5.
    pub etag: Etag,
    /// The checksum that the upload asks for.
    pub checksums: Checksums,
    /// As [`crate::object::CopyRow::digest`].
    pub digest: Option<Digest>,
    /// What it was copied from. No decision asks: of parts that were there before, a transaction does not know it.
    pub copied: Vec<CopiedPiece>,
    /// When it was stored.
    pub modified: Timestamp,
}

impl PartRow {
    /// Its blob, as a piece of the upload's version.
    pub const fn blob(&self, version: VersionId) -> BlobName {
        BlobName { version, extent: self.number, r#gen: self.r#gen }
    }
}

/// An upload as a transaction sees it, with as many of its parts as its calls need.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadFacts {
    /// The row.
    pub row: UploadRow,
    /// How often parts were begun.
    pub attempts: BTreeMap<Extent, u16>,
    /// What is stored.
    pub parts: BTreeMap<Extent, PartRow>,
}

/// What a batch does to uploads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UploadEffects {
    /// Opened.
    pub opened: Vec<UploadRow>,
    /// Completed or aborted: the rows as they are now. Their parts go, all of them.
    pub closed: Vec<UploadRow>,
    /// Attempts at parts, counted with this batch's.
    pub attempts: BTreeMap<(UploadId, Extent), u16>,
    /// Parts that were stored, each in the place of the one before.
    pub parts: Vec<PartRow>,
}

impl UploadEffects {
    /// Whether nothing is done to any.
    pub fn is_empty(&self) -> bool {
        let Self { opened, closed, attempts, parts } = self;
        opened.is_empty() && closed.is_empty() && attempts.is_empty() && parts.is_empty()
    }
}

/// Asks for an upload and a page of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsQuery {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which upload.
    pub upload: UploadId,
    /// Only parts with a greater number.
    pub after: u16,
    /// At most.
    pub max_parts: u16,
}

/// An upload with a page of its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct PartsPage {
    /// In whatever state.
    pub upload: UploadRow,
    /// In ascending order; none of an upload that is not open.
    pub parts: Vec<PartRow>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Asks for a page of a bucket's open uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadsQuery {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// Only of keys that start with it.
    pub prefix: String,
    /// Only of greater keys, and of this key those behind `upload_after`.
    pub key_after: String,
    /// Uploads of `key_after` itself that are greater; `None`: none of them.
    pub upload_after: Option<UploadId>,
    /// At most.
    pub max_uploads: u32,
}

/// A page of open uploads.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadsPage {
    /// By key, then by id, which is the order in which they were opened.
    pub uploads: Vec<UploadRow>,
    /// Whether there are more.
    pub truncated: bool,
}
