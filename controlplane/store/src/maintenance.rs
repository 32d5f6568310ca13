//! Housekeeping: the change log's partitions, and sessions that ended.
//!
//! Invariant: a day's partition is made before the day comes. Where that was missed, its rows are in the
//! default partition and are moved out under that partition's lock, so none is ever in two or in none.

use std::time::Duration;

use async_trait::async_trait;
use s3o_core::ports::{Maintenance, PortError};
use s3o_core::worker::Counts;
use s3o_types::VersionId;
use uuid::Uuid;

use crate::Store;
use crate::connection::Connection;
use crate::error::Failure;
use crate::schema::LOCK_PARTITIONS;

/// Days ahead for which partitions are made: a control plane that is down for a week finds its day.
const DAYS_AHEAD: i32 = 7;

/// Days that are kept behind today. Operations are looked up in the two newest; a day more for readers.
const DAYS_KEPT: i32 = 2;

/// Rounds in which what somebody's lock stood in the way of is tried again, and the wait between them.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Days without a partition, then, unless the journal has not shipped them (for a month at most), partitions that are too old, by their upper bound.
const PLAN: &str = "
    WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day),
    existing AS (
        SELECT c.relname::text AS name
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'changes'::regclass AND c.relname ~ '^changes_[0-9]{8}$'
    ),
    wanted AS (
        SELECT day + n AS day, 'changes_' || to_char(day + n, 'YYYYMMDD') AS name
        FROM today, generate_series(-1, $1::int) AS n
    )
    SELECT 'make' AS what, name, day::text AS day, (day + 1)::text AS next_day
    FROM wanted w
    WHERE NOT EXISTS (SELECT FROM existing e WHERE e.name = w.name)
      AND (w.day >= (SELECT day FROM today) OR EXISTS (SELECT FROM changes_default d WHERE d.day = w.day))
    UNION ALL
    SELECT 'drop', name, '', '' FROM existing, today
    WHERE to_date(right(name, 8), 'YYYYMMDD') < day - $2::int
      AND (to_date(right(name, 8), 'YYYYMMDD') < day - 30 OR (SELECT segment FROM journal) = 1
           OR to_date(right(name, 8), 'YYYYMMDD') < COALESCE(
               (SELECT c.day FROM changes c, journal j WHERE (c.xid, c.n) > (j.xid, j.n) ORDER BY c.xid, c.n LIMIT 1), day))
    ORDER BY what DESC, name";

/// Whether writes of today and tomorrow have a place of their own.
const READY: &str = "
    SELECT count(*) = 2 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'changes'::regclass AND c.relname IN (
        SELECT 'changes_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD') FROM generate_series(0, 1) AS n)";

const PRUNE_SESSIONS: &str = "
    DELETE FROM sessions s
    WHERE s.deadline < now() - interval '1 day' AND NOT EXISTS (SELECT FROM intents i WHERE i.session = s.id)
    RETURNING s.id";

/// A version that is there has a copy row in some state, for ever; one that is begun has its intent. $1 the last version, $2
/// versions.
const PRUNE_COPY_ATTEMPTS: &str = "
    WITH page AS MATERIALIZED (
        SELECT DISTINCT version FROM copy_attempts WHERE version > $1 ORDER BY version LIMIT $2
    ),
    pruned AS (
        DELETE FROM copy_attempts a USING page p
        WHERE a.version = p.version AND NOT EXISTS (SELECT FROM copies c WHERE c.version = p.version)
          AND NOT EXISTS (SELECT FROM intents i WHERE i.version = p.version)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM pruned) AS pruned, (SELECT count(*) FROM page) AS looked,
           (SELECT version FROM page ORDER BY version DESC LIMIT 1) AS last";

/// Versions a page.
const ATTEMPTS_PAGE: i64 = 1000;

/// Makes partitions at the start of a process. Somebody's lock on the log (a running `pg_dump`) keeps a
/// control plane from starting only when today or tomorrow has no partition.
pub(crate) async fn be_ready(connection: &mut Connection) -> Result<(), Failure> {
    let Err(failure) = rotate(connection, &mut Counts::new()).await else { return Ok(()) };
    let ready = connection.run(READY, &[]).await?;
    if ready.first().is_none_or(|row| !row.get::<_, bool>(0)) {
        return Err(failure);
    }
    tracing::warn!(%failure, "partitions of the change log are made or dropped later");
    Ok(())
}

