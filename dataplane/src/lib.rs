//! The data plane: an S3 endpoint that authenticates, asks the control plane where an object goes or
//! is, streams the bytes and commits.
//!
//! Architecture invariants: no state that another data plane would need; no SQL and nothing of the
//! control plane but its wire; no request's memory grows with the object's size.
//!
//! One PUT, by file: `http/service.rs` → `auth.rs`, `access.rs` → `ops/put_object.rs` →
//! `pipeline/put.rs` → `pipeline/target.rs` → `control/calls.rs`.

// The names of S3's operations and error codes read as words in these texts.
#![allow(clippy::doc_markdown)]

pub mod config;

mod access;
mod auth;
mod control;
mod degraded;
mod failpoints;
mod form;
mod health;
mod host;
mod http;
mod metrics;
mod newest;
mod ops;
mod pipeline;
mod plane;
mod snapshot;

pub use config::DataPlaneConfig;
pub use plane::DataPlane;
