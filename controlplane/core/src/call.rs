//! The calls of a data plane (and of the reaper), and their outcomes.
//!
//! Invariant: a call is idempotent by its [`Op`]; whatever it needs to be decided a second time, when
//! its rows are gone, it carries itself.

mod copy;
mod found;
mod outcome;
mod upload;
mod version;
mod write;

use s3o_types::{BackendId, BlobName, BucketId, Extent, Op, VersionId, VersionRef};
use uuid::Uuid;

use crate::intent::WriteKind;

pub use copy::{BeginCopy, ChangeCopy, CopyChange, ExtentOf, GiveUp};
pub use found::{BlobFate, Found, Import, Resolve, SettleBlob};
pub use outcome::{Outcome, Refusal, Resolution};
pub use upload::{AbortUpload, CompleteUpload, CreateUpload};
pub use version::{Delete, Expire, Expiring, LockChange, SetLock, SetTags};
pub use write::{
    Abort, Begin, CarriedIntent, Commit, FinishedTarget, PartOf, Retarget, StoredCopy, TargetId,
};

/// One call with what is needed to authorize, to audit and to repeat it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The idempotency key.
    pub op: Op,
    /// The session whose lease covers the intent.
    pub session: Uuid,
    /// Who signed the client's request.
    pub access_key: String,
    /// The client's address.
    pub source: String,
    /// For logs and audit.
    pub request_id: String,
    /// Decided in the lane for bulk items.
    pub bulk: bool,
    /// What to do.
    pub call: Call,
}

/// What a caller may ask for under an operation id.
#[derive(Debug, Clone)]
pub enum Call {
    /// Place a write and record the intent.
    Begin(Begin),
    /// Add a target for one that failed.
    Retarget(Retarget),
    /// Make the written blob the current version.
    Commit(Box<Commit>),
    /// Give a write up.
    Abort(Abort),
    /// Remove the current version.
    Delete(Delete),
    /// Give the current version other tags.
    SetTags(SetTags),
    /// Change what keeps a version.
    SetLock(SetLock),
    /// Open a multipart upload.
    CreateUpload(CreateUpload),
    /// Make its parts the current version.
    CompleteUpload(Box<CompleteUpload>),
    /// Give it up.
    AbortUpload(AbortUpload),
    /// Settle an expired intent that the reaper has claimed.
    Resolve(Box<Resolve>),
    /// Place one more copy of an extent and record the intent.
    BeginCopy(BeginCopy),
    /// Take a copy away, or say that it is not what it was.
    ChangeCopy(ChangeCopy),
    /// Find a place for a blob of ours that no row names.
    SettleBlob(Box<SettleBlob>),
    /// Make an object of a foreign key.
    Import(Box<Import>),
    /// Remove what is due by its bucket's rules.
    Expire(Expire),
    /// Let a copy go whose backend is given up.
    GiveUp(GiveUp),
}

impl Call {
    /// The key whose lock the call needs, or whose current version it looks at.
    pub fn bucket_and_key(&self) -> (BucketId, &str) {
        match self {
            Self::Begin(c) => (c.bucket, &c.key),
            Self::Retarget(c) => (c.intent.bucket, &c.intent.key),
            Self::Commit(c) => (c.intent.bucket, &c.intent.key),
            Self::Abort(c) => (c.intent.bucket, &c.intent.key),
            Self::Delete(c) => (c.bucket, &c.key),
            Self::SetTags(c) => (c.bucket, &c.key),
            Self::SetLock(c) => (c.bucket, &c.key),
            Self::CreateUpload(c) => (c.bucket, &c.key),
            Self::CompleteUpload(c) => (c.bucket, &c.key),
            Self::AbortUpload(c) => (c.bucket, &c.key),
            Self::Resolve(c) => (c.intent.bucket, &c.intent.key),
            Self::BeginCopy(c) => (c.of.bucket, &c.of.key),
            Self::ChangeCopy(c) => (c.of.bucket, &c.of.key),
            Self::SettleBlob(c) => (c.of.bucket, &c.of.key),
            Self::Import(c) => (c.bucket, &c.key),
            Self::Expire(c) => (c.bucket, &c.key),
            Self::GiveUp(c) => (c.of.bucket, &c.of.key),
        }
    }

    /// Whether the call is decided under its key's lock. Begin and Retarget write no row of the key.
    pub fn locks_key(&self) -> bool {
        !self.places()
    }

    /// Whether the call takes room on a backend.
    pub const fn places(&self) -> bool {
        matches!(self, Self::Begin(_) | Self::Retarget(_) | Self::BeginCopy(_))
    }

    /// The extent whose copies it changes.
    pub fn extent(&self) -> Option<(VersionId, Extent)> {
        match self {
            Self::BeginCopy(c) => Some((c.of.version, c.of.extent)),
            Self::ChangeCopy(c) => Some((c.of.version, c.of.extent)),
            Self::SettleBlob(c) => Some((c.of.version, c.of.extent)),
            Self::GiveUp(c) => Some((c.of.version, c.of.extent)),
            Self::Commit(c) if c.intent.replica => {
                c.intent.targets.first().map(|target| (c.intent.version, target.extent))
            }
            _ => None,
        }
    }

    /// The version of the key that the call names.
    pub const fn version(&self) -> Option<VersionRef> {
        match self {
            Self::Delete(c) => c.version,
            Self::SetTags(c) => c.version,
            Self::SetLock(c) => c.version,
            Self::Begin(_)
            | Self::Retarget(_)
            | Self::Commit(_)
            | Self::Abort(_)
            | Self::CreateUpload(_)
            | Self::CompleteUpload(_)
            | Self::AbortUpload(_)
            | Self::Resolve(_)
            | Self::BeginCopy(_)
            | Self::ChangeCopy(_)
            | Self::SettleBlob(_)
            | Self::Import(_)
            | Self::Expire(_)
            | Self::GiveUp(_) => None,
        }
    }

    /// The blob that was found on a backend: where, under which key, and, where it is one of ours, its name.
    pub fn found_blob(&self) -> Option<(BackendId, &str, Option<BlobName>)> {
        match self {
            Self::SettleBlob(c) => Some((c.backend, &c.storage_key, Some(c.blob()))),
            Self::Import(c) => Some((c.backend, &c.foreign_key, None)),
            _ => None,
        }
    }

    /// Whether the call may take the current version away, and so has to know where its blobs are.
    pub fn displaces(&self) -> bool {
        match self {
            Self::Commit(c) => c.intent.upload.is_none() && !c.intent.replica,
            Self::Resolve(c) => c.intent.upload.is_none() && c.intent.kind != WriteKind::Replicate,
            Self::Delete(_) | Self::CompleteUpload(_) | Self::GiveUp(_) => true,
            Self::Expire(c) => !matches!(c.what, Expiring::Upload(_)),
            Self::Begin(_)
            | Self::Retarget(_)
            | Self::Abort(_)
            | Self::SetTags(_)
            | Self::SetLock(_)
            | Self::CreateUpload(_)
            | Self::AbortUpload(_)
            | Self::BeginCopy(_)
            | Self::ChangeCopy(_)
            | Self::SettleBlob(_)
            | Self::Import(_) => false,
        }
    }
}
