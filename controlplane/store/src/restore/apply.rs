//! Keys are brought to what the records say of them, some at a time, each under its lock.
//!
//! Invariants: what the tables have and no record contradicts stays as it is; the order of a key's rows is their `seq`, the
//! newest is the current one unless it is a marker; a key has one null row, the newest that was ever written.

use s3o_core::cleanup::{CleanupTimes, Reason};
use s3o_core::journal::LogPlace;
use s3o_core::object::CopyRow;
use s3o_core::outcome_log::Logged;
use s3o_core::restore::{Applied, KeyPlace};
use s3o_core::usage::signed;
use s3o_types::Gen;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::own;
use crate::error::Failure;
use crate::rows::{Cells, CopyRecord, corrupt, fifteen_bits, lock_columns};
use crate::schema::LOCK_BUCKET;

/// Keys in one transaction.
const KEYS: i64 = 200;

/// The next keys, locked as every writer does: by their hashes, in order.
const LOCK: &str = "
    SELECT bucket, key, pg_advisory_xact_lock(hash) FROM (
        SELECT bucket, key, hashtextextended(key, bucket) AS hash FROM (
            SELECT DISTINCT bucket, key FROM restore_events
            WHERE kind <> 'dead' AND (bucket, key) > ($1::int, $2::text) AND ord > $4::bigint
              AND EXISTS (SELECT FROM buckets b WHERE b.id = bucket AND b.state <> 'gone')
            ORDER BY bucket, key LIMIT $3::bigint
        ) AS keys ORDER BY hash
    ) AS sorted";

/// And then the buckets, shared, as writers do.
const LOCK_BUCKETS: &str = "
    SELECT pg_advisory_xact_lock_shared($1::int, bucket)
    FROM (SELECT DISTINCT bucket FROM unnest($2::int[]) AS t (bucket) ORDER BY bucket) AS sorted";

/// What is to be there: rows that are there already have no line.
const ALIVE: &str = "
    CREATE TEMP TABLE alive ON COMMIT DROP AS
    WITH keys AS (SELECT * FROM unnest($1::int[], $2::text[]) AS k (bucket, key)),
    adds AS (
        SELECT DISTINCT ON (version) * FROM (
            SELECT bucket, key, seq, version, false AS marker, is_null, NULL::jsonb AS line, 0 AS age
            FROM objects JOIN keys USING (bucket, key)
            UNION ALL
            SELECT bucket, key, seq, version, delete_marker, is_null, NULL, 0
            FROM object_versions JOIN keys USING (bucket, key)
            UNION ALL
            SELECT bucket, key, seq, version, kind = 'marker', is_null, line, -ord
            FROM restore_events JOIN keys USING (bucket, key) WHERE kind IN ('version', 'marker')
        ) AS every ORDER BY version, line IS NOT NULL, age
    ),
    nulls AS (
        SELECT bucket, key, max(seq) AS seq FROM (
            SELECT bucket, key, seq FROM adds WHERE is_null
            UNION ALL
            SELECT bucket, key, seq FROM restore_events JOIN keys USING (bucket, key) WHERE kind = 'cleared'
        ) AS every GROUP BY bucket, key
    )
    SELECT a.* FROM adds a LEFT JOIN nulls n USING (bucket, key)
    WHERE NOT (a.is_null AND a.seq < COALESCE(n.seq, 0))
      AND NOT EXISTS (SELECT FROM restore_events g WHERE g.kind IN ('gone', 'cleared') AND g.version = a.version)";

/// All rows of the keys to one table, for a moment.
const GATHER: &str = "
    WITH current AS (
        DELETE FROM objects o USING unnest($1::int[], $2::text[]) AS k (bucket, key)
        WHERE o.bucket = k.bucket AND o.key = k.key RETURNING o.*
    )
    INSERT INTO object_versions (bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null,
                                 retain_until, retain_mode, legal_hold, parts)
    SELECT bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null, retain_until,
           retain_mode, legal_hold, CASE WHEN parts_of = version THEN parts END
    FROM current";

