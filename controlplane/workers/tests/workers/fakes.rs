//! The ports in memory: what a test puts in, and what the workers asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::copies::CopiesState;
use crate::reconcile::ReconcileState;
use crate::worker_lifecycle::LifecycleState;
use crate::worker_removal::RemovalState;
use async_trait::async_trait;
use s3o_backend::Timeouts;
use s3o_core::bucket::BucketChange;
use s3o_core::call::{AbortUpload, Call, Outcome, Refusal, Request, Resolution, Resolve};
use s3o_core::cleanup::{Claim, CleanupItem, CleanupResult, QueueDepths};
use s3o_core::config::{BackendConfig, ClusterConfig, MarkerPlace, MarkerSeen, Routing};
use s3o_core::intent::Intent;
use s3o_core::listing::{ListQuery, Page};
use s3o_core::object::{Locate, Lookup};
use s3o_core::ports::{
    Buckets, Configs, Ledger, Maintenance, Overview, PortError, Queues, Sessions, Uploads, WorkerControl as _,
};
use s3o_core::session::{BackendUsage, Hello, UsageReport};
use s3o_core::upload::{PartsPage, PartsQuery, UploadRow, UploadsPage, UploadsQuery};
use s3o_core::usage::Usage;
use s3o_core::worker::{Counts, WorkerStatus};
use s3o_runtime::{Metrics, Shutdown};
use s3o_testkit::s3server::FaultyBackend;
use s3o_types::{BackendId, BackendSpec, BackendState, EtagProof, Op, UsageLimits, VersionId};
use s3o_workers::{
    BackendSettings, Deps, IntentsResolved, LifecycleSettings, ReconcileSettings, WorkerSettings, Workers,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::fake_journal::FakeJournal;

/// What the ports hold and saw.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) usage: Vec<(BackendId, Usage, BackendUsage)>,
    pub(crate) cleanup: Vec<CleanupItem>,
    pub(crate) finished: Vec<(CleanupItem, CleanupResult)>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) released: Vec<Op>,
    pub(crate) resolved: Vec<Resolve>,
    pub(crate) resolution: Option<Resolution>,
    pub(crate) attached: Vec<MarkerSeen>,
    pub(crate) detached: Vec<MarkerPlace>,
    pub(crate) ticks: Vec<(String, Result<(), String>)>,
    pub(crate) rotation_panics: bool,
    pub(crate) stale: Vec<UploadRow>,
    pub(crate) active: Vec<(BackendId, u64)>,
    /// What `AbortUpload` is answered, one after the other.
    pub(crate) abort_outcomes: Vec<Outcome>,
    pub(crate) aborted: Vec<AbortUpload>,
    pub(crate) copies: CopiesState,
    pub(crate) reconcile: ReconcileState,
    pub(crate) lifecycle: LifecycleState,
    pub(crate) removals: RemovalState,
}

impl State {
    /// Backend `id` counts as holding an object: a missing marker is not made there.
    pub(crate) fn holding(id: i32) -> Self {
        let usage = Usage { used: 5, objects: 1, ..Usage::default() };
        Self { usage: vec![(BackendId(id), usage, BackendUsage::default())], ..Self::default() }
    }
}

pub(crate) struct Ports {
    pub(crate) state: Mutex<State>,
    config: watch::Sender<Arc<ClusterConfig>>,
}

pub(crate) struct Fixture {
    pub(crate) ports: Arc<Ports>,
    pub(crate) journal: Arc<FakeJournal>,
    pub(crate) metrics: Metrics,
    pub(crate) workers: Arc<Workers>,
    pub(crate) shutdown: Shutdown,
}

/// An attached backend's row.
pub(crate) fn row(spec: BackendSpec, attached: bool) -> BackendConfig {
    BackendConfig {
        spec,
        state: BackendState::Active,
        quota_bytes: Some(1000),
        max_object_size: None,
        limits: UsageLimits::default(),
        priority: 0,
        attached,
        removal: None,
    }
}

