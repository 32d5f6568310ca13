//! Outcomes as the change log keeps them, and how a repeat reads them.
//!
//! Invariant: the numbers stand in people's databases and are never used again.

use s3o_types::{BucketId, ErrorCode, Op, Seq, Timestamp, VersionId, VersionRef};

use crate::call::{BlobFate, Outcome, Refusal, Resolution};
use crate::object::ObjectRow;

/// What a transaction did for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Logged {
    /// The write became the current version.
    Committed,
    /// The reaper made it the current version.
    Promoted,
    /// The current version was removed.
    Deleted,
    /// There was none to remove.
    DeletedNothing,
    /// The write was given up by its writer.
    Aborted,
    /// The reaper gave it up.
    Dropped,
    /// The reaper gave it up because something came after it.
    Superseded,
    /// Nothing was known of it any more.
    Lost,
    /// Refused at commit: a condition did not hold.
    ConditionFailed,
    /// Refused at commit: the bucket was gone.
    BucketGone,
    /// Refused at commit: too few verified copies.
    TooFewCopies,
    /// Refused at commit: `If-Match`, and the key was gone.
    MatchMissing,
    /// The current version got other tags.
    TagsSet,
    /// Refused at commit: a copy was made where its backend is not any more.
    BackendMoved,
    /// The write became a part of its upload.
    PartStored,
    /// The upload was given up.
    UploadAborted,
    /// Refused at commit: the part's upload was completed or given up meanwhile.
    UploadGone,
    /// The version has one more copy.
    CopyStored,
    /// Refused at commit: the version was gone, or had a copy there already.
    CopyUnwanted,
    /// The version has one copy less, by its worker's leave.
    CopyDropped,
    /// A copy was found to be gone or wrong.
    CopyMarked,
    /// A delete marker took the place of the current version.
    MarkerMade,
    /// A version was removed for good.
    VersionDeleted,
    /// A delete marker was removed.
    MarkerDeleted,
    /// The bucket's versioning was enabled or suspended.
    VersioningSet,
    /// The bucket was made, deleted or set otherwise by a client.
    BucketChanged,
    /// A blob that no row named became a copy, or a missing copy was found again.
    CopyAttached,
    /// A blob that no row named was queued for deletion.
    BlobOrphaned,
    /// A foreign key became the current version.
    Imported,
    /// A version got another retention, or a legal hold was put on it or taken off.
    LockSet,
    /// Refused at commit: what it would replace is locked.
    Locked,
    /// Refused at commit: the bucket has no Object Lock, and the write asked for one.
    LockMissing,
}

impl Logged {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Committed,
        Self::Promoted,
        Self::Deleted,
        Self::DeletedNothing,
        Self::Aborted,
        Self::Dropped,
        Self::Superseded,
        Self::Lost,
        Self::ConditionFailed,
        Self::BucketGone,
        Self::TooFewCopies,
        Self::MatchMissing,
        Self::TagsSet,
        Self::BackendMoved,
        Self::PartStored,
        Self::UploadAborted,
        Self::UploadGone,
        Self::CopyStored,
        Self::CopyUnwanted,
        Self::CopyDropped,
        Self::CopyMarked,
        Self::MarkerMade,
        Self::VersionDeleted,
        Self::MarkerDeleted,
        Self::VersioningSet,
        Self::BucketChanged,
        Self::CopyAttached,
        Self::BlobOrphaned,
        Self::Imported,
        Self::LockSet,
        Self::Locked,
        Self::LockMissing,
    ];

    /// Its number in the change log.
    pub const fn code(self) -> i16 {
        match self {
            Self::Committed => 1,
            Self::Promoted => 2,
            Self::Deleted => 3,
            Self::DeletedNothing => 4,
            Self::Aborted => 5,
            Self::Dropped => 6,
            Self::Superseded => 7,
            Self::Lost => 8,
            Self::ConditionFailed => 9,
            Self::BucketGone => 10,
            Self::TooFewCopies => 11,
            Self::MatchMissing => 12,
            Self::TagsSet => 13,
            Self::BackendMoved => 14,
            Self::PartStored => 15,
            Self::UploadAborted => 16,
            Self::UploadGone => 17,
            Self::CopyStored => 18,
            Self::CopyUnwanted => 19,
            Self::CopyDropped => 20,
            Self::CopyMarked => 21,
            Self::MarkerMade => 30,
            Self::VersionDeleted => 31,
            Self::MarkerDeleted => 32,
            Self::VersioningSet => 33,
            Self::BucketChanged => 34,
            Self::CopyAttached => 40,
            Self::BlobOrphaned => 41,
            Self::Imported => 42,
            Self::LockSet => 50,
            Self::Locked => 51,
            Self::LockMissing => 52,
        }
    }

    /// By its number; `None` for one of a newer release.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|logged| logged.code() == code)
    }

    /// Whether the key has another version, or none, since: only such changes supersede an intent.
    pub const fn changed_key(self) -> bool {
        matches!(
            self,
            Self::Committed
                | Self::Promoted
                | Self::Deleted
                | Self::MarkerMade
                | Self::VersionDeleted
                | Self::MarkerDeleted
                | Self::Imported
        )
    }
}

