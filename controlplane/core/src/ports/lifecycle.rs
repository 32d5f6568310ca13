//! What passes through buckets need.

use async_trait::async_trait;
use s3o_types::BucketId;

use super::PortError;
use crate::cleanup::Claim;
use crate::lifecycle::{DuePage, Place};

/// What expires by the rules of buckets.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// Claims the pass through a bucket: one that a dead owner or a failure has left goes on where it was. `Ok(None)`:
    /// another owner's goes on.
    async fn claim_pass(&self, bucket: BucketId, claim: Claim) -> Result<Option<Place>, PortError>;
    /// Looks at one page of rows behind a place, `limit` at most. Reads the rules as they are now.
    async fn due(&self, bucket: BucketId, after: &Place, limit: u32) -> Result<DuePage, PortError>;
    /// Records how far a claimed pass is, and renews the claim; `None` ends it. `Ok(false)`: it is another's now.
    async fn save_pass(
        &self,
        bucket: BucketId,
        claim: Claim,
        place: Option<&Place>,
    ) -> Result<bool, PortError>;
}
