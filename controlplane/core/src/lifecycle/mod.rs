//! Expiry by rules: who is due is decided in `rules.rs`, twice. A page of a bucket's rows finds those that seem to be, and
//! the ledger decides each once more, of the rows and rules as they are under the key's lock (`decide/expire.rs`).

mod rules;

use std::fmt;
use std::str::FromStr;

use s3o_types::{Seq, Timestamp, UploadId};

use crate::call::Expire;

pub use rules::{Aged, expires, noncurrent_expires, upload_expires};

/// What of a bucket is gone through, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Current versions.
    Objects,
    /// Noncurrent versions and delete markers.
    Versions,
    /// Open multipart uploads.
    Uploads,
}

impl Phase {
    /// The one after it.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Objects => Some(Self::Versions),
            Self::Versions => Some(Self::Uploads),
            Self::Uploads => None,
        }
    }

    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Versions => "versions",
            Self::Uploads => "uploads",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "objects" => Ok(Self::Objects),
            "versions" => Ok(Self::Versions),
            "uploads" => Ok(Self::Uploads),
            other => Err(format!("phase `{other}` is none of objects, versions, uploads")),
        }
    }
}

/// How far a bucket was gone through: everything in front of it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which rows.
    pub phase: Phase,
    /// The last key.
    pub key: String,
    /// The last of its versions; `None`: all of them.
    pub seq: Option<Seq>,
    /// The last of its uploads; `None`: all of them.
    pub upload: Option<UploadId>,
}

impl Place {
    /// Where a phase begins.
    pub const fn start(phase: Phase) -> Self {
        Self { phase, key: String::new(), seq: None, upload: None }
    }
}

/// What a look at a page of rows found.
#[derive(Debug, Clone)]
pub struct DuePage {
    /// What seems to be due.
    pub due: Vec<Expire>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<Place>,
}

/// Where a row that is not the current one stands among those of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// When what came next was written, which is when this ceased to be the newest; `None`: it is the newest.
    pub successor: Option<Timestamp>,
    /// Noncurrent versions that are newer, markers left out.
    pub newer: u32,
    /// Its key has no other row.
    pub alone: bool,
}