/// Rows that are to go, with their copies, which are queued by whoever asked.
const REMOVE: &str = "
    WITH gone AS (
        DELETE FROM object_versions v USING unnest($1::int[], $2::text[]) AS k (bucket, key)
        WHERE v.bucket = k.bucket AND v.key = k.key AND NOT EXISTS (SELECT FROM alive a WHERE a.version = v.version)
        RETURNING v.version
    ),
    copies AS (DELETE FROM copies c USING gone WHERE c.version = gone.version RETURNING c.*)
    SELECT c.backend AS c_backend, c.version AS c_version, c.extent AS c_extent, c.gen AS c_gen, c.bucket AS c_bucket,
           c.key AS c_key, c.state AS c_state, c.stored_size AS c_stored_size, c.backend_etag AS c_backend_etag,
           c.backend_version AS c_backend_version, c.encoding AS c_encoding, c.foreign_key AS c_foreign_key,
           c.extent_offset AS c_extent_offset, c.extent_size AS c_extent_size, c.md5 AS c_md5, c.digest AS c_digest,
           c.checksums AS c_checksums,
           (SELECT name FROM buckets WHERE id = c.bucket) AS name, (SELECT count(*) FROM gone) AS n
    FROM (SELECT count(*) FROM gone) AS one LEFT JOIN copies c ON true";

const QUEUE: &str = "
    INSERT INTO cleanup_queue (backend, storage_key, version, extent, gen, backend_version, size, reason, uncertain, not_before)
    SELECT backend, storage_key, version, extent, gen, backend_version, size, $8, false,
           now() + $9::bigint * interval '1 microsecond'
    FROM unnest($1::int[], $2::text[], $3::uuid[], $4::smallint[], $5::smallint[], $6::text[], $7::bigint[])
         AS t (backend, storage_key, version, extent, gen, backend_version, size)";

const ADD: &str = concat!(
    "INSERT INTO object_versions (bucket, key, seq, version, delete_marker, size, etag, modified, attributes, checksums,
                                 tags, is_null, parts, retain_until, retain_mode, legal_hold)
    SELECT bucket, key, seq, version, marker, COALESCE((line->>'size')::bigint, 0), COALESCE(line->>'etag', ''),
           to_timestamp(0) + (line->>'m')::bigint * interval '1 microsecond',
           NULLIF(line->'a', 'null'), NULLIF(NULLIF(line->'c', 'null'), '{}'), NULLIF(line->'t', 'null'), is_null,
           (line->>'parts')::int, ",
    lock_columns!("line->'l'"),
    "
    FROM alive WHERE line IS NOT NULL"
);

/// Unless somebody has set others since. $1 the outcome of that.
const TAG: &str = "
    UPDATE object_versions v SET tags = NULLIF(NULLIF(t.tags, 'null'), '{}')
    FROM (SELECT DISTINCT ON (e.version) e.version, e.line->'t' AS tags, e.seq
          FROM restore_events e JOIN alive a USING (version) WHERE e.kind = 'tags'
          ORDER BY e.version, e.seq DESC) AS t
    WHERE v.version = t.version AND NOT EXISTS (
        SELECT FROM changes c WHERE c.n > t.seq AND c.outcome = $1::smallint AND c.version = t.version)";

/// Whether the retention of `a` keeps a version more strictly than that of `b`: what has not ended does, then a compliance, then
/// what ends later.
macro_rules! is_stricter {
    ($a:literal, $b:literal) => {
        concat!(
            "COALESCE(",
            $a,
            ".retain_until > now() AND (",
            $b,
            ".retain_until IS NULL OR ",
            $b,
            ".retain_until <= now() OR CASE WHEN ",
            $a,
            ".retain_mode = ",
            $b,
            ".retain_mode THEN ",
            $a,
            ".retain_until > ",
            $b,
            ".retain_until ELSE ",
            $a,
            ".retain_mode = 'compliance' END), false)"
        )
    };
}

