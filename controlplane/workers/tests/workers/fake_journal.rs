//! A journal of no database: changes and rows as a test put them, and what its worker noted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use s3o_core::cleanup::Claim;
use s3o_core::journal::{
    JournalChores, JournalState, JournalStep, LogPage, LogPlace, OpenSnapshot, RowPlace, RowsRead, StoredFile,
};
use s3o_core::ports::{Journal, PortError, Recovery, Restore};
use s3o_core::restore::{
    Applied, FoundKey, FoundObject, KeyPlace, KnownBackend, LostVersions, MergedBuckets, Revived, UnnamedBlob,
};
use s3o_types::{BackendId, VersionId};
use uuid::Uuid;

/// What is there, and what was done.
pub(crate) struct Held {
    pub(crate) state: JournalState,
    /// Records by their places.
    pub(crate) changes: Vec<(LogPlace, String)>,
    /// Rows of objects.
    pub(crate) rows: Vec<(RowPlace, String)>,
    pub(crate) targets: Vec<BackendId>,
    pub(crate) noted: Vec<StoredFile>,
    pub(crate) stored: Vec<(BackendId, String)>,
    /// Files that were found not to be whole.
    pub(crate) bad: Vec<(BackendId, String)>,
    pub(crate) hole: Option<u64>,
    pub(crate) chores: JournalChores,
    /// Files that are to be looked at.
    pub(crate) checks: Vec<StoredFile>,
    pub(crate) steps: Vec<JournalStep>,
    /// No step is taken: another process has the journal by now.
    pub(crate) is_taken_over: bool,
    /// Another process has the journal, and keeps it.
    pub(crate) is_elsewhere: bool,
    /// How often it was let go.
    pub(crate) released: u32,
    pub(crate) recovery: Option<String>,
    /// How often nobody's journal was ahead.
    pub(crate) looked_at: u32,
    /// The database's server was started a moment ago.
    pub(crate) is_not_looked_at: bool,
    pub(crate) lag_us: u64,
    pub(crate) restored: Restored,
}

/// What a database was made from.
#[derive(Default)]
pub(crate) struct Restored {
    /// Calls that a database would be changed by, in their order.
    pub(crate) calls: Vec<&'static str>,
    pub(crate) records: Vec<String>,
    /// Those that are of another history.
    pub(crate) lost: Vec<(i64, i64)>,
    pub(crate) found: Vec<(BackendId, String)>,
    /// Blobs that no record names, by their versions.
    pub(crate) unnamed: Vec<UnnamedBlob>,
    /// From which version on they were asked for.
    pub(crate) from: Option<VersionId>,
    pub(crate) revived: Vec<FoundObject>,
    /// The database's buckets, as in a header.
    pub(crate) buckets: String,
    /// The header that said what the database is.
    pub(crate) identity: Option<(String, Vec<KnownBackend>)>,
    pub(crate) ended: Option<(VersionId, Vec<StoredFile>)>,
}

pub(crate) struct FakeJournal(Mutex<Held>);

impl Default for FakeJournal {
    fn default() -> Self {
        let state = JournalState { shipped: LogPlace::default(), segment: 1, snapshot: None, complete: None };
        Self(Mutex::new(Held {
            state,
            changes: Vec::new(),
            rows: Vec::new(),
            targets: vec![BackendId(1), BackendId(2)],
            noted: Vec::new(),
            stored: Vec::new(),
            bad: Vec::new(),
            hole: None,
            chores: JournalChores::default(),
            checks: Vec::new(),
            steps: Vec::new(),
            is_taken_over: false,
            is_elsewhere: false,
            released: 0,
            recovery: None,
            looked_at: 0,
            is_not_looked_at: false,
            lag_us: 0,
            restored: Restored::default(),
        }))
    }
}

impl FakeJournal {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn page<P: Clone>(
    all: &[(P, String)],
    is_behind: impl Fn(&P) -> bool,
    limit: u32,
) -> (Vec<String>, Option<P>) {
    let page: Vec<_> = all.iter().filter(|(place, _)| is_behind(place)).take(limit as usize).collect();
    (page.iter().map(|(_, line)| line.clone()).collect(), page.last().map(|(place, _)| place.clone()))
}

#[async_trait]
impl Journal for FakeJournal {
    async fn claim_journal(&self, _: Claim) -> Result<Option<JournalState>, PortError> {
        let held = self.lock();
        Ok((!held.is_elsewhere).then(|| held.state.clone()))
    }

    async fn journal_backends(&self) -> Result<Vec<BackendId>, PortError> {
        Ok(self.lock().noted.iter().map(|file| file.backend).collect())
    }

