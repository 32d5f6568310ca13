//! The control plane as one process: its configuration, and the wiring of store, services, workers
//! and HTTP.
//!
//! Architecture invariant: wiring only. Nothing is decided here. To follow a start: `main.rs`,
//! `start.rs` (listeners), `bring_up.rs` (database, services, workers, reloads).

mod bring_up;
pub mod config;
mod no_workers;
mod rebuild;
mod start;
mod store;
mod store_meters;

use anyhow::Context;

pub use config::ControlPlaneConfig;
pub use rebuild::rebuild;
pub use start::{ControlPlane, Phase, Running};

/// Brings the database's schema up to date.
pub async fn migrate(config: &ControlPlaneConfig) -> anyhow::Result<()> {
    s3o_store::Store::migrate(config.database.url.expose()).await.context("migrate")
}
