//! What a database is besides its objects: the cluster, the ids of its buckets and backends, and its numbers.

use s3o_core::journal::StoredFile;
use s3o_core::ports::PortError;
use s3o_core::restore::{KnownBackend, MergedBuckets};
use s3o_core::usage::signed;
use s3o_types::VersionId;
use tokio_postgres::Transaction;

use super::run::RestoreRun;
use super::{PATIENCE, buckets};
use crate::pool::Pool;
use crate::recovery::version_number;
use crate::scan::{self, Scan};

/// Whether anything was ever written.
const IS_EMPTY: &str = "
    SELECT NOT EXISTS (SELECT FROM objects) AND NOT EXISTS (SELECT FROM object_versions)
       AND NOT EXISTS (SELECT FROM copies) AND NOT EXISTS (SELECT FROM buckets) AND NOT EXISTS (SELECT FROM backends)
       AND NOT EXISTS (SELECT FROM changes) AND NOT EXISTS (SELECT FROM intents) AND NOT EXISTS (SELECT FROM uploads)";

const CLUSTER: &str = "
    UPDATE settings SET value = $1::text::jsonb->'cluster' WHERE name = 'cluster'";

/// Where they are and were, so that the declaration which follows moves none: data planes go on by the places that they know.
const BACKENDS: &str = "
    INSERT INTO backends (id, name, spec, place, declared) OVERRIDING SYSTEM VALUE
    SELECT t.id, t.name, jsonb_build_object('endpoint', t.endpoint, 'bucket', t.bucket),
           COALESCE((SELECT (b->>'place')::int FROM jsonb_array_elements($5::text::jsonb->'backends') AS b
                     WHERE (b->>'id')::int = t.id), 1), true
    FROM unnest($1::int[], $2::text[], $3::text[], $4::text[]) AS t (id, name, endpoint, bucket)";

/// Newer than any that a data plane has.
const GENERATION: &str = "
    UPDATE settings SET value = to_jsonb(GREATEST(value::bigint, COALESCE(($1::text::jsonb->>'generation')::bigint, 0)) + 1048576)
    WHERE name = 'generation'";

/// Where the gap begins in which what has no record gets its place.
const GAP: &str = "
    UPDATE settings SET value = value || jsonb_build_object(
        'change_seq', GREATEST((value->>'change_seq')::bigint, ($1::text::jsonb->>'change_seq')::bigint),
        'version_seq', GREATEST((value->>'version_seq')::bigint, ($1::text::jsonb->>'version_seq')::bigint))
    WHERE name = 'recovery' AND value ? 'change_seq'";

/// Beyond all that was given out before the journal ended, and after, and beyond that gap.
const NUMBERS: &str = concat!(
    "WITH blobs AS (
        SELECT max(",
    version_number!("version"),
    ") AS last FROM restore_blobs
    )
    SELECT setval('change_seq', GREATEST((SELECT last_value FROM change_seq), ($1::text::jsonb->>'change_seq')::bigint,
                                         (SELECT max(seq) FROM restore_events), (SELECT last FROM blobs)) + 4294967296),
           setval('version_seq', GREATEST(
               (SELECT last_value FROM version_seq), ($1::text::jsonb->>'version_seq')::bigint,
               (SELECT last FROM blobs)) + 4294967296)"
);

/// What was made again is in no snapshot: the next one is due, and until it is complete the mark stays.
const JOURNAL: &str = "
    UPDATE journal SET segment = GREATEST(segment, $1::bigint + 1), snapshot = NULL, snapshot_files = '{}',
                       snapshot_read = false, complete = NULL, open = $2";

/// While it stands, no control plane starts on the database.
const REBUILDING: &str =
    "INSERT INTO settings (name, value) VALUES ('rebuilding', 'true') ON CONFLICT DO NOTHING";

/// What was done since is no longer needed by a run, and may be shipped.
const SHIPS: &str = "UPDATE settings SET value = value || '{\"ships\": true}' WHERE name = 'recovery'";

