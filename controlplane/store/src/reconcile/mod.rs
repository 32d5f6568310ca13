//! What reconcile needs of the tables: rows in the order of their keys, what names a blob, runs, what was lost.
//!
//! Invariant: nothing here decides or changes what is stored; a run's findings go through the ledger.

mod found;
mod rows;
mod runs;

pub(crate) use runs::begin;

use async_trait::async_trait;
use s3o_core::call::Refusal;
use s3o_core::cleanup::Claim;
use s3o_core::ports::{PortError, Reconciliation};
use s3o_core::reconcile::{
    AskRun, Candidate, CandidateKind, GoneBucket, KnownCopy, LostCopy, RowsPage, RowsQuery, Run, Stray,
    StrayKind,
};
use s3o_core::usage::UsageDrift;
use s3o_types::{BackendId, BlobName, BucketId};

use crate::{Store, audit};

#[async_trait]
impl Reconciliation for Store {
    async fn ask_all(&self, asks: Vec<AskRun>) -> Result<Result<Vec<Run>, Refusal>, PortError> {
        runs::ask_all(&self.inner.general, &asks).await
    }

    async fn runs(&self) -> Result<Vec<Run>, PortError> {
        runs::all(&self.inner.general).await
    }

    async fn ask_due(&self, every_us: i64, without: &[BackendId]) -> Result<u64, PortError> {
        runs::ask_due(&self.inner.general, every_us, without).await
    }

    async fn claim_run(&self, claim: Claim) -> Result<Option<Run>, PortError> {
        runs::claim(&self.inner.general, claim).await
    }

    async fn save_run(&self, claim: Claim, run: &Run) -> Result<bool, PortError> {
        runs::save(&self.inner.general, claim, run).await
    }

    async fn note_versions(&self, keep_us: i64) -> Result<(), PortError> {
        found::note_versions(&self.inner.general, keep_us).await
    }

    async fn gone_buckets(&self) -> Result<Vec<GoneBucket>, PortError> {
        found::gone_buckets(&self.inner.general).await
    }

    async fn rows(&self, query: RowsQuery) -> Result<RowsPage, PortError> {
        rows::rows((&self.inner.lookup, &self.inner.unreadable), &query).await
    }

    async fn imported_rows(
        &self,
        backend: BackendId,
        after: &str,
        limit: u16,
    ) -> Result<Vec<KnownCopy>, PortError> {
        rows::imported((&self.inner.lookup, &self.inner.unreadable), backend, after, limit).await
    }

    async fn gather_hashed(&self, run: &Run, rows: Vec<KnownCopy>) -> Result<(), PortError> {
        rows::gather(&self.inner.general, run, &rows).await
    }

    async fn hashed_rows(&self, run: &Run, after: &str, limit: u16) -> Result<Vec<KnownCopy>, PortError> {
        rows::hashed((&self.inner.general, &self.inner.unreadable), run, after, limit).await
    }

    async fn strays(
        &self,
        backend: BackendId,
        strays: &[Stray],
        young_us: i64,
    ) -> Result<Vec<StrayKind>, PortError> {
        found::strays(&self.inner.lookup, backend, strays, young_us).await
    }

    async fn note_lost(&self, lost: Vec<LostCopy>) -> Result<(), PortError> {
        found::note_lost(&self.inner.general, &lost).await
    }

    async fn note_found(&self, backend: BackendId, blobs: Vec<BlobName>) -> Result<(), PortError> {
        found::note_found(&self.inner.general, backend, &blobs).await
    }

    async fn lost_objects(&self) -> Result<u64, PortError> {
        found::lost_objects(&self.inner.general).await
    }

    async fn candidates(
        &self,
        backend: BackendId,
        bucket: BucketId,
        candidates: &[Candidate],
    ) -> Result<Vec<CandidateKind>, PortError> {
        found::candidates(&self.inner.lookup, backend, bucket, candidates).await
    }

    async fn audit(&self, repair: bool) -> Result<Vec<UsageDrift>, PortError> {
        audit::run(&self.inner.general, repair.then(|| self.inner.slots.maintenance())).await
    }
}