    async fn journal_lag_us(&self) -> Result<u64, PortError> {
        Ok(self.lock().lag_us)
    }

    async fn release_journal(&self, _: Uuid) -> Result<(), PortError> {
        self.lock().released += 1;
        Ok(())
    }

    async fn changes(&self, after: LogPlace, limit: u32) -> Result<LogPage, PortError> {
        let (lines, upto) = page(&self.lock().changes, |place| *place > after, limit);
        Ok(LogPage { more: lines.len() >= limit as usize, lines, upto: upto.unwrap_or(after) })
    }

    async fn journal_header(&self, upto: LogPlace) -> Result<String, PortError> {
        Ok(format!("{{\"n\":{}}}", upto.n))
    }

    async fn snapshot_rows(&self, after: &RowPlace, limit: u32) -> Result<RowsRead, PortError> {
        let order = |place: &RowPlace| (place.bucket, place.key.clone(), -place.seq);
        let is_behind = |place: &RowPlace| *after == RowPlace::start() || order(place) > order(after);
        let (lines, upto) = page(&self.lock().rows, is_behind, limit);
        Ok(RowsRead { lines, upto })
    }

    async fn snapshot_settled(&self) -> Result<bool, PortError> {
        Ok(true)
    }

    async fn journal_step(&self, _: Uuid, segment: u64, step: JournalStep) -> Result<bool, PortError> {
        let mut held = self.lock();
        if held.is_taken_over || held.state.segment != segment {
            return Ok(false);
        }
        let state = &mut held.state;
        match step.clone() {
            JournalStep::Shipped(place) => {
                state.shipped = place;
                state.segment += 1;
            }
            JournalStep::Passed(place) => state.shipped = place,
            JournalStep::SnapshotBegun => {
                let (number, upto) = (state.segment, RowPlace::start());
                state.snapshot = Some(OpenSnapshot { number, files: Vec::new(), upto, is_read: false });
            }
            JournalStep::SnapshotPiece(file, upto) => {
                if let Some(open) = &mut state.snapshot {
                    open.files.push(file);
                    open.upto = upto;
                }
            }
            JournalStep::SnapshotRead => {
                if let Some(open) = &mut state.snapshot {
                    open.is_read = true;
                }
            }
            JournalStep::SnapshotComplete => {
                state.complete = state.snapshot.take().map(|open| (open.number, 0));
            }
        }
        held.steps.push(step);
        Ok(true)
    }

    async fn journal_targets(&self, _: u64) -> Result<Vec<BackendId>, PortError> {
        Ok(self.lock().targets.clone())
    }

    async fn note_journal_file(&self, file: &StoredFile) -> Result<(), PortError> {
        self.lock().noted.push(file.clone());
        Ok(())
    }

    async fn journal_file_stored(&self, backend: BackendId, storage_key: &str) -> Result<bool, PortError> {
        self.lock().stored.push((backend, storage_key.to_owned()));
        Ok(true)
    }

    async fn journal_file_bad(&self, backend: BackendId, storage_key: &str) -> Result<(), PortError> {
        self.lock().bad.push((backend, storage_key.to_owned()));
        Ok(())
    }

    async fn journal_hole(&self) -> Result<Option<u64>, PortError> {
        Ok(self.lock().hole)
    }

    async fn journal_file_gone(&self, backend: BackendId, storage_key: &str) -> Result<(), PortError> {
        let is_other = |file: &StoredFile| file.backend != backend || file.storage_key != storage_key;
        self.lock().noted.retain(is_other);
        Ok(())
    }

    async fn condemn_journal_file(&self, _: Uuid, _: BackendId, _: &str) -> Result<bool, PortError> {
        let held = self.lock();
        Ok(!held.is_taken_over && held.recovery.is_none())
    }

    async fn journal_holders(&self, storage_key: &str) -> Result<Vec<BackendId>, PortError> {
        let held = self.lock();
        let holders = held.noted.iter().filter(|file| file.storage_key == storage_key);
        Ok(holders.map(|file| file.backend).collect())
    }

    async fn journal_keys(&self, from: u64) -> Result<Vec<String>, PortError> {
        let held = self.lock();
        let known = held.noted.iter().filter(|file| file.number >= from);
        Ok(known.map(|file| file.storage_key.clone()).collect())
    }

    async fn journal_checks(&self, _: i64, limit: u32) -> Result<Vec<StoredFile>, PortError> {
        let mut held = self.lock();
        let n = held.checks.len().min(limit as usize);
        Ok(held.checks.drain(..n).collect())
    }

