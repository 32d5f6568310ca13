//! The background workers of a control plane, and on this page the list of all of them.
//!
//! Architecture invariant: a worker is a reconciler. It runs periodically and when it is woken, any
//! number of times, on any number of replicas at once; its only input is what the ports of `core`
//! read from the database, so a tick that died half way is made good by the next one.
//!
//! To add a worker: a file with a struct that implements `Worker`, its name below, and its entry in
//! [`list`]. Interval and jitter are the same for all: `every`, give or take a tenth; the first tick
//! comes at the start.

mod backends;
mod change_log;
mod cleanup_queue;
mod gauges;
mod marker;
mod metrics;
mod pending_reaper;
mod runner;
mod session_pruner;
mod settings;
mod workers;

use std::time::Duration;

use crate::runner::{AfterFailure, Entry, Wakes};
use crate::workers::Shared;

pub use runner::Wake;
pub use settings::{BackendSettings, Deps, WorkerSettings};
pub use workers::Workers;

/// The marker `.s3o/backend` of each backend is read, or made: attaches and detaches backends.
pub const MARKER: &str = "marker";
/// Settles intents whose lease ran out.
pub const PENDING_REAPER: &str = "pending_reaper";
/// Deletes what the cleanup queue names.
pub const CLEANUP_QUEUE: &str = "cleanup_queue";
/// Makes and drops partitions of the change log.
pub const CHANGE_LOG: &str = "change_log";
/// Forgets old sessions.
pub const SESSION_PRUNER: &str = "session_pruner";
/// Shows the database's numbers as metrics.
pub const GAUGES: &str = "gauges";

/// All workers: when they run, what keeps replicas apart, who wakes them, what a failed tick means.
fn list(every: &WorkerSettings, wakes: &Wakes, shared: &Shared) -> Vec<Entry> {
    let seconds = Duration::from_secs;
    vec![
        Entry {
            name: MARKER,
            every: every.marker,
            lock: "none: every replica looks for itself, and attaching twice is attaching once",
            woken_by: "a new generation of the configuration",
            after_failure: AfterFailure::Backoff { first: every.marker_retry, most: seconds(30) },
            worker: marker::Marker::new(shared),
        },
        Entry {
            name: PENDING_REAPER,
            every: every.pending_reaper,
            lock: "claims intents; a claim of a dead replica lapses",
            woken_by: "nobody",
            after_failure: AfterFailure::NextTick,
            worker: pending_reaper::PendingReaper::new(shared, wakes.of(CLEANUP_QUEUE)),
        },
        Entry {
            name: CLEANUP_QUEUE,
            every: every.cleanup_queue,
            lock: "claims rows; a claim of a dead replica lapses",
            woken_by: "the pending reaper",
            after_failure: AfterFailure::NextTick,
            worker: cleanup_queue::CleanupQueue::new(shared),
        },
        Entry {
            name: CHANGE_LOG,
            every: every.change_log,
            lock: "the store's, for the time of the statement",
            woken_by: "nobody",
            after_failure: AfterFailure::Backoff { first: seconds(30), most: every.change_log },
            worker: change_log::ChangeLog::new(shared),
        },
        Entry {
            name: SESSION_PRUNER,
            every: every.session_pruner,
            lock: "none: deleting twice is deleting once",
            woken_by: "nobody",
            after_failure: AfterFailure::Backoff { first: seconds(60), most: every.session_pruner },
            worker: session_pruner::SessionPruner::new(shared),
        },
        Entry {
            name: GAUGES,
            every: every.gauges,
            lock: "none: reads only, each replica for its own /metrics",
            woken_by: "nobody",
            after_failure: AfterFailure::NextTick,
            worker: gauges::Gauges::new(shared),
        },
    ]
}
