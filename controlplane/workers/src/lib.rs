//! The background workers: reconcilers that take no input but the tables and the backends.
//!
//! Architecture invariants: a worker is idempotent, so a tick may run twice, on two replicas, or end
//! half-way; it finds its work in a queue that it claims, not by scanning objects (but for `reconciler` and
//! `lifecycle`, which go page by page); it reaches the database through the ports of `core` only. Several replicas
//! share the work, none is the leader.
//!
//! | worker | every | claim | woken by | when it fails |
//! |---|---|---|---|---|
//! | `marker` | 5 s; a good one again after 10 min | none, idempotent | a new generation | next tick |
//! | `pending_reaper` | 15 s | intents, 15 min | on demand | claim released, next tick |
//! | `cleanup_queue` | 5 s | rows, 15 min | on demand | row backs off, dead-lettered after 10 attempts |
//! | `replicator` | 5 s | versions, 1 h | on demand | row backs off, 10 min at most, for ever |
//! | `over_replication` | 30 s | versions, 1 h | on demand | row backs off, 10 min at most, for ever |
//! | `scrubber` | 10 s | versions and backends, 1 h | on demand | row backs off, 10 min at most; next tick |
//! | `rebalancer` | 6 h, off unless configured | one run | on demand | claim released, next tick |
//! | `copy_scan` | 10 s | one scan, for a page | on demand | next tick |
//! | `reconciler` | 15 s; a run when asked for, or due | a backend's run, 15 min | on demand | a run stops with its reason; the database away: next tick |
//! | `quota_audit` | 24 h | advisory lock in the store | on demand | next tick |
//! | `usage` | 10 s | none, numbered reports | on demand | the same report again |
//! | `gauges` | 30 s | none, read only | on demand | next tick |
//! | `journal` | 3 min 20 s | the journal, 15 min | on demand | claim released, next tick |
//! | `change_log` | 1 h | advisory lock in the store | on demand | next tick |
//! | `stale_multipart` | 10 min | none, each is given up by the ledger | on demand | next tick |
//! | `lifecycle` | 1 h | a bucket's pass, 1 h | on demand | the pass goes on at its page with the next tick |
//! | `removal` | 1 min | none, each copy is let go by the ledger | on demand | next tick, from the beginning |
//! | `copy_attempts` | 1 h | none, one statement a page | on demand | next tick |
//! | `bucket_retirer` | 1 min | none, one statement | on demand | next tick |
//! | `session_pruner` | 1 h | none, one statement | on demand | next tick |
//!
//! In the recovery mode `reconciler`, `lifecycle`, `removal` and `stale_multipart` do nothing (`held_in_recovery`), and the store gives out
//! no deletion, and no intent of before it.
//!
//! To add one: a file, a line in [`list`], a line in this table.

mod backends;
mod bucket_retirer;
mod change_log;
mod check;
mod cleanup_queue;
mod copy_attempts;
mod copy_scan;
mod gauges;
mod harness;
mod journal;
mod lifecycle;
mod listing;
mod marker;
mod marker_gate;
mod meters;
mod over_replication;
mod pending_reaper;
mod probe;
mod quota_audit;
mod rebalancer;
mod reconciler;
mod removal;
mod replicator;
mod restore;
mod scrubber;
mod session_pruner;
mod stale_multipart;
mod standing;
mod usage;
mod version_queue;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use s3o_backend::{BreakerConfig, Timeouts};
use s3o_core::ports::{
    Buckets, Configs, Drains, Journal, Ledger, Lifecycle, Maintenance, Overview, Queues, Rebalances,
    Reconciliation, Recovery, Removals, Replication, Restore, Scrubs, Sessions, Uploads,
};
use s3o_core::scrub::ScrubPace;
use s3o_runtime::{Metrics, OpenOps, Shutdown};
use s3o_types::DigestKind;
use uuid::Uuid;

use crate::backends::Backends;
use crate::harness::Entry;

pub use crate::harness::Workers;
pub use crate::journal::JournalSettings;
pub use crate::lifecycle::LifecycleSettings;
pub use crate::rebalancer::RebalanceSettings;
pub use crate::reconciler::ReconcileSettings;
pub use crate::restore::RestoreDeps;

/// How the backends are spoken to.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackendSettings {
    /// How long a backend may stand still.
    pub timeouts: Timeouts,
    /// When a backend is left alone.
    pub breaker: BreakerConfig,
}