/// Those that are there already, or are stored by now for all that was known, are as they are.
const FILES: &str = "
    INSERT INTO journal_files (backend, storage_key, number, bytes, stored)
    SELECT backend, storage_key, number, bytes, true
    FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[]) AS t (backend, storage_key, number, bytes)
    ON CONFLICT (backend, storage_key) DO UPDATE SET stored = true";

/// A database that holds nothing becomes that of the header's cluster. `Err`: it holds something.
pub(super) async fn take(
    pool: &Pool,
    header: &str,
    backends: &[KnownBackend],
) -> Result<Result<(), String>, PortError> {
    let ids: Vec<i32> = backends.iter().map(|backend| backend.id.0).collect();
    let column = |of: fn(&KnownBackend) -> &str| backends.iter().map(of).collect::<Vec<&str>>();
    let (names, endpoints, places) = (column(|b| &b.name), column(|b| &b.endpoint), column(|b| &b.bucket));
    let took = pool.transact_once(async |transaction: &Transaction<'_>| {
        if !transaction.query_one(IS_EMPTY, &[]).await?.get::<_, bool>(0) {
            return Ok(false);
        }
        transaction.execute(CLUSTER, &[&header]).await?;
        transaction.execute(BACKENDS, &[&ids, &names, &endpoints, &places, &header]).await?;
        buckets::make(transaction, header).await?;
        transaction.execute(GENERATION, &[&header]).await?;
        transaction.execute(REBUILDING, &[]).await?;
        Ok(true)
    });
    let what = "the database holds something already: a database is made again in an empty one";
    Ok(took.await?.then_some(()).ok_or_else(|| what.to_owned()))
}

/// Records and blobs are staged: what they refer to is made, and numbers are good before any is drawn.
pub(super) async fn staged(
    pool: &Pool,
    run: &RestoreRun,
    header: &str,
    lost: &[(i64, i64)],
) -> Result<Result<MergedBuckets, String>, PortError> {
    let merged = match buckets::merge(pool, run, header, lost).await? {
        Ok(merged) => merged,
        Err(why) => return Ok(Err(why)),
    };
    let ready = pool.transact_within(PATIENCE, async |transaction: &Transaction<'_>| {
        run.goes_on(transaction).await?;
        transaction.batch_execute("ANALYZE restore_events; ANALYZE restore_blobs").await?;
        transaction.execute(GAP, &[&header]).await?;
        transaction.query(NUMBERS, &[&header]).await?;
        Ok(())
    });
    ready.await?;
    Ok(Ok(merged))
}

/// Leaves the journal, and what is to be looked at, as they should be.
pub(super) async fn end(
    pool: &Pool,
    run: &RestoreRun,
    open: VersionId,
    files: &[StoredFile],
) -> Result<(), PortError> {
    let newest = files.iter().map(|file| file.number).max().unwrap_or(0);
    let backends: Vec<i32> = files.iter().map(|file| file.backend.0).collect();
    let keys: Vec<&str> = files.iter().map(|file| file.storage_key.as_str()).collect();
    let numbers: Vec<i64> = files.iter().map(|file| signed(file.number)).collect();
    let bytes: Vec<i64> = files.iter().map(|file| signed(file.bytes)).collect();
    let ended = pool.transact_once(async |transaction: &Transaction<'_>| {
        run.goes_on(transaction).await?;
        transaction.execute(JOURNAL, &[&signed(newest), &open.to_uuid()]).await?;
        transaction.execute(FILES, &[&backends, &keys, &numbers, &bytes]).await?;
        for row in transaction.query("SELECT id FROM buckets WHERE state <> 'gone'", &[]).await? {
            scan::begin(transaction, Scan::Factor, row.get(0)).await?;
        }
        transaction.batch_execute("TRUNCATE restore_events, restore_blobs").await?;
        transaction.execute("DELETE FROM settings WHERE name = 'rebuilding'", &[]).await?;
        transaction.execute(SHIPS, &[]).await?;
        Ok(())
    });
    Ok(ended.await?)
}
