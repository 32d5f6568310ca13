//! A worker's end of the queue of versions: claims, results, and what its runs are counted by.
//!
//! Invariant: what is claimed is finished, also when the database is away for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use s3o_core::cleanup::Claim;
use s3o_core::ports::Replication;
use s3o_core::replication::{CopyTask, ReplicationItem, ReplicationResult};
use s3o_core::usage::signed;
use s3o_core::worker::Counts;
use s3o_runtime::Metrics;
use s3o_runtime::metrics::duration_histogram;
use uuid::Uuid;

use crate::Deps;
use crate::harness::Run;

/// Longer than most versions take. Whoever takes one over that is still worked on makes a copy too many at worst: the
/// second commit queues the version again.
const CLAIM_US: i64 = 60 * 60 * 1_000_000;
/// How often, and how long apart, a result is told before its claim is left to end by itself.
const TELL: (u32, Duration) = (10, Duration::from_secs(3));

/// The versions that wait for one task.
pub(crate) struct VersionQueue {
    replication: Arc<dyn Replication>,
    task: CopyTask,
    owner: Uuid,
    pending: Gauge,
    /// What could not be done.
    pub(crate) errors: Counter,
    runs: Family<[(&'static str, &'static str); 1], Counter>,
    duration: Histogram,
}

impl VersionQueue {
    /// `name` begins the names of its metrics; `helps` are those of `_pending`, `_errors`, `_runs` and
    /// `_duration_seconds`.
    pub(crate) fn new(deps: &Deps, task: CopyTask, owner: Uuid, name: &str, helps: [&str; 4]) -> Self {
        let new = Self {
            replication: deps.replication.clone(),
            task,
            owner,
            pending: Gauge::default(),
            errors: Counter::default(),
            runs: Family::default(),
            duration: duration_histogram(),
        };
        let metrics: &Metrics = &deps.metrics;
        metrics.register(&format!("{name}_pending"), helps[0], new.pending.clone());
        metrics.register(&format!("{name}_errors"), helps[1], new.errors.clone());
        metrics.register(&format!("{name}_runs"), helps[2], new.runs.clone());
        metrics.register(&format!("{name}_duration_seconds"), helps[3], new.duration.clone());
        new
    }

    /// The next versions that were due when the run began.
    pub(crate) async fn claim(&self, limit: u32, run: &Run) -> Result<Vec<ReplicationItem>, String> {
        let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit, due_for_us: run.lasts_us() };
        self.replication.claim_versions(self.task, claim).await.map_err(|error| error.to_string())
    }

    /// Tells results: the claims would stand for an hour otherwise.
    pub(crate) async fn finish(
        &self,
        results: Vec<(ReplicationItem, ReplicationResult)>,
    ) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let told = self.replication.finish_versions(self.owner, results.clone()).await;
            let Err(error) = told else { return Ok(()) };
            tries += 1;
            if tries >= TELL.0 {
                return Err(error.to_string());
            }
            tokio::time::sleep(TELL.1).await;
        }
    }

    /// Counts a run, and what waits after it.
    pub(crate) async fn counted(
        &self,
        run: impl Future<Output = Result<Counts, String>>,
    ) -> Result<Counts, String> {
        let started = Instant::now();
        let ran = run.await;
        self.duration.observe(started.elapsed().as_secs_f64());
        let status = if ran.is_ok() { "success" } else { "error" };
        self.runs.get_or_create(&[("status", status)]).inc();
        let waiting = self.replication.waiting(self.task).await.map_err(|error| error.to_string())?;
        self.pending.set(signed(waiting));
        ran
    }
}
