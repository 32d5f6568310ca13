//! What runs compare with, and the ledger's part of it, in memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use s3o_core::call::{BlobFate, Call, ChangeCopy, Import, Outcome, Refusal, SettleBlob};
use s3o_core::cleanup::Claim;
use s3o_core::ports::{PortError, Reconciliation};
use s3o_core::reconcile::{
    AskRun, Candidate, CandidateKind, GoneBucket, KeyRange, KeyRows, KnownCopy, LostCopy, RowsPage,
    RowsQuery, Run, RunKind, RunPhase, RunState, RunTally, Stray, StrayKind,
};
use s3o_core::usage::UsageDrift;
use s3o_types::{BackendId, BlobName, BucketId, ErrorCode, Seq, StorageKey, Timestamp};

use crate::fakes::Ports;

/// The tables of a test, and what workers did.
#[derive(Default)]
pub(crate) struct ReconcileState {
    /// All rows, of backend 1.
    pub(crate) rows: Vec<KnownCopy>,
    pub(crate) run: Option<Run>,
    /// Runs that were asked for.
    pub(crate) asked: Vec<AskRun>,
    /// Buckets that are gone.
    pub(crate) gone: Vec<GoneBucket>,
    /// Somebody else has claimed it by now.
    pub(crate) taken_over: bool,
    /// What names blobs, by their storage keys; nothing names those that are not here.
    pub(crate) kinds: HashMap<String, StrayKind>,
    pub(crate) candidates: HashMap<String, CandidateKind>,
    pub(crate) hashed: BTreeMap<String, KnownCopy>,
    pub(crate) marked: Vec<ChangeCopy>,
    /// Every mark is refused with it.
    pub(crate) refuse_marks: Option<ErrorCode>,
    pub(crate) settled: Vec<SettleBlob>,
    pub(crate) imported: Vec<Import>,
    pub(crate) lost: Vec<LostCopy>,
    pub(crate) found: Vec<BlobName>,
    pub(crate) saves: Vec<Run>,
    pub(crate) drifts: Vec<UsageDrift>,
    pub(crate) audits: u32,
}

/// A run over backend 1 that waits for a worker.
pub(crate) fn run(kind: RunKind) -> Run {
    Run {
        id: 1,
        ask: AskRun { backend: BackendId(1), kind, dry_run: false, accept_losses: false },
        backend_name: "b1".to_owned(),
        state: RunState::Running,
        phase: RunPhase::Plain,
        cursor: String::new(),
        expected: 0,
        tally: RunTally::default(),
        error: None,
    }
}

impl ReconcileState {
    /// A version of a key of the bucket `photos`, and the storage key of its blob.
    pub(crate) fn row(n: u64, key: &str, size: u64) -> KnownCopy {
        let blob = BlobName::first(s3o_types::VersionId::mint(n, n));
        KnownCopy {
            storage_key: StorageKey::format("photos", key, blob),
            bucket: BucketId(1),
            key: key.to_owned(),
            blob,
            state: s3o_core::object::CopyState::Verified,
            stored_size: size,
            backend_etag: None,
            imported: false,
        }
    }

    pub(crate) fn decide(&mut self, call: Call) -> Outcome {
        match call {
            Call::ChangeCopy(change) => {
                if let Some(code) = self.refuse_marks {
                    return Refusal::new(code, "refused").into();
                }
                self.marked.push(change);
                Outcome::CopyChanged
            }
            Call::SettleBlob(settle) => {
                self.settled.push(*settle);
                Outcome::BlobSettled(BlobFate::Queued)
            }
            Call::Import(import) => {
                self.imported.push(*import);
                Outcome::Committed { seq: Seq(1), modified: Timestamp(0), version: None }
            }
            other => panic!("a run does not ask for {other:?}"),
        }
    }

    fn keys_of(&self, key: &str, query: &RowsQuery) -> KeyRows<KnownCopy> {
        let behind = |row: &&KnownCopy| {
            query.after.is_none_or(|after| (row.blob.version, row.blob.extent) > after) && !row.imported
        };
        let mut rows: Vec<&KnownCopy> =
            self.rows.iter().filter(|row| row.key == key).filter(behind).collect();
        rows.sort_by_key(|row| (row.blob.version, row.blob.extent));
        let more = rows.len() > usize::from(query.per_key);
        rows.truncate(query.per_key.into());
        let rows = rows.into_iter().map(|row| (row.storage_key.clone(), row.clone())).collect();
        KeyRows { path: format!("{}/{key}", query.bucket_name), rows, more }
    }
}

#[async_trait]
impl Reconciliation for Ports {
    async fn ask_all(&self, asks: Vec<AskRun>) -> Result<Result<Vec<Run>, Refusal>, PortError> {
        self.state.lock().unwrap().reconcile.asked.extend(asks.iter().cloned());
        Ok(Ok(asks.into_iter().map(|ask| Run { ask, ..run(RunKind::Reconcile) }).collect()))
    }

