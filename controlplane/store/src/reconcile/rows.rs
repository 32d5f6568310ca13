//! The rows of a run, page by page: by key, those that were imported, those whose storage keys are hashed.
//!
//! Invariant: every page is a short statement by index, so that a run goes on where the last page ended.

use std::collections::{HashMap, VecDeque};

use s3o_core::ports::PortError;
use s3o_core::reconcile::{KeyRange, KeyRows, KnownCopy, RowsPage, RowsQuery, Run};
use s3o_core::usage::signed;
use s3o_types::{BackendId, BlobName, BucketId, Etag, Extent, Gen, StorageKey, VersionId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::pool::Pool;
use crate::rows::{Cells, corrupt, fifteen_bits, small};
use crate::unreadable::Unreadable;

/// Where rows are from, and where those are counted that cannot be read: they are passed, and the ledger, which is asked
/// before anything is done to a blob, goes by the table itself.
type Source<'a> = (&'a Pool, &'a Unreadable);

/// The copies of keys `k` on backend $2, behind a blob ($3, $4), of each key $5 at most: of versions that are there,
/// current or not, in the order of their storage keys.
macro_rules! of_keys {
    () => {
        "SELECT k.key AS path, c.bucket, c.key, c.version, c.extent, c.gen, c.state, c.stored_size, c.backend_etag,
                c.foreign_key
         FROM keys k LEFT JOIN LATERAL (
             SELECT c.* FROM (
                 SELECT o.version FROM objects o WHERE o.bucket = $1 AND o.key = k.key
                 UNION ALL
                 SELECT v.version FROM object_versions v
                 WHERE v.bucket = $1 AND v.key = k.key AND NOT v.delete_marker
             ) AS v
             JOIN copies c ON c.version = v.version
             WHERE c.backend = $2 AND c.foreign_key IS NULL AND (c.version, c.extent) > ($3::uuid, $4::smallint)
             ORDER BY c.version, c.extent LIMIT $5
         ) AS c ON true
         ORDER BY k.key, c.version, c.extent"
    };
}

/// $6 the last key, $7 keys.
const AFTER: &str = concat!(
    "WITH keys AS MATERIALIZED (
         SELECT key FROM (
             (SELECT key FROM objects WHERE bucket = $1 AND key > $6 ORDER BY key LIMIT $7)
             UNION
             (SELECT DISTINCT key FROM object_versions
              WHERE bucket = $1 AND key > $6 AND NOT delete_marker ORDER BY key LIMIT $7)
         ) AS both_tables ORDER BY key LIMIT $7
     ) ",
    of_keys!()
);

/// $6 the keys.
const THESE: &str = concat!(
    "WITH keys AS MATERIALIZED (SELECT key COLLATE \"C\" FROM unnest($6::text[]) AS t (key)) ",
    of_keys!()
);

const IMPORTED: &str = "
    SELECT bucket, key, version, extent, gen, state, stored_size, backend_etag, foreign_key
    FROM copies WHERE backend = $1 AND foreign_key IS NOT NULL AND foreign_key > $2 ORDER BY foreign_key LIMIT $3";

const GATHER: &str = "
    INSERT INTO reconcile_hashed (backend, run, storage_key, bucket, key, version, extent, gen, state, stored_size,
                                  backend_etag)
    SELECT $1::int, $2::bigint, * FROM unnest($3::text[], $4::int[], $5::text[], $6::uuid[], $7::smallint[], $8::smallint[],
                                 $9::text[], $10::bigint[], $11::text[])
    ON CONFLICT (backend, storage_key) DO UPDATE SET run = excluded.run, state = excluded.state";

const HASHED: &str = "
    SELECT storage_key, bucket, key, version, extent, gen, state, stored_size, backend_etag
    FROM reconcile_hashed WHERE backend = $1 AND run = $2 AND storage_key > $3 ORDER BY storage_key LIMIT $4";

fn blob(cells: Cells<'_>) -> Result<BlobName, String> {
    Ok(BlobName {
        version: VersionId::from_uuid(cells.get("version")?),
        extent: small(cells.get("extent")?, Extent::new)?,
        r#gen: small(cells.get("gen")?, Gen::new)?,
    })
}

fn known(
    cells: Cells<'_>,
    storage_key: impl FnOnce(&str, BlobName) -> Result<String, String>,
    imported: bool,
) -> Result<KnownCopy, String> {
    let (key, blob) = (cells.get::<String>("key")?, blob(cells)?);
    Ok(KnownCopy {
        storage_key: storage_key(&key, blob)?,
        bucket: BucketId(cells.get("bucket")?),
        blob,
        state: cells.word("state")?,
        stored_size: cells.unsigned("stored_size")?,
        backend_etag: cells.get::<Option<&str>>("backend_etag")?.map(Etag::new),
        imported,
        key,
    })
}

