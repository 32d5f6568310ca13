//! The queue of versions and the ledger's part of it, in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use s3o_blob::BodyHasher;
use s3o_core::call::{Abort, BeginCopy, Call, ChangeCopy, Commit, CopyChange, Outcome, Refusal};
use s3o_core::cleanup::Claim;
use s3o_core::intent::Target;
use s3o_core::object::{CopyRow, CopyState, ObjectRow};
use s3o_core::ports::{Drains, PortError, Rebalances, Replication, Scrubs};
use s3o_core::rebalance::{CandidatePage, Transfer};
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyItem, CopyTask, Drain, ExtentCopies, ReplicationEntry, ReplicationItem,
    ReplicationResult,
};
use s3o_core::scrub::{ScrubBatch, ScrubPace, ScrubProgress, ScrubRound};
use s3o_core::worker::Counts;
use s3o_types::{
    BackendId, BackendState, BlobName, BucketId, Checksums, Encoding, ErrorCode, Etag, Extent, Gen,
    ObjectAttributes, Op, Place, Seq, StorageKey, Timestamp, VersionId,
};
use uuid::Uuid;

use crate::fakes::Ports;

/// What waits, what there is, and what workers did to it.
#[derive(Default)]
pub(crate) struct CopiesState {
    pub(crate) versions: HashMap<VersionId, CopiesPage>,
    /// A page has one extent, not all.
    pub(crate) is_paged: bool,
    pub(crate) queue: Vec<ReplicationItem>,
    pub(crate) finished: Vec<(ReplicationItem, ReplicationResult)>,
    /// Where the next copies go.
    pub(crate) targets: Vec<BackendId>,
    pub(crate) begun: Vec<BeginCopy>,
    pub(crate) committed: Vec<Commit>,
    pub(crate) aborted: Vec<Abort>,
    pub(crate) changed: Vec<ChangeCopy>,
    /// What the next steps of scans find.
    pub(crate) scans: Vec<Counts>,
    /// The unhealthy backends that steps were told of.
    pub(crate) scanned_for: Vec<Vec<BackendId>>,
    /// How often it was asked which backends are.
    pub(crate) looked: usize,
    pub(crate) drains: Vec<Drain>,
    pub(crate) retired: u64,
    /// What is due of the scrubber's rounds, the next one last; and how far they came.
    pub(crate) scrubs: Vec<ScrubBatch>,
    pub(crate) scrubbed: Vec<ScrubProgress>,
    /// Another replica is rebalancing.
    pub(crate) another_runs: bool,
    /// Every change is refused with it.
    pub(crate) refuse_changes: Option<ErrorCode>,
    /// Every commit is refused with it.
    pub(crate) refuse_commits: Option<ErrorCode>,
}

pub(crate) const KEY: &str = "k";

pub(crate) fn version() -> VersionId {
    VersionId::mint(7, 7)
}

