//! The client of the control plane.
//!
//! One channel to each address behind the configured names, one `Operations` stream on each, one
//! `Session` stream for the process. Calls are numbered and idempotent by their operation id.
//!
//! Invariants: a call ends with an outcome that the control plane decided, or with "unknown"; unknown
//! is never read as "not done". A stream that breaks loses no call: whoever waits sends it again by
//! the same operation id, on whichever stream is up.

mod address;
mod buckets;
mod calls;
mod convert;
mod corruption;
mod database;
mod lane;
mod lanes;
mod listing;
mod located;
mod object_lock;
mod session;
mod uploads;
mod usage;
mod versions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s3o_proto::v1;
use s3o_runtime::OpenOps;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use address::Address;
pub(crate) use calls::{Caller, CommitRequest, Failure, PartOf, Want};
pub(crate) use convert::{Committed, Deleted, End, Finished, Intent, StoredCopy, Target};
pub(crate) use database::Database;
pub(crate) use lanes::Dialer;
pub(crate) use listing::{ListQuery, Listed, ListedObject, Page};
pub(crate) use located::{Located, LocatedCopy, LocatedExtent, Proof};
pub(crate) use object_lock::LockChange;
pub(crate) use session::{SessionContext, run as run_session};
pub(crate) use uploads::{CompleteRequest, NewUpload, Parts, StoredPart, Upload, UploadState, UploadsQuery};
pub(crate) use usage::UsageLedger;
pub(crate) use versions::{ListedVersion, VersionEntry, VersionsPage, VersionsQuery};

use lane::Lane;

/// What all requests share of the control plane. Clones share one client.
#[derive(Clone)]
pub(crate) struct Control(Arc<Shared>);

struct Shared {
    /// Minted at each start of the process.
    session: Uuid,
    /// The streams there are, up or not.
    lanes: watch::Sender<Arc<Vec<Arc<Lane>>>>,
    /// The last message required a feature that this build lacks.
    lacks_feature: AtomicBool,
    /// What the control plane last said of its database.
    database_reachable: AtomicBool,
    /// Whether anything is decided at the moment.
    database: Database,
    /// The control plane knows this session: its leases hold.
    welcomed: watch::Sender<bool>,
    /// Writes whose lease must not run out.
    open: OpenOps,
}

/// Waited between two attempts when nothing is up or a stream just broke.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl Control {
    /// A client without channels; [`Dialer`] brings them.
    pub(crate) fn new(session: Uuid) -> Self {
        Self(Arc::new(Shared {
            session,
            lanes: watch::Sender::new(Arc::new(Vec::new())),
            lacks_feature: AtomicBool::new(false),
            database_reachable: AtomicBool::new(true),
            database: Database::default(),
            welcomed: watch::Sender::new(false),
            open: OpenOps::default(),
        }))
    }

    /// The id of this process towards the control plane.
    pub(crate) fn session(&self) -> Uuid {
        self.0.session
    }

    /// The writes under way.
    pub(crate) fn open_ops(&self) -> &OpenOps {
        &self.0.open
    }

    /// Whether any stream is up.
    pub(crate) fn is_connected(&self) -> bool {
        self.0.lanes.borrow().iter().any(|lane| lane.is_up())
    }

    /// What the control plane last said of its database.
    pub(crate) fn database_reachable(&self) -> bool {
        self.0.database_reachable.load(Ordering::Relaxed)
    }

    /// The breaker of the control plane and its database.
    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    fn set_database_reachable(&self, reachable: bool) {
        self.0.database_reachable.store(reachable, Ordering::Relaxed);
    }

    fn welcome(&self) {
        self.0.welcomed.send_replace(true);
    }

    /// Whether a control plane has spoken to this process: the configuration was the newest then.
    pub(crate) fn was_welcomed(&self) -> bool {
        *self.0.welcomed.borrow()
    }

    /// Returns once the session was welcomed. An intent before that would be a lease of nobody.
    async fn welcomed(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.welcomed.subscribe().wait_for(|welcomed| *welcomed).await;
    }

    /// Whether the cluster requires something of the wire that this build does not know.
    pub(crate) fn lacks_feature(&self) -> bool {
        self.0.lacks_feature.load(Ordering::Relaxed)
    }

    /// To be called with what each reply states.
    fn see_required(&self, required: &[String]) {
        let unknown = required.iter().find(|feature| !s3o_proto::FEATURES.contains(&feature.as_str()));
        let lacking = unknown.is_some();
        if self.0.lacks_feature.swap(lacking, Ordering::Relaxed) != lacking {
            if let Some(feature) = unknown {
                tracing::error!(
                    feature,
                    "the cluster requires a feature that this release lacks: refusing requests"
                );
            } else {
                tracing::info!("the cluster requires nothing unknown any more");
            }
        }
    }

    /// The stream that is up with the fewest calls in flight.
    fn least_busy(&self) -> Option<Arc<Lane>> {
        let lanes = self.0.lanes.borrow();
        lanes.iter().filter(|lane| lane.is_up()).min_by_key(|lane| lane.in_flight()).cloned()
    }

    /// Any stream in turn, also one that is not up yet: for the session, which may be the first call.
    fn any_lane(&self, turn: usize) -> Option<Arc<Lane>> {
        let lanes = self.0.lanes.borrow();
        let up: Vec<_> = lanes.iter().filter(|lane| lane.is_up()).collect();
        if up.is_empty() {
            lanes.get(turn % lanes.len().max(1)).cloned()
        } else {
            up.get(turn % up.len()).map(|lane| Arc::clone(lane))
        }
    }

    /// Sends a call until there is an outcome or the patience is over.
    async fn call(&self, mut operation: v1::Operation, patience: Duration) -> Option<v1::outcome::Result> {
        let deadline = Instant::now() + patience;
        operation.session = convert::uuid_bytes(self.0.session);
        loop {
            if let Some(lane) = self.least_busy() {
                match tokio::time::timeout_at(deadline, lane.call(operation.clone())).await {
                    Ok(Ok(outcome)) => return outcome.result,
                    // The stream broke: the call may have been decided. Asking again by the same op
                    // gives that outcome.
                    Ok(Err(lane::Broken)) => {}
                    Err(_) => return None,
                }
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return None;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod fuzz;
