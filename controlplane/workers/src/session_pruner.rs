//! Forgets sessions that ended long ago and left no intent.

use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::ports::Maintenance;
use s3o_core::worker::Counts;

use crate::harness::Worker;

pub(crate) struct SessionPruner(pub(crate) Arc<dyn Maintenance>);

#[async_trait]
impl Worker for SessionPruner {
    async fn tick(&self) -> Result<Counts, String> {
        self.0.prune_sessions().await.map_err(|error| error.to_string())
    }
}
