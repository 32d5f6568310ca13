//! `session_pruner`: forgets sessions that ended long ago. Which those are is the store's: a session
//! that left an intent stays until the intent is settled.

use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::ports::Maintenance;
use s3o_core::worker::Counts;
use s3o_runtime::Shutdown;

use crate::runner::Worker;
use crate::workers::Shared;

pub(crate) struct SessionPruner {
    maintenance: Arc<dyn Maintenance>,
}

impl SessionPruner {
    pub(crate) fn new(shared: &Shared) -> Arc<dyn Worker> {
        Arc::new(Self { maintenance: Arc::clone(&shared.maintenance) })
    }
}

#[async_trait]
impl Worker for SessionPruner {
    async fn tick(&self, _: &Shutdown) -> Result<Counts, String> {
        self.maintenance.prune_sessions().await.map_err(|error| error.to_string())
    }
}
