//! Multipart uploads, from Create to their end.

use s3o_types::{BucketId, Checksums, Conditions, Etag, Extent, Gen, ObjectAttributes, UploadId};

use crate::upload::UploadChecksum;

/// Opens a multipart upload; its id is the operation's.
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Of the object to be.
    pub attributes: ObjectAttributes,
    /// Of parts and object.
    pub checksum: Option<UploadChecksum>,
}

/// Makes parts of an upload the key's current version.
#[derive(Debug, Clone)]
pub struct CompleteUpload {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which upload.
    pub upload: UploadId,
    /// What must hold of the current version.
    pub conditions: Conditions,
    /// The object's ETag, made of those of the parts.
    pub etag: Etag,
    /// The object's checksums, made of those of the parts.
    pub checksums: Checksums,
    /// Ascending, each in the very attempt that the caller has looked at.
    pub parts: Vec<(Extent, Gen)>,
}

/// Gives an upload up.
#[derive(Debug, Clone)]
pub struct AbortUpload {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which upload.
    pub upload: UploadId,
    /// Nobody asked: it has been open for too long.
    pub stale: bool,
}