/// The same of locks, of which each part counts for itself; $1 the outcome of a change. Where one was set on both sides, the
/// stricter retention counts, and a hold of either: nobody who set one knew of the other, and the log has a version's whole lock, not
/// which part of it a change has set. A lock too many can be taken off. What was lost counts where nobody has set any since, unless
/// it weakens a compliance: where records are missing, it may be an old one. A change that the database has itself is not
/// lost.
const LOCK_VERSIONS: &str = concat!(
    "WITH lost AS (
        SELECT t.version, l.*, s.lock AS since FROM (
            SELECT DISTINCT ON (e.version) e.version, NULLIF(e.line->'l', 'null') AS lock, e.seq
            FROM restore_events e JOIN alive a USING (version) WHERE e.kind = 'lock'
            ORDER BY e.version, e.seq DESC
        ) AS t
        CROSS JOIN LATERAL (SELECT ",
    lock_columns!("t.lock"),
    ") AS l (retain_until, retain_mode, legal_hold)
        LEFT JOIN LATERAL (
            SELECT COALESCE(c.object->'attributes'->'lock', '{}') AS lock FROM changes c
            WHERE c.n > t.seq AND c.outcome = $1::smallint AND c.version = t.version ORDER BY c.n DESC LIMIT 1
        ) AS s ON true
        WHERE NOT EXISTS (
            SELECT FROM changes c WHERE c.n = t.seq AND c.outcome = $1::smallint AND c.version = t.version)
    ),
    chosen AS (
        SELECT v.version, n.since, n.legal_hold, n.retain_until, n.retain_mode,
               CASE WHEN n.since IS NULL THEN v.retain_mode = 'compliance' AND ",
    is_stricter!("v", "n"),
    " ELSE NOT ",
    is_stricter!("n", "v"),
    " END AS stays
        FROM object_versions v JOIN lost n USING (version)
    )
    UPDATE object_versions v SET
        retain_until = CASE WHEN n.stays THEN v.retain_until ELSE n.retain_until END,
        retain_mode = CASE WHEN n.stays THEN v.retain_mode ELSE n.retain_mode END,
        legal_hold = CASE WHEN n.since IS NULL THEN n.legal_hold
                          ELSE COALESCE(v.legal_hold OR n.legal_hold, v.legal_hold, n.legal_hold) END
    FROM chosen n WHERE v.version = n.version"
);

/// The newest row of each key, unless it is a marker.
const PROMOTE: &str = "
    WITH newest AS (
        SELECT DISTINCT ON (v.bucket, v.key) v.version, v.delete_marker
        FROM object_versions v JOIN unnest($1::int[], $2::text[]) AS k (bucket, key) USING (bucket, key)
        ORDER BY v.bucket, v.key, v.seq DESC
    ),
    current AS (
        DELETE FROM object_versions v USING newest n WHERE v.version = n.version AND NOT n.delete_marker RETURNING v.*
    )
    INSERT INTO objects (bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null,
                         retain_until, retain_mode, legal_hold, parts, parts_of)
    SELECT bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null, retain_until,
           retain_mode, legal_hold, parts, CASE WHEN parts IS NOT NULL THEN version END
    FROM current";

