//! One page of a bucket.
//!
//! Invariant: the cost follows the results. Without a delimiter a page is one range of the primary key;
//! with one it is a loose index scan: each result is one descent, and the next begins behind all keys
//! that were rolled up. Order and comparison are by bytes (`COLLATE "C"`).

use s3o_core::call::Refusal;
use s3o_core::listing::{ListEntry, ListQuery, MAX_KEYS, Page};
use s3o_types::ErrorCode;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::lane::unavailable;
use crate::error::Failure;
use crate::pool::Pool;
use crate::rows::{Cells, ListedColumns, listed};

/// As many times the greatest character as fit a key of 1024 bytes: `p || FILL` is not less than any
/// key that begins with `p`, and less than every greater key that does not.
pub(crate) fn beyond(prefix: &str) -> String {
    format!("{prefix}{}", "\u{10FFFF}".repeat(256))
}

/// $1 bucket, $2 least key, $3 position (exclusive), $4 greatest key, $5 rows.
const RANGE: &str = "
    SELECT key, size, etag, modified, checksums, attributes -> 'headers' ->> 'storage_class' AS storage_class
    FROM objects
    WHERE bucket = $1 AND key >= $2::text AND key > $3::text AND key <= $4::text
    ORDER BY key LIMIT $5::bigint";

/// As above; $6 delimiter, $7 characters of the prefix, $8 the greatest character repeated. Each step is
/// the first key behind the one before it, or behind everything under its common prefix.
const LOOSE: &str = "
    WITH RECURSIVE step (key, common, size, etag, modified, checksums, storage_class, n) AS (
        SELECT f.key, f.common, f.size, f.etag, f.modified, f.checksums, f.storage_class, 1::bigint
        FROM (
            SELECT key, CASE WHEN strpos(substr(key, $7::int + 1), $6::text) > 0 THEN
                       left(key, $7 + strpos(substr(key, $7 + 1), $6) - 1 + char_length($6)) END AS common,
                   size, etag, modified, checksums, attributes -> 'headers' ->> 'storage_class' AS storage_class
            FROM objects
            WHERE bucket = $1 AND key >= $2::text AND key > $3::text AND key <= $4::text
            ORDER BY key LIMIT 1
        ) AS f
        UNION ALL
        SELECT f.key, f.common, f.size, f.etag, f.modified, f.checksums, f.storage_class, step.n + 1
        FROM step, LATERAL (
            SELECT key, CASE WHEN strpos(substr(key, $7::int + 1), $6::text) > 0 THEN
                       left(key, $7 + strpos(substr(key, $7 + 1), $6) - 1 + char_length($6)) END AS common,
                   size, etag, modified, checksums, attributes -> 'headers' ->> 'storage_class' AS storage_class
            FROM objects
            WHERE bucket = $1 AND key > COALESCE(step.common || $8::text, step.key) AND key <= $4::text
            ORDER BY key LIMIT 1
        ) AS f
        WHERE step.n < $5::bigint
    )
    SELECT * FROM step ORDER BY n";

pub(super) async fn list(pool: &Pool, query: &ListQuery) -> Result<Page, Refusal> {
    if query.max_keys == 0 || query.prefix.contains('\0') {
        return Ok(Page::default());
    }
    // No key has U+0000: a delimiter with one rolls up nothing, a position ends where it stands.
    let delimiter = if query.delimiter.contains('\0') { "" } else { query.delimiter.as_str() };
    let wanted = query.max_keys.min(MAX_KEYS);
    let rows = rows(pool, query, delimiter, i64::from(wanted) + 1).await;
    let rows = rows.map_err(|failure| refused(&failure))?;
    let mut entries = listed("objects", &rows, entry).map_err(|failure| refused(&failure))?;
    let more = entries.len() > usize::try_from(wanted).unwrap_or(usize::MAX);
    if more {
        entries.pop();
    }
    let next = entries.last().filter(|_| more).map(|last| last.position().to_owned());
    Ok(Page { entries, next })
}

fn refused(failure: &Failure) -> Refusal {
    if failure.is_passing() {
        return unavailable("the database did not answer in time");
    }
    tracing::error!(%failure, "a bucket cannot be listed");
    Refusal::new(ErrorCode::InternalError, failure.to_string())
}

async fn rows(pool: &Pool, query: &ListQuery, delimiter: &str, limit: i64) -> Result<Vec<Row>, Failure> {
    let bounds = Bounds::of(query, delimiter, limit);
    pool.run(bounds.sql(), &bounds.params()).await
}

/// A query as the parameters of its statement.
struct Bounds<'a> {
    bucket: i32,
    prefix: &'a str,
    position: String,
    greatest: String,
    limit: i64,
    delimiter: &'a str,
    skip: i32,
    fill: String,
}

impl<'a> Bounds<'a> {
    fn of(query: &'a ListQuery, delimiter: &'a str, limit: i64) -> Self {
        Self {
            bucket: query.bucket.0,
            prefix: &query.prefix,
            position: position(&query.prefix, &query.after, delimiter),
            greatest: beyond(&query.prefix),
            limit,
            delimiter,
            skip: i32::try_from(query.prefix.chars().count()).unwrap_or(i32::MAX),
            fill: beyond(""),
        }
    }

    const fn sql(&self) -> &'static str {
        if self.delimiter.is_empty() { RANGE } else { LOOSE }
    }

    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Self { bucket, prefix, position, greatest, limit, delimiter, skip, fill } = self;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![bucket, prefix, position, greatest, limit];
        if !delimiter.is_empty() {
            let more: [&(dyn ToSql + Sync); 3] = [delimiter, skip, fill];
            params.extend(more);
        }
        params
    }
}

/// What PostgreSQL does for a page: plan, rows and buffers, as it says itself.
pub(super) async fn explain(pool: &Pool, query: &ListQuery) -> Result<String, Failure> {
    let bounds = Bounds::of(query, &query.delimiter, i64::from(query.max_keys) + 1);
    let sql = format!("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {}", bounds.sql());
    let params = bounds.params();
    pool.with_connection(async |connection| {
        let lines = connection.client().query(&sql, &params).await?;
        Ok(lines.iter().map(|line| line.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
    })
    .await
}

/// Where the page begins, exclusively. A position at or under a common prefix is behind all of it: the
/// prefix is not greater than the position, so it was listed.
pub(super) fn position(prefix: &str, after: &str, delimiter: &str) -> String {
    let after = match after.split_once('\0') {
        // Keys greater than `x\0…` are the keys greater than `x`.
        Some((before, _)) => before,
        None => after,
    };
    let under = (!delimiter.is_empty())
        .then(|| after.strip_prefix(prefix)?.find(delimiter))
        .flatten()
        .map(|at| &after[..prefix.len() + at + delimiter.len()]);
    under.map_or_else(|| after.to_owned(), beyond)
}

fn entry(columns: &ListedColumns, cells: Cells<'_>) -> Result<ListEntry, String> {
    match columns.common(cells)? {
        Some(common) => Ok(ListEntry::CommonPrefix(common)),
        None => Ok(ListEntry::Object(columns.object(cells)?)),
    }
}
