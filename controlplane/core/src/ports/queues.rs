//! Work that is found in tables.

use async_trait::async_trait;
use uuid::Uuid;

use super::PortError;
use crate::cleanup::{Claim, CleanupItem, CleanupResult, QueueDepths};
use crate::intent::Intent;
use crate::worker::Counts;

/// Work that is found in tables.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Claims rows of the cleanup queue that are due; rows of dead owners too.
    async fn claim_cleanup(&self, claim: Claim) -> Result<Vec<CleanupItem>, PortError>;
    /// Records results: done, put off for an uncertain key's second DELETE, put off after a failure, or
    /// dead-lettered after [`crate::cleanup::MAX_ATTEMPTS`]. A row that another owner has taken over is left alone.
    /// Counts what happened: `success`, `success_absent`, `second_pass`, `retry`, `deferred`,
    /// `exhausted`, `not_ours`.
    async fn finish_cleanup(
        &self,
        owner: Uuid,
        results: Vec<(CleanupItem, CleanupResult)>,
    ) -> Result<Counts, PortError>;
    /// Claims intents that have expired (DESIGN §4: session's deadline passed, or old and not listed).
    async fn claim_expired_intents(&self, claim: Claim) -> Result<Vec<Intent>, PortError>;
    /// Lets claimed intents go, unresolved, to be looked at again.
    async fn release_intents(&self, owner: Uuid, ops: Vec<s3o_types::Op>) -> Result<(), PortError>;
    /// How much is waiting.
    async fn depths(&self) -> Result<QueueDepths, PortError>;
}
