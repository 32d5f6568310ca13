//! Ships the change log to the backends, as segments and now and then a snapshot, so that the database can be made again
//! from them.
//!
//! Invariants: a file has a row before it is sent, and a step is taken only when it is stored; whatever a process leaves
//! half done, the next one does anew, under another name; a file is deleted only when two complete snapshots are newer.

mod ahead;
mod check;
mod files;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use s3o_blob::journal::{FULL_BYTES, JournalPart};
use s3o_core::cleanup::Claim;
use s3o_core::journal::{JournalState, JournalStep, LogPlace};
use s3o_core::ports::{Journal, Overview, Reconciliation, Recovery};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::Worker;
use files::Files;
pub(crate) use files::{read_chunks, read_file};

/// Longer than a snapshot's file takes. Whoever takes a dead process's claim over goes on where its last step was.
const CLAIM_US: i64 = 15 * 60 * 1_000_000;
/// Changes, or rows, in one read: one of an object of 10,000 parts is 1.5 MB.
const PAGE: u32 = 100;
/// How long notes of when versions were minted are kept; the journal needs those of ten minutes ago.
const KEEP_NOTES_US: i64 = 24 * 60 * 60 * 1_000_000;

/// How the journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSettings {
    /// Whether it is. What is not shipped cannot be rebuilt.
    pub enabled: bool,
    /// What has changed is shipped after that long at most.
    pub interval: Duration,
    /// How old the newest snapshot may grow.
    pub snapshot_interval: Duration,
    /// On how many backends each file is kept.
    pub copies: u16,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_mins(5),
            snapshot_interval: Duration::from_hours(24),
            copies: 2,
        }
    }
}

impl JournalSettings {
    /// Between two ticks: a pause is one and a half of it at most.
    pub(crate) fn tick(&self) -> Duration {
        self.interval * 2 / 3
    }
}

/// What a process says that finds that it has the journal no more.
const TAKEN_OVER: &str = "another process has taken the journal over";

pub(crate) struct JournalWorker {
    journal: Arc<dyn Journal>,
    reconciliation: Arc<dyn Reconciliation>,
    recovery: Arc<dyn Recovery>,
    overview: Arc<dyn Overview>,
    files: Files,
    settings: JournalSettings,
    owner: Uuid,
    shutdown: Shutdown,
    metrics: Metrics,
}

struct Metrics {
    segments: Counter,
    records: Counter,
    number: Gauge,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new =
            Self { segments: Counter::default(), records: Counter::default(), number: Gauge::default() };
        metrics.register("journal_segments_shipped", "Journal segments shipped", new.segments.clone());
        metrics.register("journal_records_shipped", "Journal records shipped", new.records.clone());
        metrics.register("journal_next_segment", "Number of the next journal segment", new.number.clone());
        new
    }
}

impl JournalWorker {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        Self {
            journal: deps.journal.clone(),
            reconciliation: deps.reconciliation.clone(),
            recovery: deps.recovery.clone(),
            overview: deps.overview.clone(),
            files: Files::new(deps, backends, owner),
            settings: deps.settings.journal,
            owner,
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    async fn claim(&self, owner: Uuid) -> Result<Option<JournalState>, String> {
        let claim = Claim { owner, lasts_us: CLAIM_US, limit: 1, due_for_us: 0 };
        self.journal.claim_journal(claim).await.map_err(text)
    }

    async fn step(&self, state: &JournalState, step: JournalStep) -> Result<(), String> {
        let taken = self.journal.journal_step(self.owner, state.segment, step).await.map_err(text)?;
        if taken { Ok(()) } else { Err(TAKEN_OVER.to_owned()) }
    }

    /// Ships what there is, segment after segment.
    async fn ship(&self, mut state: JournalState, counts: &mut Counts) -> Result<JournalState, String> {
        while !self.shutdown.is_stopping() {
            let (lines, upto, more) = self.read(state.shipped).await?;
            if upto == state.shipped {
                break;
            }
            if lines.is_empty() {
                self.step(&state, JournalStep::Passed(upto)).await?;
            } else {
                self.ship_segment(&state, &lines, upto).await?;
                state.segment += 1;
                *counts.entry("segments".to_owned()).or_default() += 1;
                *counts.entry("records".to_owned()).or_default() += lines.len() as u64;
            }
            state.shipped = upto;
            if !more {
                break;
            }
        }
        self.metrics.number.set(i64::try_from(state.segment).unwrap_or(i64::MAX));
        Ok(state)
    }

