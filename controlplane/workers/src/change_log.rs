//! Makes the change log's partitions ahead of time and drops those that every reader has passed.

use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::ports::Maintenance;
use s3o_core::worker::Counts;

use crate::harness::Worker;

pub(crate) struct ChangeLog(pub(crate) Arc<dyn Maintenance>);

#[async_trait]
impl Worker for ChangeLog {
    async fn tick(&self) -> Result<Counts, String> {
        self.0.rotate_changes().await.map_err(|error| error.to_string())
    }
}
