//! One connection to PostgreSQL with its prepared statements.
//!
//! Invariant: statements of the request path can only run by index: the session that they run in has
//! sequential scans, hash and merge joins disabled and plans made once, so that no statistic, and no
//! plan from when a table was small, can turn a lookup into a scan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};
use tokio_util::task::TaskTracker;

use crate::error::{Failure, StoreError};
use crate::stats::Breaker;

/// How long a connection attempt may take, per host.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A statement that takes longer than this is on a server that hangs. Locks are waited for much shorter.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Group commit: index plans only, short lock waits.
    Lane,
    /// As a lane, but commits need not reach the disk before they are answered.
    BeginLane,
    /// Reads of the request path: index plans only.
    Lookup,
    /// Everything else: PostgreSQL plans as it likes.
    General,
}

impl Profile {
    fn settings(self) -> String {
        // Not weaker than durable, whatever the server's default; stronger levels are the operator's.
        const DURABLE: &str = "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
                               WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false);";
        const INDEXED: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
                               SET plan_cache_mode = force_generic_plan; SET jit = off;";
        const COMMON: &str = "SET default_transaction_isolation = 'read committed'; \
                              SET idle_in_transaction_session_timeout = '30s'; SET TIME ZONE 'UTC';";
        match self {
            // 250 ms: longer than any batch, short enough that a batch stuck behind a dead one moves on.
            Self::Lane => format!("{COMMON} {DURABLE} {INDEXED} SET lock_timeout = '250ms';"),
            Self::BeginLane => {
                format!("{COMMON} {INDEXED} SET lock_timeout = '250ms'; SET synchronous_commit = off;")
            }
            Self::Lookup => {
                format!("{COMMON} {INDEXED} SET enable_bitmapscan = off; SET statement_timeout = '10s';")
            }
            Self::General => format!("{COMMON} {DURABLE} SET jit = off; SET lock_timeout = '5s';"),
        }
    }
}

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<Config>,
    tasks: TaskTracker,
    breaker: Arc<Breaker>,
}

impl Connector {
    pub(crate) fn new(
        url: &str,
        instance: &str,
        tasks: TaskTracker,
        breaker: Arc<Breaker>,
    ) -> Result<Self, StoreError> {
        let mut config: Config = url.parse().map_err(|error| StoreError::Config(format!("url: {error}")))?;
        // A host that vanished is noticed by the kernel's probes, one that hangs by ANSWER_PATIENCE.
        config
            .application_name(format!("s3o {instance}"))
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(5))
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self { config: Arc::new(config), tasks, breaker })
    }

    /// A new connection, ready for use.
    pub(crate) async fn open(&self, profile: Profile) -> Result<Connection, Failure> {
        let opened = tokio::time::timeout(ANSWER_PATIENCE, self.try_open(profile)).await;
        let result = opened.unwrap_or_else(|_| Err(Failure::Lost("no answer while connecting".to_owned())));
        match &result {
            Ok(_) => self.breaker.succeeded(),
            Err(failure) => self.breaker.failed(&failure.to_string()),
        }
        result
    }

    async fn try_open(&self, profile: Profile) -> Result<Connection, Failure> {
        let connected = self.config.connect(NoTls).await;
        // Whatever stands in the way of connecting passes or is the operator's to mend.
        let (client, driver) = connected.map_err(|error| match Failure::from(error) {
            lost @ Failure::Lost(_) => lost,
            other => Failure::Lost(other.to_string()),
        })?;
        self.tasks.spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a database connection ended");
            }
        });
        client.batch_execute(&profile.settings()).await?;
        Ok(Connection { client, statements: HashMap::new() })
    }
}

/// A connection and the statements that were prepared on it.
pub(crate) struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) const fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The statement of `sql`, prepared at its first use.
    pub(crate) async fn prepare(&mut self, sql: &'static str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// A statement that [`Self::prepare`] has prepared.
    pub(crate) fn prepared(&self, sql: &'static str) -> Result<&Statement, Failure> {
        self.statements.get(sql).ok_or_else(|| Failure::Lost("a statement was not prepared".to_owned()))
    }

    /// Runs one statement in a transaction of its own.
    pub(crate) async fn run(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }
}
