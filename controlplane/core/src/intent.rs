//! Intents: a write that may have left bytes somewhere.
//!
//! Invariant: before a byte goes to a (backend, storage key), an intent names that pair and holds its
//! reservation.

use std::str::FromStr;

use s3o_types::{
    BackendId, BlobName, BucketId, Conditions, Extent, Gen, Op, Place, Seq, StorageKey, Timestamp, UploadId,
    VersionId,
};
use uuid::Uuid;

use crate::call::TargetId;

/// What kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteKind {
    /// A client's body.
    Put,
    /// Another object's bytes.
    Copy,
    /// A part of a multipart upload.
    Part,
    /// One more copy of a version that exists, by a worker.
    Replicate,
}

impl WriteKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Copy => "copy",
            Self::Part => "part",
            Self::Replicate => "replicate",
        }
    }
}

impl FromStr for WriteKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "put" => Ok(Self::Put),
            "copy" => Ok(Self::Copy),
            "part" => Ok(Self::Part),
            "replicate" => Ok(Self::Replicate),
            other => Err(format!("write kind `{other}` is none of put, copy, part, replicate")),
        }
    }
}

/// One place where a write's bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The backend.
    pub backend: BackendId,
    /// Where the backend was when the target was chosen. A blob that went elsewhere does not count.
    pub place: Place,
    /// The piece of the version.
    pub extent: Extent,
    /// The attempt at it.
    pub r#gen: Gen,
    /// The full key there.
    pub storage_key: String,
}

impl Target {
    /// A blob at a backend where it is now.
    pub fn new((backend, place): (BackendId, Place), bucket: &str, key: &str, blob: BlobName) -> Self {
        Self {
            backend,
            place,
            extent: blob.extent,
            r#gen: blob.r#gen,
            storage_key: StorageKey::format(bucket, key, blob),
        }
    }

    /// Its name within the intent.
    pub const fn id(&self) -> TargetId {
        TargetId { backend: self.backend, extent: self.extent, r#gen: self.r#gen }
    }
}

/// How a target was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetEnd {
    /// Nothing was sent: no blob, now or later.
    NotSent,
    /// Cut before the end: the backend cannot have completed it.
    Cut,
    /// Stored, and answered for.
    Stored,
    /// May complete, now or an hour later.
    Unknown,
}

/// The row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The write's operation.
    pub op: Op,
    /// Whose lease covers it.
    pub session: Uuid,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// The write's version.
    pub version: VersionId,
    /// Bytes reserved at each target.
    pub size: u64,
    /// What kind of write.
    pub kind: WriteKind,
    /// The multipart upload whose part it is.
    pub upload: Option<UploadId>,
    /// Decided in Commit.
    pub conditions: Conditions,
    /// Every place that may hold a blob of it.
    pub targets: Vec<Target>,
    /// Verified copies needed, pinned at Begin.
    pub required_copies: u16,
    /// The greatest change-log number drawn before the intent: what the log holds for the key beyond it
    /// came after.
    pub log_floor: Seq,
    /// When it was recorded, by the database's clock.
    pub begun: Timestamp,
    /// The reaper that has fenced it off.
    pub claimed_by: Option<Uuid>,
}
