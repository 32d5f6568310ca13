//! What a failed backend call means: what to do with the backend, and whether a write may still land.

use std::fmt;

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendErrorKind {
    /// The backend says that there is no such blob.
    NotFound,
    /// It asks for patience.
    Throttled,
    /// Credentials, bucket or region are wrong: no call of this kind will work until someone acts.
    Denied,
    /// It will not have this request (other 4xx).
    Rejected,
    /// It failed (5xx), or answered what no S3 server answers.
    Server,
    /// It stood still for too long.
    Timeout,
    /// No connection, or one that broke.
    Connection,
    /// The body we sent failed: the client's fault. The guard's verdict says how.
    Body,
    /// It holds other bytes than were sent.
    Mismatch,
}

impl BackendErrorKind {
    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Body => "body",
            Self::Mismatch => "mismatch",
        }
    }
}

/// Whether a write that failed may have happened, or may still happen. Meaningless for reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// No byte of the request left.
    NotSent,
    /// It can never complete: we cut the body before its last byte, or the backend refused it.
    Cut,
    /// It may have completed, or may complete later.
    Unknown,
}

/// A failed call.
#[derive(Debug, Clone)]
pub struct BackendError {
    /// Why.
    pub kind: BackendErrorKind,
    /// Whether a write may still land.
    pub certainty: Certainty,
    /// For people: S3's code and message where the backend sent them.
    pub message: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
}

impl BackendError {
    /// An error without an answer.
    pub fn new(kind: BackendErrorKind, certainty: Certainty, message: impl Into<String>) -> Self {
        Self { kind, certainty, message: message.into(), status: None }
    }

    /// Whether it says something against the backend. What the client did wrong, a blob that is not
    /// there and a single refused request do not.
    pub const fn counts_against_health(&self) -> bool {
        use BackendErrorKind::{
            Body, Connection, Denied, Mismatch, NotFound, Rejected, Server, Throttled, Timeout,
        };
        match self.kind {
            NotFound | Rejected | Body => false,
            Throttled | Denied | Server | Timeout | Connection | Mismatch => true,
        }
    }

    /// What stands as `status` in the metrics: the HTTP status, else the kind.
    pub fn status_label(&self) -> String {
        self.status.map_or_else(|| self.kind.as_str().to_owned(), |status| status.to_string())
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)?;
        self.status.map_or(Ok(()), |status| write!(f, " (status {status})"))
    }
}

impl std::error::Error for BackendError {}
