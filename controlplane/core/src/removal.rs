//! Backends that are given up: what is there is let go, instead of being copied elsewhere first.
//!
//! Invariant: a copy that is the last good one of its bytes goes only where the operator was told how many there are, and
//! said that they may.

use std::str::FromStr;

use s3o_types::{BackendId, Gen, Place, Seq};

use crate::call::ExtentOf;

/// What becomes of the bytes there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalMode {
    /// They stay where they are, and nothing is asked of the backend any more: it is gone, or somebody else's.
    Forget,
    /// They are deleted.
    Purge,
}

impl RemovalMode {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Purge => "purge",
        }
    }
}

impl FromStr for RemovalMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "forget" => Ok(Self::Forget),
            "purge" => Ok(Self::Purge),
            other => Err(format!("removal mode `{other}` is neither forget nor purge")),
        }
    }
}

/// How a backend is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Removal {
    /// What becomes of its bytes.
    pub mode: RemovalMode,
    /// Versions of which no other backend has all bytes may go up to this number of the change log; `None`: they stay until a
    /// drain has moved them. What is newer nobody was told of, and stays.
    pub losses_upto: Option<Seq>,
}

/// What giving a backend up would do, as of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovalPreview {
    /// The backend.
    pub backend: BackendId,
    /// Its name.
    pub name: String,
    /// Copies there, counted by their first extent.
    pub objects: u64,
    /// Bytes of theirs.
    pub bytes: u64,
    /// Those of them that others wrote, and that were imported.
    pub imported: u64,
    /// Versions of which no other backend has a good copy of some bytes.
    pub last_copies: u64,
    /// Open multipart uploads with parts there.
    pub uploads: u64,
    /// When it was looked at.
    pub seen: RemovalSeen,
}

/// What a confirmation holds on to: a backend that was changed since is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovalSeen {
    /// The database's time at the end of the look, in microseconds since 1970.
    pub now_us: i64,
    /// When the drain began, in microseconds since 1970.
    pub drained_us: i64,
    /// Where the backend is.
    pub place: Place,
    /// How far the change log was.
    pub log_head: Seq,
}

/// A wish that was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovalOrder {
    /// The backend.
    pub backend: BackendId,
    /// How.
    pub removal: Removal,
    /// Of the drain that was seen.
    pub drained_us: i64,
    /// Where the backend was.
    pub place: Place,
    /// Until when the confirmation counts, by the database's clock, in microseconds since 1970.
    pub until_us: i64,
}

/// Why a backend cannot be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRemoved {
    /// There is none of that name.
    Unknown,
    /// Objects may still be placed there.
    NotDrained,
    /// The confirmation is too old, or of another drain or place.
    Expired,
}

/// A copy on a backend that is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldCopy {
    /// Of what.
    pub of: ExtentOf,
    /// The attempt that wrote it.
    pub r#gen: Gen,
}