/// How often and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Between two ticks of the cleanup queue.
    pub cleanup_queue: Duration,
    /// DELETEs at once.
    pub cleanup_concurrency: usize,
    /// Between two ticks of the pending reaper.
    pub pending_reaper: Duration,
    /// Intents looked at at once.
    pub reaper_concurrency: usize,
    /// When a multipart upload that is open has been forgotten by its client.
    pub stale_upload_after: Duration,
    /// Between two ticks of the replicator.
    pub replicator: Duration,
    /// Copies made at once.
    pub replication_concurrency: usize,
    /// After how long what a backend holds that is down is replaced.
    pub unhealthy_threshold: Duration,
    /// Between two ticks of the over-replication cleaner.
    pub over_replication: Duration,
    /// Between two looks for versions that are to be looked at.
    pub copy_scan: Duration,
    /// Between two looks for copies that are to be read.
    pub scrubber: Duration,
    /// How fast they are.
    pub scrub_pace: ScrubPace,
    /// Between two rebalancings.
    pub rebalancer: Duration,
    /// How they go.
    pub rebalance: RebalanceSettings,
    /// What is kept of bytes that are read, where nothing was kept when they were written.
    pub digest: DigestKind,
    /// When backends are compared with the tables.
    pub reconcile: ReconcileSettings,
    /// What is kept on the backends besides blobs.
    pub journal: JournalSettings,
    /// When it is looked for what expires.
    pub lifecycle: LifecycleSettings,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            cleanup_queue: Duration::from_secs(5),
            cleanup_concurrency: 16,
            pending_reaper: Duration::from_secs(15),
            reaper_concurrency: 16,
            stale_upload_after: Duration::from_hours(24),
            replicator: Duration::from_secs(5),
            replication_concurrency: 4,
            unhealthy_threshold: Duration::from_mins(10),
            over_replication: Duration::from_secs(30),
            copy_scan: Duration::from_secs(10),
            scrubber: Duration::from_secs(10),
            scrub_pace: ScrubPace { bytes_per_hour: 32 << 20, rest_s: 7 * 24 * 60 * 60 },
            rebalancer: Duration::from_hours(6),
            rebalance: RebalanceSettings::default(),
            digest: DigestKind::default(),
            reconcile: ReconcileSettings::default(),
            journal: JournalSettings::default(),
            lifecycle: LifecycleSettings::default(),
        }
    }
}

/// `s3o_pending_intents_resolved_total`, by `status`.
pub type IntentsResolved = Family<[(&'static str, &'static str); 1], Counter>;

/// Everything a start needs.
#[derive(Clone)]
pub struct Deps {
    /// Settles intents.
    pub ledger: Arc<dyn Ledger>,
    /// Buckets that clients delete.
    pub buckets: Arc<dyn Buckets>,
    /// Which backends there are.
    pub configs: Arc<dyn Configs>,
    /// Where work is found.
    pub queues: Arc<dyn Queues>,
    /// Multipart uploads.
    pub uploads: Arc<dyn Uploads>,
    /// Versions whose copies are too few or too many.
    pub replication: Arc<dyn Replication>,
    /// The rounds of the scrubber.
    pub scrubs: Arc<dyn Scrubs>,
    /// What may be moved.
    pub rebalances: Arc<dyn Rebalances>,
    /// Runs over backends, and what they compare with.
    pub reconciliation: Arc<dyn Reconciliation>,
    /// The change log, and how much of it is on the backends.
    pub journal: Arc<dyn Journal>,
    /// Whether anything may be deleted.
    pub recovery: Arc<dyn Recovery>,
    /// What the database lacks, from the backends.
    pub restore: Arc<dyn Restore>,
    /// What expires.
    pub lifecycle: Arc<dyn Lifecycle>,
    /// Backends that are emptied.
    pub drains: Arc<dyn Drains>,
    /// Backends that are given up.
    pub removals: Arc<dyn Removals>,
    /// Housekeeping.
    pub maintenance: Arc<dyn Maintenance>,
    /// What operators look at.
    pub overview: Arc<dyn Overview>,
    /// Takes this process's usage reports.
    pub sessions: Arc<dyn Sessions>,
    /// How the backends are spoken to.
    pub backends: BackendSettings,
    /// How often and how much.
    pub settings: WorkerSettings,
    /// Where the workers' metrics go.
    pub metrics: Metrics,
    /// Counts what became of expired intents. Shown by whoever counts the commits too: one family.
    pub intents_resolved: IntentsResolved,
    /// This replica's name, as operators see it.
    pub instance: String,
    /// The workers end with it.
    pub shutdown: Shutdown,
}

