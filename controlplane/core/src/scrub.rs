//! The scrubber's round: each backend's copies in the order of their versions, some bytes an hour.
//!
//! Invariant: a copy's turn comes again only after all others of its backend had theirs, so the one that was read
//! longest ago is always the next, and no write has to keep that order (docs/adr/0016).

use s3o_types::{BackendId, Extent, VersionId, VersionRef};

use crate::replication::CopyItem;

/// Copies that a claim may give out at once.
pub const SCRUB_BATCH: u32 = 64;

/// How fast copies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubPace {
    /// From each backend; 0: none are.
    pub bytes_per_hour: u64,
    /// Seconds between the end of a round and the next: few small objects would else be read all the time, each for the
    /// price of a request.
    pub rest_s: i64,
}

/// Copies of one backend that are due, for whoever claimed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubBatch {
    /// The backend.
    pub backend: BackendId,
    /// In their order.
    pub copies: Vec<CopyItem>,
    /// Where the next batch begins when all of them were read: rows that could not be read are passed with them. `None`: behind
    /// the last of them.
    pub upto: Option<(VersionId, Extent)>,
    /// Nothing comes behind them: the round begins anew.
    pub is_last: bool,
}

/// How far a claimed batch was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubProgress {
    /// The backend.
    pub backend: BackendId,
    /// The last copy that was looked at; `None`: not even one.
    pub after: Option<(VersionId, Extent)>,
    /// Copies looked at.
    pub copies: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The round begins anew.
    pub is_last: bool,
}

/// How far the scrubber is on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubRound {
    /// The backend.
    pub backend: BackendId,
    /// Copies read in the round that is under way.
    pub copies: u64,
    /// Seconds since that began.
    pub begun_s: i64,
    /// Seconds since the one before was done; `None`: none was.
    pub last_done_s: Option<i64>,
}

/// What a copy was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Read whole, and what it should be.
    Good,
    /// Read whole, twice, and something else.
    Corrupt,
    /// Not there, by two answers of a backend that shows our marker.
    Gone,
    /// Read whole; there is nothing that it could be compared with.
    Unproven,
    /// It could not be read now; the text says why.
    Unread(String),
    /// It was read, and the ledger would not have it; the text says why.
    Refused(String),
}

impl Verdict {
    /// The word for operators.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Corrupt => "corrupt",
            Self::Gone => "gone",
            Self::Unproven => "unproven",
            Self::Unread(_) => "unread",
            Self::Refused(_) => "refused",
        }
    }

    /// More about it.
    pub fn why(&self) -> &str {
        match self {
            Self::Good | Self::Corrupt | Self::Gone | Self::Unproven => "",
            Self::Unread(why) | Self::Refused(why) => why,
        }
    }
}

/// Asks for all copies of a version to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubObject {
    /// The virtual bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Which version; `None`: the current one.
    pub version: Option<VersionRef>,
}

/// A copy that was read on demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubbedCopy {
    /// Its version.
    pub version: VersionId,
    /// The piece of it.
    pub extent: Extent,
    /// The backend's name.
    pub backend: String,
    /// The full key there.
    pub storage_key: String,
    /// Bytes there.
    pub size: u64,
    /// What it is.
    pub verdict: Verdict,
}

/// How many of some copies may be read: as long as bytes are left when one is begun, and none while there are none.
pub fn affordable(allowance: i64, sizes: impl Iterator<Item = u64>) -> usize {
    let mut left = i128::from(allowance);
    let begun = sizes.take_while(|size| {
        let may = left > 0;
        left -= i128::from(*size);
        may
    });
    begun.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_blob_is_read_on_credit_and_the_next_waits() {
        assert_eq!(affordable(0, [1, 1].into_iter()), 0);
        assert_eq!(affordable(-5, [0].into_iter()), 0);
        assert_eq!(affordable(1, [u64::MAX, 1].into_iter()), 1);
        assert_eq!(affordable(10, [4, 4, 4, 4].into_iter()), 3);
        assert_eq!(affordable(10, [0, 0].into_iter()), 2);
    }
}
