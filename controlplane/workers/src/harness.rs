//! Runs workers: by interval, when woken, on demand; and tells operators how their ticks went.
//!
//! Invariants: a worker ticks once at a time in this process; a tick that fails or panics is counted
//! and recorded, and the next one comes; every task ends with the shutdown.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::FutureExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use s3o_core::call::{Call, Refusal, Request};
use s3o_core::ports::{
    BackendProbing, ObjectScrub, Overview, Rebalancing, Recovering, Recovery, WorkerControl,
};
use s3o_core::probe::{NotProbed, ProbeReport};
use s3o_core::rebalance::{Move, RebalanceTotals, RebalanceWish};
use s3o_core::restore::RestoreReport;
use s3o_core::scrub::{ScrubObject, ScrubbedCopy};
use s3o_core::worker::Counts;
use s3o_runtime::{Metrics, Shutdown};
use s3o_types::Op;
use tokio::sync::{Mutex, Notify};
use tracing::warn;
use uuid::Uuid;

use crate::backends::Backends;
use crate::{Deps, OnDemand};

/// One kind of background work.
#[async_trait]
pub(crate) trait Worker: Send + Sync {
    /// Does what is due and says what was done. An error is for operators.
    async fn tick(&self) -> Result<Counts, String>;
}

/// A worker's call to the ledger: of its process's session, in the lane for bulk calls, where no client waits for it.
pub(crate) fn request(session: Uuid, worker: &str, op: Op, request_id: String, call: Call) -> Request {
    Request {
        op,
        session,
        access_key: String::new(),
        source: worker.to_owned(),
        request_id,
        bulk: true,
        call,
    }
}

/// An operation that nobody has named yet.
pub(crate) fn new_op() -> Op {
    Op { id: Uuid::now_v7(), item: 0 }
}

/// When a tick began: what becomes due in its course is the next one's.
pub(crate) struct Run(Instant);

