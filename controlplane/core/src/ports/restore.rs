//! What a rebuild and a recovery need.

use async_trait::async_trait;
use s3o_types::{BackendId, VersionId};

use super::PortError;
use crate::journal::{LogPlace, StoredFile};
use crate::restore::{
    Applied, FoundKey, FoundObject, KeyPlace, KnownBackend, LostVersions, MergedBuckets, Revived, UnnamedBlob,
};

/// A database that is made again, or brought up to date, from the backends.
#[async_trait]
pub trait Restore: Send + Sync {
    /// Forgets what was staged before.
    async fn restore_begin(&self) -> Result<(), PortError>;
    /// Stages records of the journal, in their order.
    async fn restore_records(&self, lines: Vec<String>) -> Result<(), PortError>;
    /// Stages keys of a backend.
    async fn restore_found(&self, backend: BackendId, found: Vec<FoundKey>) -> Result<(), PortError>;
    /// The last record that is staged.
    async fn restore_last_record(&self) -> Result<i64, PortError>;
    /// Stages what the database's own change log says behind a place of versions that are gone, some of it; where that was
    /// read to, and whether there may be more.
    async fn restore_own(&self, after: LogPlace) -> Result<(LogPlace, bool), PortError>;
    /// Brings the next keys behind a place to what records after `record`, and before, say of them, and attaches blobs to
    /// what is new; `own`: up to where the database's own log is staged; `md5`: backends whose ETags are MD5s. `None`: there
    /// are no more.
    async fn restore_keys(
        &self,
        after: &KeyPlace,
        record: i64,
        own: LogPlace,
        md5: &[BackendId],
    ) -> Result<Option<(KeyPlace, Applied)>, PortError>;
    /// Whether it is still to be found out of a write that was begun before the database was restored if anybody goes on with
    /// it: for two minutes at most, unless new ones come.
    async fn restore_undecided(&self) -> Result<bool, PortError>;
    /// Blobs of versions behind `after`, from `from` on, that nothing names.
    async fn restore_unnamed(
        &self,
        after: VersionId,
        from: VersionId,
        limit: u32,
    ) -> Result<Vec<UnnamedBlob>, PortError>;
    /// Stages an object that a blob describes, newer than all that the journal has, and older than what was written since;
    /// `by_id`: it may be of where the journal has a gap, and stands where its id is among those of its key.
    async fn restore_revive(&self, found: FoundObject, by_id: bool) -> Result<Revived, PortError>;
    /// Versions of which bytes are nowhere: how many, and the first of them.
    async fn restore_lost(&self, limit: u32) -> Result<LostVersions, PortError>;
    /// The database's buckets, as a file's header has them.
    async fn restore_buckets(&self) -> Result<String, PortError>;
    /// An empty database becomes that of a file's header. `Ok(Err)`: it is not empty.
    async fn restore_identity(
        &self,
        header: &str,
        backends: Vec<KnownBackend>,
    ) -> Result<Result<(), String>, PortError>;
    /// All records and blobs are staged: buckets that are lacking are made, others are set as they were, numbers are made
    /// good. `lost`: the records that are of the lost history, and not of the database's own: from behind one up to
    /// another. `Ok(Err)`: it cannot go on; nothing was changed.
    async fn restore_staged(
        &self,
        header: &str,
        lost: &[(i64, i64)],
    ) -> Result<Result<MergedBuckets, String>, PortError>;
    /// All keys are as they should be: buckets that were deleted are deleted, where nothing is in them.
    async fn restore_buckets_end(&self, header: &str) -> Result<MergedBuckets, PortError>;
    /// Takes the journal's files over and forgets what was staged. `open`: blobs from there on may be of no file.
    async fn restore_end(&self, open: VersionId, files: Vec<StoredFile>) -> Result<(), PortError>;
}
