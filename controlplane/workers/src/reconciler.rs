//! Compares what backends list with what the tables say, and imports foreign keys: runs that are asked for, or due.
//!
//! Invariants (DESIGN §6, "Copies never vanish by accident"): nothing that a listing lacks is believed before a second
//! look at the key and the backend's marker after it; every finding is decided by the ledger under the key's lock; a run
//! that finds more than 1 % gone stops. A run is carried on from its last page by whoever claims it next.

mod findings;
mod import;
mod looks;
mod rows;
mod sides;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use s3o_backend::Backend;
use s3o_core::call::{Call, Outcome};
use s3o_core::cleanup::Claim;
use s3o_core::config::ClusterConfig;
use s3o_core::ports::{Configs, Ledger, Overview, PortError, Reconciliation};
use s3o_core::reconcile::{GoneBucket, Run, RunKind, RunPhase, RunState};
use s3o_core::usage::signed;
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::{BlobName, BucketId};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::{Worker, new_op, request};
use crate::marker_gate::MarkerGate;

/// Longer than a page of which every look takes all its patience; each page renews it.
const CLAIM_US: i64 = 15 * 60 * 1_000_000;
/// Looks at keys at a time.
const CONCURRENCY: usize = 8;

/// Buckets by their names: those that there are, and those that are gone and whose names nobody has now.
type BucketIds = HashMap<String, Bearer>;

/// Whose a name is.
#[derive(Debug, Clone, Copy)]
struct Bearer {
    id: BucketId,
    /// The last number of a version that is its own, where it is gone.
    until: Option<u64>,
}

impl Bearer {
    /// The bucket, if the blob may be its own.
    fn of(self, blob: BlobName) -> Option<BucketId> {
        self.until.is_none_or(|until| blob.version.sequence() <= until).then_some(self.id)
    }
}

/// When runs come by themselves, and what they leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconcileSettings {
    /// How long after a backend's last run the next one begins; `None`: only when it is asked for.
    pub every: Option<Duration>,
    /// Blobs without a row are left alone while their version is younger.
    pub orphan_after: Duration,
    /// Between two looks for runs.
    pub interval: Duration,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self { every: None, orphan_after: Duration::from_hours(24), interval: Duration::from_secs(15) }
    }
}

/// Why a run does not go on.
#[derive(Debug)]
enum Stop {
    /// It has failed; the text is the operator's.
    Failed(String),
    /// It is another process's now, or this one ends: it is carried on.
    Left,
    /// The database is away: it is carried on when it is back.
    Database(String),
}

impl From<PortError> for Stop {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Unavailable(_) => Self::Database(error.to_string()),
            PortError::Corrupt(why) => Self::Failed(why),
        }
    }
}

