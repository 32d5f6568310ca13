//! `cleanup_queue`: deletes what the cleanup queue names, and says how it went. When a row is tried
//! again, and when it is given up, is the store's.
//!
//! Invariant: a row counts as deleted or absent only where the backend's marker was ours before the
//! first DELETE of the batch and still is after the last; S3 answers 204 for what was never there, so
//! an unmounted folder would otherwise make everything gone. A backend that is down is not hammered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use s3o_backend::{Backend, BackendError, BackendErrorKind, Certainty, Deleted};
use s3o_core::cleanup::{Claim, CleanupItem, CleanupResult, MAX_ATTEMPTS};
use s3o_core::ports::Queues;
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::BackendId;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::backends::Backends;
use crate::metrics::{Counters, label};
use crate::runner::Worker;
use crate::workers::Shared;

/// Rows claimed at a time.
const BATCH: u32 = 256;
/// DELETEs under way at a time, by backend.
const AT_ONCE: usize = 16;
/// How long one DELETE may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a claim lasts, in microseconds: longer than a batch of which every DELETE takes all of its
/// patience (256 / 16 × 20 s, and the marker twice).
const CLAIM_US: i64 = 10 * 60 * 1_000_000;
/// Batches in one tick: a bound for a tick that meets a mountain.
const ROUNDS: u32 = 400;

pub(crate) struct CleanupQueue {
    queues: Arc<dyn Queues>,
    backends: Arc<Backends>,
    owner: Uuid,
    processed: Counters,
    dead_lettered: Counters,
    recovered: Counters,
}

impl CleanupQueue {
    pub(crate) fn new(shared: &Shared) -> Arc<dyn Worker> {
        let [processed, dead_lettered, recovered] = [(); 3].map(|()| Counters::default());
        let one = |name, help, family: &Counters| shared.metrics.register(name, help, family.clone());
        one("cleanup_queue_processed", "Items processed from the cleanup queue", &processed);
        let dead = "Cleanup rows graduated to the dead-letter after exhausting retries";
        one("cleanup_dlq_enqueued", dead, &dead_lettered);
        let stale = "Cleanup rows whose stale claim was reclaimed by a later worker tick";
        one("cleanup_queue_stale_claims_recovered", stale, &recovered);
        Arc::new(Self {
            queues: Arc::clone(&shared.queues),
            backends: Arc::clone(&shared.backends),
            owner: shared.owner,
            processed,
            dead_lettered,
            recovered,
        })
    }
}

type Results = Vec<(CleanupItem, CleanupResult)>;

#[async_trait]
impl Worker for CleanupQueue {
    async fn tick(&self, stop: &Shutdown) -> Result<Counts, String> {
        let mut counts = Counts::new();
        for _ in 0..ROUNDS {
            if stop.is_stopping() {
                break;
            }
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: BATCH };
            let items = self.queues.claim_cleanup(claim).await.map_err(|error| error.to_string())?;
            if items.is_empty() {
                break;
            }
            let mut by_backend: BTreeMap<BackendId, Vec<CleanupItem>> = BTreeMap::new();
            for item in items {
                by_backend.entry(item.entry.backend).or_default().push(item);
            }
            let groups = by_backend.into_iter().map(|(id, items)| self.process(id, items));
            for done in join_all(groups).await {
                for (word, n) in done? {
                    *counts.entry(word).or_default() += n;
                }
            }
        }
        Ok(counts)
    }
}

impl CleanupQueue {
    /// The claimed rows of one backend, from claim to result.
    async fn process(&self, id: BackendId, items: Vec<CleanupItem>) -> Result<Counts, String> {
        let name = self.backends.name(id);
        self.tell_recovered(&name, &items);
        let results = self.delete_all(id, items).await;
        let finished = self.queues.finish_cleanup(self.owner, results.clone()).await;
        let counts = finished.map_err(|error| error.to_string())?;
        for (word, n) in &counts {
            self.processed.get_or_create(&label("status", word)).inc_by(*n);
        }
        let exhausted = counts.get("exhausted").copied().unwrap_or_default();
        if exhausted > 0 {
            self.dead_lettered.get_or_create(&label("backend", &name)).inc_by(exhausted);
        }
        tell(&name, &results);
        Ok(counts)
    }

    fn tell_recovered(&self, backend: &str, items: &[CleanupItem]) {
        for item in items.iter().filter(|item| item.recovered) {
            self.recovered.get_or_create(&label("backend", backend)).inc();
            audit!("cleanup_queue.claim_recovered", backend, key = item.entry.storage_key, id = item.id);
        }
    }

    async fn delete_all(&self, id: BackendId, items: Vec<CleanupItem>) -> Results {
        let backend = match self.backends.usable_and_ours(id).await {
            Ok(backend) => backend,
            Err(why) => {
                warn!(rows = items.len(), why, "rows of the cleanup queue are put off");
                return items.into_iter().map(|item| (item, CleanupResult::Failed(why.clone()))).collect();
            }
        };
        let deletes = items.into_iter().map(|item| {
            let backend = Arc::clone(&backend);
            async move {
                let result = delete(&backend, &item).await;
                (item, result)
            }
        });
        let results: Results = stream::iter(deletes).buffer_unordered(AT_ONCE).collect().await;
        match self.backends.confirm_ours(&backend).await {
            Ok(()) => results,
            Err(why) => {
                warn!(rows = results.len(), why, "what was deleted is not believed to be gone");
                results.into_iter().map(|(item, result)| (item, disbelieve(result, &why))).collect()
            }
        }
    }
}

async fn delete(backend: &Backend, item: &CleanupItem) -> CleanupResult {
    if !backend.health().is_up(Instant::now()) {
        let why = format!("backend {} went down: its circuit breaker is not closed", backend.name());
        return CleanupResult::Failed(why);
    }
    let call = backend.delete(&item.entry.storage_key, item.entry.backend_version.as_deref());
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(Deleted::Gone)) => CleanupResult::Deleted,
        Ok(Ok(Deleted::Absent)) => CleanupResult::Absent,
        Ok(Err(error)) => CleanupResult::Failed(error.to_string()),
        Err(_) => {
            let why = format!("no answer to DELETE within {PATIENCE:?}");
            let error = BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, why.clone());
            backend.health().failed(&error, Instant::now(), rand::random());
            CleanupResult::Failed(why)
        }
    }
}

fn disbelieve(result: CleanupResult, why: &str) -> CleanupResult {
    match result {
        CleanupResult::Deleted | CleanupResult::Absent => {
            CleanupResult::Failed(format!("not believed to be gone: {why}"))
        }
        failed @ CleanupResult::Failed(_) => failed,
    }
}

fn tell(backend: &str, results: &Results) {
    for (item, result) in results {
        let (id, key) = (item.id, item.entry.storage_key.as_str());
        let (reason, size) = (item.entry.reason.as_str(), item.entry.size);
        // An uncertain key is done only after its second DELETE.
        let last = !item.entry.uncertain || item.second_pass;
        match result {
            CleanupResult::Deleted => {
                audit!("cleanup_queue.processed", backend, key, id, reason, size, last);
            }
            CleanupResult::Absent => {
                audit!("cleanup_queue.already_absent", backend, key, id, reason, size, last);
            }
            CleanupResult::Failed(error) if item.attempts + 1 >= MAX_ATTEMPTS => {
                audit!("cleanup_queue.exhausted_to_dlq", backend, key, id, reason, size, error);
            }
            CleanupResult::Failed(error) => {
                debug!(backend, key, id, attempts = item.attempts + 1, error, "DELETE failed");
            }
        }
    }
}
