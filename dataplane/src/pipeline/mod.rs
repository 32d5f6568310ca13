//! How bytes move: a write from Begin to Commit or Abort, and a read from copy to client.
//!
//! Invariants: nothing is sent to a backend that the control plane has not recorded; a write that has
//! begun is always ended, by its own tracked task, whoever stopped waiting for it; no body is held in
//! memory beyond a chunk or two, but for small ones in the bounded replay pool, and for 1 MiB at most where
//! several targets take it at their own pace.

mod ahead;
pub(crate) mod audit;
pub(crate) mod body;
mod copies;
mod extent;
mod fanout;
pub(crate) mod faults;
pub(crate) mod hedge;
pub(crate) mod pieces;
mod place;
pub(crate) mod put;
pub(crate) mod read;
pub(crate) mod replay;
mod send;
mod setbacks;
pub(crate) mod suspects;
mod target;
pub(crate) mod task;
mod verify;

/// Errors that any body may have.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
