//! What is counted of every backend call, for metrics and for the monthly usage limits.
//!
//! Invariant: this crate counts and never decides by the counts; who keeps them is handed in.

use std::sync::Arc;

use s3o_types::BackendId;

/// The calls there are, by S3's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `PutObject`.
    Put,
    /// `GetObject`.
    Get,
    /// `HeadObject`.
    Head,
    /// `DeleteObject`.
    Delete,
    /// `CopyObject`.
    Copy,
    /// `ListObjectsV2`.
    List,
}

impl Operation {
    /// The `operation` label of `s3o_backend_requests_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "PutObject",
            Self::Get => "GetObject",
            Self::Head => "HeadObject",
            Self::Delete => "DeleteObject",
            Self::Copy => "CopyObject",
            Self::List => "ListObjectsV2",
        }
    }

    /// What it says something of.
    pub const fn side(self) -> crate::health::Side {
        match self {
            Self::Put | Self::Copy => crate::health::Side::Write,
            Self::Get | Self::Head | Self::Delete | Self::List => crate::health::Side::Read,
        }
    }

    /// How providers bill it.
    pub const fn class(self) -> ApiClass {
        match self {
            Self::Put | Self::Copy | Self::List => ApiClass::A,
            Self::Get | Self::Head => ApiClass::B,
            Self::Delete => ApiClass::Free,
        }
    }
}

/// The classes in which providers bill requests (AWS "tier 1 and 2", R2 and GCS "class A and B").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiClass {
    /// Writes, copies, listings.
    A,
    /// Reads.
    B,
    /// Not billed.
    Free,
}

impl ApiClass {
    /// The word on the wire and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Free => "free",
        }
    }
}

/// `s3o_backend_requests_total` and `s3o_backend_duration_seconds`.
pub trait BackendMetrics: Send + Sync {
    /// A call ended. `status`: the HTTP status, else the kind of the error. `seconds`: until the
    /// head of the answer.
    fn request(&self, operation: Operation, backend: &str, status: &str, seconds: f64);
}

/// Counts towards the monthly usage of a backend.
pub trait UsageSink: Send + Sync {
    /// A request was sent.
    fn request(&self, backend: BackendId, class: ApiClass);
    /// Bytes were sent to the backend.
    fn ingress(&self, backend: BackendId, bytes: u64);
    /// Bytes came from the backend.
    fn egress(&self, backend: BackendId, bytes: u64);
}

/// Who counts.
#[derive(Clone)]
pub struct Meters {
    /// For the metrics.
    pub metrics: Arc<dyn BackendMetrics>,
    /// For the limits.
    pub usage: Arc<dyn UsageSink>,
}

/// Counts nothing.
struct Nobody;

impl BackendMetrics for Nobody {
    fn request(&self, _: Operation, _: &str, _: &str, _: f64) {}
}

impl UsageSink for Nobody {
    fn request(&self, _: BackendId, _: ApiClass) {}
    fn ingress(&self, _: BackendId, _: u64) {}
    fn egress(&self, _: BackendId, _: u64) {}
}

impl Meters {
    /// For tests and tools.
    pub fn none() -> Self {
        Self { metrics: Arc::new(Nobody), usage: Arc::new(Nobody) }
    }
}
