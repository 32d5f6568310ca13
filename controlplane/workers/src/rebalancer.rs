//! Moves copies so that backends are as full as the strategy wants them: copy, then drop where it was.
//!
//! Invariants: a move is a worker's copy like any other, and the old one goes by the ledger's leave: never with too few
//! left; one run goes on at a time, whichever replica's it is; what a run that died has moved stays moved.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use s3o_core::call::CopyChange;
use s3o_core::cleanup::Claim;
use s3o_core::config::Routing;
use s3o_core::object::CopyState;
use s3o_core::ports::{Configs, Overview, Rebalances, Rebalancing, Replication};
use s3o_core::rebalance::{Move, Planner, RebalanceTotals, RebalanceWish, Shelf, Transfer as Planned};
use s3o_core::replication::{CopyItem, Standing};
use s3o_core::worker::Counts;
use s3o_runtime::metrics::duration_histogram;
use s3o_runtime::{OpenOps, Shutdown, audit};
use s3o_types::{BackendId, BackendState, Consumption, Extent, VersionId};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::check::Checker;
use crate::harness::Worker;
use crate::replicator::transfer::Transfer;
use crate::replicator::tried::Tried;
use crate::standing::Observer;

const NAME: &str = "rebalance";
/// Longer than a run takes; it ends with the process's session, if not before.
const CLAIM_US: i64 = 24 * 60 * 60 * 1_000_000;

/// What a backend must have left of its month, at least.
const LEAST: Consumption = Consumption { api_requests: 1, egress_bytes: 1, ingress_bytes: 1 };

/// Whether and how it runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceSettings {
    /// Runs at its interval; on demand it runs anyway.
    pub enabled: bool,
    /// What is wanted; `None`: what new objects are placed by.
    pub strategy: Option<Routing>,
    /// As [`RebalanceWish::threshold_percent`].
    pub threshold_percent: u8,
    /// Copies a run, at most.
    pub batch: u32,
    /// Copies moved at once.
    pub concurrency: usize,
}

impl Default for RebalanceSettings {
    fn default() -> Self {
        Self { enabled: false, strategy: None, threshold_percent: 10, batch: 100, concurrency: 4 }
    }
}

pub(crate) struct Rebalancer {
    rebalances: Arc<dyn Rebalances>,
    replication: Arc<dyn Replication>,
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    observer: Observer,
    transfer: Transfer,
    checker: Checker,
    settings: RebalanceSettings,
    owner: Uuid,
    /// Held by the run of this process.
    running: Mutex<()>,
    shutdown: Shutdown,
    metrics: Metrics,
}

type Tell = Box<dyn FnMut(Move, RebalanceTotals) + Send>;
type ByStrategy = [(&'static str, &'static str); 1];

struct Metrics {
    objects: Family<[(&'static str, &'static str); 2], Counter>,
    bytes: Family<ByStrategy, Counter>,
    runs: Family<[(&'static str, &'static str); 2], Counter>,
    duration: Family<ByStrategy, Histogram, fn() -> Histogram>,
    skipped: Family<ByStrategy, Counter>,
    pending: Gauge,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new = Self {
            objects: Family::default(),
            bytes: Family::default(),
            runs: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
            skipped: Family::default(),
            pending: Gauge::default(),
        };
        metrics.register("rebalance_objects_moved", "Objects moved by rebalancer", new.objects.clone());
        metrics.register("rebalance_bytes_moved", "Bytes moved by rebalancer", new.bytes.clone());
        metrics.register("rebalance_runs", "Rebalancer executions", new.runs.clone());
        let help = "Rebalancer execution time";
        metrics.register("rebalance_duration_seconds", help, new.duration.clone());
        metrics.register("rebalance_skipped", "Rebalancer runs skipped", new.skipped.clone());
        metrics.register("rebalance_pending", "Objects planned for rebalance", new.pending.clone());
        new
    }

    fn skip(&self, reason: &'static str) {
        self.skipped.get_or_create(&[("reason", reason)]).inc();
    }
}