    async fn journal_chores(&self, _: u16) -> Result<JournalChores, PortError> {
        Ok(self.lock().chores.clone())
    }
}

#[async_trait]
impl Recovery for FakeJournal {
    async fn recovery(&self) -> Result<Option<String>, PortError> {
        Ok(self.lock().recovery.clone())
    }

    async fn enter_recovery(&self, why: &str) -> Result<(), PortError> {
        self.lock().recovery = Some(why.to_owned());
        Ok(())
    }

    async fn pass_numbers(&self, _: &str) -> Result<(), PortError> {
        Ok(())
    }

    async fn holds_journal(&self) -> Result<bool, PortError> {
        Ok(self.lock().recovery.is_some())
    }

    async fn server_start(&self) -> Result<String, PortError> {
        Ok("1".to_owned())
    }

    async fn may_delete(&self) -> Result<bool, PortError> {
        let held = self.lock();
        Ok(held.recovery.is_none() && !held.is_not_looked_at)
    }

    async fn journal_looked_at(&self, start: &str) -> Result<(), PortError> {
        assert_eq!(start, "1");
        let mut held = self.lock();
        held.looked_at += 1;
        held.is_not_looked_at = false;
        Ok(())
    }

    async fn end_recovery(&self) -> Result<(), PortError> {
        self.lock().recovery = None;
        Ok(())
    }
}

/// What is staged is kept, and nothing comes of it: the suite restores real databases.
#[async_trait]
impl Restore for FakeJournal {
    async fn restore_begin(&self) -> Result<(), PortError> {
        self.lock().restored.calls.push("begin");
        Ok(())
    }

    async fn restore_records(&self, lines: Vec<String>) -> Result<(), PortError> {
        self.lock().restored.records.extend(lines);
        Ok(())
    }

    async fn restore_found(&self, backend: BackendId, found: Vec<FoundKey>) -> Result<(), PortError> {
        let found = found.into_iter().map(|found| (backend, found.storage_key));
        self.lock().restored.found.extend(found);
        Ok(())
    }

    async fn restore_last_record(&self) -> Result<i64, PortError> {
        Ok(i64::try_from(self.lock().restored.records.len()).unwrap())
    }

    async fn restore_own(&self, _: LogPlace) -> Result<(LogPlace, bool), PortError> {
        let mut held = self.lock();
        held.restored.calls.push("own");
        Ok((held.changes.last().map(|(place, _)| *place).unwrap_or_default(), false))
    }

    async fn restore_keys(
        &self,
        _: &KeyPlace,
        _: i64,
        _: LogPlace,
        _: &[BackendId],
    ) -> Result<Option<(KeyPlace, Applied)>, PortError> {
        self.lock().restored.calls.push("keys");
        Ok(None)
    }

    async fn restore_undecided(&self) -> Result<bool, PortError> {
        Ok(false)
    }

    async fn restore_unnamed(
        &self,
        after: VersionId,
        from: VersionId,
        limit: u32,
    ) -> Result<Vec<UnnamedBlob>, PortError> {
        let mut held = self.lock();
        held.restored.from = Some(from);
        let behind = held.restored.unnamed.iter().filter(|blob| blob.version > after);
        Ok(behind.take(limit as usize).cloned().collect())
    }

    async fn restore_revive(&self, found: FoundObject, _: bool) -> Result<Revived, PortError> {
        self.lock().restored.revived.push(found);
        Ok(Revived::Staged)
    }

    async fn restore_lost(&self, _: u32) -> Result<LostVersions, PortError> {
        Ok(LostVersions::default())
    }

    async fn restore_buckets(&self) -> Result<String, PortError> {
        Ok(self.lock().restored.buckets.clone())
    }

    async fn restore_identity(
        &self,
        header: &str,
        backends: Vec<KnownBackend>,
    ) -> Result<Result<(), String>, PortError> {
        let mut held = self.lock();
        held.restored.calls.push("identity");
        held.restored.identity = Some((header.to_owned(), backends));
        Ok(Ok(()))
    }

    async fn restore_staged(
        &self,
        _: &str,
        lost: &[(i64, i64)],
    ) -> Result<Result<MergedBuckets, String>, PortError> {
        let mut held = self.lock();
        held.restored.calls.push("buckets");
        held.restored.lost = lost.to_vec();
        Ok(Ok(MergedBuckets::default()))
    }

    async fn restore_buckets_end(&self, _: &str) -> Result<MergedBuckets, PortError> {
        self.lock().restored.calls.push("buckets end");
        Ok(MergedBuckets::default())
    }

    async fn restore_end(&self, open: VersionId, files: Vec<StoredFile>) -> Result<(), PortError> {
        let mut held = self.lock();
        held.restored.calls.push("end");
        held.restored.ended = Some((open, files));
        Ok(())
    }
}
