//! One page of a bucket's versions and delete markers.
//!
//! Invariant: the cost follows the results, as in `list.rs`, however many versions a key has: each branch below is one
//! range of one index, and with a delimiter each result is a few descents. A page goes on by a place in the key's order
//! (`seq`), so that what was deleted since the page before moves nothing.

use s3o_core::call::Refusal;
use s3o_core::listing::MAX_KEYS;
use s3o_core::versions::{ListedVersion, VersionAfter, VersionEntry, VersionsPage, VersionsQuery};
use s3o_types::{ErrorCode, Seq, VersionId, VersionRef};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::lane::unavailable;
use super::list::{beyond, position};
use crate::error::Failure;
use crate::pool::Pool;
use crate::rows::{Cells, ListedColumns, listed};

/// A current version as a row of the page.
macro_rules! current {
    () => {
        "SELECT key, seq, version, is_null, false AS delete_marker, size, etag, modified, checksums,
               attributes -> 'headers' ->> 'storage_class' AS storage_class, true AS current
        FROM objects"
    };
}

/// A noncurrent version or a marker.
macro_rules! noncurrent {
    () => {
        "SELECT key, seq, version, is_null, delete_marker, size, etag, modified, checksums,
               attributes -> 'headers' ->> 'storage_class' AS storage_class, false AS current
        FROM object_versions"
    };
}

/// Whether a row is the newest of its key: the current version is, and a marker with nothing above it.
macro_rules! latest {
    () => {
        "p.current OR p.delete_marker
               AND NOT EXISTS (SELECT FROM objects o WHERE o.bucket = $1 AND o.key = p.key)
               AND NOT EXISTS (SELECT FROM object_versions v WHERE v.bucket = $1 AND v.key = p.key AND v.seq > p.seq)"
    };
}

