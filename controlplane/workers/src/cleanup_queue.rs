//! Deletes what is queued.
//!
//! Invariants: nothing is deleted on, and no 404 is believed of, a backend that does not show our
//! marker; a row is done only when its backend has answered, and what was answered decides (in the
//! store) whether its bytes stop counting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use s3o_backend::Deleted;
use s3o_core::cleanup::{Claim, CleanupItem, CleanupResult, MAX_ATTEMPTS};
use s3o_core::ports::Queues;
use s3o_core::worker::Counts;
use s3o_runtime::audit;
use tracing::warn;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::Worker;
use crate::marker_gate::MarkerGate;

/// A DELETE may take a minute, a queue of them a few.
const CLAIM_US: i64 = 5 * 60 * 1_000_000;
/// Rows a claim.
const BATCH: u32 = 256;

type ByBackend = Family<[(&'static str, String); 1], Counter>;

pub(crate) struct CleanupQueue {
    queues: Arc<dyn Queues>,
    backends: Arc<Backends>,
    gate: MarkerGate,
    owner: Uuid,
    concurrency: usize,
    processed: Family<[(&'static str, String); 1], Counter>,
    recovered: ByBackend,
    dead: ByBackend,
}

impl CleanupQueue {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        let new = Self {
            queues: deps.queues.clone(),
            backends,
            gate: MarkerGate::new(deps.configs.clone()),
            owner,
            concurrency: deps.settings.cleanup_concurrency.max(1),
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

    async fn delete(&self, item: &CleanupItem) -> CleanupResult {
        let entry = &item.entry;
        let Some(backend) = self.backends.get(entry.backend) else {
            return CleanupResult::Failed(format!("backend {} is not configured", entry.backend.0));
        };
        if !backend.health().is_up(Instant::now()) {
            return CleanupResult::Failed(format!("{} is down", backend.name()));
        }
        if let Err(why) = self.gate.is_ours(&backend).await {
            return CleanupResult::Failed(format!("{}: {why}", backend.name()));
        }
        match backend.delete(&entry.storage_key, entry.backend_version.as_deref()).await {
            Ok(Deleted::Gone) => CleanupResult::Deleted,
            Ok(Deleted::Absent) => CleanupResult::Absent,
            Err(error) => CleanupResult::Failed(format!("{}: {error}", backend.name())),
        }
    }

    async fn delete_all(&self, items: Vec<CleanupItem>) -> Vec<(CleanupItem, CleanupResult)> {
        let deleted = futures::stream::iter(items).map(|item| async move {
            let result = self.delete(&item).await;
            (item, result)
        });
        deleted.buffer_unordered(self.concurrency).collect().await
    }

    fn backend_name(&self, item: &CleanupItem) -> String {
        let id = item.entry.backend;
        self.backends.get(id).map_or_else(|| id.0.to_string(), |backend| backend.name().to_owned())
    }

    /// Says what came of a row, before the store is told: the DELETE has happened.
    fn report(&self, item: &CleanupItem, result: &CleanupResult) {
        let (key, backend) = (item.entry.storage_key.as_str(), self.backend_name(item));
        if item.recovered {
            audit!("cleanup_queue.claim_recovered", backend = %backend, key);
            self.recovered.get_or_create(&[("backend", backend.clone())]).inc();
        }
        match result {
            CleanupResult::Deleted => {
                let (size, reason) = (item.entry.size, item.entry.reason.as_str());
                audit!("cleanup_queue.processed", backend = %backend, key, size, reason);
            }
            CleanupResult::Absent => audit!("cleanup_queue.already_absent", backend = %backend, key),
            CleanupResult::Failed(error) if item.attempts + 1 >= MAX_ATTEMPTS => {
                audit!("cleanup_queue.exhausted_to_dlq", backend = %backend, key, error = %error);
                self.dead.get_or_create(&[("backend", backend)]).inc();
            }
            CleanupResult::Failed(error) => {
                warn!(backend, key, attempts = item.attempts + 1, %error, "a queued blob could not be deleted");
            }
        }
    }
}

#[async_trait]
impl Worker for CleanupQueue {
    async fn tick(&self) -> Result<Counts, String> {
        self.gate.reset().await;
        let mut total: Counts = BTreeMap::new();
        loop {
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: BATCH };
            let items = self.queues.claim_cleanup(claim).await.map_err(|error| error.to_string())?;
            let last = items.len() < BATCH as usize;
            if items.is_empty() {
                return Ok(total);
            }
            let results = self.delete_all(items).await;
            results.iter().for_each(|(item, result)| self.report(item, result));
            let counts =
                self.queues.finish_cleanup(self.owner, results).await.map_err(|error| error.to_string())?;
            for (status, count) in counts {
                self.processed.get_or_create(&[("status", status.clone())]).inc_by(count);
                *total.entry(status).or_default() += count;
            }
            if last {
                return Ok(total);
            }
        }
    }
}
