//! The client side of a backend: the hot four operations over one shared connection pool, the rest
//! over the AWS SDK, and what both planes know of a backend's health.
//!
//! Invariants: no request is repeated on its own here, since only the caller knows what a repeat
//! may do; every error of a write says whether the blob may still appear ([`Certainty`]); no request
//! has a total time limit, since a large object takes as long as it takes, but none may stand still.

mod aws_chunked;
mod credentials;
mod download;
mod errors;
mod hot;
mod pool;
mod probe;
mod sdk;
mod sign;
mod survey;
mod upload;

pub mod breaker;
pub mod client;
pub mod error;
pub mod health;
pub mod latency;
pub mod marker;
pub mod meter;
pub mod set;
pub mod verify;

pub use aws_chunked::Trailer;
pub use breaker::{Admission, Breaker, BreakerConfig, BreakerState, Transitions};
pub use client::{BackendClient, ByteRange, Deleted, GetDone, HeadDone, ListDone, ListEntry, PutDone};
pub use download::DownloadBody;
pub use error::{BackendError, BackendErrorKind, Certainty};
pub use health::{Health, STOOD_STILL, Side};
pub use marker::{FoundMarker, MarkerCheck, read_marker, write_marker_if_absent};
pub use meter::{ApiClass, BackendMetrics, Meters, Operation, UsageSink};
pub use pool::{HttpPool, Timeouts};
pub use probe::probe_puts;
pub use set::{Backend, BackendSet};
pub use survey::{Survey, survey};
pub use upload::UploadWatch;
pub use verify::verify_put;

#[cfg(test)]
mod fuzz;
