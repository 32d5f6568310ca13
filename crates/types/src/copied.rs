//! What a part was copied from, where not all of it was read.

use serde::{Deserialize, Serialize};

use crate::ids::BucketId;
use crate::version::VersionId;

/// Bytes of an extent of another object that are in a part. Alone they could be compared with nothing: together with those of
/// other parts they may be all of the extent, whose digest is known. All digests are CRC-64/NVME in base64, as S3 writes it.
///
/// Documents in the database have its fields by these names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CopiedPiece {
    /// The version that was read.
    pub version: VersionId,
    /// Where its extent begins in the object, in bytes.
    pub extent_offset: u64,
    /// Bytes of the extent.
    pub extent_size: u64,
    /// Digest of the extent, from when it was written.
    pub extent_digest: String,
    /// Where the piece begins in the object, in bytes.
    pub first: u64,
    /// Bytes of the piece.
    pub size: u64,
    /// Digest of what was read.
    pub digest: String,
    /// The bucket of that object.
    pub bucket: BucketId,
    /// Its key.
    pub key: String,
}
