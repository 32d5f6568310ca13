//! The words both planes share: ids, the storage-key grammar, error codes, object attributes.
//!
//! Architecture invariant: no I/O, no clock, no randomness and no wire format in here. Whatever is
//! random or timed is handed in by the caller, so that every value of these types can be tested.

pub mod backend;
pub mod bucket;
pub mod copied;
pub mod cors;
pub mod digest;
pub mod error;
pub mod etag;
pub mod ids;
pub mod lifecycle;
pub mod lock;
pub mod object;
mod probe;
pub mod rights;
mod secret;
pub mod storage_key;
pub mod time;
pub mod usage;
pub mod version;
pub mod xml;

pub use backend::{BackendSpec, BackendState, ChecksumMode, Credentials, EtagProof, Quirks};
pub use bucket::{AckLevel, BucketName, DegradedReads, Versioning};
pub use copied::CopiedPiece;
pub use cors::{CORS_METHODS, CorsRule};
pub use digest::{Digest, DigestKind};
pub use error::{ErrorCode, Fault};
pub use etag::Etag;
pub use ids::{BackendId, BucketId, Extent, Gen, Op, Place, Seq, UploadId};
pub use lifecycle::{
    LifecycleDate, LifecycleRule, MAX_LIFECYCLE_RULES, MAX_NEWER_VERSIONS, lifecycle_problem,
};
pub use lock::{
    BucketLock, DefaultRetention, Held, MAX_RETENTION_DAYS, MAX_RETENTION_YEARS, ObjectLock, Retention,
    RetentionMode, RetentionPeriod,
};
pub use object::{Checksums, Conditions, ContentHeaders, Encoding, ObjectAttributes};
pub use probe::{ProbeFinding, ProbeVerdict};
pub use rights::{Right, Rights, Scope};
pub use secret::Secret;
pub use storage_key::{BlobName, StorageKey};
pub use time::Timestamp;
pub use usage::{Consumption, UsageLimit, UsageLimits};
pub use version::{VersionId, VersionRef};
pub use xml::is_xml;

#[cfg(test)]
mod fuzz;
