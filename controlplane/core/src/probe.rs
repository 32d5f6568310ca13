//! What a backend can do and what it needs, as it is found out on demand.

use async_trait::async_trait;
use s3o_types::{EtagProof, ProbeFinding};

/// What became of the wish to store what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeStored {
    /// Nobody wished it.
    NotAsked,
    /// It is in force from now on.
    Stored,
    /// It is not; the text says why.
    NotStored(String),
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// In the order in which it was asked.
    pub findings: Vec<ProbeFinding>,
    /// What the backend's answers to a PUT prove, the one thing that can be stored; `None`: it could not be seen.
    pub etag: Option<EtagProof>,
    /// Requests that were sent.
    pub requests: u64,
    /// Storage keys that may be there still.
    pub left: Vec<String>,
    /// What became of the wish to store it.
    pub stored: ProbeStored,
}

/// Why nothing was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotProbed {
    /// There is no backend of that name.
    Unknown,
    /// It cannot be asked now; the text says why.
    Refused(String),
}

/// Asks backends what they can do; implemented by the workers, called by the admin service.
#[async_trait]
pub trait BackendProbing: Send + Sync {
    /// Asks one; with `store` what its answers to a PUT prove is in force from now on, unless its declaration says
    /// something else. Who asked may go away: it goes on to its end, and takes away what it made.
    async fn probe_backend(&self, name: &str, store: bool) -> Result<ProbeReport, NotProbed>;
}
