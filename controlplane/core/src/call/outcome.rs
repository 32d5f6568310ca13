//! What calls come to.

use s3o_types::{ErrorCode, Seq, Timestamp, UsageLimit, VersionId, VersionRef};

use super::found::BlobFate;
use crate::intent::Target;

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