/// A server's specification whose ETags are known to be MD5.
pub(crate) fn spec(server: &FaultyBackend, id: i32) -> BackendSpec {
    let mut spec = server.spec(id, &format!("b{id}"));
    spec.quirks.etag = EtagProof::Md5;
    spec
}

/// Puts the marker of backend `id` of this test's cluster there.
pub(crate) fn mark(server: &FaultyBackend, id: i32) {
    server.plant(".s3o/backend", format!("{{\"cluster_id\":\"{}\",\"backend_id\":{id}}}", Uuid::nil()));
}

/// Does not wait long for backends that never answer.
pub(crate) fn hasty(deps: &mut Deps) {
    let short = Duration::from_millis(500);
    deps.backends.timeouts =
        Timeouts { idle: short, source: short, response: short, ..deps.backends.timeouts };
}

impl Fixture {
    /// Workers that tick at the start, and then only when they are asked or woken.
    pub(crate) fn start(backends: Vec<BackendConfig>, state: State) -> Self {
        Self::start_with(backends, state, |_| {})
    }

    /// The same, with other settings.
    pub(crate) fn start_with(
        backends: Vec<BackendConfig>,
        state: State,
        set: impl FnOnce(&mut Deps),
    ) -> Self {
        let config = ClusterConfig {
            generation: 1,
            cluster: Uuid::nil(),
            routing: Routing::Pack,
            backends,
            buckets: Vec::new(),
            credentials: Vec::new(),
        };
        let ports =
            Arc::new(Ports { state: Mutex::new(state), config: watch::Sender::new(Arc::new(config)) });
        let (metrics, shutdown) = (Metrics::new(), Shutdown::new());
        let day = Duration::from_hours(24);
        let intents_resolved = IntentsResolved::default();
        metrics.register("pending_intents_resolved", "As the server shows it", intents_resolved.clone());
        let journal = Arc::new(FakeJournal::default());
        let mut deps = Deps {
            ledger: ports.clone(),
            buckets: ports.clone(),
            configs: ports.clone(),
            queues: ports.clone(),
            uploads: ports.clone(),
            replication: ports.clone(),
            scrubs: ports.clone(),
            rebalances: ports.clone(),
            drains: ports.clone(),
            removals: ports.clone(),
            journal: journal.clone(),
            recovery: journal.clone(),
            restore: journal.clone(),
            reconciliation: ports.clone(),
            lifecycle: ports.clone(),
            maintenance: ports.clone(),
            overview: ports.clone(),
            sessions: ports.clone(),
            // Tests of backends that do not answer have [`hasty`] ones.
            backends: BackendSettings::default(),
            metrics: metrics.clone(),
            intents_resolved: intents_resolved.clone(),
            instance: "cp-1".to_owned(),
            settings: WorkerSettings {
                cleanup_queue: day,
                pending_reaper: day,
                replicator: day,
                over_replication: day,
                copy_scan: day,
                scrubber: day,
                rebalancer: day,
                reconcile: ReconcileSettings { interval: day, ..ReconcileSettings::default() },
                lifecycle: LifecycleSettings { interval: day, batch: 2 },
                ..WorkerSettings::default()
            },
            shutdown: shutdown.clone(),
        };
        set(&mut deps);
        let workers = Workers::start(deps);
        Self { ports, journal, metrics, workers, shutdown }
    }

    /// One tick; after it the work that was there at the start is done, whoever did it.
    pub(crate) async fn run(&self, name: &str) -> Counts {
        self.workers.run(name).await.unwrap()
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.ports.state.lock().unwrap()
    }

    /// How many intents were let go, and how many the ledger was told of.
    pub(crate) fn released_and_resolved(&self) -> (usize, usize) {
        let state = self.state();
        (state.released.len(), state.resolved.len())
    }

