//! What a rebalancing needs.

use async_trait::async_trait;
use s3o_types::{Extent, VersionId};
use uuid::Uuid;

use super::PortError;
use crate::cleanup::Claim;
use crate::rebalance::{CandidatePage, Transfer};

/// What a rebalancing needs of the tables.
#[async_trait]
pub trait Rebalances: Send + Sync {
    /// Copies on the one backend of which the other has none, behind a copy; one look at a page of them, however few of
    /// those qualify.
    async fn candidates(
        &self,
        transfer: Transfer,
        after: Option<(VersionId, Extent)>,
    ) -> Result<CandidatePage, PortError>;
    /// Takes the one place that there is for runs of a name. `Ok(false)`: another owner's goes on.
    async fn claim_run(&self, name: &str, claim: Claim) -> Result<bool, PortError>;
    /// Gives it back.
    async fn release_run(&self, name: &str, owner: Uuid) -> Result<(), PortError>;
}
