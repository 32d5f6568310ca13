//! Connections for everything that is not a lane, and the one place where such work is tried again.
//!
//! Invariant: a connection comes back only when nothing went wrong on it; one with an error is closed,
//! so no transaction is ever left open in the pool.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use crate::connection::{ANSWER_PATIENCE, Connection, Connector, Profile};
use crate::error::Failure;
use crate::stats::{LaneCounters, LaneStats, add};

/// How long work of the pool is tried again while the database is away. Its callers (heartbeats, workers,
/// operators) come back by themselves; this covers a dropped connection and a lost lock.
const PATIENCE: Duration = Duration::from_secs(4);

/// Between tries.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Pool {
    connector: Connector,
    profile: Profile,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    counters: LaneCounters,
}

impl Pool {
    pub(crate) fn new(connector: Connector, profile: Profile, size: u16) -> Self {
        let permits = Semaphore::new(usize::from(size.max(1)));
        Self { connector, profile, idle: Mutex::default(), permits, counters: LaneCounters::default() }
    }

    /// What it has counted: each piece of work as a batch of one, with one transaction and one round trip
    /// (statements that have to be prepared, and transactions of several statements, take more).
    pub(crate) fn stats(&self, name: &str) -> LaneStats {
        self.counters.read(name)
    }

    /// Closes idle connections and gives out no more.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    fn put_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Runs one statement, again if it could not be done for a passing reason. Only for statements
    /// that may run twice: a lost reply is not told from a lost request.
    pub(crate) async fn run(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        self.retried(|| self.run_once(sql, params)).await
    }

    async fn run_once(&self, sql: &'static str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        self.with_connection(async |connection: &mut Connection| connection.run(sql, params).await).await
    }

    /// Runs one transaction: `work` gets it open, and it is committed when `work` succeeds.
    pub(crate) async fn transact_once<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.transact_within(ANSWER_PATIENCE, work).await
    }

    /// The same, of one that may take longer than an answer should. The server is told, too.
    pub(crate) async fn transact_within<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.within(patience, async |connection: &mut Connection| {
            let transaction = connection.client_mut().transaction().await?;
            if patience > ANSWER_PATIENCE {
                let patience = format!("SET LOCAL statement_timeout = {}", patience.as_millis());
                transaction.batch_execute(&patience).await?;
            }
            let value = work(&transaction).await?;
            transaction.commit().await?;
            Ok(value)
        })
        .await
    }

    /// Runs `work` on a connection of its own.
    pub(crate) async fn with_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.within(ANSWER_PATIENCE, work).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let free = timeout(ANSWER_PATIENCE, self.permits.acquire()).await;
        let _permit = free
            .map_err(|_| Failure::Busy("all connections are taken".to_owned()))?
            .map_err(|_| Failure::Lost("the store is closed".to_owned()))?;
        let mut connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connector.open(self.profile).await?,
        };
        for counter in [
            &self.counters.batches,
            &self.counters.items,
            &self.counters.transactions,
            &self.counters.round_trips,
        ] {
            add(counter, 1);
        }
        let hangs = || Failure::Lost("the database does not answer".to_owned());
        let value = timeout(patience, work(&mut connection)).await.map_err(|_| hangs())??;
        if !self.permits.is_closed() {
            self.put_back(connection);
        }
        Ok(value)
    }

    /// Tries `work` until it succeeds, fails for good, or [`PATIENCE`] is over.
    pub(crate) async fn retried<T, F>(&self, work: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match work().await {
                Err(failure) if failure.is_passing() && Instant::now() < deadline => {
                    tracing::debug!(%failure, "trying again");
                    sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }
}