pub(super) async fn rows((pool, unreadable): Source<'_>, query: &RowsQuery) -> Result<RowsPage, PortError> {
    let RowsQuery { backend, bucket, bucket_name, keys, after, per_key } = query;
    let (version, extent) = match after {
        Some((version, extent)) => (version.to_uuid(), fifteen_bits(extent.get())),
        None => (Uuid::nil(), -1),
    };
    // One more than is given says whether there are more.
    let limit = i64::from(*per_key) + 1;
    let (rows, asked) = match keys {
        KeyRange::After(key, count) => {
            let count = i64::from(*count);
            let params: [&(dyn ToSql + Sync); 7] =
                [&bucket.0, &backend.0, &version, &extent, &limit, key, &count];
            (pool.run(AFTER, &params).await?, Some(count))
        }
        KeyRange::These(keys) => {
            let params: [&(dyn ToSql + Sync); 6] = [&bucket.0, &backend.0, &version, &extent, &limit, keys];
            (pool.run(THESE, &params).await?, None)
        }
    };
    let mut page = RowsPage::default();
    for row in &rows {
        take(&mut page, bucket_name, row, unreadable).map_err(|why| corrupt("objects", "of a run", why))?;
    }
    let mut found: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *found.entry(row.get("path")).or_default() += 1;
    }
    for keys in &mut page.keys {
        let path = keys.path.strip_prefix(bucket_name.as_str()).and_then(|path| path.strip_prefix('/'));
        let found = path.and_then(|path| found.get(path)).copied().unwrap_or_default();
        // It is gone on behind the last one that could be read.
        keys.more = found > usize::from(*per_key) && !keys.rows.is_empty();
        keys.rows.truncate((*per_key).into());
    }
    let found = i64::try_from(page.keys.len()).unwrap_or(i64::MAX);
    page.more = asked.is_some_and(|asked| found >= asked);
    Ok(page)
}

/// One row a copy, or one without for a key that has none there.
fn take(page: &mut RowsPage, bucket_name: &str, row: &Row, unreadable: &Unreadable) -> Result<(), String> {
    let cells = Cells(row);
    let path = format!("{bucket_name}/{}", cells.get::<&str>("path")?);
    if page.keys.last().is_none_or(|last| last.path != path) {
        page.keys.push(KeyRows { path, rows: VecDeque::new(), more: false });
    }
    if cells.get::<Option<Uuid>>("version")?.is_none() {
        return Ok(());
    }
    let format = |key: &str, blob| Ok(StorageKey::format(bucket_name, key, blob));
    let known = unreadable.read(row, "copies", |cells| known(cells, format, false));
    if let (Some(last), Some(known)) = (page.keys.last_mut(), known) {
        last.rows.push_back((known.storage_key.clone(), known));
    }
    Ok(())
}

/// So many rows behind a storage key as are asked for, or all that there are: the caller takes fewer for the end. The last two
/// parameters of the statement, behind `first`, are the key and how many.
async fn stored(
    (pool, unreadable): Source<'_>,
    (sql, first): (&'static str, &[&(dyn ToSql + Sync)]),
    (column, imported): (&str, bool),
    (after, limit): (&str, u16),
) -> Result<Vec<KnownCopy>, PortError> {
    let (mut all, mut after) = (Vec::new(), after.to_owned());
    loop {
        let wanted = i64::from(limit) - i64::try_from(all.len()).unwrap_or(i64::MAX);
        let mut params = first.to_vec();
        params.extend([&after as &(dyn ToSql + Sync), &wanted]);
        let rows = pool.run(sql, &params).await?;
        all.extend(rows.iter().filter_map(|row| {
            unreadable.read(row, "copies", |cells| known(cells, |_, _| cells.get(column), imported))
        }));
        let is_full = i64::try_from(rows.len()).is_ok_and(|found| found >= wanted);
        match rows.last() {
            Some(last) if is_full && all.len() < usize::from(limit) => after = last.get(column),
            _ => return Ok(all),
        }
    }
}

pub(super) async fn imported(
    source: Source<'_>,
    backend: BackendId,
    after: &str,
    limit: u16,
) -> Result<Vec<KnownCopy>, PortError> {
    stored(source, (IMPORTED, &[&backend.0]), ("foreign_key", true), (after, limit)).await
}

pub(super) async fn gather(pool: &Pool, run: &Run, rows: &[KnownCopy]) -> Result<(), PortError> {
    let keys: Vec<&str> = rows.iter().map(|row| row.storage_key.as_str()).collect();
    let buckets: Vec<i32> = rows.iter().map(|row| row.bucket.0).collect();
    let names: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let versions: Vec<Uuid> = rows.iter().map(|row| row.blob.version.to_uuid()).collect();
    let extents: Vec<i16> = rows.iter().map(|row| fifteen_bits(row.blob.extent.get())).collect();
    let gens: Vec<i16> = rows.iter().map(|row| fifteen_bits(row.blob.r#gen.get())).collect();
    let states: Vec<&str> = rows.iter().map(|row| row.state.as_str()).collect();
    let sizes: Vec<i64> = rows.iter().map(|row| signed(row.stored_size)).collect();
    let etags: Vec<Option<&str>> =
        rows.iter().map(|row| row.backend_etag.as_ref().map(Etag::as_str)).collect();
    let params: [&(dyn ToSql + Sync); 11] = [
        &run.ask.backend.0,
        &run.id,
        &keys,
        &buckets,
        &names,
        &versions,
        &extents,
        &gens,
        &states,
        &sizes,
        &etags,
    ];
    pool.run(GATHER, &params).await?;
    Ok(())
}

pub(super) async fn hashed(
    source: Source<'_>,
    run: &Run,
    after: &str,
    limit: u16,
) -> Result<Vec<KnownCopy>, PortError> {
    let first: [&(dyn ToSql + Sync); 2] = [&run.ask.backend.0, &run.id];
    stored(source, (HASHED, &first), ("storage_key", false), (after, limit)).await
}
