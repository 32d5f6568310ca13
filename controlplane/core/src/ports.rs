//! The ports: what `grpc` and `workers` need of the store, and nothing of how it is done.

mod drains;
mod journal;
mod lifecycle;
mod maintenance;
mod on_demand;
mod overview;
mod queues;
mod rebalances;
mod reconciliation;
mod recovery;
mod removals;
mod replication;
mod restore;
mod scrubs;
mod uploads;

use std::sync::Arc;

use async_trait::async_trait;
use s3o_types::{BucketId, Versioning};
use uuid::Uuid;

use crate::bucket::BucketChange;
use crate::call::{Outcome, Refusal, Request};
use crate::config::{ClusterConfig, MarkerPlace, MarkerSeen};
use crate::listing::{ListQuery, Page};
use crate::object::{Locate, Lookup};
use crate::session::{Hello, UsageReport};
use crate::versions::{SetVersioning, VersionsPage, VersionsQuery};
use crate::worker::Counts;

pub use crate::probe::BackendProbing;
pub use drains::Drains;
pub use journal::Journal;
pub use lifecycle::Lifecycle;
pub use maintenance::Maintenance;
pub use on_demand::{ObjectScrub, Rebalancing, Recovering, WorkerControl};
pub use overview::Overview;
pub use queues::Queues;
pub use rebalances::Rebalances;
pub use reconciliation::Reconciliation;
pub use recovery::Recovery;
pub use removals::Removals;
pub use replication::Replication;
pub use restore::Restore;
pub use scrubs::Scrubs;
pub use uploads::Uploads;

/// Why a port could not answer. Whatever it was, the caller may try again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PortError {
    /// The database cannot be reached, or refused for now.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row that this release cannot read; names table and key.
    #[error("{0}")]
    Corrupt(String),
}

/// Decides calls, many in one transaction.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Decides one call. Returns when its transaction is durable, or with a retryable refusal.
    async fn submit(&self, request: Request) -> Outcome;
    /// Where a version of a key is.
    async fn locate(&self, query: Locate) -> Result<Lookup, Refusal>;
    /// One page of a bucket.
    async fn list(&self, query: ListQuery) -> Result<Page, Refusal>;
}

/// Versions besides the current ones, and whether a bucket keeps them.
#[async_trait]
pub trait Versions: Send + Sync {
    /// One page of a bucket's versions and delete markers.
    async fn list_versions(&self, query: VersionsQuery) -> Result<VersionsPage, Refusal>;
    /// Whether the bucket keeps versions, as the next writer will see it. `Ok(None)`: there is no such bucket.
    async fn versioning(&self, bucket: BucketId) -> Result<Option<Versioning>, PortError>;
    /// Lets a bucket keep versions, or cease to, once: a repeat of the operation changes nothing. No write of the
    /// bucket is decided while it changes. Mints a generation.
    async fn set_versioning(&self, set: SetVersioning) -> Result<(), Refusal>;
}

/// Leases and reports of data planes and worker processes.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Records a session, with a lease that begins now.
    async fn open(&self, hello: Hello) -> Result<(), PortError>;
    /// Renews the lease and says which operations have been open for over a minute.
    async fn renew(&self, session: Uuid, open_ops: Vec<Uuid>) -> Result<(), PortError>;
    /// Ends the lease: what it left open may be reaped at once.
    async fn close(&self, session: Uuid) -> Result<(), PortError>;
    /// Adds a report to this month's usage, once.
    async fn add_usage(&self, session: Uuid, report: UsageReport) -> Result<(), PortError>;
    /// Whether the database has answered lately.
    fn database_reachable(&self) -> bool;
}

/// Buckets that clients make, change and delete (S3's `CreateBucket`, `DeleteBucket`, `PutBucketCors`).
#[async_trait]
pub trait Buckets: Send + Sync {
    /// Decides a change and makes it, in one transaction. Returns the generation of the configuration in which it
    /// stands. A repeat by the same operation id gets the first outcome.
    async fn change(&self, change: BucketChange) -> Result<Result<i64, Refusal>, PortError>;
    /// Takes deleted buckets of which no row names a byte any more out of `deleting`: their names are free.
    async fn retire(&self) -> Result<Counts, PortError>;
}

/// The configuration that the database serves.
#[async_trait]
pub trait Configs: Send + Sync {
    /// The newest known. Does not wait for the database.
    fn current(&self) -> Arc<ClusterConfig>;
    /// Waits until there is another than `generation`: a restored database may count from a smaller number.
    async fn newer_than(&self, generation: i64) -> Arc<ClusterConfig>;
    /// The newest that the database has, asked for now: another replica may have changed it a moment ago.
    async fn newest(&self) -> Result<Arc<ClusterConfig>, PortError>;
    /// Records that a backend's marker is ours and what it proves, unless the backend is elsewhere by now;
    /// mints a generation if that is new.
    async fn attach(&self, seen: MarkerSeen) -> Result<(), PortError>;
    /// Records that a backend's marker is not ours: nothing is placed there any more.
    async fn detach(&self, seen: MarkerPlace) -> Result<(), PortError>;
}
