//! Scans: what changed for many versions at once (a factor, a backend that is drained, was lost or came back) is
//! queued page by page, in short transactions that go on where the last one ended.
//!
//! Invariant: a scan never takes part in a decision: it queues versions to be looked at, and one that it queues for
//! nothing costs a look.

use s3o_core::ports::PortError;
use s3o_core::worker::Counts;
use s3o_types::BackendId;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::error::Failure;
use crate::pool::Pool;

/// Versions a page.
const PAGE: i64 = 1000;

/// With so many waiting, no more are looked for.
const ENOUGH: i64 = 20_000;

/// Why versions are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// A backend is being emptied.
    Drain,
    /// It is there again.
    Returned,
    /// A bucket wants another number of copies.
    Factor,
}

impl Scan {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Returned => "returned",
            Self::Factor => "factor",
        }
    }
}

/// Begins a scan, or begins it anew.
pub(crate) async fn begin(transaction: &Transaction<'_>, scan: Scan, subject: i32) -> Result<(), Failure> {
    let sql = "INSERT INTO copy_scans (kind, subject) VALUES ($1, $2)
               ON CONFLICT (kind, subject) DO UPDATE SET after_version = excluded.after_version,
                   after_key = excluded.after_key, queued = 0, finished = false, started = now(), not_before = now()";
    transaction.execute(sql, &[&scan.as_str(), &subject]).await?;
    Ok(())
}

/// Ends one, wherever it is.
pub(crate) async fn end(transaction: &Transaction<'_>, scan: Scan, subject: i32) -> Result<(), Failure> {
    let sql = "DELETE FROM copy_scans WHERE kind = $1 AND subject = $2";
    transaction.execute(sql, &[&scan.as_str(), &subject]).await?;
    Ok(())
}

/// Ends all of a backend's.
pub(crate) async fn end_all(transaction: &Transaction<'_>, backend: i32) -> Result<(), Failure> {
    let sql = "DELETE FROM copy_scans WHERE kind <> 'factor' AND subject = $1";
    transaction.execute(sql, &[&backend]).await?;
    Ok(())
}

/// $1 who sees, $2 backends, $3 for how long each has been down.
macro_rules! note {
    () => {
        "INSERT INTO backend_views (replica, backend, down_us, seen)
        SELECT $1, t.backend, t.down_us, now() FROM unnest($2::int[], $3::bigint[]) AS t (backend, down_us)
        ON CONFLICT (replica, backend) DO UPDATE SET down_us = excluded.down_us, seen = excluded.seen"
    };
}

