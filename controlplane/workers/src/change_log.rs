//! `change_log`: makes the change log's partitions of the coming days and drops those that are done
//! with. Which those are, and how, is the store's.

use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::ports::Maintenance;
use s3o_core::worker::Counts;
use s3o_runtime::Shutdown;

use crate::runner::Worker;
use crate::workers::Shared;

pub(crate) struct ChangeLog {
    maintenance: Arc<dyn Maintenance>,
}

impl ChangeLog {
    pub(crate) fn new(shared: &Shared) -> Arc<dyn Worker> {
        Arc::new(Self { maintenance: Arc::clone(&shared.maintenance) })
    }
}

#[async_trait]
impl Worker for ChangeLog {
    async fn tick(&self, _: &Shutdown) -> Result<Counts, String> {
        self.maintenance.rotate_changes().await.map_err(|error| error.to_string())
    }
}
