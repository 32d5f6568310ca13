//! The harness of the end-to-end tests: PostgreSQL, backends that fail on purpose, both planes as real
//! processes, proxies that cut, and the two questions asked after everything: is every acknowledged
//! object whole, and is every byte accounted for.
//!
//! Invariant: a test shares nothing with another; whatever it started ends with it; no test asserts
//! how fast something is.

pub mod audit;
pub mod backend;
pub mod binaries;
pub mod campaign;
pub mod certificates;
pub mod cluster;
pub mod config;
pub mod database;
pub mod multipart;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
mod ready;
pub mod rebuild;
pub mod s3;
pub mod settle;
pub mod wait;
pub mod wire;
pub mod workload;

pub use cluster::{Cluster, Options};
pub use proxy::{Mode, Proxy};
