//! Copies of extents: one more, one that is not what it was, one that goes.

use s3o_types::{BackendId, BucketId, Digest, Extent, Gen, VersionId};

use crate::object::CopyState;

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
