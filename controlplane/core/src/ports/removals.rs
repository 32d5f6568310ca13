//! What giving a backend up needs.

use async_trait::async_trait;
use s3o_types::{BackendId, Extent, VersionId};

use super::PortError;
use crate::removal::{HeldCopy, NotRemoved, Removal, RemovalOrder, RemovalPreview};
use crate::upload::UploadRow;

/// Backends that are given up.
#[async_trait]
pub trait Removals: Send + Sync {
    /// What giving up a drained backend would do, as of now.
    async fn preview_removal(&self, name: &str) -> Result<Result<RemovalPreview, NotRemoved>, PortError>;
    /// Gives the backend of that name up from now on, unless the confirmation does not count any more. To take the drain back
    /// ends it. Mints a generation.
    async fn remove(&self, name: &str, order: RemovalOrder) -> Result<Result<(), NotRemoved>, PortError>;
    /// Those that are given up, and how.
    async fn removals(&self) -> Result<Vec<(BackendId, Removal)>, PortError>;
    /// Copies on one behind a copy, so many at most, and the last one that was looked at.
    async fn held_copies(
        &self,
        backend: BackendId,
        after: Option<(VersionId, Extent)>,
        limit: u32,
    ) -> Result<Vec<HeldCopy>, PortError>;
    /// Open multipart uploads with parts on one, so many at most.
    async fn uploads_on(&self, backend: BackendId, limit: u32) -> Result<Vec<UploadRow>, PortError>;
    /// Forgets queued deletions, dead letters and journal files on one whose bytes stay, so many of each at most; lets the
    /// dead letters of another be tried again. Says how many.
    async fn forget_queued(&self, backend: BackendId, limit: u32) -> Result<u64, PortError>;
}
