//! Deletes what is queued.
//!
//! Invariants: a row counts as deleted or absent only where the backend's marker was ours before the
//! first DELETE of the batch and still is after the last; nothing is deleted before the journal was looked at; a backend
//! that is down is not hammered; what was answered decides (in the store) whether a row's bytes stop counting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use s3o_backend::{Backend, Deleted};
use s3o_core::cleanup::{Claim, CleanupItem, CleanupResult, MAX_ATTEMPTS};
use s3o_core::ports::Queues;
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::BackendId;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::{Run, Worker};
use crate::journal::JournalWorker;
use crate::marker_gate::MarkerGate;

/// How long one DELETE may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a batch of which every DELETE takes all its patience, 8 at a time, and the marker twice.
const CLAIM_US: i64 = 15 * 60 * 1_000_000;
/// Rows a claim.
const BATCH: u32 = 256;

type ByLabel = Family<[(&'static str, String); 1], Counter>;
type Results = Vec<(CleanupItem, CleanupResult)>;

pub(crate) struct CleanupQueue {
    queues: Arc<dyn Queues>,
    backends: Arc<Backends>,
    gate: MarkerGate,
    journal: Arc<JournalWorker>,
    owner: Uuid,
    /// By backend.
    concurrency: usize,
    shutdown: Shutdown,
    processed: ByLabel,
    recovered: ByLabel,
    dead: ByLabel,
}

impl CleanupQueue {
    pub(crate) fn new(
        deps: &Deps,
        backends: Arc<Backends>,
        journal: Arc<JournalWorker>,
        owner: Uuid,
    ) -> Self {
        let new = Self {
            queues: deps.queues.clone(),
            gate: MarkerGate::new(deps.configs.clone(), backends.clone()),
            backends,
            journal,
            owner,
            concurrency: deps.settings.cleanup_concurrency.max(1),
            shutdown: deps.shutdown.clone(),
            processed: Family::default(),
            recovered: Family::default(),
            dead: Family::default(),
        };
        let metrics = &deps.metrics;
        metrics.register("cleanup_queue_processed", "Cleanup queue items processed", new.processed.clone());
        let help = "Cleanup rows whose stale claim was reclaimed by a later tick";
        metrics.register("cleanup_queue_stale_claims_recovered", help, new.recovered.clone());
        let help = "Cleanup rows graduated to the dead-letter table";
        metrics.register("cleanup_dlq_enqueued", help, new.dead.clone());
        new
    }

    /// The claimed rows of one backend, from claim to result. A call of its own to the store for each
    /// backend, so that its counts are that backend's.
    async fn process(&self, id: BackendId, items: Vec<CleanupItem>) -> Result<Counts, String> {
        let name = self.backends.get(id).map_or_else(|| id.0.to_string(), |found| found.name().to_owned());
        for item in items.iter().filter(|item| item.recovered) {
            audit!("cleanup_queue.claim_recovered", backend = %name, key = item.entry.storage_key);
            self.recovered.get_or_create(&[("backend", name.clone())]).inc();
        }
        let results = self.delete_all(id, items).await;
        let finished = self.queues.finish_cleanup(self.owner, results.clone()).await;
        let counts = finished.map_err(|error| error.to_string())?;
        for (status, count) in &counts {
            self.processed.get_or_create(&[("status", status.clone())]).inc_by(*count);
        }
        if let Some(exhausted) = counts.get("exhausted") {
            self.dead.get_or_create(&[("backend", name.clone())]).inc_by(*exhausted);
        }
        results.iter().for_each(|(item, result)| report(&name, item, result));
        Ok(counts)
    }

    async fn delete_all(&self, id: BackendId, items: Vec<CleanupItem>) -> Results {
        let backend = match self.gate.open(id).await {
            Ok(backend) => backend,
            Err(why) => {
                warn!(rows = items.len(), error = why, "queued blobs are put off");
                return items.into_iter().map(|item| (item, CleanupResult::Deferred(why.clone()))).collect();
            }
        };
        let deletes = items.into_iter().map(|item| {
            let backend = Arc::clone(&backend);
            async move {
                let result = delete(&backend, &item).await;
                (item, result)
            }
        });
        let results: Results =
            futures::stream::iter(deletes).buffer_unordered(self.concurrency).collect().await;
        match self.gate.confirm(&backend).await {
            Ok(()) => results,
            Err(why) => {
                warn!(rows = results.len(), error = why, "deleted blobs are not believed to be gone");
                results.into_iter().map(|(item, result)| (item, disbelieve(result, &why))).collect()
            }
        }
    }
}

async fn delete(backend: &Backend, item: &CleanupItem) -> CleanupResult {
    if !backend.health().is_up(Instant::now()) {
        return CleanupResult::Deferred(format!("{} went down", backend.name()));
    }
    let call = backend.delete(&item.entry.storage_key, item.entry.backend_version.as_deref());
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(Deleted::Gone)) => CleanupResult::Deleted,
        Ok(Ok(Deleted::Absent)) => CleanupResult::Absent,
        Ok(Err(error)) => CleanupResult::Failed(format!("{}: {error}", backend.name())),
        Err(_) => {
            // Its health was told by the call's end.
            CleanupResult::Failed(format!("{}: no answer to DELETE within {PATIENCE:?}", backend.name()))
        }
    }
}

fn disbelieve(result: CleanupResult, why: &str) -> CleanupResult {
    match result {
        CleanupResult::Deleted | CleanupResult::Absent => {
            CleanupResult::Deferred(format!("not believed to be gone: {why}"))
        }
        other @ (CleanupResult::Failed(_) | CleanupResult::Deferred(_)) => other,
    }
}

fn report(backend: &str, item: &CleanupItem, result: &CleanupResult) {
    let (key, size, reason) = (item.entry.storage_key.as_str(), item.entry.size, item.entry.reason.as_str());
    // An uncertain key is done only after its second DELETE.
    let last = !item.entry.uncertain || item.second_pass;
    match result {
        CleanupResult::Deleted => audit!("cleanup_queue.processed", backend, key, size, reason, last),
        CleanupResult::Absent => audit!("cleanup_queue.already_absent", backend, key, size, reason, last),
        CleanupResult::Failed(error) if item.attempts + 1 >= MAX_ATTEMPTS => {
            audit!("cleanup_queue.exhausted_to_dlq", backend, key, size, reason, error);
        }
        CleanupResult::Failed(error) => {
            debug!(backend, key, attempts = item.attempts + 1, error, "a queued blob could not be deleted");
        }
        CleanupResult::Deferred(why) => debug!(backend, key, why, "a queued blob is put off"),
    }
}

#[async_trait]
impl Worker for CleanupQueue {
    async fn tick(&self) -> Result<Counts, String> {
        self.journal.look_if_due().await?;
        let (mut total, run): (Counts, _) = (BTreeMap::new(), Run::begin());
        while !self.shutdown.is_stopping() {
            let due_for_us = run.lasts_us();
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: BATCH, due_for_us };
            let items = self.queues.claim_cleanup(claim).await.map_err(|error| error.to_string())?;
            if items.is_empty() {
                break;
            }
            let mut by_backend: BTreeMap<BackendId, Vec<CleanupItem>> = BTreeMap::new();
            for item in items {
                by_backend.entry(item.entry.backend).or_default().push(item);
            }
            let groups = by_backend.into_iter().map(|(id, items)| self.process(id, items));
            for counts in join_all(groups).await {
                for (status, count) in counts? {
                    *total.entry(status).or_default() += count;
                }
            }
        }
        Ok(total)
    }
}
