//! What the workers of copies need.

use async_trait::async_trait;
use s3o_types::BackendId;
use uuid::Uuid;

use super::PortError;
use crate::cleanup::Claim;
use crate::replication::{
    CopiesPage, CopiesQuery, CopyTask, ReplicationEntry, ReplicationItem, ReplicationResult,
};
use crate::worker::Counts;

/// Versions whose copies are too few or too many.
#[async_trait]
pub trait Replication: Send + Sync {
    /// Claims versions that wait for a task; those of dead owners too.
    async fn claim_versions(&self, task: CopyTask, claim: Claim) -> Result<Vec<ReplicationItem>, PortError>;
    /// Records results. A row that another owner has taken over is left alone, and one that was queued again
    /// meanwhile stays.
    async fn finish_versions(
        &self,
        owner: Uuid,
        results: Vec<(ReplicationItem, ReplicationResult)>,
    ) -> Result<(), PortError>;
    /// The copies of a version; `Ok(None)`: it is gone.
    async fn copies(&self, query: CopiesQuery) -> Result<Option<CopiesPage>, PortError>;
    /// Lets versions be looked at. One that waits already is looked at once more.
    async fn queue_versions(&self, entries: Vec<ReplicationEntry>) -> Result<(), PortError>;
    /// How many versions wait for a task; counting may stop at 100,001.
    async fn waiting(&self, task: CopyTask) -> Result<u64, PortError>;
    /// Records how somebody else sees the backends, who only moves bytes: for how long each has been down, in
    /// microseconds, `None` for up.
    async fn note_views(&self, viewer: Uuid, down_us: Vec<(BackendId, Option<i64>)>)
    -> Result<(), PortError>;
    /// Says how this replica sees the backends (microseconds that each has been down), and hears which ones all living
    /// replicas and data planes see as down, one of them for longer than `threshold_us`.
    async fn unhealthy(
        &self,
        replica: Uuid,
        down_us: Vec<(BackendId, Option<i64>)>,
        threshold_us: i64,
    ) -> Result<Vec<BackendId>, PortError>;
    /// Begins and ends the scans that follow from which backends are unhealthy, then queues one page of versions of a
    /// scan that is due. `Ok(None)`: none is. Counts what was looked at and queued.
    async fn scan(&self, unhealthy: &[BackendId]) -> Result<Option<Counts>, PortError>;
}