type ByLabel<T> = Family<[(&'static str, String); 1], T>;

#[derive(Clone, Default)]
struct Metrics {
    runs: ByLabel<Counter>,
    marked: ByLabel<Counter>,
    orphaned: ByLabel<Counter>,
    imported: ByLabel<Counter>,
    unmanaged: ByLabel<Gauge>,
    listed: ByLabel<Gauge>,
    drift: ByLabel<Gauge>,
    unknown: ByLabel<Gauge>,
    lost: Gauge,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new = Self::default();
        metrics.register("reconcile_runs", "Runs over backends, by how they ended", new.runs.clone());
        let help = "Copies found to be gone or another than they should be";
        metrics.register("reconcile_copies_marked", help, new.marked.clone());
        let help = "Blobs that nothing names, queued for deletion";
        metrics.register("reconcile_blobs_orphaned", help, new.orphaned.clone());
        let help = "Foreign keys that became objects, and blobs that became copies";
        metrics.register("reconcile_imported", help, new.imported.clone());
        let help = "Keys on the backend that are not ours, as of its last complete reconcile";
        metrics.register("reconcile_unmanaged_objects", help, new.unmanaged.clone());
        let help = "Bytes of ours, but for the journal, that the last complete reconcile listed";
        metrics.register("reconcile_listed_bytes", help, new.listed.clone());
        let help = "Bytes by which the backend's last complete reconcile differed from what is counted";
        metrics.register("quota_listing_drift_bytes", help, new.drift.clone());
        let help = "Bytes of which the backend's last complete reconcile could not tell that";
        metrics.register("quota_listing_unknown_bytes", help, new.unknown.clone());
        let help = "Objects of which bytes are on no backend any more";
        metrics.register("objects_lost", help, new.lost.clone());
        new
    }
}

pub(crate) struct Reconciler {
    store: Arc<dyn Reconciliation>,
    ledger: Arc<dyn Ledger>,
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    gate: MarkerGate,
    owner: Uuid,
    settings: ReconcileSettings,
    shutdown: Shutdown,
    metrics: Metrics,
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Reconciler {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        Self {
            store: deps.reconciliation.clone(),
            ledger: deps.ledger.clone(),
            configs: deps.configs.clone(),
            overview: deps.overview.clone(),
            gate: MarkerGate::new(deps.configs.clone(), backends),
            owner,
            settings: deps.settings.reconcile,
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    const fn claim(&self) -> Claim {
        Claim { owner: self.owner, lasts_us: CLAIM_US, limit: 1, due_for_us: 0 }
    }

    fn young_us(&self) -> i64 {
        micros(self.settings.orphan_after)
    }

    /// Records how far a run is.
    async fn save(&self, run: &Run) -> Result<(), Stop> {
        let ours = self.store.save_run(self.claim(), run).await?;
        if ours && !self.shutdown.is_stopping() { Ok(()) } else { Err(Stop::Left) }
    }

    async fn carry_on(&self, run: &mut Run) -> Result<(), Stop> {
        // Without the marker nothing that the backend says counts, and what it lacks least of all.
        let backend = self.gate.open(run.ask.backend).await.map_err(Stop::Failed)?;
        match run.ask.kind.clone() {
            RunKind::Import { bucket, prefix } => self.import(run, &backend, bucket, &prefix).await,
            RunKind::Reconcile => {
                if run.phase == RunPhase::Plain {
                    self.compare(run, &backend).await?;
                    run.phase = RunPhase::Hashed;
                    run.cursor = String::new();
                    self.save(run).await?;
                }
                self.compare(run, &backend).await
            }
        }
    }

    /// A name that was taken up again is its new owner's.
    async fn bucket_ids(&self, config: &ClusterConfig) -> Result<BucketIds, Stop> {
        let gone = self.store.gone_buckets().await?;
        let gone = gone.into_iter().map(|bucket| {
            let GoneBucket { name, id, until } = bucket;
            (name, Bearer { id, until: Some(until) })
        });
        let there = config.buckets.iter().map(|bucket| {
            let bearer = Bearer { id: bucket.id, until: None };
            (bucket.name.as_str().to_owned(), bearer)
        });
        Ok(gone.chain(there).collect())
    }

    /// One phase of a reconcile, from its last page on.
    async fn compare(&self, run: &mut Run, backend: &Arc<Backend>) -> Result<(), Stop> {
        let config = self.configs.current();
        let buckets = self.bucket_ids(&config).await?;
        let mut sides = sides::Sides::new(self.store.clone(), run, backend, &config);
        loop {
            let (batch, ended) = sides.batch().await?;
            if let Some(last) = batch.last() {
                let last = sides::storage_key(last).to_owned();
                self.deal_with(run, backend, &buckets, batch).await?;
                run.cursor = last;
                self.save(run).await?;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Carries one run on, to its end if nothing comes between.
    async fn work(&self, mut run: Run) -> Result<Option<RunState>, String> {
        let (backend, id) = (run.backend_name.clone(), run.id);
        let lost = self.store.lost_objects().await.map_err(|error| error.to_string())?;
        self.metrics.lost.set(signed(lost));
        audit!("reconcile.start", backend, run = id, dry_run = run.ask.dry_run, cursor = run.cursor);
        let (state, error) = match self.carry_on(&mut run).await {
            Ok(()) => (RunState::Done, None),
            Err(Stop::Failed(why)) => (RunState::Failed, Some(why)),
            Err(Stop::Left) => return Ok(None),
            Err(Stop::Database(why)) => return Err(why),
        };
        if let Some(error) = &error {
            tracing::error!(backend, error, "a run over a backend stopped");
        }
        run.state = state;
        run.error = error;
        self.store.save_run(self.claim(), &run).await.map_err(|error| error.to_string())?;
        self.report(&run);
        Ok(Some(state))
    }

    /// Two sums, of what is listed and of what is counted, would differ by what is written and deleted while a run goes on: what
    /// is told is added up key by key, of what the ledger has said.
    fn report(&self, run: &Run) {
        let name = || [("backend", run.backend_name.clone())];
        self.metrics.runs.get_or_create(&[("status", run.state.as_str().to_owned())]).inc();
        let tally = &run.tally;
        let (marked, lost, attached, orphaned, imported) =
            (tally.marked, tally.lost, tally.attached, tally.orphaned, tally.imported);
        audit!(
            "reconcile.complete",
            backend = run.backend_name,
            run = run.id,
            status = run.state.as_str(),
            dry_run = run.ask.dry_run,
            listed = tally.listed,
            marked,
            lost,
            attached,
            orphaned,
            imported,
            unmanaged = tally.unmanaged,
            drift_bytes = tally.drift_bytes,
            unknown_bytes = tally.unknown_bytes
        );
        if !run.ask.dry_run {
            self.metrics.marked.get_or_create(&name()).inc_by(marked);
            self.metrics.orphaned.get_or_create(&name()).inc_by(orphaned);
            self.metrics.imported.get_or_create(&name()).inc_by(imported + attached);
        }
        if run.state == RunState::Done && run.ask.kind == RunKind::Reconcile {
            self.metrics.unmanaged.get_or_create(&name()).set(signed(tally.unmanaged));
            self.metrics.listed.get_or_create(&name()).set(signed(tally.own_bytes));
            self.metrics.drift.get_or_create(&name()).set(signed(tally.drift_bytes));
            self.metrics.unknown.get_or_create(&name()).set(signed(tally.unknown_bytes));
        }
    }

    async fn submit(&self, call: Call) -> Outcome {
        let op = new_op();
        self.ledger.submit(request(self.owner, "reconciler", op, format!("reconcile-{op}"), call)).await
    }

    async fn run_due(&self) -> Result<Counts, PortError> {
        self.store.note_versions(self.young_us()).await?;
        let mut counts = Counts::new();
        if let Some(every) = self.settings.every {
            // Whose month is used up is not listed unasked.
            let spent = self.overview.spent(&self.configs.current()).await?;
            let begun = self.store.ask_due(micros(every), &spent).await?;
            counts.insert("begun".to_owned(), begun);
        }
        Ok(counts)
    }
}

#[async_trait]
impl Worker for Reconciler {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = self.run_due().await.map_err(|error| error.to_string())?;
        while !self.shutdown.is_stopping() {
            let claimed = self.store.claim_run(self.claim()).await.map_err(|error| error.to_string())?;
            let Some(run) = claimed else { break };
            if let Some(state) = self.work(run).await? {
                *counts.entry(state.as_str().to_owned()).or_default() += 1;
            }
        }
        let lost = self.store.lost_objects().await.map_err(|error| error.to_string())?;
        self.metrics.lost.set(signed(lost));
        Ok(counts)
    }
}
