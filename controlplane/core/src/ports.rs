//! The ports: what `grpc` and `workers` need of the store, and nothing of how it is done.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::bucket::BucketChange;
use crate::call::{Outcome, Refusal, Request};
use crate::cleanup::{Claim, CleanupItem, CleanupResult, QueueDepths};
use crate::config::{ClusterConfig, MarkerPlace, MarkerSeen};
use crate::intent::Intent;
use crate::journal::{
    JournalChores, JournalState, JournalStep, LogPage, LogPlace, RowPlace, RowsRead, StoredFile,
};
use crate::lifecycle::{DuePage, Place};
use crate::listing::{ListQuery, Page};
use crate::object::{Locate, Lookup};
use crate::rebalance::{CandidatePage, Move, RebalanceTotals, RebalanceWish, Transfer};
use crate::reconcile::{
    AskRun, Candidate, CandidateKind, GoneBucket, KnownCopy, LostCopy, RowsPage, RowsQuery, Run, Stray,
    StrayKind,
};
use crate::removal::{HeldCopy, NotRemoved, Removal, RemovalOrder, RemovalPreview};
use crate::replication::{
    CopiesPage, CopiesQuery, CopyTask, Drain, ReplicationEntry, ReplicationItem, ReplicationResult,
};
use crate::restore::{
    Applied, FoundKey, FoundObject, KeyPlace, KnownBackend, LostVersions, MergedBuckets, RestoreReport,
    Revived, UnnamedBlob,
};
use crate::scrub::{ScrubBatch, ScrubObject, ScrubPace, ScrubProgress, ScrubRound, ScrubbedCopy};
use crate::session::{BackendUsage, Hello, UsageReport};
use crate::upload::{PartsPage, PartsQuery, UploadRow, UploadsPage, UploadsQuery};
use crate::usage::{Usage, UsageDrift, spent};
use crate::versions::{SetVersioning, VersionsPage, VersionsQuery};
use crate::worker::{Counts, WorkerStatus};
use s3o_types::{BackendId, BlobName, BucketId, Extent, VersionId, Versioning};

pub use crate::probe::BackendProbing;

/// Why a port could not answer. Whatever it was, the caller may try again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PortError {
    /// The database cannot be reached, or refused for now.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row that this release cannot read; names table and key.
    #[error("{0}")]
    Corrupt(String),
}

/// Decides calls, many in one transaction.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Decides one call. Returns when its transaction is durable, or with a retryable refusal.
    async fn submit(&self, request: Request) -> Outcome;
    /// Where a version of a key is.
    async fn locate(&self, query: Locate) -> Result<Lookup, Refusal>;
    /// One page of a bucket.
    async fn list(&self, query: ListQuery) -> Result<Page, Refusal>;
}

/// Versions besides the current ones, and whether a bucket keeps them.
#[async_trait]
pub trait Versions: Send + Sync {
    /// One page of a bucket's versions and delete markers.
    async fn list_versions(&self, query: VersionsQuery) -> Result<VersionsPage, Refusal>;
    /// Whether the bucket keeps versions, as the next writer will see it. `Ok(None)`: there is no such bucket.
    async fn versioning(&self, bucket: BucketId) -> Result<Option<Versioning>, PortError>;
    /// Lets a bucket keep versions, or cease to, once: a repeat of the operation changes nothing. No write of the
    /// bucket is decided while it changes. Mints a generation.
    async fn set_versioning(&self, set: SetVersioning) -> Result<(), Refusal>;
}

/// Leases and reports of data planes and worker processes.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Records a session, with a lease that begins now.
    async fn open(&self, hello: Hello) -> Result<(), PortError>;
    /// Renews the lease and says which operations have been open for over a minute.
    async fn renew(&self, session: Uuid, open_ops: Vec<Uuid>) -> Result<(), PortError>;
    /// Ends the lease: what it left open may be reaped at once.
    async fn close(&self, session: Uuid) -> Result<(), PortError>;
    /// Adds a report to this month's usage, once.
    async fn add_usage(&self, session: Uuid, report: UsageReport) -> Result<(), PortError>;
    /// Whether the database has answered lately.
    fn database_reachable(&self) -> bool;
}

/// Buckets that clients make, change and delete (S3's `CreateBucket`, `DeleteBucket`, `PutBucketCors`).
#[async_trait]
pub trait Buckets: Send + Sync {
    /// Decides a change and makes it, in one transaction. Returns the generation of the configuration in which it
    /// stands. A repeat by the same operation id gets the first outcome.
    async fn change(&self, change: BucketChange) -> Result<Result<i64, Refusal>, PortError>;
    /// Takes deleted buckets of which no row names a byte any more out of `deleting`: their names are free.
    async fn retire(&self) -> Result<Counts, PortError>;
}

