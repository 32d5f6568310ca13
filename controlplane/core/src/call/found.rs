//! What is made of blobs that were found on a backend.

use s3o_types::{BackendId, BlobName, BucketId, Encoding, Etag, Gen, ObjectAttributes, Timestamp};
use uuid::Uuid;

use super::copy::ExtentOf;
use super::write::TargetId;
use crate::intent::Intent;

/// What the reaper found at a target's storage key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a handful live at a time, one a target of a reaped intent")]
pub enum Found {
    /// A whole blob, with all that its headers tell.
    Blob {
        /// Bytes on the backend.
        stored_size: u64,
        /// Bytes of the object, from its self-description.
        size: u64,
        /// The object's ETag, where the backend's is proven to be it.
        etag: Option<Etag>,
        /// Headers and metadata; `None` when the blob says that something is missing.
        attributes: Option<ObjectAttributes>,
        /// The backend's version id.
        backend_version: Option<String>,
    },
    /// A definite 404, by a backend whose marker was read.
    Nothing,
}

/// Settles an intent that the reaper has claimed. A target that could not be asked is no reason to
/// call this: the claim is let go and the intent stays.
#[derive(Debug, Clone)]
pub struct Resolve {
    /// The claimed intent.
    pub intent: Intent,
    /// Whose claim.
    pub owner: Uuid,
    /// One entry a target.
    pub found: Vec<(TargetId, Found)>,
}

/// A blob of ours that was found on a backend and that no row names. Whoever asks has read its headers, and the
/// backend's marker after that, and knows that its version is too old to be in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleBlob {
    /// Of what.
    pub of: ExtentOf,
    /// The attempt that wrote it.
    pub r#gen: Gen,
    /// Where it is.
    pub backend: BackendId,
    /// Its key there, which must be the one that follows from its name.
    pub storage_key: String,
    /// Bytes on the backend.
    pub stored_size: u64,
    /// The backend's ETag.
    pub backend_etag: Option<Etag>,
    /// The backend's version id.
    pub backend_version: Option<String>,
    /// How the bytes are encoded; `None`: its headers cannot be read, so that it cannot be a copy.
    pub encoding: Option<Encoding>,
}

impl SettleBlob {
    /// Its name.
    pub const fn blob(&self) -> BlobName {
        BlobName { version: self.of.version, extent: self.of.extent, r#gen: self.r#gen }
    }
}

/// Makes an object of a key that somebody else wrote to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The key that the object gets.
    pub key: String,
    /// Where it is.
    pub backend: BackendId,
    /// Its key there, which stays.
    pub foreign_key: String,
    /// Bytes.
    pub size: u64,
    /// The object's ETag: the backend's, but for one that looks like an MD5 and is not proven to be it.
    pub etag: Etag,
    /// The backend's ETag, by which readers know the blob.
    pub backend_etag: Etag,
    /// The backend's version id.
    pub backend_version: Option<String>,
    /// By the backend's clock: what clients are told as Last-Modified.
    pub modified: Timestamp,
    /// Headers and metadata.
    pub attributes: ObjectAttributes,
}

/// What became of a blob that no row named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobFate {
    /// It is a copy of its version, to be read before it counts.
    Attached,
    /// It is queued for deletion.
    Queued,
    /// Something names it by now, or might: it stays as it is.
    Kept,
}
