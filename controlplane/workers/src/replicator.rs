//! Makes the copies that are missing.
//!
//! Invariants: work is found in a queue that the commits fill; a copy is read whole and compared with what the version
//! is known to be before it counts; a version stays queued until it has what its bucket wants.

pub(crate) mod transfer;
pub(crate) mod tried;

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use s3o_core::object::CopyState;
use s3o_core::ports::Replication;
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyTask, ExtentCopies, Need, ReplicationItem, ReplicationResult, Standing, need,
};
use s3o_core::worker::Counts;
use s3o_runtime::{OpenOps, Shutdown, audit};
use s3o_types::BackendState;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::{Run, Worker};
use crate::standing::Observer;
use crate::version_queue::VersionQueue;
use transfer::{Made, Transfer};
use tried::Tried;

/// Versions a claim.
const BATCH: u32 = 32;
/// Ways tried for a copy before its version has to wait.
const WAYS: usize = 3;

pub(crate) struct Replicator {
    replication: Arc<dyn Replication>,
    queue: VersionQueue,
    transfer: Transfer,
    observer: Observer,
    concurrency: usize,
    shutdown: Shutdown,
    metrics: Metrics,
}

struct Metrics {
    created: Counter,
    for_health: Counter,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new = Self { created: Counter::default(), for_health: Counter::default() };
        metrics.register("replication_copies_created", "Replica copies created", new.created.clone());
        let help = "Copies created to replace copies on circuit-broken backends";
        metrics.register("replication_health_copies", help, new.for_health.clone());
        new
    }
}

impl Replicator {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid, open_ops: OpenOps) -> Self {
        let helps = [
            "Objects below replication factor",
            "Replication errors",
            "Replication worker executions",
            "Replication cycle time",
        ];
        Self {
            replication: deps.replication.clone(),
            queue: VersionQueue::new(deps, CopyTask::Add, owner, "replication", helps),
            transfer: Transfer::new(deps, backends.clone(), owner, open_ops),
            observer: Observer::new(deps, backends, owner),
            concurrency: deps.settings.replication_concurrency.max(1),
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    /// Brings a version to what its bucket wants, extent by extent.
    async fn tend(&self, item: &ReplicationItem, standing: &Standing) -> ReplicationResult {
        let (mut after, mut too_many, mut failure) = (None, false, None);
        loop {
            let query = CopiesQuery { entry: item.entry.clone(), after };
            let page = match self.replication.copies(query).await {
                Ok(Some(page)) => page,
                Ok(None) => return ReplicationResult::Done,
                Err(error) => return ReplicationResult::Failed(error.to_string()),
            };
            for extent in &page.extents {
                if self.shutdown.is_stopping() {
                    return ReplicationResult::Failed("the process was stopping".to_owned());
                }
                match self.fill(&page, extent, standing).await {
                    Ok(surplus) => too_many |= surplus,
                    // The other extents need not wait for it.
                    Err(why) => failure = failure.or(Some(why)),
                }
            }
            after = page.extents.last().map(|extent| extent.extent);
            if !page.more {
                break;
            }
        }
        match failure {
            // Overwritten or deleted meanwhile: nothing is lacking.
            Some(_) if self.is_gone(item).await => ReplicationResult::Done,
            Some(why) => ReplicationResult::Failed(why),
            None if too_many => ReplicationResult::HandedOver(CopyTask::Trim),
            None => ReplicationResult::Done,
        }
    }

    async fn is_gone(&self, item: &ReplicationItem) -> bool {
        let query = CopiesQuery { entry: item.entry.clone(), after: None };
        matches!(self.replication.copies(query).await, Ok(None))
    }

    /// Makes what an extent lacks; says whether it has too much then.
    async fn fill(
        &self,
        page: &CopiesPage,
        extent: &ExtentCopies,
        standing: &Standing,
    ) -> Result<bool, String> {
        let mut extent = extent.clone();
        loop {
            match need(&extent.copies, page.replication_factor, standing) {
                Need::Nothing => return Ok(false),
                Need::Without(_) | Need::Later => return Ok(true),
                Need::Copies(_) => {}
            }
            let Made { copy, vouched } = self.copy(page, &extent, standing).await?;
            self.metrics.created.inc();
            if extent.copies.iter().any(|(other, _)| standing.unhealthy.contains(&other.backend)) {
                self.metrics.for_health.inc();
            }
            extent.copies.retain(|(other, _)| other.backend != copy.backend);
            extent.copies.push((copy, BackendState::Active));
            for (source, _) in extent.copies.iter_mut().filter(|(source, _)| Some(source.backend) == vouched)
            {
                source.state = CopyState::Verified;
            }
        }
    }

    /// One more copy, by another way where one fails: from another source, or to another backend.
    async fn copy(
        &self,
        page: &CopiesPage,
        extent: &ExtentCopies,
        standing: &Standing,
    ) -> Result<Made, String> {
        let mut tried = Tried::default();
        // Why the best way did not work: that of the last one may only say that none is left.
        let mut why = None;
        loop {
            let failure = match Box::pin(self.transfer.copy(page, extent, standing, &tried)).await {
                Ok(made) => return Ok(made),
                Err(failure) => failure,
            };
            self.queue.errors.inc();
            let another = tried.note(&failure);
            let why: &mut String = why.get_or_insert(failure.why);
            if !another || tried.len() >= WAYS || self.shutdown.is_stopping() {
                return Err(std::mem::take(why));
            }
            tracing::info!(key = page.object.key, error = *why, "a copy is tried another way");
        }
    }

    async fn run(&self) -> Result<Counts, String> {
        let (mut counts, run) = (Counts::new(), Run::begin());
        while !self.shutdown.is_stopping() {
            // Before the claim: what is claimed is always finished.
            let standing = self.observer.look().await?;
            let items = self.queue.claim(BATCH, &run).await?;
            if items.is_empty() {
                break;
            }
            if counts.is_empty() {
                audit!("replication.start");
            }
            let tended = items.into_iter().map(|item| {
                let standing = &standing;
                async move {
                    let result = self.tend(&item, standing).await;
                    (item, result)
                }
            });
            let mut tended = futures::stream::iter(tended).buffer_unordered(self.concurrency);
            // Each by itself: what is done need not wait for what takes long.
            while let Some((item, result)) = tended.next().await {
                *counts.entry(report(&item, &result).to_owned()).or_default() += 1;
                self.queue.finish(vec![(item, result)]).await?;
            }
        }
        if !counts.is_empty() {
            let of = |what: &str| counts.get(what).copied().unwrap_or_default();
            audit!("replication.complete", versions = of("done") + of("too_many"), failed = of("failed"));
        }
        Ok(counts)
    }
}

fn report(item: &ReplicationItem, result: &ReplicationResult) -> &'static str {
    match result {
        ReplicationResult::Done => "done",
        ReplicationResult::HandedOver(_) => "too_many",
        ReplicationResult::Failed(why) => {
            let (key, attempts) = (item.entry.key.as_str(), item.attempts + 1);
            tracing::warn!(key, attempts, error = why, "a version lacks copies still");
            "failed"
        }
    }
}

#[async_trait]
impl Worker for Replicator {
    async fn tick(&self) -> Result<Counts, String> {
        self.queue.counted(self.run()).await
    }
}