    async fn runs(&self) -> Result<Vec<Run>, PortError> {
        Ok(self.state.lock().unwrap().reconcile.run.clone().into_iter().collect())
    }

    async fn ask_due(&self, _: i64, _: &[BackendId]) -> Result<u64, PortError> {
        Ok(0)
    }

    async fn claim_run(&self, _: Claim) -> Result<Option<Run>, PortError> {
        let run = self.state.lock().unwrap().reconcile.run.clone();
        Ok(run.filter(|run| run.state == RunState::Running))
    }

    async fn save_run(&self, _: Claim, run: &Run) -> Result<bool, PortError> {
        let mut state = self.state.lock().unwrap();
        if state.reconcile.taken_over {
            state.reconcile.run = None;
            return Ok(false);
        }
        state.reconcile.saves.push(run.clone());
        state.reconcile.run = Some(run.clone());
        Ok(true)
    }

    async fn note_versions(&self, _: i64) -> Result<(), PortError> {
        Ok(())
    }

    async fn gone_buckets(&self) -> Result<Vec<GoneBucket>, PortError> {
        Ok(self.state.lock().unwrap().reconcile.gone.clone())
    }

    async fn rows(&self, query: RowsQuery) -> Result<RowsPage, PortError> {
        let state = self.state.lock().unwrap();
        let of_bucket = state.reconcile.rows.iter().filter(|row| row.bucket == query.bucket);
        let mut keys: Vec<String> = of_bucket.map(|row| row.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        let (keys, more) = match &query.keys {
            KeyRange::These(these) => (keys.into_iter().filter(|key| these.contains(key)).collect(), false),
            KeyRange::After(after, count) => {
                let behind: Vec<String> = keys.into_iter().filter(|key| key > after).collect();
                let more = behind.len() > usize::from(*count);
                (behind.into_iter().take((*count).into()).collect::<Vec<_>>(), more)
            }
        };
        let keys = keys.iter().map(|key| state.reconcile.keys_of(key, &query)).collect();
        Ok(RowsPage { keys, more })
    }

    async fn imported_rows(
        &self,
        _: BackendId,
        after: &str,
        limit: u16,
    ) -> Result<Vec<KnownCopy>, PortError> {
        let state = self.state.lock().unwrap();
        let imported =
            state.reconcile.rows.iter().filter(|row| row.imported && row.storage_key.as_str() > after);
        let mut rows: Vec<KnownCopy> = imported.cloned().collect();
        rows.sort_by(|a, b| a.storage_key.cmp(&b.storage_key));
        rows.truncate(limit.into());
        Ok(rows)
    }

    async fn gather_hashed(&self, _: &Run, rows: Vec<KnownCopy>) -> Result<(), PortError> {
        let mut state = self.state.lock().unwrap();
        state.reconcile.hashed.extend(rows.into_iter().map(|row| (row.storage_key.clone(), row)));
        Ok(())
    }

    async fn hashed_rows(&self, _: &Run, after: &str, limit: u16) -> Result<Vec<KnownCopy>, PortError> {
        let state = self.state.lock().unwrap();
        let behind = state.reconcile.hashed.iter().filter(|(key, _)| key.as_str() > after);
        Ok(behind.take(limit.into()).map(|(_, row)| row.clone()).collect())
    }

    async fn strays(&self, _: BackendId, strays: &[Stray], _: i64) -> Result<Vec<StrayKind>, PortError> {
        let state = self.state.lock().unwrap();
        let kind = |stray: &Stray| state.reconcile.kinds.get(&stray.storage_key).copied();
        Ok(strays.iter().map(|stray| kind(stray).unwrap_or(StrayKind::Unnamed)).collect())
    }

    async fn note_lost(&self, lost: Vec<LostCopy>) -> Result<(), PortError> {
        self.state.lock().unwrap().reconcile.lost.extend(lost);
        Ok(())
    }

    async fn note_found(&self, _: BackendId, blobs: Vec<BlobName>) -> Result<(), PortError> {
        let mut state = self.state.lock().unwrap();
        state.reconcile.lost.retain(|lost| !blobs.contains(&lost.blob));
        state.reconcile.found.extend(blobs);
        Ok(())
    }

    async fn lost_objects(&self) -> Result<u64, PortError> {
        Ok(self.state.lock().unwrap().reconcile.lost.len() as u64)
    }

    async fn candidates(
        &self,
        _: BackendId,
        _: BucketId,
        candidates: &[Candidate],
    ) -> Result<Vec<CandidateKind>, PortError> {
        let state = self.state.lock().unwrap();
        let kind = |candidate: &Candidate| state.reconcile.candidates.get(&candidate.foreign_key).copied();
        Ok(candidates.iter().map(|candidate| kind(candidate).unwrap_or(CandidateKind::New)).collect())
    }

    async fn audit(&self, repair: bool) -> Result<Vec<UsageDrift>, PortError> {
        assert!(repair);
        let mut state = self.state.lock().unwrap();
        state.reconcile.audits += 1;
        Ok(state.reconcile.drifts.clone())
    }
}