/// The configuration that the database serves.
#[async_trait]
pub trait Configs: Send + Sync {
    /// The newest known. Does not wait for the database.
    fn current(&self) -> Arc<ClusterConfig>;
    /// Waits until there is another than `generation`: a restored database may count from a smaller number.
    async fn newer_than(&self, generation: i64) -> Arc<ClusterConfig>;
    /// The newest that the database has, asked for now: another replica may have changed it a moment ago.
    async fn newest(&self) -> Result<Arc<ClusterConfig>, PortError>;
    /// Records that a backend's marker is ours and what it proves, unless the backend is elsewhere by now;
    /// mints a generation if that is new.
    async fn attach(&self, seen: MarkerSeen) -> Result<(), PortError>;
    /// Records that a backend's marker is not ours: nothing is placed there any more.
    async fn detach(&self, seen: MarkerPlace) -> Result<(), PortError>;
}

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

/// Backends that are emptied.
#[async_trait]
pub trait Drains: Send + Sync {
    /// Empties a backend: nothing is placed there any more, and what is there is copied elsewhere and then taken away.
    /// `Ok(false)`: there is none of that name.
    async fn drain(&self, name: &str) -> Result<bool, PortError>;
    /// Takes it back: what was moved stays where it is. `Ok(false)`: none of that name is drained by an operator.
    async fn undrain(&self, name: &str) -> Result<bool, PortError>;
    /// Those under way, and those that are done and whose backend is still there.
    async fn drains(&self) -> Result<Vec<Drain>, PortError>;
    /// Forgets backends that are in no file any more and on which nothing is left; says how many.
    async fn retire(&self) -> Result<u64, PortError>;
}

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

/// Runs over backends, and what they compare with.
#[async_trait]
pub trait Reconciliation: Send + Sync {
    /// Begins a run of each, unless the backend has one: then that is the answer, if it does the same. `Ok(Err)` with what
    /// it does else, or where a backend cannot be worked with: then none is begun.
    async fn ask_all(&self, asks: Vec<AskRun>) -> Result<Result<Vec<Run>, Refusal>, PortError>;
    /// [`Self::ask_all`] of one.
    async fn ask(&self, ask: AskRun) -> Result<Result<Run, Refusal>, PortError> {
        match self.ask_all(vec![ask]).await? {
            Ok(runs) => runs.into_iter().next().map(Ok).ok_or_else(|| {
                PortError::Corrupt("the database answered for fewer runs than it was asked for".to_owned())
            }),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
    /// Each backend's last run.
    async fn runs(&self) -> Result<Vec<Run>, PortError>;
    /// Begins runs of backends, but for those in `without`, whose last one began longer ago than this; says how many.
    async fn ask_due(&self, every_us: i64, without: &[BackendId]) -> Result<u64, PortError>;
    /// Claims a run that goes on; one of a dead owner too. It is told how many copies to expect.
    async fn claim_run(&self, claim: Claim) -> Result<Option<Run>, PortError>;
    /// Records how far a claimed run is, and renews the claim; at its end lets it go. `Ok(false)`: it is another's now.
    async fn save_run(&self, claim: Claim, run: &Run) -> Result<bool, PortError>;
    /// Notes how far version numbers have come, now and then, so that what is older than a time is known later: to within ten
    /// minutes for `keep_us`, and to within a day after that, whoever else asks for less.
    async fn note_versions(&self, keep_us: i64) -> Result<(), PortError>;
    /// Buckets that are gone and whose names no other has now: what is left of them on a backend is nobody's.
    async fn gone_buckets(&self) -> Result<Vec<GoneBucket>, PortError>;
    /// Copies of a bucket on a backend, by key. Neither imported ones nor those of versions that are gone.
    async fn rows(&self, query: RowsQuery) -> Result<RowsPage, PortError>;
    /// Imported copies on a backend, by their storage keys, so many behind one.
    async fn imported_rows(
        &self,
        backend: BackendId,
        after: &str,
        limit: u16,
    ) -> Result<Vec<KnownCopy>, PortError>;
    /// Keeps rows whose storage keys are hashed until [`Self::hashed_rows`] asks for them. Twice is as good as once.
    async fn gather_hashed(&self, run: &Run, rows: Vec<KnownCopy>) -> Result<(), PortError>;
    /// Those rows, by their storage keys, so many behind one.
    async fn hashed_rows(&self, run: &Run, after: &str, limit: u16) -> Result<Vec<KnownCopy>, PortError>;
    /// What the tables say of blobs that no row of a run named, in their order. A version counts as young until its
    /// number was noted `young_us` ago.
    async fn strays(
        &self,
        backend: BackendId,
        strays: &[Stray],
        young_us: i64,
    ) -> Result<Vec<StrayKind>, PortError>;
    /// Records copies that are gone and cannot be marked.
    async fn note_lost(&self, lost: Vec<LostCopy>) -> Result<(), PortError>;
    /// Forgets those of a backend that are there.
    async fn note_found(&self, backend: BackendId, blobs: Vec<BlobName>) -> Result<(), PortError>;
    /// Objects of which bytes are lost.
    async fn lost_objects(&self) -> Result<u64, PortError>;
    /// Which foreign keys may become objects of a bucket, in their order.
    async fn candidates(
        &self,
        backend: BackendId,
        bucket: BucketId,
        candidates: &[Candidate],
    ) -> Result<Vec<CandidateKind>, PortError>;
    /// What the counters of each backend say against what its rows add up to, in one snapshot; the difference is added
    /// where `repair`.
    async fn audit(&self, repair: bool) -> Result<Vec<UsageDrift>, PortError>;
}

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

/// The recovery mode: the database may lack what the backends have, and nothing is deleted.
#[async_trait]
pub trait Recovery: Send + Sync {
    /// Why it is on; `None`: it is not.
    async fn recovery(&self) -> Result<Option<String>, PortError>;
    /// Whether it is on and nothing is shipped: what was done since the database was restored is still to be told from what
    /// was lost. It is shipped again after a rebuild, whatever the mode.
    async fn holds_journal(&self) -> Result<bool, PortError>;
    /// Turns it on. What gets a number from now on gets a greater one than any that was lost.
    async fn enter_recovery(&self, why: &str) -> Result<(), PortError>;
    /// The same, where a file of the journal that was lost says in its header how far the numbers were.
    async fn pass_numbers(&self, header: &str) -> Result<(), PortError>;
    /// Nobody's journal is ahead, as far as the backends answer: until then, from the start of the database's server on,
    /// nothing is deleted. `start`: of the server, as it was before they were asked.
    async fn journal_looked_at(&self, start: &str) -> Result<(), PortError>;
    /// When the database's server was started, as [`Self::journal_looked_at`] takes it.
    async fn server_start(&self) -> Result<String, PortError>;
    /// Whether anything may be deleted for good: the mode is off, and somebody has looked.
    async fn may_delete(&self) -> Result<bool, PortError>;
    /// Turns it off, if what was staged last in this process still is.
    async fn end_recovery(&self) -> Result<(), PortError>;
}

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

/// What operators look at.
#[async_trait]
pub trait Overview: Send + Sync {
    /// Bytes by backend, and this month's usage.
    async fn backend_usage(&self) -> Result<Vec<(BackendId, Usage, BackendUsage)>, PortError>;
    /// [`spent`] backends as of now. Nothing is read where nothing is limited.
    async fn spent(&self, config: &ClusterConfig) -> Result<Vec<BackendId>, PortError> {
        if config.backends.iter().all(|backend| backend.limits.is_none()) {
            return Ok(Vec::new());
        }
        Ok(spent(config, &self.backend_usage().await?))
    }
    /// Sessions and whether their lease holds.
    async fn sessions(&self) -> Result<Vec<(Hello, bool)>, PortError>;
    /// Records a tick of a worker.
    async fn record_tick(
        &self,
        worker: &str,
        instance: &str,
        result: Result<(), String>,
    ) -> Result<(), PortError>;
    /// All workers of all replicas.
    async fn workers(&self) -> Result<Vec<WorkerStatus>, PortError>;
    /// What waits for the named worker in its queue; `Ok(None)`: it has none. A store may stop counting at 100,001.
    async fn waiting(&self, worker: &str) -> Result<Option<u64>, PortError>;
}

/// Moves copies on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait Rebalancing: Send + Sync {
    /// Plans and moves, or only says what would be moved; tells of each copy with the totals so far. An error says why
    /// nothing, or nothing more, was done.
    async fn rebalance(
        &self,
        wish: RebalanceWish,
        tell: Box<dyn FnMut(Move, RebalanceTotals) + Send>,
    ) -> Result<RebalanceTotals, String>;
    /// What is done where nothing else is wished.
    fn usual(&self) -> RebalanceWish;
}

/// Reads an object's copies on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait ObjectScrub: Send + Sync {
    /// Reads all copies of a version and tells of each; what is wrong is marked, and repaired by the replicator.
    async fn scrub_object(
        &self,
        object: ScrubObject,
        tell: Box<dyn FnMut(ScrubbedCopy) + Send>,
    ) -> Result<(), Refusal>;
}

