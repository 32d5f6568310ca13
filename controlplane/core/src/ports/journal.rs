//! What the journal's worker needs.

use async_trait::async_trait;
use s3o_types::BackendId;
use uuid::Uuid;

use super::PortError;
use crate::cleanup::Claim;
use crate::journal::{
    JournalChores, JournalState, JournalStep, LogPage, LogPlace, RowPlace, RowsRead, StoredFile,
};

/// The journal: what its worker reads, and how far it is.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Claims it; `None`: another process has it.
    async fn claim_journal(&self, claim: Claim) -> Result<Option<JournalState>, PortError>;
    /// How old the oldest change is that no segment has, in microseconds; 0: there is none.
    async fn journal_lag_us(&self) -> Result<u64, PortError>;
    /// Lets go of it.
    async fn release_journal(&self, owner: Uuid) -> Result<(), PortError>;
    /// The changes behind a place, so many at most: none that comes later will be among them or before them.
    async fn changes(&self, after: LogPlace, limit: u32) -> Result<LogPage, PortError>;
    /// What a file says before its records; asked for after they were read, up to a place.
    async fn journal_header(&self, upto: LogPlace) -> Result<String, PortError>;
    /// Rows of the objects and their versions behind a row.
    async fn snapshot_rows(&self, after: &RowPlace, limit: u32) -> Result<RowsRead, PortError>;
    /// Whether all that ran when a snapshot's last row was read has ended: what is shipped from now on has the rest.
    async fn snapshot_settled(&self) -> Result<bool, PortError>;
    /// Takes a step, if the claim is the owner's still and the next segment is the one that it saw.
    async fn journal_step(&self, owner: Uuid, segment: u64, step: JournalStep) -> Result<bool, PortError>;
    /// Backends with room for a file, the best first.
    async fn journal_targets(&self, bytes: u64) -> Result<Vec<BackendId>, PortError>;
    /// Records a file before its PUT.
    async fn note_journal_file(&self, file: &StoredFile) -> Result<(), PortError>;
    /// Its PUT was verified. `Ok(false)`: nobody knows of the file any more.
    async fn journal_file_stored(&self, backend: BackendId, storage_key: &str) -> Result<bool, PortError>;
    /// It was found not to be what was stored: it counts no more, and is deleted later.
    async fn journal_file_bad(&self, backend: BackendId, storage_key: &str) -> Result<(), PortError>;
    /// The greatest number of a file that the newest snapshot needs and of which no copy is left.
    async fn journal_hole(&self) -> Result<Option<u64>, PortError>;
    /// Before its deletion: it counts no more. `Ok(false)`: it is needed, or the journal is not the owner's any more, or the
    /// recovery mode is on; then it is not to be deleted.
    async fn condemn_journal_file(
        &self,
        owner: Uuid,
        backend: BackendId,
        storage_key: &str,
    ) -> Result<bool, PortError>;
    /// It is deleted, or was never stored.
    async fn journal_file_gone(&self, backend: BackendId, storage_key: &str) -> Result<(), PortError>;
    /// Backends that hold a file, may, or did.
    async fn journal_holders(&self, storage_key: &str) -> Result<Vec<BackendId>, PortError>;
    /// Backends that have files of it, as far as is known.
    async fn journal_backends(&self) -> Result<Vec<BackendId>, PortError>;
    /// The keys of the files that are known, from a number on.
    async fn journal_keys(&self, from: u64) -> Result<Vec<String>, PortError>;
    /// Stored files that were not looked at for so long, a few; they count as looked at from now on.
    async fn journal_checks(&self, after_us: i64, limit: u32) -> Result<Vec<StoredFile>, PortError>;
    /// Files to be deleted, and files of which fewer than so many backends have one.
    async fn journal_chores(&self, copies: u16) -> Result<JournalChores, PortError>;
}