impl Rebalancer {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid, open_ops: OpenOps) -> Self {
        Self {
            rebalances: deps.rebalances.clone(),
            replication: deps.replication.clone(),
            configs: deps.configs.clone(),
            overview: deps.overview.clone(),
            observer: Observer::new(deps, backends.clone(), owner),
            transfer: Transfer::new(deps, backends.clone(), owner, open_ops),
            checker: Checker::new(deps, backends, owner, "rebalancer"),
            settings: deps.settings.rebalance,
            owner,
            running: Mutex::default(),
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    /// Those that take writes and answer, and whose month has something of everything left, in the configured order.
    async fn shelves(&self, standing: &Standing) -> Result<Vec<Shelf>, String> {
        let usage = self.overview.backend_usage().await.map_err(|error| error.to_string())?;
        let of = |id: BackendId| usage.iter().find(|(of, ..)| *of == id);
        let used = |id: BackendId| {
            let total = of(id).map_or(0, |(_, usage, _)| usage.total());
            u64::try_from(total).unwrap_or(0)
        };
        let month = |id: BackendId| of(id).map(|(_, _, month)| month.sum()).unwrap_or_default();
        let config = self.configs.current();
        let takes = config.backends.iter().filter(|backend| {
            let id = backend.spec.id;
            let answers = !standing.unhealthy.contains(&id) && !standing.silent.contains(&id);
            let is_spent = backend.limits.passed(month(id), LEAST).is_some();
            backend.state == BackendState::Active && backend.attached && answers && !is_spent
        });
        let shelf = |id: BackendId, quota| Shelf { backend: id, used: used(id), quota };
        Ok(takes.map(|backend| shelf(backend.spec.id, backend.quota_bytes)).collect())
    }

    /// One run, in its claim.
    async fn claimed(&self, wish: RebalanceWish, tell: &mut Tell) -> Result<RebalanceTotals, String> {
        if wish.dry_run {
            return self.run(wish, tell).await;
        }
        let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: 1, due_for_us: 0 };
        let mine = self.running.try_lock();
        let claimed = mine.is_ok()
            && self.rebalances.claim_run(NAME, claim).await.map_err(|error| error.to_string())?;
        if !claimed {
            self.metrics.skip("claimed");
            return Err("a run goes on already".to_owned());
        }
        let (strategy, began) = (wish.strategy.as_str(), Instant::now());
        let ran = self.run(wish, tell).await;
        let status = if ran.is_ok() { "success" } else { "error" };
        self.metrics.runs.get_or_create(&[("strategy", strategy), ("status", status)]).inc();
        let seconds = began.elapsed().as_secs_f64();
        self.metrics.duration.get_or_create(&[("strategy", strategy)]).observe(seconds);
        self.metrics.pending.set(0);
        // If this fails, the claim is this process's still, for its next run, and ends with its session.
        let released = self.rebalances.release_run(NAME, self.owner).await;
        ran.and_then(|totals| released.map(|()| totals).map_err(|error| error.to_string()))
    }

    async fn run(&self, wish: RebalanceWish, tell: &mut Tell) -> Result<RebalanceTotals, String> {
        let standing = self.observer.look().await?;
        let mut planner = Planner::new(self.shelves(&standing).await?, wish.strategy, wish.threshold_percent);
        let wanted = planner.clone().plan();
        let planned_bytes = wanted.iter().map(|transfer| transfer.bytes).fold(0, u64::saturating_add);
        let mut totals = RebalanceTotals { planned_bytes, ..RebalanceTotals::default() };
        if wanted.is_empty() {
            self.metrics.skip("balanced");
            return Ok(totals);
        }
        let (strategy, dry_run) = (wish.strategy.as_str(), wish.dry_run);
        audit!("rebalance.start", strategy, planned_bytes, dry_run);
        let mut seen = BTreeSet::new();
        for pair in planner.pairs() {
            let Some(planned) = planner.transfer(pair) else { continue };
            let before = totals.moved_bytes;
            self.carry_out(planned, wish, &standing, (&mut totals, &mut seen), tell).await?;
            planner.moved(pair, totals.moved_bytes - before);
            if is_full(&totals, wish) || self.shutdown.is_stopping() {
                break;
            }
        }
        let RebalanceTotals { moved, moved_bytes, failed, .. } = totals;
        audit!("rebalance.complete", strategy, dry_run, moved, moved_bytes, failed);
        Ok(totals)
    }