/// Whether what a backend holds cannot be read now, as all say: it is lost, or who has asked it within the minute that counts
/// in [`VIEWS`] sees it as down.
macro_rules! is_away {
    ($backend:literal) => {
        concat!(
            "(EXISTS (SELECT FROM copy_scans s WHERE s.kind = 'unhealthy' AND s.subject = ",
            $backend,
            ")
              OR COALESCE((
                  SELECT bool_and(v.down_us IS NOT NULL) FROM backend_views v
                  WHERE v.backend = ",
            $backend,
            " AND v.seen > now() - interval '1 minute'), false))"
        )
    };
}
pub(crate) use is_away;

pub(crate) async fn note_views(
    pool: &Pool,
    viewer: Uuid,
    down_us: &[(BackendId, Option<i64>)],
) -> Result<(), PortError> {
    let (backends, down): (Vec<i32>, Vec<Option<i64>>) = down_us.iter().map(|(id, us)| (id.0, *us)).unzip();
    pool.run(note!(), &[&viewer, &backends, &down]).await?;
    Ok(())
}

/// Those that all living replicas and data planes see as down, and one of them for long enough. Who says nothing for a
/// minute does not count, nor does what it says of a backend before that has answered it once. One that was found lost stays
/// so until somebody has reached it.
const VIEWS: &str = concat!(
    "
    WITH mine AS (",
    note!(),
    "), gone AS (
        DELETE FROM backend_views WHERE seen < now() - interval '1 hour'
    )
    , views AS (
        SELECT backend, down_us FROM backend_views
        WHERE replica <> $1 AND seen > now() - interval '1 minute'
        UNION ALL
        SELECT backend, down_us FROM unnest($2::int[], $3::bigint[]) AS t (backend, down_us)
    )
    SELECT backend FROM views GROUP BY backend
    HAVING bool_and(down_us IS NOT NULL) AND max(down_us) >= $4::bigint
    UNION
    SELECT subject FROM copy_scans s
    WHERE kind = 'unhealthy' AND NOT EXISTS (SELECT FROM views v WHERE v.backend = s.subject AND v.down_us IS NULL)
    ORDER BY backend"
);

pub(crate) async fn unhealthy(
    pool: &Pool,
    replica: Uuid,
    down_us: &[(BackendId, Option<i64>)],
    threshold_us: i64,
) -> Result<Vec<BackendId>, PortError> {
    let (backends, down): (Vec<i32>, Vec<Option<i64>>) = down_us.iter().map(|(id, us)| (id.0, *us)).unzip();
    let rows = pool.run(VIEWS, &[&replica, &backends, &down, &threshold_us]).await?;
    Ok(rows.iter().map(|row| BackendId(row.get(0))).collect())
}

/// A backend that all see as lost is scanned once; one that is back is scanned once more.
const FOLLOW: &str = "
    WITH back AS (
        DELETE FROM copy_scans WHERE kind = 'unhealthy' AND NOT subject = ANY ($1::int[]) RETURNING subject
    ), returned AS (
        INSERT INTO copy_scans (kind, subject) SELECT 'returned', subject FROM back
        ON CONFLICT (kind, subject) DO UPDATE SET after_version = excluded.after_version, finished = false
    )
    INSERT INTO copy_scans (kind, subject) SELECT 'unhealthy', t.id FROM unnest($1::int[]) AS t (id)
    ON CONFLICT DO NOTHING";

const DUE: &str = "
    SELECT kind, subject, after_version, after_key FROM copy_scans
    WHERE NOT finished AND not_before <= now() ORDER BY not_before, kind, subject LIMIT 1 FOR UPDATE SKIP LOCKED";

/// Those that could be done now: what cannot be done at all must not hold up the rest.
const WAITING: &str =
    "SELECT count(*) FROM (SELECT FROM replication_queue WHERE not_before <= now() LIMIT $1) AS q";

/// Versions of which some bytes are not on as many backends as are wanted, or on more.
macro_rules! queue {
    ($page:literal, $counted:literal, $order:literal) => {
        concat!(
            "WITH page AS MATERIALIZED (",
            $page,
            "), wrong AS (
                SELECT p.version, p.bucket, p.key
                FROM page p JOIN buckets b ON b.id = p.bucket
                WHERE EXISTS (
                    SELECT FROM copies c JOIN backends k ON k.id = c.backend
                    WHERE c.version = p.version GROUP BY c.extent
                    HAVING count(*) <> b.replication_factor
                        OR count(*) FILTER (WHERE c.state = 'verified' AND k.state = 'active' AND ",
            $counted,
            ") <> b.replication_factor)
            ), queued AS (
                INSERT INTO replication_queue (version, bucket, key, task)
                SELECT version, bucket, key, 'add' FROM wrong ORDER BY version
                ON CONFLICT (version) DO UPDATE SET again = true WHERE replication_queue.claimed_by IS NOT NULL
                RETURNING 1
            )
            SELECT (SELECT count(*) FROM page) AS looked, (SELECT count(*) FROM queued) AS queued,
                   last.version AS last_version, last.key AS last_key
            FROM (SELECT 1) AS one LEFT JOIN (SELECT version, key FROM page ORDER BY ",
            $order,
            " LIMIT 1) AS last ON true"
        )
    };
}

/// $1 backend, $2 the last version, $3 rows. What was displaced is none of ours: its row is gone, or will be.
const OF_BACKEND: &str = queue!(
    "SELECT DISTINCT ON (version) version, bucket, key FROM copies
     WHERE backend = $1 AND version > $2 ORDER BY version LIMIT $3",
    "true",
    "version DESC"
);

/// The same, of one whose copies do not count.
const OF_LOST: &str = queue!(
    "SELECT DISTINCT ON (version) version, bucket, key FROM copies
     WHERE backend = $1 AND version > $2 ORDER BY version LIMIT $3",
    "c.backend <> $1",
    "version DESC"
);

/// $1 bucket, $2 and $3 the last key and version, $4 rows.
const OF_BUCKET: &str = queue!(
    "SELECT version, bucket, key FROM (
         (SELECT version, bucket, key FROM objects
          WHERE bucket = $1 AND key >= $2 AND (key, version) > ($2, $3) ORDER BY key, version LIMIT $4)
         UNION ALL
         (SELECT version, bucket, key FROM object_versions
          WHERE bucket = $1 AND key >= $2 AND (key, version) > ($2, $3) ORDER BY key, version LIMIT $4)
     ) AS both_tables ORDER BY key, version LIMIT $4",
    "true",
    "key DESC, version DESC"
);

/// One page of a scan that is due.
pub(crate) async fn step(pool: &Pool, unhealthy: &[BackendId]) -> Result<Option<Counts>, PortError> {
    let lost: Vec<i32> = unhealthy.iter().map(|id| id.0).collect();
    pool.run(FOLLOW, &[&lost]).await?;
    let stepped = pool.retried(|| {
        pool.transact_once(async |transaction: &Transaction<'_>| {
            let waiting: i64 = transaction.query_one(WAITING, &[&ENOUGH]).await?.get(0);
            if waiting >= ENOUGH {
                return Ok(None);
            }
            let Some(due) = transaction.query_opt(DUE, &[]).await? else { return Ok(None) };
            page(transaction, &due).await.map(Some)
        })
    });
    Ok(stepped.await?)
}

async fn page(transaction: &Transaction<'_>, due: &Row) -> Result<Counts, Failure> {
    let (kind, subject): (&str, i32) = (due.get("kind"), due.get("subject"));
    let (version, key): (Uuid, &str) = (due.get("after_version"), due.get("after_key"));
    let found = match kind {
        "factor" => transaction.query_one(OF_BUCKET, &[&subject, &key, &version, &PAGE]).await?,
        "unhealthy" => transaction.query_one(OF_LOST, &[&subject, &version, &PAGE]).await?,
        _ => transaction.query_one(OF_BACKEND, &[&subject, &version, &PAGE]).await?,
    };
    let (looked, queued): (i64, i64) = (found.get("looked"), found.get("queued"));
    if looked < PAGE {
        end_of_pass(transaction, kind, subject, queued).await?;
    } else {
        let on = "UPDATE copy_scans SET after_version = COALESCE($3, after_version),
                      after_key = COALESCE($4, after_key), queued = queued + $5
                  WHERE kind = $1 AND subject = $2";
        let (version, key): (Option<Uuid>, Option<&str>) = (found.get("last_version"), found.get("last_key"));
        transaction.execute(on, &[&kind, &subject, &version, &key, &queued]).await?;
    }
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Counts::from([("looked_at".to_owned(), count(looked)), ("queued".to_owned(), count(queued))]))
}

/// A drain begins anew until nothing is left, nor anything under way that may become a copy: nothing is placed there
/// since it began. A lost backend's scan stays, finished, until the backend is back; the others are done.
async fn end_of_pass(
    transaction: &Transaction<'_>,
    kind: &str,
    subject: i32,
    queued: i64,
) -> Result<(), Failure> {
    let sql = match kind {
        "drain" => {
            "UPDATE copy_scans SET after_version = '00000000-0000-0000-0000-000000000000', queued = queued + $3,
                 not_before = now() + interval '10 seconds',
                 finished = NOT EXISTS (SELECT FROM copies WHERE backend = $2)
                     AND NOT EXISTS (SELECT FROM intents WHERE $2 = ANY (target_backend))
                     AND NOT EXISTS (SELECT FROM part_copies WHERE backend = $2)
             WHERE kind = $1 AND subject = $2"
        }
        "unhealthy" => {
            "UPDATE copy_scans SET queued = queued + $3, finished = true WHERE kind = $1 AND subject = $2"
        }
        _ => "DELETE FROM copy_scans WHERE kind = $1 AND subject = $2 AND $3::bigint >= 0",
    };
    transaction.execute(sql, &[&kind, &subject, &queued]).await?;
    Ok(())
}
