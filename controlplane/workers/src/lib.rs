//! The background workers: reconcilers that take no input but the tables and the backends.
//!
//! Architecture invariants: a worker is idempotent, so a tick may run twice, on two replicas, or end
//! half-way; it finds its work in a queue that it claims, never by scanning objects; it reaches the
//! database through the ports of `core` only. Several replicas share the work, none is the leader.
//!
//! | worker | every | claim | woken by | when it fails |
//! |---|---|---|---|---|
//! | `marker` | 5 s; a good one again after 10 min | none, idempotent | a new generation | next tick |
//! | `pending_reaper` | 15 s | intents, 5 min | on demand | claim released, next tick |
//! | `cleanup_queue` | 5 s | rows, 5 min | on demand | row backs off, dead-lettered after 10 attempts |
//! | `usage` | 10 s | none, numbered reports | on demand | the same report again |
//! | `gauges` | 30 s | none, read only | on demand | next tick |
//! | `change_log` | 1 h | advisory lock in the store | on demand | next tick |
//! | `session_pruner` | 1 h | none, one statement | on demand | next tick |
//!
//! To add one: a file, a line in [`list`], a line in this table.

mod backends;
mod change_log;
mod cleanup_queue;
mod gauges;
mod harness;
mod marker;
mod marker_gate;
mod meters;
mod pending_reaper;
mod session_pruner;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use s3o_core::ports::{Configs, Ledger, Maintenance, Overview, Queues, Sessions};
use s3o_runtime::{Metrics, Shutdown};
use uuid::Uuid;

use crate::backends::Backends;
use crate::harness::{Entry, Harness};

pub use crate::harness::Workers;

/// What the workers reach.
#[derive(Clone)]
pub struct Ports {
    /// Settles intents.
    pub ledger: Arc<dyn Ledger>,
    /// Which backends there are.
    pub configs: Arc<dyn Configs>,
    /// Where work is found.
    pub queues: Arc<dyn Queues>,
    /// Housekeeping.
    pub maintenance: Arc<dyn Maintenance>,
    /// What operators look at.
    pub overview: Arc<dyn Overview>,
    /// Takes this process's usage reports.
    pub sessions: Arc<dyn Sessions>,
}

/// How often and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Between two ticks of the cleanup queue.
    pub cleanup_interval: Duration,
    /// DELETEs at once.
    pub cleanup_concurrency: usize,
    /// Between two ticks of the pending reaper.
    pub reaper_interval: Duration,
    /// Intents looked at at once.
    pub reaper_concurrency: usize,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            cleanup_interval: Duration::from_secs(5),
            cleanup_concurrency: 16,
            reaper_interval: Duration::from_secs(15),
            reaper_concurrency: 16,
        }
    }
}

/// Everything a start needs.
pub struct Deps {
    /// The ports.
    pub ports: Ports,
    /// How often and how much.
    pub settings: WorkerSettings,
    /// Where the workers' metrics go.
    pub metrics: Metrics,
    /// This replica's name, as operators see it.
    pub instance: String,
    /// The workers end with it.
    pub shutdown: Shutdown,
}

/// Starts all workers of this replica.
pub fn start(deps: Deps) -> Arc<Workers> {
    let Deps { ports, settings, metrics, instance, shutdown } = deps;
    let owner = Uuid::new_v4();
    let meters = meters::ProcessMeters::new(&metrics);
    let backends = Backends::start(Arc::clone(&ports.configs), &meters, &shutdown);
    let entries = list(&ports, settings, &metrics, &meters, &backends, owner, &instance);
    Harness { overview: Arc::clone(&ports.overview), instance, shutdown }.start(entries, &metrics, &backends)
}

/// THE LIST.
fn list(
    ports: &Ports,
    settings: WorkerSettings,
    metrics: &Metrics,
    meters: &Arc<meters::ProcessMeters>,
    backends: &Arc<Backends>,
    owner: Uuid,
    instance: &str,
) -> Vec<Entry> {
    const HOUR: Duration = Duration::from_hours(1);
    let gate = || marker_gate::MarkerGate::new(Arc::clone(&ports.configs));
    vec![
        Entry::new(
            "marker",
            Duration::from_secs(5),
            marker::Marker::new(ports.configs.clone(), ports.overview.clone(), backends.clone()),
        ),
        Entry::new(
            "pending_reaper",
            settings.reaper_interval,
            pending_reaper::PendingReaper::new(ports, backends.clone(), gate(), owner, settings, metrics),
        ),
        Entry::new(
            "cleanup_queue",
            settings.cleanup_interval,
            cleanup_queue::CleanupQueue::new(ports, backends.clone(), gate(), owner, settings, metrics),
        ),
        Entry::new(
            "usage",
            Duration::from_secs(10),
            usage::Usage::new(ports.sessions.clone(), meters.clone(), owner, instance),
        ),
        Entry::new("gauges", Duration::from_secs(30), gauges::Gauges::new(ports, metrics)),
        Entry::new("change_log", HOUR, change_log::ChangeLog(ports.maintenance.clone())),
        Entry::new("session_pruner", HOUR, session_pruner::SessionPruner(ports.maintenance.clone())),
    ]
}