/// An outcome found in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedOutcome {
    /// What was done.
    pub logged: Logged,
    /// Its change-log number.
    pub seq: Seq,
    /// When, by the database's clock.
    pub at: Timestamp,
    /// How the client was told of the version that it is about.
    pub version: Option<VersionRef>,
}

impl LoggedOutcome {
    /// What a repeat of the call is answered.
    pub fn replay(self) -> Outcome {
        match self.logged {
            Logged::Committed
            | Logged::Promoted
            | Logged::PartStored
            | Logged::CopyStored
            | Logged::Imported => {
                Outcome::Committed { seq: self.seq, modified: self.at, version: self.version }
            }
            Logged::CopyAttached => Outcome::BlobSettled(BlobFate::Attached),
            Logged::BlobOrphaned => Outcome::BlobSettled(BlobFate::Queued),
            Logged::UploadAborted => Outcome::UploadAborted,
            Logged::CopyUnwanted => unwanted().into(),
            Logged::CopyDropped | Logged::CopyMarked => Outcome::CopyChanged,
            Logged::UploadGone => no_such_upload().into(),
            Logged::Deleted | Logged::VersionDeleted => self.deleted(true, false),
            Logged::MarkerMade | Logged::MarkerDeleted => self.deleted(true, true),
            Logged::DeletedNothing => self.deleted(false, false),
            Logged::Aborted => Outcome::Aborted,
            Logged::TagsSet => Outcome::TagsSet { version: self.version },
            Logged::LockSet => Outcome::LockSet { version: self.version },
            Logged::Locked => {
                let why = "Access Denied because object protected by object lock.";
                Refusal::new(ErrorCode::AccessDenied, why).into()
            }
            Logged::LockMissing => {
                Refusal::new(ErrorCode::InvalidRequest, "Bucket is missing Object Lock Configuration").into()
            }
            Logged::Dropped | Logged::Superseded | Logged::Lost => {
                lost("the write was given up before it was committed")
            }
            // Operations are named at random: no call finds that of a bucket's own setting.
            Logged::VersioningSet | Logged::BucketChanged => {
                Refusal::new(ErrorCode::InvalidArgument, "the operation id is that of another call").into()
            }
            Logged::ConditionFailed => Refusal::new(
                ErrorCode::PreconditionFailed,
                "a condition of the request did not hold when the write was committed",
            )
            .into(),
            Logged::MatchMissing => {
                Refusal::new(ErrorCode::NoSuchKey, "If-Match was sent and the key does not exist").into()
            }
            Logged::BackendMoved => {
                lost("a backend was moved to another endpoint or bucket while the object was written to it")
            }
            Logged::BucketGone => Refusal::new(ErrorCode::NoSuchBucket, "the bucket does not exist").into(),
            Logged::TooFewCopies => Refusal::new(
                ErrorCode::ServiceUnavailable,
                "fewer backends hold the object than the bucket's ack level asks for",
            )
            .into(),
        }
    }

    const fn deleted(self, existed: bool, delete_marker: bool) -> Outcome {
        Outcome::Deleted { existed, version: self.version, delete_marker }
    }

    /// What a repeat of the reaper's call is answered.
    pub fn replay_to_reaper(self) -> Outcome {
        Outcome::Resolved(match self.logged {
            Logged::Promoted => Resolution::Promoted,
            Logged::Dropped => Resolution::Dropped,
            Logged::Superseded => Resolution::Superseded,
            _ => Resolution::AlreadyResolved,
        })
    }
}

/// S3's sentence (S3 API reference, "Error responses").
pub fn no_such_upload() -> Refusal {
    Refusal::new(
        ErrorCode::NoSuchUpload,
        "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.",
    )
}

/// To a worker whose version is gone, or has what the worker brings.
pub fn unwanted() -> Refusal {
    Refusal::new(ErrorCode::NoSuchKey, "the version is gone, or has a copy there already")
}

/// The retryable answer to a write that cannot be committed any more.
pub fn lost(why: &str) -> Outcome {
    Refusal::new(ErrorCode::WriteLost, why).into()
}

/// A row to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number, drawn under the key's lock.
    pub seq: Seq,
    /// Whose outcome.
    pub op: Op,
    /// What was done.
    pub logged: Logged,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// The version it is about, where there is one.
    pub version: Option<VersionId>,
    /// How the client was told of it; `None` while the bucket was never versioned.
    pub told: Option<VersionRef>,
    /// What it takes to replay the change: the row as it is now, when the key has one by this change.
    pub object: Option<ObjectRow>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for logged in Logged::ALL {
            assert_eq!(Logged::from_code(logged.code()), Some(logged));
        }
        assert_eq!(Logged::from_code(0), None);
    }
}