/// Makes the partitions that are missing, then drops those that are too old, and counts what it did. What
/// cannot be done does not stand in the way of the rest; the first failure is returned at the end.
async fn rotate(connection: &mut Connection, counts: &mut Counts) -> Result<(), Failure> {
    let plan = connection.run(PLAN, &[&DAYS_AHEAD, &DAYS_KEPT]).await?;
    let mut failed = None;
    for row in plan {
        let what: &str = row.get("what");
        let name: &str = row.get("name");
        let (word, done) = if what == "make" {
            ("made", make(connection, name, row.get("day"), row.get("next_day")).await)
        } else {
            ("dropped", drop_partition(connection, name).await)
        };
        match done {
            Ok(true) => *counts.entry(word.to_owned()).or_default() += 1,
            Ok(false) => {}
            Err(lost @ Failure::Lost(_)) => return Err(lost),
            Err(failure) => {
                tracing::debug!(partition = name, what, %failure, "a partition is left for later");
                failed.get_or_insert(failure);
            }
        }
    }
    let old =
        format!("DELETE FROM changes_default WHERE day < (now() AT TIME ZONE 'UTC')::date - {DAYS_KEPT}");
    connection.client().batch_execute(&old).await?;
    failed.map_or(Ok(()), Err)
}

/// Rows of the day may stand in the default partition, and more may arrive: the lock on it holds them up
/// while they are moved. Waiting for that lock holds up everybody behind us, so we wait only briefly.
async fn make(connection: &mut Connection, name: &str, day: &str, next_day: &str) -> Result<bool, Failure> {
    let transaction = connection.client_mut().transaction().await?;
    let lock =
        format!("SET LOCAL lock_timeout = '200ms'; SELECT pg_advisory_xact_lock({LOCK_PARTITIONS}, 0)");
    transaction.batch_execute(&lock).await?;
    let exists = transaction.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await?;
    if exists.get(0) {
        return Ok(false);
    }
    let make = format!(
        "LOCK TABLE changes_default IN ACCESS EXCLUSIVE MODE;
         CREATE TABLE {name} (LIKE changes INCLUDING DEFAULTS);
         WITH moved AS (DELETE FROM changes_default WHERE day = '{day}' RETURNING *)
         INSERT INTO {name} SELECT * FROM moved;
         ALTER TABLE changes ATTACH PARTITION {name} FOR VALUES FROM ('{day}') TO ('{next_day}')"
    );
    transaction.batch_execute(&make).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn drop_partition(connection: &mut Connection, name: &str) -> Result<bool, Failure> {
    let transaction = connection.client_mut().transaction().await?;
    let lock =
        format!("SET LOCAL lock_timeout = '200ms'; SELECT pg_advisory_xact_lock({LOCK_PARTITIONS}, 0)");
    transaction.batch_execute(&lock).await?;
    transaction.batch_execute(&format!("DROP TABLE IF EXISTS {name}")).await?;
    transaction.commit().await?;
    Ok(true)
}

#[async_trait]
impl Maintenance for Store {
    async fn rotate_changes(&self) -> Result<Counts, PortError> {
        let mut counts = Counts::new();
        for round in 1..=ROUNDS {
            let rotated = self
                .inner
                .general
                .with_connection(async |connection: &mut Connection| rotate(connection, &mut counts).await)
                .await;
            match rotated {
                Ok(()) => break,
                Err(failure) if failure.is_passing() && round < ROUNDS => tokio::time::sleep(PAUSE).await,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(counts)
    }

    async fn prune_sessions(&self) -> Result<Counts, PortError> {
        let pruned = self.inner.general.run(PRUNE_SESSIONS, &[]).await?;
        let n = u64::try_from(pruned.len()).unwrap_or(u64::MAX);
        Ok(Counts::from([("pruned".to_owned(), n)]))
    }

    async fn prune_copy_attempts(
        &self,
        after: Option<VersionId>,
    ) -> Result<(Option<VersionId>, u64), PortError> {
        let after = after.map_or(Uuid::nil(), VersionId::to_uuid);
        let rows = self.inner.general.run(PRUNE_COPY_ATTEMPTS, &[&after, &ATTEMPTS_PAGE]).await?;
        let Some(row) = rows.first() else { return Ok((None, 0)) };
        let (pruned, looked): (i64, i64) = (row.get("pruned"), row.get("looked"));
        let last = row.get::<_, Option<Uuid>>("last").filter(|_| looked == ATTEMPTS_PAGE);
        Ok((last.map(VersionId::from_uuid), u64::try_from(pruned).unwrap_or(0)))
    }
}