/// Ends the recovery mode on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait Recovering: Send + Sync {
    /// Merges what the backends have newer than the database, and turns the recovery mode off; `without`: backends that are
    /// given up, by name. An error says why it is on still.
    async fn recover(&self, without: Vec<String>) -> Result<RestoreReport, String>;
}

/// Runs workers on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait WorkerControl: Send + Sync {
    /// Runs one tick of the named worker. `Err(None)`: there is no such worker.
    async fn run(&self, name: &str) -> Result<Counts, Option<String>>;
    /// Their names.
    fn names(&self) -> Vec<&'static str>;
}

/// Multipart uploads, to be looked at.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// An upload with a page of its parts; `Ok(None)`: the key has none of that id.
    async fn parts(&self, query: PartsQuery) -> Result<Option<PartsPage>, PortError>;
    /// A page of a bucket's open uploads.
    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, PortError>;
    /// Open uploads that were opened longer ago than `age_us` microseconds, the oldest first.
    async fn stale_uploads(&self, age_us: i64, limit: u32) -> Result<Vec<UploadRow>, PortError>;
    /// Forgets uploads that were closed longer ago than a repeat of their Complete is answered.
    async fn prune_uploads(&self) -> Result<Counts, PortError>;
    /// Open uploads by the backends that hold parts of them.
    async fn active_uploads(&self) -> Result<Vec<(BackendId, u64)>, PortError>;
}