    /// What is behind a place, as much as a file takes.
    async fn read(&self, after: LogPlace) -> Result<(Vec<String>, LogPlace, bool), String> {
        let (mut lines, mut bytes, mut upto) = (Vec::new(), 0, after);
        loop {
            let page = self.journal.changes(upto, PAGE).await.map_err(text)?;
            upto = page.upto;
            bytes += page.lines.iter().map(String::len).sum::<usize>();
            lines.extend(page.lines);
            if !page.more || bytes >= FULL_BYTES {
                return Ok((lines, upto, page.more));
            }
        }
    }

    async fn ship_segment(
        &self,
        state: &JournalState,
        lines: &[String],
        upto: LogPlace,
    ) -> Result<(), String> {
        let header = self.journal.journal_header(upto).await.map_err(text)?;
        let name = self
            .files
            .write(state.segment, JournalPart::Segment, &header, lines, self.settings.copies)
            .await?;
        self.step(state, JournalStep::Shipped(upto)).await?;
        self.metrics.segments.inc();
        self.metrics.records.inc_by(lines.len() as u64);
        audit!("journal.ship", segment = state.segment, records = lines.len() as u64, file = name);
        Ok(())
    }

    /// A file of which no copy is left: as if there had been no snapshot, since the next one has all that it had.
    async fn mend(&self, state: &mut JournalState) -> Result<(), String> {
        let Some(hole) = self.journal.journal_hole().await.map_err(text)? else { return Ok(()) };
        tracing::error!(hole, "a file of the journal is on no backend any more: a snapshot is made");
        state.complete = None;
        state.snapshot.take_if(|open| open.number <= hole);
        Ok(())
    }

    /// Looks whether a backend's journal is ahead, where nobody has since the database's server was started: until then nothing is
    /// deleted, and the next tick may be far.
    pub(crate) async fn look_if_due(&self) -> Result<(), String> {
        // Asked with each tick of the cleanup queue: mostly that is all.
        if self.recovery.may_delete().await.map_err(text)? {
            return Ok(());
        }
        if self.recovery.recovery().await.map_err(text)?.is_some() {
            return Ok(());
        }
        // Not the workers' owner: a tick of this process may have the journal, and looks itself.
        let owner = Uuid::new_v4();
        let start = self.recovery.server_start().await.map_err(text)?;
        let Some(state) = self.claim(owner).await? else { return Ok(()) };
        let looked = self.look(&state, owner, &start).await;
        let released = self.journal.release_journal(owner).await.map_err(text);
        looked.and(released)
    }

    async fn look(&self, state: &JournalState, owner: Uuid, start: &str) -> Result<(), String> {
        if self.settings.enabled {
            return self.look_ahead(state, owner, start).await;
        }
        // There is none that could be ahead.
        self.recovery.journal_looked_at(start).await.map_err(text)
    }

    async fn run(&self, state: JournalState, start: &str, counts: &mut Counts) -> Result<(), String> {
        // Before anything is written: a number that is taken on a backend would be one of another history.
        self.look_ahead(&state, self.owner, start).await?;
        if self.recovery.holds_journal().await.map_err(text)? {
            counts.insert("held".to_owned(), 1);
            return Ok(());
        }
        self.reconciliation.note_versions(KEEP_NOTES_US).await.map_err(text)?;
        let state = self.ship(state, counts).await?;
        self.snapshot(state, counts).await
    }
}

#[async_trait]
impl Worker for Arc<JournalWorker> {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        // Before the claim: a server that is replaced behind it is not the one whose numbers the claim says.
        let start = self.recovery.server_start().await.map_err(text)?;
        let Some(mut state) = self.claim(self.owner).await? else {
            return Ok(Counts::from([("elsewhere".to_owned(), 1)]));
        };
        let checked = self.files.check(&mut counts).await;
        self.mend(&mut state).await?;
        let ran = if self.settings.enabled {
            self.run(state, &start, &mut counts).await
        } else {
            self.look(&state, self.owner, &start).await
        };
        // Also where nothing is shipped any more, so that a drained backend gets rid of what was.
        let ran = ran.and(self.files.chores(self.settings.copies, &mut counts).await);
        let ran = ran.and(checked);
        let released = self.journal.release_journal(self.owner).await.map_err(text);
        ran.and(released).map(|()| counts)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn text(error: s3o_core::ports::PortError) -> String {
    error.to_string()
}
