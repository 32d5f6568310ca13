//! One connection to PostgreSQL with its prepared statements.
//!
//! Invariant: statements of the request path can only run by index: the session that they run in has
//! sequential scans, hash and merge joins disabled and plans made once, so that no statistic, and no
//! plan from when a table was small, can turn a lookup into a scan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_util::task::TaskTracker;

use crate::error::{Failure, StoreError};
use crate::recovery::NOTE_DATABASE;
use crate::stats::Breaker;
use crate::tls::{self, MakeTls};

/// How long a connection attempt may take, per host.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A statement that takes longer than this is on a server that hangs. Locks are waited for much shorter,
/// and the server is told to give up before.
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
    /// Leases: statements of one row, behind which nothing slow may stand.
    Lease,
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
        // 250 ms: longer than any batch, short enough that a batch stuck behind a dead one moves on. A
        // replica that is frozen between its two flights keeps its locks for 3 s at most.
        const LANE: &str = "SET lock_timeout = '250ms'; SET statement_timeout = '15s'; \
                            SET idle_in_transaction_session_timeout = '3s';";
        match self {
            Self::Lane => format!("{COMMON} {DURABLE} {INDEXED} {LANE}"),
            Self::BeginLane => format!("{COMMON} {INDEXED} {LANE} SET synchronous_commit = off;"),
            Self::Lookup => {
                format!("{COMMON} {INDEXED} SET enable_bitmapscan = off; SET statement_timeout = '10s';")
            }
            Self::General => {
                format!(
                    "{COMMON} {DURABLE} SET jit = off; SET lock_timeout = '5s'; SET statement_timeout = '19s';"
                )
            }
            Self::Lease => {
                format!("{COMMON} {DURABLE} {INDEXED} SET lock_timeout = '1s'; SET statement_timeout = '3s';")
            }
        }
    }
}

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<Config>,
    /// The same without TLS, for `prefer`.
    fallback: Option<Arc<Config>>,
    tls: MakeTls,
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
        let wrong = |why: &dyn std::fmt::Display| StoreError::Config(format!("url: {why}"));
        let (url, options) = tls::split(url).map_err(|why| wrong(&why))?;
        let tls = tls::client(&options).map_err(|why| wrong(&why))?;
        let mut config: Config = url.parse().map_err(|error| wrong(&error))?;
        // A host that vanished is noticed by the kernel's probes, one that hangs by ANSWER_PATIENCE.
        config
            .application_name(format!("s3o {instance}"))
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(5))
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(options.mode.driver());
        let fallback = (options.mode == tls::Mode::Prefer).then(|| {
            let mut plain = config.clone();
            plain.ssl_mode(SslMode::Disable);
            Arc::new(plain)
        });
        Ok(Self { config: Arc::new(config), fallback, tls, tasks, breaker })
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
        let mut connected = self.config.connect(self.tls.clone()).await;
        if let (Err(error), Some(plain)) = (&connected, &self.fallback)
            && is_about_tls(error)
        {
            tracing::debug!(%error, "no TLS with the database; it is only preferred");
            connected = plain.connect(self.tls.clone()).await;
        }
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
        client.batch_execute(NOTE_DATABASE).await?;
        Ok(Connection { client, statements: HashMap::new() })
    }
}

/// Whether it may go better without: the handshake failed, or the server takes this user without only.
fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    let refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    refused || error.to_string().starts_with("error performing TLS handshake")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_url_is_named() {
        let why = |url: &str| match Connector::new(url, "t", TaskTracker::new(), Arc::default()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        for (url, says) in [
            ("postgres://h/d?sslmode=verify", "url: sslmode: `verify` is none of"),
            ("postgres://h/d?sslmode=verify-ca&sslrootcert=/no/ca", "url: sslrootcert: /no/ca: "),
            ("postgres://h/d?sslcert=/no/crt&sslkey=/no/key", "url: sslcert: /no/crt: "),
            ("host=h sslmode=require sslkey=/no/key", "url: sslcert: is missing beside sslkey"),
            ("postgres://h/d?ssl=on", "url: "),
        ] {
            assert!(why(url).contains(says), "{url}: {}", why(url));
        }
        for url in ["postgres://u:p@h/d", "postgres://u:p@h/d?sslmode=disable", "host=h sslmode=require"] {
            assert_eq!(why(url), "");
        }
    }

    /// A replica that is frozen between its two flights: its locks go, and what it held is free for others.
    #[tokio::test]
    async fn a_lane_that_stands_still_in_a_transaction_loses_it() {
        let dir = tempfile::Builder::new().prefix("s3o-store-lane-").tempdir_in(std::env::temp_dir());
        let dir = dir.expect("a directory");
        let options =
            s3o_localpg::Options { fsync: false, ..s3o_localpg::Options::new(dir.path().join("pg")) };
        let server = s3o_localpg::LocalPostgres::start(options).await.expect("a server");
        let connector =
            Connector::new(&server.url(), "t", TaskTracker::new(), Arc::default()).expect("a URL");
        for profile in [Profile::Lane, Profile::BeginLane] {
            let frozen = connector.open(profile).await.expect("a connection");
            let other = connector.open(Profile::General).await.expect("a connection");
            let lock = "BEGIN; SELECT pg_advisory_xact_lock(7)";
            frozen.client().batch_execute(lock).await.expect("the lock");
            // Waits until the server has thrown the other one out; `lock_timeout` is 5 s.
            other.client().batch_execute("SELECT pg_advisory_xact_lock(7)").await.expect("the lock, later");
            assert!(frozen.client().batch_execute("COMMIT").await.is_err());
        }
        drop(server);
    }
}
