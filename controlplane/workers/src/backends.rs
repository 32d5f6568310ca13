//! The backends as this process's workers speak to them.
//!
//! Invariant: the set holds what the newest generation says, drained backends too: what is stored
//! there must still be found and deleted.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use s3o_backend::{Backend, BackendError, BackendErrorKind, BackendSet, BreakerState, Certainty, HttpPool};
use s3o_core::config::ClusterConfig;
use s3o_core::ports::{Configs, Sessions};
use s3o_runtime::Shutdown;
use s3o_types::BackendId;
use s3o_types::storage_key::MARKER;
use uuid::Uuid;

use crate::Deps;
use crate::meters::ProcessMeters;

/// How often a backend that is not up may be probed; its breaker says whether.
const PROBE: Duration = Duration::from_secs(1);

/// How long a backend that is met may take to answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// An answer that is older says nothing of now, as with the data planes' views: a control plane without work asks no
/// backend.
const RECENT: Duration = Duration::from_mins(1);

/// By `name`.
type Breakers = Family<[(&'static str, String); 1], Gauge>;

pub(crate) struct Backends {
    set: Arc<BackendSet>,
    /// Since when those that are not up have not been.
    down_since: Mutex<HashMap<BackendId, Instant>>,
    configs: Arc<dyn Configs>,
    shutdown: Shutdown,
}

impl Backends {
    pub(crate) fn start(deps: &Deps, meters: &Arc<ProcessMeters>) -> Arc<Self> {
        let (how, configs, shutdown) = (deps.backends, deps.configs.clone(), deps.shutdown.clone());
        let set = BackendSet::new(HttpPool::new(how.timeouts), meters.as_meters(), how.breaker);
        let new = Arc::new(Self { set: Arc::new(set), down_since: Mutex::default(), configs, shutdown });
        new.rebuild(&new.configs.current());
        let breakers = Breakers::default();
        let help = "0=closed, 1=open, 2=half-open (name: \"database\" or backend name)";
        deps.metrics.register("circuit_breaker_state", help, breakers.clone());
        deps.shutdown.spawn(watch(Arc::clone(&new), deps.sessions.clone(), breakers));
        new
    }

    pub(crate) fn get(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.set.get(id)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Backend>> {
        self.set.all()
    }

    /// Those that take no calls now, as this process sees it.
    pub(crate) fn down(&self) -> Vec<BackendId> {
        let (all, now) = (self.set.all(), Instant::now());
        all.iter().filter(|backend| !backend.health().is_up(now)).map(|backend| backend.id()).collect()
    }

    /// For how long each has been down, in microseconds; `None`: it is up. Those that are not known to be either now are
    /// left out: who has not spoken to a backend lately does not contradict those who have.
    pub(crate) fn down_us(&self) -> Vec<(BackendId, Option<i64>)> {
        let since = self.down_since.lock().unwrap_or_else(PoisonError::into_inner);
        let us = |since: &Instant| i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX);
        let view = |backend: &Arc<Backend>| {
            let down = since.get(&backend.id()).map(us);
            (down.is_some() || has_answered(backend)).then_some((backend.id(), down))
        };
        self.set.all().iter().filter_map(view).collect()
    }

    /// Those that are down, or that have not answered this process lately.
    pub(crate) fn silent(&self) -> Vec<BackendId> {
        let (all, now) = (self.set.all(), Instant::now());
        let is_silent = |backend: &&Arc<Backend>| !backend.health().is_up(now) || !has_answered(backend);
        all.iter().filter(is_silent).map(|backend| backend.id()).collect()
    }

    /// Asks those for their marker that have not answered this process lately. Those that are down are probed anyway.
    pub(crate) async fn meet(&self) {
        let (all, now) = (self.set.all(), Instant::now());
        let is_stranger = |backend: &&Arc<Backend>| backend.health().is_up(now) && !has_answered(backend);
        let asked = all.iter().filter(is_stranger).map(|backend| async move {
            // What it says is told to its health by the call, and that it says nothing by the call's end.
            let _ = tokio::time::timeout(PROBE_PATIENCE, backend.head(MARKER)).await;
        });
        futures::future::join_all(asked).await;
    }

    fn note_down(&self) {
        let down = self.down();
        let mut since = self.down_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|id, _| down.contains(id));
        for id in down {
            since.entry(id).or_insert_with(Instant::now);
        }
    }

    /// Follows the configuration until the shutdown; `changed` is called after each rebuild.
    pub(crate) async fn follow(&self, changed: impl Fn()) {
        // A generation may have come between the first build and this task's first step: nobody would
        // tell of it again.
        let first = self.configs.current();
        self.rebuild(&first);
        changed();
        let mut generation = first.generation;
        loop {
            tokio::select! {
                () = self.shutdown.stopping() => return,
                config = self.configs.newer_than(generation) => {
                    generation = config.generation;
                    self.rebuild(&config);
                    changed();
                }
            }
        }
    }

    /// Shows every breaker, takes those of `before` away that are gone, and says which there are.
    fn show(&self, breakers: &Breakers, before: &[String]) -> Vec<String> {
        let all = self.set.all();
        for backend in &all {
            let state = match backend.health().state(Instant::now()) {
                BreakerState::Closed => 0,
                BreakerState::Open => 1,
                BreakerState::HalfOpen => 2,
            };
            breakers.get_or_create(&[("name", backend.name().to_owned())]).set(state);
        }
        let names: Vec<String> = all.iter().map(|backend| backend.name().to_owned()).collect();
        for gone in before.iter().filter(|name| !names.contains(name)) {
            breakers.remove(&[("name", gone.clone())]);
        }
        names
    }

    pub(crate) fn rebuild(&self, config: &ClusterConfig) {
        self.set.rebuild(config.backends.iter().map(|backend| backend.spec.clone()).collect());
    }
}

/// A backend that is not spoken to looks as if it were up.
fn has_answered(backend: &Arc<Backend>) -> bool {
    is_recent(backend.health().answered_ago())
}

fn is_recent(answered_ago: Option<Duration>) -> bool {
    answered_ago.is_some_and(|ago| ago < RECENT)
}

/// A look at a marker. Its silence counts against the backend like that of any other call; whatever it says has meanings of
/// its own, and neither helps nor harms: a marker that can be read does not make good for blobs that cannot.
pub(crate) async fn in_time<T>(
    backend: &Backend,
    patience: Duration,
    look: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let looked = tokio::time::timeout(patience, look).await.unwrap_or_else(|_| Err(late(patience)));
    if let Err(error) = &looked {
        note_silence(backend, error);
    }
    looked
}

fn late(patience: Duration) -> BackendError {
    let why = format!("no answer within {patience:?}");
    BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, why)
}

fn note_silence(backend: &Backend, error: &BackendError) {
    if matches!(error.kind, BackendErrorKind::Connection | BackendErrorKind::Timeout) {
        // Replicas that found out together do not come back together.
        let jitter = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
        backend.health().failed(error, Instant::now(), jitter);
    }
}

/// Probes backends that are down, and shows all breakers of this process.
async fn watch(backends: Arc<Backends>, sessions: Arc<dyn Sessions>, breakers: Breakers) {
    let mut shown = Vec::new();
    loop {
        shown = backends.show(&breakers, &shown);
        backends.note_down();
        let database = i64::from(!sessions.database_reachable());
        breakers.get_or_create(&[("name", "database".to_owned())]).set(database);
        let probe = async {
            tokio::time::sleep(PROBE).await;
            backends.set.probe_due().await;
        };
        tokio::select! {
            () = backends.shutdown.stopping() => return,
            () = probe => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recent_answer_says_that_a_backend_is_up() {
        assert!(!is_recent(None), "it was never spoken to");
        assert!(is_recent(Some(Duration::from_secs(59))));
        assert!(!is_recent(Some(Duration::from_secs(60))), "by now it may be down");
    }
}