/// Blobs that are what the records say, by name and size. One whose backend's ETag is known to be an MD5, and the right one,
/// needs no reading. `$1`: such backends.
const COPIES: &str = "
    WITH wanted AS MATERIALIZED (
        SELECT a.version, a.bucket, a.key, a.line->>'etag' AS etag, (x->>0)::smallint AS extent,
               (x->>1)::bigint AS x_offset, (x->>2)::bigint AS x_size, (x->>3)::bigint AS stored,
               (x->>4)::uuid AS md5, decode(x->>5, 'hex') AS digest, NULLIF(x->6, 'null') AS checksums,
               NULLIF(a.line->'f', 'null') AS foreign_copies
        FROM alive a CROSS JOIN LATERAL jsonb_array_elements(
            COALESCE(NULLIF(a.line->'x', 'null'), jsonb_build_array(jsonb_build_array(0, NULL, NULL, a.line->'size')))) AS x
        WHERE a.line IS NOT NULL AND NOT a.marker
    ),
    found AS (
        SELECT w.*, b.backend, b.gen, b.size, b.etag AS b_etag, NULL AS foreign_key
        FROM wanted w JOIN restore_blobs b ON b.version = w.version AND b.extent = w.extent AND b.size = w.stored
        UNION ALL
        SELECT w.*, b.backend, 0::smallint, b.size, b.etag, b.storage_key
        FROM wanted w CROSS JOIN LATERAL jsonb_array_elements(w.foreign_copies) AS f
        JOIN restore_blobs b ON b.backend = (f->>1)::int AND b.storage_key = f->>2 AND b.size = w.stored
        WHERE (f->>0)::smallint = w.extent AND (f->>3) IS NOT DISTINCT FROM b.etag
    )
    INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size, backend_etag, foreign_key,
                        extent_offset, extent_size, md5, digest, checksums)
    SELECT DISTINCT ON (version, extent, backend) version, extent, backend, gen, bucket, key,
           CASE WHEN backend = ANY ($1::int[]) AND foreign_key IS NULL
                     AND b_etag = COALESCE(replace(md5::text, '-', ''), CASE WHEN x_offset IS NULL THEN etag END)
                THEN 'verified' ELSE 'uncertain' END,
           size, b_etag, foreign_key, x_offset, x_size, md5, digest, checksums
    FROM found ORDER BY version, extent, backend, gen DESC
    ON CONFLICT DO NOTHING";

/// What the database believed to be under way, or to be deleted, and is there: no reaper, no client's abort and no cleanup
/// may take it for a write that came to nothing.
const SETTLE: &str = "
    WITH written AS (
        DELETE FROM intents i USING alive a WHERE i.version = a.version AND i.kind IN ('put', 'copy')
    ),
    completed AS (
        UPDATE uploads u SET state = 'completed', closed = now(), etag = a.line->>'etag', seq = a.seq, is_null = a.is_null,
            checksums = NULLIF(NULLIF(a.line->'c', 'null'), '{}')
        FROM alive a WHERE u.version = a.version AND u.state = 'open' AND a.line IS NOT NULL
        RETURNING u.id
    ),
    parts AS (DELETE FROM upload_parts p USING completed c WHERE p.upload = c.id),
    dead AS (
        DELETE FROM cleanup_dlq q USING alive a, copies c WHERE q.version = a.version AND c.version = q.version
          AND c.extent = q.extent AND c.backend = q.backend AND c.gen = q.gen
    )
    DELETE FROM cleanup_queue q USING alive a, copies c WHERE q.version = a.version AND c.version = q.version
      AND c.extent = q.extent AND c.backend = q.backend AND c.gen = q.gen";

/// What workers have written is not written by them again, under the same name: their attempts count from `$1` down.
const ATTEMPTS: &str = "
    INSERT INTO copy_attempts (version, extent, attempts)
    SELECT b.version, b.extent, ($1::int - min(b.gen) + 1)::smallint
    FROM restore_blobs b JOIN alive a ON a.version = b.version WHERE b.gen >= $2::int
    GROUP BY b.version, b.extent
    ON CONFLICT (version, extent) DO UPDATE SET attempts = GREATEST(copy_attempts.attempts, excluded.attempts)";

