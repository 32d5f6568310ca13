//! What operators look at.

use async_trait::async_trait;
use s3o_types::BackendId;

use super::PortError;
use crate::config::ClusterConfig;
use crate::session::{BackendUsage, Hello};
use crate::usage::{Usage, spent};
use crate::worker::WorkerStatus;

/// What operators look at.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Bytes by backend, and this month's usage.
    async fn backend_usage(&self) -> Result<Vec<(BackendId, Usage, BackendUsage)>, PortError>;
    /// [`spent`] backends as of now. Nothing is read where nothing is limited.
    async fn spent(&self, config: &ClusterConfig) -> Result<Vec<BackendId>, PortError> {
        if config.backends.iter().all(|backend| backend.limits.is_none()) {
            return Ok(Vec::new());
        }
        Ok(spent(config, &self.backend_usage().await?))
    }
    /// Sessions and whether their lease holds.
    async fn sessions(&self) -> Result<Vec<(Hello, bool)>, PortError>;
    /// Records a tick of a worker.
    async fn record_tick(
        &self,
        worker: &str,
        instance: &str,
        result: Result<(), String>,
    ) -> Result<(), PortError>;
    /// All workers of all replicas.
    async fn workers(&self) -> Result<Vec<WorkerStatus>, PortError>;
    /// What waits for the named worker in its queue; `Ok(None)`: it has none. A store may stop counting at 100,001.
    async fn waiting(&self, worker: &str) -> Result<Option<u64>, PortError>;
}
