//! What runs over backends need.

use async_trait::async_trait;
use s3o_types::{BackendId, BlobName, BucketId};

use super::PortError;
use crate::call::Refusal;
use crate::cleanup::Claim;
use crate::reconcile::{
    AskRun, Candidate, CandidateKind, GoneBucket, KnownCopy, LostCopy, RowsPage, RowsQuery, Run, Stray,
    StrayKind,
};
use crate::usage::UsageDrift;

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