/// The keys behind a place, among the records after `ord`; `own`: up to where the database's own log is staged. `None`: there
/// are none.
pub(super) async fn apply(
    transaction: &Transaction<'_>,
    (bucket, key): &KeyPlace,
    ord: i64,
    own: LogPlace,
    md5: &[i32],
    times: &CleanupTimes,
) -> Result<Option<(KeyPlace, Applied)>, Failure> {
    let locked = transaction.query(LOCK, &[bucket, key, &KEYS, &ord]).await?;
    let mut keys: Vec<KeyPlace> = locked.iter().map(|row| (row.get("bucket"), row.get("key"))).collect();
    // As the database sorts text by bytes.
    keys.sort();
    let Some(last) = keys.last().cloned() else { return Ok(None) };
    let (buckets, names): (Vec<i32>, Vec<String>) = keys.into_iter().unzip();
    transaction.query(LOCK_BUCKETS, &[&LOCK_BUCKET, &buckets]).await?;
    own::stage_keys(transaction, own, &buckets, &names).await?;
    transaction.execute(ALIVE, &[&buckets, &names]).await?;
    transaction.execute(GATHER, &[&buckets, &names]).await?;
    let removed = remove(transaction, &buckets, &names, times).await?;
    let added = transaction.execute(ADD, &[]).await?;
    transaction.execute(TAG, &[&Logged::TagsSet.code()]).await?;
    transaction.execute(LOCK_VERSIONS, &[&Logged::LockSet.code()]).await?;
    let copies = transaction.execute(COPIES, &[&md5]).await?;
    transaction.execute(PROMOTE, &[&buckets, &names]).await?;
    transaction.execute(SETTLE, &[]).await?;
    let (greatest, least) = (i32::from(Gen::MAX), i32::from(Gen::MAX) - i32::from(Gen::EACH) + 1);
    transaction.execute(ATTEMPTS, &[&greatest, &least]).await?;
    let keys = u64::try_from(names.len()).unwrap_or(u64::MAX);
    Ok(Some((last, Applied { keys, added, removed, copies })))
}

async fn remove(
    transaction: &Transaction<'_>,
    buckets: &[i32],
    names: &[String],
    times: &CleanupTimes,
) -> Result<u64, Failure> {
    let rows = transaction.query(REMOVE, &[&buckets, &names]).await?;
    let removed = rows.first().map_or(0, |row| row.get::<_, i64>("n"));
    let mut gone: Vec<(CopyRow, String)> = Vec::new();
    for row in rows.iter().filter(|row| row.get::<_, Option<i32>>("c_backend").is_some()) {
        let copy =
            CopyRow::try_from(CopyRecord(Cells(row))).map_err(|why| corrupt("copies", "a row", why))?;
        let key = copy.storage_key(row.get("name"));
        gone.push((copy, key));
    }
    let backends: Vec<i32> = gone.iter().map(|(copy, _)| copy.backend.0).collect();
    let keys: Vec<&str> = gone.iter().map(|(_, key)| key.as_str()).collect();
    let versions: Vec<Uuid> = gone.iter().map(|(copy, _)| copy.blob.version.to_uuid()).collect();
    let extents: Vec<i16> = gone.iter().map(|(copy, _)| fifteen_bits(copy.blob.extent.get())).collect();
    let gens: Vec<i16> = gone.iter().map(|(copy, _)| fifteen_bits(copy.blob.r#gen.get())).collect();
    let theirs: Vec<Option<&str>> = gone.iter().map(|(copy, _)| copy.backend_version.as_deref()).collect();
    let sizes: Vec<i64> = gone.iter().map(|(copy, _)| signed(copy.stored_size)).collect();
    let (reason, wait) = (Reason::Deleted.as_str(), times.first_wait_us(Reason::Deleted));
    let params: [&(dyn ToSql + Sync); 9] =
        [&backends, &keys, &versions, &extents, &gens, &theirs, &sizes, &reason, &wait];
    transaction.execute(QUEUE, &params).await?;
    Ok(u64::try_from(removed).unwrap_or(0))
}
