//! The control plane as one process: its configuration, and the wiring of store, services, workers
//! and HTTP.
//!
//! Architecture invariant: wiring only. Nothing is decided here.

pub mod config;

pub use config::ControlPlaneConfig;
