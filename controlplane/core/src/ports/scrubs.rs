//! What the scrubber needs.

use async_trait::async_trait;
use s3o_types::BackendId;
use uuid::Uuid;

use super::PortError;
use crate::cleanup::Claim;
use crate::scrub::{ScrubBatch, ScrubPace, ScrubProgress, ScrubRound};

/// The scrubber's rounds over the backends.
#[async_trait]
pub trait Scrubs: Send + Sync {
    /// Claims one backend's copies that are due: as many as the pace allows to be read now. Nobody else is given copies
    /// of that backend before they are finished or the claim ends; none of those in `without` are. `Ok(None)`: none are due.
    async fn claim_scrub(
        &self,
        claim: Claim,
        pace: ScrubPace,
        without: &[BackendId],
    ) -> Result<Option<ScrubBatch>, PortError>;
    /// Records how far a claimed batch was read, and gives the claim up; not if another owner has taken it over.
    async fn finish_scrub(&self, owner: Uuid, progress: ScrubProgress) -> Result<(), PortError>;
    /// How far the rounds are.
    async fn scrub_rounds(&self) -> Result<Vec<ScrubRound>, PortError>;
}