impl Workers {
    /// Starts all workers of this replica.
    pub fn start(deps: Deps) -> Arc<Self> {
        let meters = meters::ProcessMeters::new(&deps.metrics);
        let backends = Backends::start(&deps, &meters);
        // Minted at each start: nobody takes a dead process's claims for this one's.
        let owner = Uuid::new_v4();
        let scrubber = Arc::new(scrubber::Scrubber::new(&deps, backends.clone(), owner));
        let open_ops = OpenOps::default();
        let rebalancer = rebalancer::Rebalancer::new(&deps, backends.clone(), owner, open_ops.clone());
        let recoverer = restore::Recoverer::new(&deps, backends.clone());
        let prober = probe::Prober::new(&deps, backends.clone());
        let journal = Arc::new(journal::JournalWorker::new(&deps, backends.clone(), owner));
        let on_demand = OnDemand { scrubber, rebalancer: Arc::new(rebalancer), recoverer, prober, journal };
        let entries = list(&deps, &meters, &backends, (owner, open_ops), &on_demand);
        harness::start(deps, entries, &backends, on_demand)
    }
}

/// Workers that are asked for more than a tick.
struct OnDemand {
    scrubber: Arc<scrubber::Scrubber>,
    rebalancer: Arc<rebalancer::Rebalancer>,
    recoverer: restore::Recoverer,
    prober: probe::Prober,
    journal: Arc<journal::JournalWorker>,
}

/// THE LIST.
fn list(
    deps: &Deps,
    meters: &Arc<meters::ProcessMeters>,
    backends: &Arc<Backends>,
    (owner, open_ops): (Uuid, OpenOps),
    on_demand: &OnDemand,
) -> Vec<Entry> {
    const HOUR: Duration = Duration::from_hours(1);
    const TEN_MINUTES: Duration = Duration::from_mins(10);
    let settings = deps.settings;
    let journal = Arc::clone(&on_demand.journal);
    vec![
        Entry::new(
            "marker",
            Duration::from_secs(5),
            marker::Marker::new(deps, backends.clone(), on_demand.prober.proofs()),
        ),
        Entry::new(
            "pending_reaper",
            settings.pending_reaper,
            pending_reaper::PendingReaper::new(deps, backends.clone(), owner),
        ),
        Entry::new(
            "cleanup_queue",
            settings.cleanup_queue,
            cleanup_queue::CleanupQueue::new(deps, backends.clone(), journal.clone(), owner),
        ),
        Entry::new(
            "replicator",
            settings.replicator,
            replicator::Replicator::new(deps, backends.clone(), owner, open_ops.clone()),
        ),
        Entry::new("scrubber", settings.scrubber, Arc::clone(&on_demand.scrubber)),
        Entry::new("rebalancer", settings.rebalancer, Arc::clone(&on_demand.rebalancer)),
        Entry::new("copy_scan", settings.copy_scan, copy_scan::CopyScan::new(deps, backends.clone(), owner)),
        Entry::new(
            "over_replication",
            settings.over_replication,
            over_replication::OverReplication::new(deps, backends.clone(), owner),
        ),
        Entry::new(
            "reconciler",
            settings.reconcile.interval,
            reconciler::Reconciler::new(deps, backends.clone(), owner),
        )
        .held_in_recovery(),
        Entry::new("quota_audit", Duration::from_hours(24), quota_audit::QuotaAudit::new(deps)),
        Entry::new(
            "usage",
            Duration::from_secs(10),
            usage::Usage::new(deps, meters.clone(), owner, open_ops),
        ),
        Entry::new("gauges", Duration::from_secs(30), gauges::Gauges::new(deps)),
        Entry::new("stale_multipart", TEN_MINUTES, stale_multipart::StaleMultipart::new(deps, owner))
            .held_in_recovery(),
        Entry::new("lifecycle", settings.lifecycle.interval, lifecycle::Lifecycle::new(deps, owner))
            .held_in_recovery(),
        Entry::new("removal", Duration::from_mins(1), removal::Remover::new(deps, owner)).held_in_recovery(),
        Entry::new("copy_attempts", HOUR, copy_attempts::CopyAttempts::new(deps.maintenance.clone())),
        Entry::new(
            "bucket_retirer",
            Duration::from_mins(1),
            bucket_retirer::BucketRetirer(deps.buckets.clone()),
        ),
        Entry::new("journal", settings.journal.tick(), journal),
        Entry::new("change_log", HOUR, change_log::ChangeLog(deps.maintenance.clone())),
        Entry::new("session_pruner", HOUR, session_pruner::SessionPruner(deps.maintenance.clone())),
    ]
}
