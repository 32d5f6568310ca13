//! What looks at multipart uploads, and the worker that gives them up, need.

use async_trait::async_trait;
use s3o_types::BackendId;

use super::PortError;
use crate::upload::{PartsPage, PartsQuery, UploadRow, UploadsPage, UploadsQuery};
use crate::worker::Counts;

/// Multipart uploads, to be looked at.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// An upload with a page of its parts; `Ok(None)`: the key has none of that id.
    async fn parts(&self, query: PartsQuery) -> Result<Option<PartsPage>, PortError>;
    /// A page of a bucket's open uploads.
    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, PortError>;
    /// Open uploads that were opened longer ago than `age_us` microseconds, and all of buckets that are being deleted, the
    /// oldest first.
    async fn stale_uploads(&self, age_us: i64, limit: u32) -> Result<Vec<UploadRow>, PortError>;
    /// Forgets uploads that were closed longer ago than a repeat of their Complete is answered.
    async fn prune_uploads(&self) -> Result<Counts, PortError>;
    /// Open uploads by the backends that hold parts of them.
    async fn active_uploads(&self) -> Result<Vec<(BackendId, u64)>, PortError>;
}
