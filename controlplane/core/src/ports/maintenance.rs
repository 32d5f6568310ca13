//! What housekeeping needs.

use async_trait::async_trait;
use s3o_types::VersionId;

use super::PortError;
use crate::worker::Counts;

/// Housekeeping of the tables themselves.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Makes the change log's partitions of the coming days; drops those that every reader has passed
    /// and that are over 24 h old.
    async fn rotate_changes(&self) -> Result<Counts, PortError>;
    /// Forgets sessions that ended long ago and left no intent.
    async fn prune_sessions(&self) -> Result<Counts, PortError>;
    /// Looks at the attempts at copies of some versions behind one, forgets those whose version is gone, and says how many;
    /// and where to go on, `None` at the end.
    async fn prune_copy_attempts(
        &self,
        after: Option<VersionId>,
    ) -> Result<(Option<VersionId>, u64), PortError>;
}
