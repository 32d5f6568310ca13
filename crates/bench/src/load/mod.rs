//! The loader: connections that are kept, requests that are signed beforehand, a closed loop for
//! throughput and an open one for latency.
//!
//! Invariant: an answer that is not the expected one is counted and named, never left out.

mod body;
pub(crate) mod closed;
mod connection;
mod failures;
mod feed;
pub(crate) mod open;
mod payload;
mod request;

pub(crate) use connection::{Connection, connect_all};
pub(crate) use failures::Failed;
pub(crate) use feed::Feed;
pub(crate) use payload::{Payload, Payloads, Upload};
pub(crate) use request::Workshop;

#[cfg(test)]
mod tests;
