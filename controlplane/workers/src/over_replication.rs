//! Takes copies away that are too many: those of no use, those on backends that are drained, those on the fullest.
//!
//! Invariant: it only proposes. Whether a copy goes is decided under its key's lock, by what is counted there.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use s3o_core::call::{Call, ChangeCopy, CopyChange, ExtentOf, Outcome};
use s3o_core::object::CopyRow;
use s3o_core::ports::{Configs, Ledger, Replication};
use s3o_core::replication::{
    CopiesQuery, CopyTask, ExtentCopies, Need, ReplicationItem, ReplicationResult, Standing, need,
};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::{BackendState, ErrorCode};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::{Run, Worker, new_op, request};
use crate::standing::Observer;
use crate::version_queue::VersionQueue;

/// Versions a claim.
const BATCH: u32 = 64;

pub(crate) struct OverReplication {
    ledger: Arc<dyn Ledger>,
    replication: Arc<dyn Replication>,
    queue: VersionQueue,
    observer: Observer,
    configs: Arc<dyn Configs>,
    owner: Uuid,
    shutdown: Shutdown,
    metrics: Metrics,
}

struct Metrics {
    removed: Counter,
    drained_objects: Counter,
    drained_bytes: Counter,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new = Self {
            removed: Counter::default(),
            drained_objects: Counter::default(),
            drained_bytes: Counter::default(),
        };
        metrics.register("over_replication_removed", "Excess copies removed", new.removed.clone());
        metrics.register("drain_objects_moved", "Objects migrated during drain", new.drained_objects.clone());
        metrics.register("drain_bytes_moved", "Bytes migrated during drain", new.drained_bytes.clone());
        new
    }
}

impl OverReplication {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        let helps = [
            "Objects exceeding the replication factor",
            "Over-replication cleanup errors",
            "Over-replication worker executions",
            "Over-replication cleanup cycle time",
        ];
        Self {
            ledger: deps.ledger.clone(),
            replication: deps.replication.clone(),
            queue: VersionQueue::new(deps, CopyTask::Trim, owner, "over_replication", helps),
            observer: Observer::new(deps, backends, owner),
            configs: deps.configs.clone(),
            owner,
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    async fn tend(
        &self,
        item: &ReplicationItem,
        standing: &Standing,
        removed: &mut u64,
    ) -> ReplicationResult {
        let mut after = None;
        loop {
            let query = CopiesQuery { entry: item.entry.clone(), after };
            let page = match self.replication.copies(query).await {
                Ok(Some(page)) => page,
                Ok(None) => return ReplicationResult::Done,
                Err(error) => return ReplicationResult::Failed(error.to_string()),
            };
            for extent in &page.extents {
                let trimmed = self.trim(item, extent, page.replication_factor, standing, removed).await;
                if trimmed != ReplicationResult::Done {
                    return trimmed;
                }
            }
            after = page.extents.last().map(|extent| extent.extent);
            if !page.more {
                return ReplicationResult::Done;
            }
        }
    }

    async fn trim(
        &self,
        item: &ReplicationItem,
        extent: &ExtentCopies,
        factor: u16,
        standing: &Standing,
        removed: &mut u64,
    ) -> ReplicationResult {
        let mut copies = extent.copies.clone();
        loop {
            let victim = match need(&copies, factor, standing) {
                Need::Without(victim) => victim,
                Need::Nothing => return ReplicationResult::Done,
                Need::Copies(_) => return ReplicationResult::HandedOver(CopyTask::Add),
                Need::Later => {
                    let why = "nothing is taken away while backends that hold the others do not answer";
                    return ReplicationResult::Failed(why.to_owned());
                }
            };
            if let Err(result) = self.drop_copy(item, &victim).await {
                return result;
            }
            *removed += 1;
            copies.retain(|(copy, _)| copy.backend != victim.backend);
        }
    }

    async fn drop_copy(&self, item: &ReplicationItem, victim: &CopyRow) -> Result<(), ReplicationResult> {
        let of = ExtentOf {
            bucket: victim.bucket,
            key: victim.key.clone(),
            version: victim.blob.version,
            extent: victim.blob.extent,
        };
        let change =
            ChangeCopy { of, backend: victim.backend, r#gen: victim.blob.r#gen, change: CopyChange::Drop };
        let (op, id) = (new_op(), format!("trim-{}", item.entry.version));
        let request = request(self.owner, "over_replication", op, id, Call::ChangeCopy(change));
        match self.ledger.submit(request).await {
            Outcome::CopyChanged => {
                self.count(victim);
                let (bucket, key, backend) = (victim.bucket.0, victim.key.as_str(), victim.backend.0);
                let (version, size) = (victim.blob.version.to_string(), victim.stored_size);
                audit!("over_replication.remove", request_id = %op, bucket, key, version, backend, size);
                Ok(())
            }
            // It is counted otherwise by now, or somebody else took it: to be looked at again.
            Outcome::Refused(refusal)
                if matches!(refusal.code, ErrorCode::NoSuchKey | ErrorCode::PreconditionFailed) =>
            {
                Err(ReplicationResult::HandedOver(CopyTask::Add))
            }
            Outcome::Refused(refusal) => Err(ReplicationResult::Failed(refusal.message)),
            other => Err(ReplicationResult::Failed(format!("unexpected outcome {other:?}"))),
        }
    }

    fn count(&self, gone: &CopyRow) {
        self.metrics.removed.inc();
        let config = self.configs.current();
        let backend = config.backends.iter().find(|backend| backend.spec.id == gone.backend);
        if backend.is_some_and(|backend| backend.state == BackendState::Draining) {
            self.metrics.drained_objects.inc_by(u64::from(gone.is_first()));
            self.metrics.drained_bytes.inc_by(gone.stored_size);
        }
    }

    async fn run(&self) -> Result<Counts, String> {
        let (mut removed, mut failed, mut looked_at) = (0, 0, 0);
        let run = Run::begin();
        while !self.shutdown.is_stopping() {
            // Before the claim: what is claimed is always finished.
            let standing = self.observer.look().await?;
            let items = self.queue.claim(BATCH, &run).await?;
            if items.is_empty() {
                break;
            }
            if looked_at == 0 {
                audit!("over_replication.start");
            }
            let mut results = Vec::with_capacity(items.len());
            for item in items {
                let result = self.tend(&item, &standing, &mut removed).await;
                if let ReplicationResult::Failed(why) = &result {
                    failed += 1;
                    self.queue.errors.inc();
                    tracing::warn!(
                        key = item.entry.key,
                        error = why,
                        "a copy too many could not be taken away"
                    );
                }
                looked_at += 1;
                results.push((item, result));
            }
            self.queue.finish(results).await?;
        }
        if looked_at > 0 {
            audit!("over_replication.complete", removed, failed);
        }
        Ok(Counts::from([("removed".to_owned(), removed), ("failed".to_owned(), failed)]))
    }
}

#[async_trait]
impl Worker for OverReplication {
    async fn tick(&self) -> Result<Counts, String> {
        self.queue.counted(self.run()).await
    }
}
