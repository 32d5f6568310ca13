//! The backends as workers see them: as the configuration says, watched, and known to be ours.
//!
//! Invariant: no absence is believed and nothing is deleted unless the marker `.s3o/backend` was read
//! and names this cluster and this backend ([`Backends::confirm_ours`]). Reading it never writes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use s3o_backend::{ApiClass, Backend, BackendSet, BreakerState, HttpPool, Meters, UsageSink, read_marker};
use s3o_core::config::{BackendConfig, ClusterConfig};
use s3o_core::ports::{Configs, Sessions};
use s3o_runtime::Shutdown;
use s3o_types::{BackendId, BackendSpec};

use crate::metrics::{CallMetrics, label};
use crate::runner::Wake;
use crate::settings::BackendSettings;

/// How long a look at a marker may take: a hundred bytes.
pub(crate) const MARKER_PATIENCE: Duration = Duration::from_secs(15);
/// How often breakers are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The backends of the current configuration.
pub(crate) struct Backends {
    set: BackendSet,
    configs: Arc<dyn Configs>,
}

impl Backends {
    pub(crate) fn new(configs: Arc<dyn Configs>, how: BackendSettings, calls: &CallMetrics) -> Self {
        let meters = Meters { metrics: Arc::new(calls.clone()), usage: Arc::new(NotCounted) };
        let set = BackendSet::new(HttpPool::new(how.timeouts), meters, how.breaker);
        let this = Self { set, configs };
        this.rebuild(&this.configs.current());
        this
    }

    fn rebuild(&self, config: &ClusterConfig) {
        self.set.rebuild(config.backends.iter().map(|backend| backend.spec.clone()).collect());
    }

    /// The client of a configured backend, never one of an older configuration.
    pub(crate) fn of(&self, spec: &BackendSpec) -> Option<Arc<Backend>> {
        let same = |backend: &Arc<Backend>| backend.spec() == spec;
        self.set.get(spec.id).filter(same).or_else(|| {
            self.rebuild(&self.configs.current());
            self.set.get(spec.id).filter(same)
        })
    }

    /// A backend that may be worked with: configured, attached, not known to be down. Else why not.
    pub(crate) fn usable(&self, id: BackendId) -> Result<Arc<Backend>, String> {
        let config = self.configs.current();
        let row: &BackendConfig = config
            .backends
            .iter()
            .find(|backend| backend.spec.id == id)
            .ok_or_else(|| format!("backend {} is not configured", id.0))?;
        let name = &row.spec.name;
        if !row.attached {
            return Err(format!("backend {name} is not attached: its marker was not read, or is not ours"));
        }
        let backend = self.of(&row.spec).ok_or_else(|| format!("backend {name} is being reconfigured"))?;
        if backend.health().is_up(Instant::now()) {
            Ok(backend)
        } else {
            Err(format!("backend {name} is down: its circuit breaker is not closed"))
        }
    }

    /// [`Self::usable`], and its marker is ours at this moment.
    pub(crate) async fn usable_and_ours(&self, id: BackendId) -> Result<Arc<Backend>, String> {
        let backend = self.usable(id)?;
        self.confirm_ours(&backend).await?;
        Ok(backend)
    }

    /// Reads the marker again. `Err`: it is not ours, or cannot be read; the text says which.
    pub(crate) async fn confirm_ours(&self, backend: &Backend) -> Result<(), String> {
        let cluster = self.configs.current().cluster.to_string();
        let name = backend.name();
        let read = tokio::time::timeout(MARKER_PATIENCE, read_marker(backend.client())).await;
        match read {
            Err(_) => Err(format!("the marker of backend {name} could not be read in time")),
            Ok(Err(error)) => Err(format!("the marker of backend {name} could not be read: {error}")),
            Ok(Ok(None)) => Err(format!("backend {name} has no marker")),
            Ok(Ok(Some((Err(error), _)))) => Err(format!("backend {name} has a broken marker: {error}")),
            Ok(Ok(Some((Ok(marker), _)))) => {
                let ours = marker.cluster_id == cluster && marker.backend_id == backend.id();
                ours.then_some(()).ok_or_else(|| format!("the marker of backend {name} is another's"))
            }
        }
    }

    /// The name for logs and labels; the number where there is none any more.
    pub(crate) fn name(&self, id: BackendId) -> String {
        self.set.get(id).map_or_else(|| id.0.to_string(), |backend| backend.name().to_owned())
    }
}

/// Keeps the set as the configuration says, and has markers looked at when that changes.
pub(crate) async fn follow(backends: Arc<Backends>, marker: Wake, shutdown: Shutdown) {
    let mut generation = backends.configs.current().generation;
    loop {
        let config = tokio::select! {
            biased;
            () = shutdown.stopping() => return,
            config = backends.configs.newer_than(generation) => config,
        };
        generation = config.generation;
        backends.rebuild(&config);
        marker.wake();
    }
}

/// Probes backends that are down, and shows all breakers. Not a worker of the list: it concerns this
/// process only, and a row in the database each second would tell nobody anything.
pub(crate) async fn watch(
    backends: Arc<Backends>,
    sessions: Arc<dyn Sessions>,
    calls: CallMetrics,
    shutdown: Shutdown,
) {
    let mut shown = Vec::new();
    loop {
        shown = show_breakers(&backends, &shown, &calls);
        let database = i64::from(!sessions.database_reachable());
        calls.breakers.get_or_create(&label("name", "database")).set(database);
        let probe = async {
            tokio::time::sleep(WATCH_EVERY).await;
            backends.set.probe_due().await;
        };
        tokio::select! {
            biased;
            () = shutdown.stopping() => return,
            () = probe => {}
        }
    }
}

/// Shows the breakers of all backends, takes those of the `shown` away that are gone, and says which
/// are shown now.
fn show_breakers(backends: &Backends, shown: &[String], calls: &CallMetrics) -> Vec<String> {
    let all = backends.set.all();
    for backend in &all {
        let state = match backend.health().state(Instant::now()) {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        calls.breakers.get_or_create(&label("name", backend.name())).set(state);
    }
    let names: Vec<String> = all.iter().map(|backend| backend.name().to_owned()).collect();
    for gone in shown.iter().filter(|name| !names.contains(name)) {
        calls.breakers.remove(&label("name", gone));
    }
    names
}

/// Monthly usage is reported by sessions, and workers have none: what they ask of backends (HEAD and
/// the marker; DELETE is free everywhere) is in the metrics only.
struct NotCounted;

impl UsageSink for NotCounted {
    fn request(&self, _: BackendId, _: ApiClass) {}
    fn ingress(&self, _: BackendId, _: u64) {}
    fn egress(&self, _: BackendId, _: u64) {}
}