pub(crate) fn storage_key(attempt: Gen) -> String {
    let blob = BlobName { version: version(), extent: Extent::ZERO, r#gen: attempt };
    StorageKey::format("photos", KEY, blob)
}

pub(crate) fn md5(bytes: &[u8]) -> Etag {
    BodyHasher::digest(bytes, s3o_blob::AlgorithmSet::NONE).etag().expect("an MD5 was asked for")
}

/// A copy of `bytes` on a backend, the client's own write.
pub(crate) fn copy(backend: i32, bytes: &[u8]) -> CopyRow {
    CopyRow {
        backend: BackendId(backend),
        blob: BlobName::first(version()),
        bucket: BucketId(1),
        key: KEY.to_owned(),
        state: CopyState::Verified,
        stored_size: bytes.len() as u64,
        backend_etag: None,
        backend_version: None,
        encoding: Encoding::default(),
        foreign_key: None,
        piece: None,
        md5: None,
        digest: None,
        checksums: Checksums::default(),
    }
}

/// An object of `bytes` that is wanted `factor` times and is on `backends`.
pub(crate) fn page(bytes: &[u8], factor: u16, backends: &[(i32, BackendState)]) -> CopiesPage {
    CopiesPage {
        object: ObjectRow {
            bucket: BucketId(1),
            key: KEY.to_owned(),
            seq: Seq(1),
            version: version(),
            size: bytes.len() as u64,
            etag: md5(bytes),
            modified: Timestamp(0),
            attributes: ObjectAttributes::default(),
            checksums: Checksums::default(),
            is_null: true,
            parts: None,
        },
        bucket_name: "photos".to_owned(),
        replication_factor: factor,
        extents: vec![ExtentCopies {
            extent: Extent::ZERO,
            piece: None,
            copies: backends.iter().map(|(id, state)| (copy(*id, bytes), *state)).collect(),
        }],
        more: false,
    }
}

pub(crate) fn item(task: CopyTask) -> ReplicationItem {
    let entry = ReplicationEntry { version: version(), bucket: BucketId(1), key: KEY.to_owned(), task };
    ReplicationItem { entry, attempts: 0 }
}

impl CopiesState {
    /// One version that waits for a task; `targets` are where its next copies go.
    pub(crate) fn waiting(task: CopyTask, page: CopiesPage, targets: &[i32]) -> Self {
        Self {
            versions: HashMap::from([(page.object.version, page)]),
            queue: vec![item(task)],
            targets: targets.iter().map(|id| BackendId(*id)).collect(),
            ..Self::default()
        }
    }

    /// The copies of the first extent.
    pub(crate) fn rows(&mut self) -> &mut Vec<(CopyRow, BackendState)> {
        &mut self.versions.get_mut(&version()).expect("a version").extents[0].copies
    }

    pub(crate) fn backends(&mut self) -> Vec<(i32, CopyState)> {
        let mut all: Vec<_> = self.rows().iter().map(|(copy, _)| (copy.backend.0, copy.state)).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    pub(crate) fn decide(&mut self, _: Op, call: Call) -> Outcome {
        match call {
            Call::BeginCopy(begin) => self.begin(begin),
            Call::Commit(commit) => self.commit(&commit),
            Call::Abort(abort) => {
                self.aborted.push(abort);
                Outcome::Aborted
            }
            Call::ChangeCopy(change) => self.change(&change),
            other => panic!("no worker asks for {other:?}"),
        }
    }

    fn begin(&mut self, begin: BeginCopy) -> Outcome {
        let holding: Vec<BackendId> = self.rows().iter().map(|(copy, _)| copy.backend).collect();
        let usable = |id: &BackendId| !begin.down.contains(id) && !holding.contains(id);
        let targets: Vec<BackendId> = self.targets.iter().copied().filter(usable).collect();
        let attempt = Gen::of_worker(u16::try_from(self.begun.len()).expect("few")).expect("fits");
        let (key, version, extent) = (begin.of.key.clone(), begin.of.version, begin.of.extent);
        self.begun.push(begin);
        let Some(backend) = targets.first().copied() else {
            return Refusal::new(ErrorCode::InsufficientStorage, "no backend has room").into();
        };
        let blob = BlobName { version, extent, r#gen: attempt };
        let target = Target::new((backend, Place::FIRST), "photos", &key, blob);
        Outcome::Begun { version, targets: vec![target], required_copies: 1 }
    }

    fn commit(&mut self, commit: &Commit) -> Outcome {
        let stored = commit.copies[0].clone();
        self.committed.push(commit.clone());
        if let Some(code) = self.refuse_commits {
            return Refusal::new(code, "refused").into();
        }
        let of = self.rows()[0].0.clone();
        let blob = BlobName { r#gen: stored.target.r#gen, ..of.blob };
        let row = CopyRow { backend: stored.target.backend, blob, state: CopyState::Verified, ..of };
        self.rows().retain(|(copy, _)| copy.backend != row.backend);
        self.rows().push((row, BackendState::Active));
        Outcome::Committed { seq: Seq(2), modified: Timestamp(0), version: None }
    }

    fn row(&mut self, backend: BackendId) -> &mut CopyRow {
        &mut self.rows().iter_mut().find(|(copy, _)| copy.backend == backend).expect("a copy").0
    }

    fn change(&mut self, change: &ChangeCopy) -> Outcome {
        self.changed.push(change.clone());
        if let Some(code) = self.refuse_changes {
            return Refusal::new(code, "refused").into();
        }
        match change.change {
            CopyChange::Drop => self.rows().retain(|(copy, _)| copy.backend != change.backend),
            CopyChange::Mark(state) => self.row(change.backend).state = state,
            CopyChange::Verify(digest) => {
                let row = self.row(change.backend);
                row.state = CopyState::Verified;
                row.digest = row.digest.or(digest);
            }
        }
        Outcome::CopyChanged
    }
}

#[async_trait]
impl Replication for Ports {
    async fn claim_versions(&self, task: CopyTask, claim: Claim) -> Result<Vec<ReplicationItem>, PortError> {
        let mut state = self.state.lock().unwrap();
        let (mut mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.copies.queue).into_iter().partition(|item| item.entry.task == task);
        let rest = mine.split_off(mine.len().min(claim.limit as usize));
        state.copies.queue = rest.into_iter().chain(others).collect();
        Ok(mine)
    }

    async fn finish_versions(
        &self,
        _: Uuid,
        results: Vec<(ReplicationItem, ReplicationResult)>,
    ) -> Result<(), PortError> {
        self.state.lock().unwrap().copies.finished.extend(results);
        Ok(())
    }

    async fn queue_versions(&self, entries: Vec<ReplicationEntry>) -> Result<(), PortError> {
        let queued = entries.into_iter().map(|entry| ReplicationItem { entry, attempts: 0 });
        self.state.lock().unwrap().copies.queue.extend(queued);
        Ok(())
    }

    async fn copies(&self, query: CopiesQuery) -> Result<Option<CopiesPage>, PortError> {
        let state = self.state.lock().unwrap();
        let mut page = state.copies.versions.get(&query.entry.version).cloned();
        if let Some(page) = page.as_mut().filter(|_| state.copies.is_paged) {
            page.extents.retain(|extent| query.after.is_none_or(|after| extent.extent > after));
            page.more = page.extents.len() > 1;
            page.extents.truncate(1);
        }
        Ok(page)
    }

    async fn waiting(&self, _: CopyTask) -> Result<u64, PortError> {
        Ok(self.state.lock().unwrap().copies.queue.len() as u64)
    }

    async fn note_views(&self, _: Uuid, _: Vec<(BackendId, Option<i64>)>) -> Result<(), PortError> {
        Ok(())
    }

    async fn unhealthy(
        &self,
        _: Uuid,
        down_us: Vec<(BackendId, Option<i64>)>,
        threshold_us: i64,
    ) -> Result<Vec<BackendId>, PortError> {
        self.state.lock().unwrap().copies.looked += 1;
        let long = |down: &Option<i64>| down.is_some_and(|us| us >= threshold_us);
        Ok(down_us.into_iter().filter(|(_, down)| long(down)).map(|(id, _)| id).collect())
    }

    async fn scan(&self, unhealthy: &[BackendId]) -> Result<Option<Counts>, PortError> {
        let mut state = self.state.lock().unwrap();
        state.copies.scanned_for.push(unhealthy.to_vec());
        Ok(state.copies.scans.pop())
    }
}

#[async_trait]
impl Scrubs for Ports {
    async fn claim_scrub(
        &self,
        _: Claim,
        _: ScrubPace,
        without: &[BackendId],
    ) -> Result<Option<ScrubBatch>, PortError> {
        let mut state = self.state.lock().unwrap();
        Ok(state.copies.scrubs.pop_if(|batch| !without.contains(&batch.backend)))
    }

    async fn finish_scrub(&self, _: Uuid, progress: ScrubProgress) -> Result<(), PortError> {
        self.state.lock().unwrap().copies.scrubbed.push(progress);
        Ok(())
    }

    async fn scrub_rounds(&self) -> Result<Vec<ScrubRound>, PortError> {
        Ok(vec![])
    }
}

#[async_trait]
impl Rebalances for Ports {
    /// One page: all that are there and not here.
    async fn candidates(
        &self,
        transfer: Transfer,
        after: Option<(VersionId, Extent)>,
    ) -> Result<CandidatePage, PortError> {
        assert_eq!(after, None, "there is one page");
        let state = self.state.lock().unwrap();
        let mut copies = Vec::new();
        for page in state.copies.versions.values() {
            for extent in &page.extents {
                let (from, to) =
                    (page.copy_on(extent.extent, transfer.from), page.copy_on(extent.extent, transfer.to));
                if let (Some((_, copy)), None) = (from, to) {
                    let entry = ReplicationEntry { key: copy.key.clone(), ..item(CopyTask::Add).entry };
                    copies.push(CopyItem { entry, extent: extent.extent, size: copy.stored_size });
                }
            }
        }
        Ok(CandidatePage { copies, next: None })
    }

    async fn claim_run(&self, _: &str, _: Claim) -> Result<bool, PortError> {
        Ok(!self.state.lock().unwrap().copies.another_runs)
    }

    async fn release_run(&self, _: &str, _: Uuid) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Drains for Ports {
    async fn drain(&self, _: &str) -> Result<bool, PortError> {
        unreachable!("workers drain nothing by themselves")
    }

    async fn undrain(&self, _: &str) -> Result<bool, PortError> {
        unreachable!("workers drain nothing by themselves")
    }

    async fn drains(&self) -> Result<Vec<Drain>, PortError> {
        Ok(self.state.lock().unwrap().copies.drains.clone())
    }

    async fn retire(&self) -> Result<u64, PortError> {
        Ok(self.state.lock().unwrap().copies.retired)
    }
}