/// $1 bucket, $2 least key, $3 key of the position, $4 its place within the key (exclusive), $5 greatest key, $6 rows.
const RANGE: &str = concat!(
    "SELECT p.key, NULL::text AS common, p.seq, p.version, p.is_null, p.delete_marker, p.size, p.etag, p.modified,
           p.checksums, p.storage_class, ",
    latest!(),
    " AS latest
    FROM (
        (",
    current!(),
    " WHERE bucket = $1::int AND key = $3::text AND key >= $2::text AND key <= $5::text AND seq < $4::bigint)
        UNION ALL
        (",
    noncurrent!(),
    " WHERE bucket = $1 AND key = $3 AND key >= $2 AND key <= $5 AND seq < $4 ORDER BY seq DESC LIMIT $6::bigint)
        UNION ALL
        (",
    current!(),
    " WHERE bucket = $1 AND key >= $2 AND key > $3 AND key <= $5 ORDER BY key LIMIT $6)
        UNION ALL
        (",
    noncurrent!(),
    " WHERE bucket = $1 AND key >= $2 AND key > $3 AND key <= $5 ORDER BY key, seq DESC LIMIT $6)
    ) AS p
    ORDER BY p.key, p.seq DESC LIMIT $6"
);

/// The first row behind a position ($key, $seq), in the order of keys and, within one, from the newest on.
macro_rules! next {
    ($key:literal, $seq:literal) => {
        concat!(
            "SELECT n.*, CASE WHEN strpos(substr(n.key, $8::int + 1), $7::text) > 0 THEN
                   left(n.key, $8 + strpos(substr(n.key, $8 + 1), $7) - 1 + char_length($7)) END AS common
            FROM (
                (",
            current!(),
            " WHERE bucket = $1 AND key = ",
            $key,
            " AND key >= $2 AND key <= $5 AND seq < ",
            $seq,
            ")
                UNION ALL
                (",
            noncurrent!(),
            " WHERE bucket = $1 AND key = ",
            $key,
            " AND key >= $2 AND key <= $5 AND seq < ",
            $seq,
            " ORDER BY seq DESC LIMIT 1)
                UNION ALL
                (",
            current!(),
            " WHERE bucket = $1 AND key >= $2 AND key > ",
            $key,
            " AND key <= $5 ORDER BY key LIMIT 1)
                UNION ALL
                (",
            noncurrent!(),
            " WHERE bucket = $1 AND key >= $2 AND key > ",
            $key,
            " AND key <= $5 ORDER BY key, seq DESC LIMIT 1)
            ) AS n
            ORDER BY n.key, n.seq DESC LIMIT 1"
        )
    };
}

/// As above; $7 delimiter, $8 characters of the prefix, $9 the greatest character repeated. Each step is the first row
/// behind the one before it, or behind everything under its common prefix.
const LOOSE: &str = concat!(
    "WITH RECURSIVE step AS (
        SELECT f.*, 1::bigint AS n FROM (",
    next!("$3::text", "$4::bigint"),
    ") AS f
        UNION ALL
        SELECT f.*, step.n + 1
        FROM step
        CROSS JOIN LATERAL (
            SELECT COALESCE(step.common || $9::text, step.key) AS key,
                   CASE WHEN step.common IS NULL THEN step.seq ELSE 0 END AS seq
        ) AS after
        CROSS JOIN LATERAL (",
    next!("after.key", "after.seq"),
    ") AS f
        WHERE step.n < $6::bigint
    )
    SELECT p.key, p.common, p.seq, p.version, p.is_null, p.delete_marker, p.size, p.etag, p.modified, p.checksums,
           p.storage_class, p.common IS NULL AND (",
    latest!(),
    ") AS latest
    FROM step AS p ORDER BY p.n"
);

/// Where a version of a key stands, current or not. $1 bucket, $2 key, $3 id; NULL: the null version.
const PLACE: &str = "
    SELECT seq FROM objects
    WHERE bucket = $1::int AND key = $2::text
      AND CASE WHEN $3::uuid IS NULL THEN is_null ELSE version = $3 AND NOT is_null END
    UNION ALL
    SELECT seq FROM (SELECT * FROM object_versions WHERE version = $3::uuid OFFSET 0) AS v
    WHERE v.bucket = $1 AND v.key = $2 AND NOT v.is_null
    UNION ALL
    SELECT seq FROM object_versions WHERE bucket = $1 AND key = $2 AND is_null AND $3::uuid IS NULL";

pub(crate) async fn list(pool: &Pool, query: &VersionsQuery) -> Result<VersionsPage, Refusal> {
    if query.max_keys == 0 || query.prefix.contains('\0') {
        return Ok(VersionsPage::default());
    }
    let wanted = usize::try_from(query.max_keys.min(MAX_KEYS)).unwrap_or(usize::MAX);
    let entries = entries(pool, query, wanted + 1).await;
    let mut entries = entries.map_err(|failure| refused(&failure))?;
    let truncated = entries.len() > wanted;
    entries.truncate(wanted);
    Ok(VersionsPage { entries, truncated })
}

fn refused(failure: &Failure) -> Refusal {
    if failure.is_passing() {
        return unavailable("the database did not answer in time");
    }
    tracing::error!(%failure, "a bucket's versions cannot be listed");
    Refusal::new(ErrorCode::InternalError, failure.to_string())
}

async fn entries(pool: &Pool, query: &VersionsQuery, limit: usize) -> Result<Vec<VersionEntry>, Failure> {
    listed("object_versions", &rows(pool, query, limit, Run::Page).await?, entry)
}

/// What PostgreSQL does for a page: plan, rows and buffers, as it says itself.
pub(super) async fn explain(pool: &Pool, query: &VersionsQuery) -> Result<String, Failure> {
    let limit = usize::try_from(query.max_keys).unwrap_or(usize::MAX).saturating_add(1);
    let lines = rows(pool, query, limit, Run::Explain).await?;
    Ok(lines.iter().map(|line| line.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
}

/// What is asked of the statement.
enum Run {
    Page,
    Explain,
}

async fn rows(pool: &Pool, query: &VersionsQuery, limit: usize, run: Run) -> Result<Vec<Row>, Failure> {
    let (bucket, prefix) = (query.bucket.0, query.prefix.as_str());
    // No key has U+0000: a delimiter with one rolls up nothing, a position ends where it stands.
    let delimiter = if query.delimiter.contains('\0') { "" } else { query.delimiter.as_str() };
    let (key, seq) = start(pool, query, delimiter).await?;
    let (greatest, limit) = (beyond(prefix), i64::try_from(limit).unwrap_or(i64::MAX));
    let (skip, fill) = (i32::try_from(prefix.chars().count()).unwrap_or(i32::MAX), beyond(""));
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&bucket, &prefix, &key, &seq, &greatest, &limit];
    let more: [&(dyn ToSql + Sync); 3] = [&delimiter, &skip, &fill];
    let sql = if delimiter.is_empty() {
        RANGE
    } else {
        params.extend(more);
        LOOSE
    };
    match run {
        Run::Page => pool.run(sql, &params).await,
        Run::Explain => {
            let sql = format!("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql}");
            pool.with_connection(async |connection| Ok(connection.client().query(&sql, &params).await?)).await
        }
    }
}

/// Behind which key, and which place in it, the page begins. No row has a place below 1.
async fn start(pool: &Pool, query: &VersionsQuery, delimiter: &str) -> Result<(String, i64), Failure> {
    let after = position(&query.prefix, &query.key_after, delimiter);
    let within = query.version_after.filter(|_| after == query.key_after);
    let seq = match within {
        None => 0,
        Some(VersionAfter::Seq(seq)) => seq.0,
        Some(VersionAfter::Version(named)) => {
            let id: Option<Uuid> = match named {
                VersionRef::Null => None,
                VersionRef::Id(version) => Some(version.to_uuid()),
            };
            let found = pool.run(PLACE, &[&query.bucket.0, &after, &id]).await?;
            found.first().map_or(i64::MAX, |row| row.get("seq"))
        }
    };
    Ok((after, seq))
}

fn entry(columns: &ListedColumns, cells: Cells<'_>) -> Result<VersionEntry, String> {
    if let Some(common) = columns.common(cells)? {
        return Ok(VersionEntry::CommonPrefix(common));
    }
    let version = VersionId::from_uuid(cells.get("version")?);
    let listed = ListedVersion {
        key: cells.get("key")?,
        seq: Seq(cells.get("seq")?),
        version: VersionRef::of(version, cells.get("is_null")?),
        is_latest: cells.get("latest")?,
        modified: cells.time("modified")?,
    };
    if cells.get("delete_marker")? {
        return Ok(VersionEntry::Marker(listed));
    }
    Ok(VersionEntry::Version(listed, columns.object(cells)?))
}