impl Run {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Microseconds so far.
    pub(crate) fn lasts_us(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// A worker in the list.
pub(crate) struct Entry {
    name: &'static str,
    interval: Duration,
    worker: Box<dyn Worker>,
    is_held: bool,
    wake: Notify,
    ticking: Mutex<()>,
}

impl Entry {
    pub(crate) fn new(name: &'static str, interval: Duration, worker: impl Worker + 'static) -> Self {
        let (wake, ticking) = (Notify::new(), Mutex::new(()));
        Self { name, interval, worker: Box::new(worker), is_held: false, wake, ticking }
    }

    /// It does nothing in the recovery mode, nor before it is known that there is no reason for it: what it goes by may be what
    /// the database has lost.
    pub(crate) fn held_in_recovery(self) -> Self {
        Self { is_held: true, ..self }
    }

    /// Between half and one and a half intervals, so that replicas drift apart.
    fn pause(&self) -> Duration {
        self.interval.mul_f64(0.5 + rand::random::<f64>())
    }
}

type ByService = [(&'static str, String); 1];
type ByServiceAndResult = [(&'static str, String); 2];

#[derive(Clone, Default)]
struct TickMetrics {
    ticks: Family<ByServiceAndResult, Counter>,
    last_success: Family<ByService, Gauge>,
    failures: Family<ByService, Gauge>,
}

impl TickMetrics {
    fn new(metrics: &Metrics) -> Self {
        let new = Self::default();
        metrics.register("worker_ticks", "Worker ticks by service and outcome", new.ticks.clone());
        let help = "Unix time of the most recent successful tick per service";
        metrics.register("worker_last_success_timestamp_seconds", help, new.last_success.clone());
        let help = "Failed ticks per service since the last success";
        metrics.register("worker_consecutive_failures", help, new.failures.clone());
        new
    }

    fn record(&self, service: &str, succeeded: bool) {
        let by_service = [("service", service.to_owned())];
        let result = if succeeded { "success" } else { "error" };
        let labels = [("service", service.to_owned()), ("result", result.to_owned())];
        self.ticks.get_or_create(&labels).inc();
        if succeeded {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            self.last_success.get_or_create(&by_service).set(i64::try_from(now).unwrap_or(i64::MAX));
            self.failures.get_or_create(&by_service).set(0);
        } else {
            self.failures.get_or_create(&by_service).inc();
        }
    }
}

/// The workers of this process. Dropping it does not end them; the shutdown does.
pub struct Workers {
    entries: Vec<Arc<Entry>>,
    overview: Arc<dyn Overview>,
    recovery: Arc<dyn Recovery>,
    instance: String,
    metrics: TickMetrics,
    shutdown: Shutdown,
    on_demand: OnDemand,
    /// The same, for ticks that outlive the call that asked for them.
    me: Weak<Self>,
}

/// Starts the entries, and keeps the backends in step with the configuration.
pub(crate) fn start(
    deps: Deps,
    entries: Vec<Entry>,
    backends: &Arc<Backends>,
    on_demand: OnDemand,
) -> Arc<Workers> {
    let Deps { overview, recovery, instance, metrics, shutdown, .. } = deps;
    let workers = Arc::new_cyclic(|me| Workers {
        me: me.clone(),
        shutdown: shutdown.clone(),
        on_demand,
        entries: entries.into_iter().map(Arc::new).collect(),
        overview,
        recovery,
        instance,
        metrics: TickMetrics::new(&metrics),
    });
    for entry in &workers.entries {
        shutdown.spawn(run(Arc::clone(&workers), Arc::clone(entry), shutdown.clone()));
    }
    let (woken, backends) = (Arc::clone(&workers), Arc::clone(backends));
    shutdown.spawn(async move { backends.follow(|| woken.wake("marker")).await });
    workers
}

async fn run(workers: Arc<Workers>, entry: Arc<Entry>, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        // What it did is for whoever asks on demand; failures are recorded inside.
        let _ = workers.tick(&entry).await;
        tokio::select! {
            () = shutdown.stopping() => {}
            () = entry.wake.notified() => {}
            () = tokio::time::sleep(entry.pause()) => {}
        }
    }
}

impl Workers {
    /// Lets a worker tick soon.
    pub fn wake(&self, name: &str) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.name == name) {
            entry.wake.notify_one();
        }
    }

    async fn tick(&self, entry: &Entry) -> Result<Counts, String> {
        let _one_at_a_time = entry.ticking.lock().await;
        let tick = AssertUnwindSafe(self.unless_held(entry)).catch_unwind();
        let result = tick.await.unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
        if let Err(error) = &result {
            warn!(worker = entry.name, %error, "a worker's tick failed");
        }
        self.metrics.record(entry.name, result.is_ok());
        let outcome = result.as_ref().map(|_| ()).map_err(Clone::clone);
        if let Err(error) = self.overview.record_tick(entry.name, &self.instance, outcome).await {
            warn!(worker = entry.name, %error, "a worker's tick was not recorded");
        }
        result
    }
}

impl Workers {
    async fn unless_held(&self, entry: &Entry) -> Result<Counts, String> {
        if entry.is_held {
            self.on_demand.journal.look_if_due().await?;
            if !self.recovery.may_delete().await.map_err(|error| error.to_string())? {
                return Ok(Counts::from([("held".to_owned(), 1)]));
            }
        }
        entry.worker.tick().await
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[async_trait]
impl ObjectScrub for Workers {
    async fn scrub_object(
        &self,
        object: ScrubObject,
        tell: Box<dyn FnMut(ScrubbedCopy) + Send>,
    ) -> Result<(), Refusal> {
        self.on_demand.scrubber.scrub_object(object, tell).await
    }
}

#[async_trait]
impl Rebalancing for Workers {
    async fn rebalance(
        &self,
        wish: RebalanceWish,
        tell: Box<dyn FnMut(Move, RebalanceTotals) + Send>,
    ) -> Result<RebalanceTotals, String> {
        self.on_demand.rebalancer.rebalance(wish, tell).await
    }

    fn usual(&self) -> RebalanceWish {
        self.on_demand.rebalancer.usual()
    }
}

#[async_trait]
impl Recovering for Workers {
    async fn recover(&self, without: Vec<String>) -> Result<RestoreReport, String> {
        let me = self.me.upgrade().ok_or("the process is stopping")?;
        // A task of its own: who asked may go away.
        let recovered = self.shutdown.spawn(async move { me.on_demand.recoverer.recover(&without).await });
        match recovered.await {
            Ok(Some(result)) => result,
            Ok(None) => Err("the process is stopping".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[async_trait]
impl BackendProbing for Workers {
    async fn probe_backend(&self, name: &str, store: bool) -> Result<ProbeReport, NotProbed> {
        let stopping = || NotProbed::Refused("the process is stopping".to_owned());
        let (me, name) = (self.me.upgrade().ok_or_else(stopping)?, name.to_owned());
        // A task of its own: who asked may go away, and what was made must be taken away.
        let probed = self.shutdown.spawn(async move { me.on_demand.prober.probe(&name, store).await });
        match probed.await {
            Ok(Some(result)) => result,
            Ok(None) => Err(stopping()),
            Err(error) => Err(NotProbed::Refused(error.to_string())),
        }
    }
}

#[async_trait]
impl WorkerControl for Workers {
    async fn run(&self, name: &str) -> Result<Counts, Option<String>> {
        let entry = self.entries.iter().find(|entry| entry.name == name).cloned().ok_or(None)?;
        let me = self.me.upgrade().ok_or(None)?;
        // A task of its own: who asked may go away, and half a tick leaves claims behind.
        let tick = self.shutdown.spawn(async move { me.tick(&entry).await });
        match tick.await {
            Ok(Some(result)) => result.map_err(Some),
            Ok(None) => Err(Some("the process is stopping".to_owned())),
            Err(error) => Err(Some(error.to_string())),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.name).collect()
    }
}