    /// A new generation.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ClusterConfig)) {
        let mut config = ClusterConfig::clone(&self.ports.config.borrow());
        change(&mut config);
        config.generation += 1;
        self.ports.config.send_replace(Arc::new(config));
    }

    /// Waits until it holds; gives up after a time that no healthy machine needs.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        for _ in 0..3000 {
            if holds(&self.state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {what}");
    }

    /// The same, of a line of the metrics.
    pub(crate) async fn until_metric(&self, line: &str) {
        for _ in 0..3000 {
            if self.metrics.encode().contains(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never: {line}");
    }

    pub(crate) async fn end(self) {
        assert!(self.shutdown.finish(Duration::from_secs(30)).await, "every task ends by itself");
    }
}

#[async_trait]
impl Ledger for Ports {
    async fn submit(&self, request: Request) -> Outcome {
        let resolve = match request.call {
            Call::Resolve(resolve) => resolve,
            call @ (Call::SettleBlob(_) | Call::Import(_)) => {
                return self.state.lock().unwrap().reconcile.decide(call);
            }
            call @ Call::ChangeCopy(_) if request.source == "reconciler" => {
                return self.state.lock().unwrap().reconcile.decide(call);
            }
            Call::BeginCopy(_) | Call::Commit(_) | Call::Abort(_) | Call::ChangeCopy(_) => {
                return self.state.lock().unwrap().copies.decide(request.op, request.call);
            }
            Call::AbortUpload(abort) => {
                let mut state = self.state.lock().unwrap();
                state.aborted.push(abort);
                return state.abort_outcomes.remove(0);
            }
            Call::GiveUp(give_up) => return self.state.lock().unwrap().removals.decide(give_up),
            Call::Expire(expire) => return self.state.lock().unwrap().lifecycle.decide(expire),
            other => panic!("no worker asks for {other:?}"),
        };
        assert_eq!((request.op, request.session), (resolve.intent.op, resolve.intent.session));
        let mut state = self.state.lock().unwrap();
        state.resolved.push(*resolve);
        state.resolution.map_or_else(
            || Refusal::new(s3o_types::ErrorCode::ServiceUnavailable, "busy").into(),
            Outcome::Resolved,
        )
    }

    async fn locate(&self, _: Locate) -> Result<Lookup, Refusal> {
        unreachable!("workers do not read objects")
    }

    async fn list(&self, _: ListQuery) -> Result<Page, Refusal> {
        unreachable!("workers do not list objects")
    }
}

#[async_trait]
impl Sessions for Ports {
    async fn open(&self, _: Hello) -> Result<(), PortError> {
        Ok(())
    }

    async fn renew(&self, _: Uuid, _: Vec<Uuid>) -> Result<(), PortError> {
        Ok(())
    }

    async fn close(&self, _: Uuid) -> Result<(), PortError> {
        Ok(())
    }

    async fn add_usage(&self, _: Uuid, _: UsageReport) -> Result<(), PortError> {
        Ok(())
    }

    fn database_reachable(&self) -> bool {
        true
    }
}

#[async_trait]
impl Configs for Ports {
    fn current(&self) -> Arc<ClusterConfig> {
        self.config.borrow().clone()
    }

    async fn newer_than(&self, generation: i64) -> Arc<ClusterConfig> {
        let mut config = self.config.subscribe();
        config.wait_for(|config| config.generation != generation).await.unwrap().clone()
    }

    async fn newest(&self) -> Result<Arc<ClusterConfig>, PortError> {
        Ok(self.current())
    }

    async fn attach(&self, seen: MarkerSeen) -> Result<(), PortError> {
        self.state.lock().unwrap().attached.push(seen);
        Ok(())
    }

    async fn detach(&self, seen: MarkerPlace) -> Result<(), PortError> {
        self.state.lock().unwrap().detached.push(seen);
        Ok(())
    }
}

#[async_trait]
impl Buckets for Ports {
    async fn change(&self, _: BucketChange) -> Result<Result<i64, Refusal>, PortError> {
        Err(PortError::Unavailable("no worker changes buckets".to_owned()))
    }

    async fn retire(&self) -> Result<Counts, PortError> {
        Ok(Counts::from([("retired".to_owned(), 2)]))
    }
}

#[async_trait]
impl Queues for Ports {
    async fn claim_cleanup(&self, claim: Claim) -> Result<Vec<CleanupItem>, PortError> {
        let mut state = self.state.lock().unwrap();
        let n = state.cleanup.len().min(claim.limit as usize);
        Ok(state.cleanup.drain(..n).collect())
    }

    async fn finish_cleanup(
        &self,
        _: Uuid,
        results: Vec<(CleanupItem, CleanupResult)>,
    ) -> Result<Counts, PortError> {
        let mut counts = BTreeMap::new();
        for (item, result) in &results {
            let word = match result {
                CleanupResult::Deleted => "success",
                CleanupResult::Absent => "success_absent",
                CleanupResult::Failed(_) if item.attempts + 1 >= 10 => "exhausted",
                CleanupResult::Failed(_) => "retry",
                CleanupResult::Deferred(_) => "deferred",
            };
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        self.state.lock().unwrap().finished.extend(results);
        Ok(counts)
    }

    async fn claim_expired_intents(&self, claim: Claim) -> Result<Vec<Intent>, PortError> {
        let mut state = self.state.lock().unwrap();
        let n = state.intents.len().min(claim.limit as usize);
        let claimed = |mut intent: Intent| {
            intent.claimed_by = Some(claim.owner);
            intent
        };
        Ok(state.intents.drain(..n).map(claimed).collect())
    }

    async fn release_intents(&self, _: Uuid, ops: Vec<Op>) -> Result<(), PortError> {
        self.state.lock().unwrap().released.extend(ops);
        Ok(())
    }

    async fn depths(&self) -> Result<QueueDepths, PortError> {
        Ok(QueueDepths { cleanup: 3, dead_letters: 2, intents: 1 })
    }
}

#[async_trait]
impl Maintenance for Ports {
    async fn rotate_changes(&self) -> Result<Counts, PortError> {
        let panics = self.state.lock().unwrap().rotation_panics;
        assert!(!panics, "planted");
        Ok(Counts::from([("made".to_owned(), 3)]))
    }

    async fn prune_sessions(&self) -> Result<Counts, PortError> {
        Ok(Counts::new())
    }

    async fn prune_copy_attempts(
        &self,
        after: Option<VersionId>,
    ) -> Result<(Option<VersionId>, u64), PortError> {
        // Two pages: the first has one that is left over.
        let next = after.is_none().then(|| VersionId::mint(1, 1));
        Ok((next, u64::from(after.is_none())))
    }
}

#[async_trait]
impl Overview for Ports {
    async fn backend_usage(&self) -> Result<Vec<(BackendId, Usage, BackendUsage)>, PortError> {
        Ok(self.state.lock().unwrap().usage.clone())
    }

    async fn sessions(&self) -> Result<Vec<(Hello, bool)>, PortError> {
        Ok(Vec::new())
    }

    async fn record_tick(&self, worker: &str, _: &str, result: Result<(), String>) -> Result<(), PortError> {
        // Asserting on a poisoned lock would hide the first failure.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.ticks.push((worker.to_owned(), result));
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<WorkerStatus>, PortError> {
        Ok(Vec::new())
    }

    async fn waiting(&self, _: &str) -> Result<Option<u64>, PortError> {
        Ok(None)
    }
}

#[async_trait]
impl Uploads for Ports {
    async fn parts(&self, _: PartsQuery) -> Result<Option<PartsPage>, PortError> {
        Ok(None)
    }

    async fn uploads(&self, _: UploadsQuery) -> Result<UploadsPage, PortError> {
        Ok(UploadsPage { uploads: vec![], truncated: false })
    }

    async fn stale_uploads(&self, _: i64, _: u32) -> Result<Vec<UploadRow>, PortError> {
        Ok(std::mem::take(&mut self.state.lock().unwrap().stale))
    }

    async fn prune_uploads(&self) -> Result<Counts, PortError> {
        Ok(Counts::from([("pruned".to_owned(), 0)]))
    }

    async fn active_uploads(&self) -> Result<Vec<(BackendId, u64)>, PortError> {
        Ok(self.state.lock().unwrap().active.clone())
    }
}
