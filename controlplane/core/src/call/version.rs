//! What is done to versions that are there.

use std::collections::BTreeMap;

use s3o_types::{BucketId, Conditions, Retention, UploadId, VersionId, VersionRef};

/// Removes the current version of a key.
#[derive(Debug, Clone)]
pub struct Delete {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// What must hold of the current version.
    pub conditions: Conditions,
    /// The version or marker that is to go for good; `None`: whatever is current is to be current no more.
    pub version: Option<VersionRef>,
    /// Whether it is meant for a version that a governance retention keeps too. It is looked at only where the access key
    /// has the right to that.
    pub bypass_governance: bool,
}

/// Gives a version of a key other tags. Where none is named, whichever version is current when the call is decided
/// gets them; its ETag, its time and its place in the key's order stay.
#[derive(Debug, Clone)]
pub struct SetTags {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// All its tags from now on; none removes them.
    pub tags: BTreeMap<String, String>,
    /// Which version; `None`: the current one.
    pub version: Option<VersionRef>,
}

/// Changes what keeps a version of a key, the current one where none is named (S3 API reference, `PutObjectRetention`,
/// `PutObjectLegalHold`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetLock {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which version; `None`: the current one.
    pub version: Option<VersionRef>,
    /// What changes.
    pub change: LockChange,
    /// As in [`Delete`].
    pub bypass_governance: bool,
}

/// One of the two things that keep a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockChange {
    /// This one in the place of what was; `None` removes it.
    Retention(Option<Retention>),
    /// On or off.
    LegalHold(bool),
}

/// Removes what a worker has found to be due by its bucket's rules, if it is due still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expire {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// What of the key.
    pub what: Expiring,
}

/// What expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiring {
    /// The current version, as long as it is this one.
    Current(VersionId),
    /// A noncurrent version or a delete marker.
    Noncurrent {
        /// Which.
        version: VersionId,
        /// Whether it is its key's null version.
        is_null: bool,
    },
    /// An open multipart upload.
    Upload(UploadId),
}