    /// Copies of one backend, until so many bytes or copies are moved, or none is left that could be.
    async fn carry_out(
        &self,
        planned: Planned,
        wish: RebalanceWish,
        standing: &Standing,
        (totals, seen): (&mut RebalanceTotals, &mut BTreeSet<(VersionId, Extent)>),
        tell: &mut Tell,
    ) -> Result<(), String> {
        let (mut left, mut after) = (planned.bytes, None);
        loop {
            let page = self.rebalances.candidates(planned, after).await.map_err(|error| error.to_string())?;
            let room = u64::from(wish.batch).saturating_sub(totals.moved + totals.failed);
            // A copy is moved once a run; in a dry run it is where it was.
            let new =
                page.copies.into_iter().filter(|copy| !seen.contains(&(copy.entry.version, copy.extent)));
            let chosen = choose(new, &mut left, usize::try_from(room).unwrap_or(usize::MAX));
            seen.extend(chosen.iter().map(|copy| (copy.entry.version, copy.extent)));
            let failed = totals.failed;
            self.carry(chosen, planned, wish, (standing, &mut *totals), tell).await;
            // A backend that refuses one copy will refuse the next.
            let is_refused = totals.failed > failed;
            after = page.next;
            if after.is_none()
                || left == 0
                || is_full(totals, wish)
                || is_refused
                || self.shutdown.is_stopping()
            {
                return Ok(());
            }
        }
    }

    async fn carry(
        &self,
        chosen: Vec<CopyItem>,
        planned: Planned,
        wish: RebalanceWish,
        (standing, totals): (&Standing, &mut RebalanceTotals),
        tell: &mut Tell,
    ) {
        let (from, to) = (self.checker.name(planned.from), self.checker.name(planned.to));
        self.metrics.pending.set(i64::try_from(chosen.len()).unwrap_or(i64::MAX));
        let moves = chosen.into_iter().map(|item| async move {
            let result = if wish.dry_run { Ok(true) } else { self.carry_one(&item, planned, standing).await };
            (item, result)
        });
        let mut moves = futures::stream::iter(moves).buffer_unordered(self.settings.concurrency.max(1));
        while let Some((item, result)) = moves.next().await {
            self.metrics.pending.dec();
            // Gone, or moved by somebody else: neither done nor failed.
            if result == Ok(false) {
                continue;
            }
            let result = result.map(|_| ());
            if !wish.dry_run {
                self.count(wish.strategy, &item, &result, (&from, &to));
            }
            totals.moved += u64::from(result.is_ok());
            totals.moved_bytes += if result.is_ok() { item.size } else { 0 };
            totals.failed += u64::from(result.is_err());
            let bucket = self.bucket(&item);
            let result = (!wish.dry_run).then_some(result);
            let (from, to, size) = (from.clone(), to.clone(), item.size);
            tell(Move { bucket, key: item.entry.key, from, to, size, result }, *totals);
        }
    }

    /// Copies, then drops. `Ok(false)`: there is nothing to move any more.
    async fn carry_one(
        &self,
        item: &CopyItem,
        planned: Planned,
        standing: &Standing,
    ) -> Result<bool, String> {
        if self.shutdown.is_stopping() {
            return Ok(false);
        }
        let page = self.replication.copies(item.query()).await.map_err(|error| error.to_string())?;
        let Some(page) = page else { return Ok(false) };
        let Some((extent, copy)) = page.copy_on(item.extent, planned.from) else { return Ok(false) };
        // With the new one too few would answer to let the old one go.
        let stays = standing.others(&extent.copies, copy) + 1 < page.replication_factor;
        if stays || copy.state != CopyState::Verified || page.copy_on(item.extent, planned.to).is_some() {
            return Ok(false);
        }
        let config = self.configs.current();
        let only_there = Tried::all_but(planned.to, config.backends.iter().map(|backend| backend.spec.id));
        let made = Box::pin(self.transfer.copy(&page, extent, standing, &only_there)).await;
        made.map_err(|failure| failure.why)?;
        self.checker.change(copy, CopyChange::Drop).await?;
        Ok(true)
    }

