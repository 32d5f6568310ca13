//! The calls of a data plane (and of the reaper), and their outcomes.
//!
//! Invariant: a call is idempotent by its [`Op`]; whatever it needs to be decided a second time, when
//! its rows are gone, it carries itself.

use std::collections::BTreeMap;

use s3o_types::{
    BackendId, BlobName, BucketId, Checksums, Conditions, Digest, Encoding, ErrorCode, Etag, Extent, Gen,
    ObjectAttributes, ObjectLock, Op, Retention, Seq, Timestamp, UploadId, UsageLimit, VersionId, VersionRef,
};
use uuid::Uuid;

use crate::intent::{Intent, Target, TargetEnd, WriteKind};
use crate::object::CopyState;
use crate::upload::UploadChecksum;

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
}

/// Gives a write up.
#[derive(Debug, Clone)]
pub struct Abort {
    /// The whole intent.
    pub intent: CarriedIntent,
    /// How each target ended; one that is not named counts as unknown.
    pub targets: Vec<FinishedTarget>,
}

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

/// An extent of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentOf {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which version of it, current or not.
    pub version: VersionId,
    /// Which piece.
    pub extent: Extent,
}

/// The first step of one more copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginCopy {
    /// Of what.
    pub of: ExtentOf,
    /// Backends that are down, or otherwise not to be written to now.
    pub down: Vec<BackendId>,
}

/// Takes a copy away, or marks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeCopy {
    /// Of what.
    pub of: ExtentOf,
    /// Where.
    pub backend: BackendId,
    /// The attempt that wrote it: another one is another copy.
    pub r#gen: Gen,
    /// How.
    pub change: CopyChange,
}

/// What becomes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyChange {
    /// It goes: without it there are as many verified copies as are wanted.
    Drop,
    /// It was found to be gone, or wrong: no reader tries it any more.
    Mark(CopyState),
    /// It was read whole and is what it should be: it counts, and what it will be checked against is kept, unless that
    /// was known.
    Verify(Option<Digest>),
}

/// Lets a copy go whose backend is given up, whatever is wanted; and its version, where no other copy is good and the
/// operator has accepted that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveUp {
    /// Of what.
    pub of: ExtentOf,
    /// Where.
    pub backend: BackendId,
    /// The attempt that wrote it: another one is another copy.
    pub r#gen: Gen,
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

/// A call's outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Placed; the bytes may go.
    Begun {
        /// The write's version.
        version: VersionId,
        /// Where its bytes go.
        targets: Vec<Target>,
        /// Verified copies needed for success.
        required_copies: u16,
    },
    /// The replacement.
    Retargeted(Target),
    /// The write is the current version.
    Committed {
        /// Its place in the key's order.
        seq: Seq,
        /// Its Last-Modified.
        modified: Timestamp,
        /// What the client is told of the version; `None` while the bucket was never versioned.
        version: Option<VersionRef>,
    },
    /// The write is given up.
    Aborted,
    /// There is no current version now, or not the one that was named.
    Deleted {
        /// Whether there was one, or a marker was made.
        existed: bool,
        /// The marker that was made, or the version that was removed; `None` while the bucket was never versioned, and
        /// where there was nothing.
        version: Option<VersionRef>,
        /// Whether that is a delete marker.
        delete_marker: bool,
    },
    /// The version has the tags.
    TagsSet {
        /// Which one; `None` while the bucket was never versioned.
        version: Option<VersionRef>,
    },
    /// The version is kept so.
    LockSet {
        /// Which one; `None` while the bucket was never versioned.
        version: Option<VersionRef>,
    },
    /// The upload is open.
    UploadCreated,
    /// The upload is given up.
    UploadAborted,
    /// The reaper's intent is settled.
    Resolved(Resolution),
    /// The copy is gone from its version, or marked.
    CopyChanged,
    /// The blob that no row named has its place.
    BlobSettled(BlobFate),
    /// Not done.
    Refused(Refusal),
}

/// What became of a claimed intent; the words of `s3o_pending_intents_resolved_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The blob was there and is the current version now.
    Promoted,
    /// Given up; whatever may be stored is queued for deletion.
    Dropped,
    /// A later write or delete of the key came first: given up.
    Superseded,
    /// Somebody else settled it.
    AlreadyResolved,
}

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code, from the one table.
    pub code: ErrorCode,
    /// What was wrong and what was expected.
    pub message: String,
    /// The limit of a month for which it was not done: to be counted, and not told apart on the wire.
    pub limit: Option<UsageLimit>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), limit: None }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
