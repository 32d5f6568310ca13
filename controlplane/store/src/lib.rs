//! The store: PostgreSQL behind the ports of `s3o_core::ports`, and the only SQL there is.
//!
//! Architecture invariant: nothing here decides. What a batch of calls is decided from is read by
//! `ledger/facts.rs`, handed to `s3o_core::decide`, and its effects are written by `ledger/effects.rs`,
//! in one transaction. Rows become domain types in `rows/`; errors of the driver are sorted in
//! `error.rs`; work is tried again in `pool.rs` (ports) and `ledger/lane.rs` (calls) and nowhere else.
//!
//! To add a table: a migration, its record in `rows/`, its statements in the file of the port that
//! needs it; when the write path needs it, its facts and effects too.

mod audit;
mod configs;
mod connection;
mod drains;
mod error;
mod journal;
mod ledger;
mod lifecycle;
mod maintenance;
mod options;
mod overview;
mod pool;
mod queues;
mod rebalance;
mod reconcile;
mod recovery;
mod removals;
mod replication;
mod restore;
mod rows;
mod scan;
mod schema;
mod scrubs;
mod sessions;
mod slots;
mod stats;
mod tls;
mod unreadable;
mod uploads;
mod versions;

use std::sync::Arc;

use s3o_core::cleanup::CleanupTimes;
use s3o_core::config::ClusterConfig;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use crate::error::StoreError;
pub use crate::options::StoreOptions;
pub use crate::schema::SCHEMA;
pub use crate::stats::{LaneStats, StoreStats, WriteStats};

use crate::connection::{Connector, Profile};
use crate::ledger::Lanes;
use crate::pool::Pool;
use crate::restore::RestoreRun;
use crate::slots::Slots;
use crate::stats::Breaker;
use crate::unreadable::Unreadable;

/// Says what is wrong with a database URL and the files that it names, without connecting.
pub fn check_url(url: &str) -> Result<(), String> {
    let (url, options) = tls::split(url)?;
    tls::client(&options)?;
    url.parse::<tokio_postgres::Config>().map(|_| ()).map_err(|error| error.to_string())
}

/// Connections for heartbeats, which are short and come in turn.
const LEASE_CONNECTIONS: u16 = 2;

/// The database. Clones share everything; the last one to go ends the lanes.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// The lanes of group commit.
    lanes: Lanes,
    /// Reads of the request path that are not batched: listings.
    lookup: Pool,
    /// Everything else.
    general: Arc<Pool>,
    /// Leases of sessions: never behind a slow statement.
    leases: Pool,
    /// The configuration as it was last read.
    config: watch::Receiver<Arc<ClusterConfig>>,
    /// Wakes the watcher of generations.
    wake_config: Arc<Notify>,
    breaker: Arc<Breaker>,
    unreadable: Unreadable,
    cleanup_times: CleanupTimes,
    slots: Slots,
    restore_run: RestoreRun,
    /// Lanes, connections, the watcher.
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Store {
    /// Brings the schema up to date. Safe to run by several processes at once, and again.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        schema::migrate(url).await
    }

    /// Connects to a database whose schema is within [`SCHEMA`], and starts the lanes.
    pub async fn connect(options: StoreOptions) -> Result<Self, StoreError> {
        let (pool, cleanup_times) = (options.pool, options.cleanup_times);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stop_on_drop = stop.clone().drop_guard();
        let breaker = Arc::new(Breaker::default());
        let connector = Connector::new(&options.url, &options.instance, tasks.clone(), breaker.clone())?;
        schema::check(&connector).await?;

        let general = Arc::new(Pool::new(connector.clone(), Profile::General, pool));
        let leases = Pool::new(connector.clone(), Profile::Lease, LEASE_CONNECTIONS);
        let lookup = Pool::new(connector.clone(), Profile::Lookup, pool);
        let (serve, config) = watch::channel(Arc::new(configs::load(&general).await?));
        let wake_config = Arc::new(Notify::new());
        let watcher = configs::watch_generation(
            general.clone(),
            breaker.clone(),
            wake_config.clone(),
            serve,
            stop.clone(),
        );
        tasks.spawn(watcher);
        let slots = Slots::random();
        let lanes = Lanes::start(&connector, &options, slots, &tasks, &stop);
        let inner = Inner {
            lanes,
            lookup,
            general,
            leases,
            config,
            wake_config,
            breaker,
            unreadable: Unreadable::default(),
            cleanup_times,
            slots,
            restore_run: RestoreRun::default(),
            tasks,
            stop,
            _stop_on_drop: stop_on_drop,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the lanes after the batches that are under way, and closes every connection. Calls that were
    /// not decided are refused, retryably.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.general.close();
        self.inner.lookup.close();
        self.inner.leases.close();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// What the store has counted since its start.
    pub fn stats(&self) -> StoreStats {
        let mut lanes = self.inner.lanes.stats();
        lanes.push(self.inner.lookup.stats("lookup"));
        let writes = self.inner.lanes.writes();
        let unreadable = self.inner.unreadable.counts();
        StoreStats { lanes, writes, unreadable, database_reachable: self.inner.breaker.is_closed() }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