    fn count(
        &self,
        strategy: Routing,
        item: &CopyItem,
        result: &Result<(), String>,
        (from, to): (&str, &str),
    ) {
        let strategy = strategy.as_str();
        let status = if result.is_ok() { "success" } else { "error" };
        self.metrics.objects.get_or_create(&[("strategy", strategy), ("status", status)]).inc();
        let (key, size) = (item.entry.key.as_str(), item.size);
        match result {
            Ok(()) => {
                self.metrics.bytes.get_or_create(&[("strategy", strategy)]).inc_by(size);
                let (bucket, version) = (item.entry.bucket.0, item.entry.version.to_string());
                audit!("rebalance.move", bucket, key, version, size, from, to);
            }
            Err(why) => tracing::warn!(key, from, to, why, "a copy could not be moved"),
        }
    }

    fn bucket(&self, item: &CopyItem) -> String {
        let config = self.configs.current();
        let bucket = config.buckets.iter().find(|bucket| bucket.id == item.entry.bucket);
        bucket.map_or_else(|| format!("bucket {}", item.entry.bucket.0), |bucket| bucket.name.to_string())
    }
}

fn is_full(totals: &RebalanceTotals, wish: RebalanceWish) -> bool {
    totals.moved + totals.failed >= u64::from(wish.batch)
}

/// The first ones that fit into what is left.
fn choose(copies: impl Iterator<Item = CopyItem>, left: &mut u64, at_most: usize) -> Vec<CopyItem> {
    let fits = copies.filter(|copy| {
        let fits = copy.size <= *left;
        if fits {
            *left -= copy.size;
        }
        fits
    });
    fits.take(at_most).collect()
}

#[async_trait]
impl Worker for Arc<Rebalancer> {
    async fn tick(&self) -> Result<Counts, String> {
        if !self.settings.enabled {
            return Ok(Counts::new());
        }
        let mut tell: Tell = Box::new(|_, _| {});
        let RebalanceTotals { moved, failed, .. } = self.claimed(self.usual(), &mut tell).await?;
        Ok(Counts::from([("moved".to_owned(), moved), ("failed".to_owned(), failed)]))
    }
}

#[async_trait]
impl Rebalancing for Rebalancer {
    async fn rebalance(&self, wish: RebalanceWish, mut tell: Tell) -> Result<RebalanceTotals, String> {
        self.claimed(wish, &mut tell).await
    }

    fn usual(&self) -> RebalanceWish {
        let RebalanceSettings { enabled: _, strategy, threshold_percent, batch, concurrency: _ } =
            self.settings;
        let strategy = strategy.unwrap_or(self.configs.current().routing);
        RebalanceWish { strategy, threshold_percent, batch, dry_run: false }
    }
}

#[cfg(test)]
mod tests {
    use s3o_core::replication::{CopyTask, ReplicationEntry};
    use s3o_types::BucketId;

    use super::*;

    #[test]
    fn what_does_not_fit_is_passed_over() {
        let copy = |size| CopyItem {
            entry: ReplicationEntry {
                version: VersionId::mint(1, 1),
                bucket: BucketId(1),
                key: "k".to_owned(),
                task: CopyTask::Add,
            },
            extent: Extent::ZERO,
            size,
        };
        let sizes = |chosen: Vec<CopyItem>| chosen.into_iter().map(|copy| copy.size).collect::<Vec<_>>();
        let all = || [5, 20, 4, 1, 1].map(copy).into_iter();
        let mut left = 10;
        assert_eq!(sizes(choose(all(), &mut left, 9)), [5, 4, 1]);
        assert_eq!(left, 0);
        assert_eq!(sizes(choose(all(), &mut 10, 2)), [5, 4]);
    }
}
