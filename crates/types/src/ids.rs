//! Small integer ids. Each is a type of its own, so that a bucket can never be passed for a backend.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::version::{crockford15, parse_crockford15};

/// A virtual bucket's row number; never used again after the bucket is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketId(pub i32);

/// A backend's row number; never used again after the backend is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackendId(pub i32);

/// Which of the places that a backend has had in its life: every edit of its endpoint or real bucket begins
/// another. Counted from 1. Credentials and quirks are no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place(i32);

impl Place {
    /// Where a backend was first.
    pub const FIRST: Self = Self(1);

    /// By its number. Whoever names none (0) does not count places, and so can mean no other than the
    /// first: read like that, nothing of theirs counts at a backend that has moved since.
    pub const fn from_number(n: i32) -> Self {
        if n > 1 { Self(n) } else { Self::FIRST }
    }

    /// Its number, never below 1.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::FIRST
    }
}

/// The change-log number of a commit or delete. It alone orders the versions of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Seq(pub i64);

/// The operation id: one UUIDv7 a client request, minted by the data plane, and the number of the
/// item within it (0 but for batches). Begin, Commit and Abort of one write share it, and a repeat
/// with the same id gets the first outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op {
    /// The client request.
    pub id: Uuid,
    /// The item of the request, counted from 0.
    pub item: i32,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.item)
    }
}

macro_rules! fifteen_bits {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(u16);

        impl $name {
            /// The first one, `000`.
            pub const ZERO: Self = Self(0);
            /// The greatest that three Crockford base32 characters hold.
            pub const MAX: u16 = (1 << 15) - 1;

            /// `None` when `n` does not fit 15 bits.
            pub const fn new(n: u16) -> Option<Self> {
                if n <= Self::MAX { Some(Self(n)) } else { None }
            }

            /// The number.
            pub const fn get(self) -> u16 {
                self.0
            }

            pub(crate) fn parse(text: &str) -> Option<Self> {
                parse_crockford15(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&crockford15(self.0))
            }
        }
    };
}

fifteen_bits!(
    /// Which of a version's extents: 0 for the only one, or for the manifest of several.
    Extent
);
fifteen_bits!(
    /// Which write attempt at an extent: the client's count up from 0, those of the workers down from the end.
    Gen
);

impl Gen {
    /// How many attempts at an extent its client, and how many the workers, may make.
    pub const EACH: u16 = 1 << 14;

    /// The client's `n`th attempt, counted from 0: from the least up.
    pub const fn of_client(n: u16) -> Option<Self> {
        if n < Self::EACH { Some(Self(n)) } else { None }
    }

    /// The workers' `n`th attempt, counted from 0: from the greatest down, so that they never meet the client's,
    /// whose number nobody knows any more when its upload is forgotten.
    pub const fn of_worker(n: u16) -> Option<Self> {
        if n < Self::EACH { Some(Self(Self::MAX - n)) } else { None }
    }
}

/// A multipart upload: the operation id of the call that opened it, so that a repeat of that call finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub Uuid);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_workers_never_share_a_gen() {
        assert_eq!(Gen::of_client(0), Some(Gen::ZERO));
        assert_eq!(Gen::of_worker(0).map(Gen::get), Some(Gen::MAX));
        let (client, worker) = (Gen::of_client(Gen::EACH - 1), Gen::of_worker(Gen::EACH - 1));
        assert!(client < worker, "{client:?} {worker:?}");
        assert_eq!((Gen::of_client(Gen::EACH), Gen::of_worker(Gen::EACH)), (None, None));
    }
}
