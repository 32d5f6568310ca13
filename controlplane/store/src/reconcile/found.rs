//! What names the blobs that runs find, what was lost, and which foreign keys may become objects.

use s3o_core::ports::PortError;
use s3o_core::reconcile::{Candidate, CandidateKind, GoneBucket, LostCopy, Stray, StrayKind};
use s3o_types::{BackendId, BlobName, BucketId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::ledger::STRAYS;
use crate::pool::Pool;
use crate::rows::{Cells, corrupt, fifteen_bits};

/// A mark every ten minutes; of those that are older than twice the time that is asked for, the first of each day stays. For
/// ever: somebody else may ask for longer, and what is older than its time is known by the last mark before. Lost
/// copies whose rows are gone go.
const MARK: &str = "
    WITH gone AS (
        DELETE FROM lost_copies l WHERE NOT EXISTS (
            SELECT FROM copies c WHERE c.version = l.version AND c.extent = l.extent AND c.backend = l.backend)
    ), old AS (
        DELETE FROM version_marks m
        WHERE m.at < now() - 2 * $1::bigint * interval '1 microsecond' - interval '1 hour'
          AND EXISTS (SELECT FROM version_marks e
                      WHERE e.at < m.at AND e.at >= date_trunc('day', m.at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')
    )
    INSERT INTO version_marks (at, sequence)
    SELECT now(), last_value FROM version_seq
    WHERE NOT EXISTS (SELECT FROM version_marks WHERE at > now() - interval '10 minutes')
    ON CONFLICT DO NOTHING";

const LOST: &str = "
    INSERT INTO lost_copies (version, extent, backend, gen, bucket, key)
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::int[], $4::smallint[], $5::int[], $6::text[])
    ON CONFLICT (version, extent, backend) DO UPDATE SET gen = excluded.gen";

const FOUND: &str = "
    DELETE FROM lost_copies l USING unnest($2::uuid[], $3::smallint[]) AS t (version, extent)
    WHERE l.version = t.version AND l.extent = t.extent AND l.backend = $1";

/// What was replaced or deleted meanwhile, or has a good copy elsewhere by now, is not lost.
const LOST_OBJECTS: &str = "
    SELECT count(DISTINCT l.version) AS n
    FROM lost_copies l
    JOIN copies c ON c.version = l.version AND c.extent = l.extent AND c.backend = l.backend AND c.gen = l.gen
    WHERE NOT EXISTS (SELECT FROM copies o WHERE o.version = l.version AND o.extent = l.extent AND o.state = 'verified'
                      AND NOT EXISTS (SELECT FROM lost_copies m WHERE m.version = o.version AND m.extent = o.extent
                                      AND m.backend = o.backend AND m.gen = o.gen))
      AND NOT EXISTS (SELECT FROM cleanup_queue q WHERE q.kind = 'version' AND q.version = l.version)";

const CANDIDATES: &str = "
    SELECT (EXISTS (SELECT FROM objects o WHERE o.bucket = $2 AND o.key = t.key)
            OR EXISTS (SELECT FROM object_versions v WHERE v.bucket = $2 AND v.key = t.key)) AS taken,
           (EXISTS (SELECT FROM copies c WHERE c.backend = $1 AND c.foreign_key = t.foreign_key)
            OR EXISTS (SELECT FROM cleanup_queue q WHERE q.backend = $1 AND q.storage_key = t.foreign_key)
            OR EXISTS (SELECT FROM cleanup_dlq d WHERE d.backend = $1 AND d.storage_key = t.foreign_key)) AS known
    FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS t (foreign_key, key, place) ORDER BY t.place";

/// Of several that had a name, the last one, and the last version that was given out while it was there: who made a bucket of
/// the name since, in a time that the database has lost, may have written others.
const GONE_BUCKETS: &str = "
    SELECT DISTINCT ON (b.name) b.name, b.id, b.gone_after FROM buckets b
    WHERE b.state = 'gone' AND b.gone_after IS NOT NULL AND NOT EXISTS (SELECT FROM buckets l WHERE l.name = b.name AND l.state <> 'gone')
    ORDER BY b.name, b.id DESC";

pub(super) async fn gone_buckets(pool: &Pool) -> Result<Vec<GoneBucket>, PortError> {
    let rows = pool.run(GONE_BUCKETS, &[]).await?;
    let read = |row: &Row| GoneBucket {
        name: row.get("name"),
        id: BucketId(row.get("id")),
        until: u64::try_from(row.get::<_, i64>("gone_after")).unwrap_or(0),
    };
    Ok(rows.iter().map(read).collect())
}

pub(super) async fn note_versions(pool: &Pool, keep_us: i64) -> Result<(), PortError> {
    pool.run(MARK, &[&keep_us]).await?;
    Ok(())
}

pub(super) async fn strays(
    pool: &Pool,
    backend: BackendId,
    strays: &[Stray],
    young_us: i64,
) -> Result<Vec<StrayKind>, PortError> {
    let versions: Vec<Uuid> = strays.iter().map(|stray| stray.blob.version.to_uuid()).collect();
    let extents: Vec<i16> = strays.iter().map(|stray| fifteen_bits(stray.blob.extent.get())).collect();
    let gens: Vec<i16> = strays.iter().map(|stray| fifteen_bits(stray.blob.r#gen.get())).collect();
    let keys: Vec<&str> = strays.iter().map(|stray| stray.storage_key.as_str()).collect();
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&backend.0, &versions, &extents, &gens, &keys, &young_us];
    let rows = pool.run(STRAYS, &params).await?;
    let kinds: Result<Vec<_>, String> =
        strays.iter().zip(&rows).map(|(stray, row)| kind(stray, Cells(row), young_us)).collect();
    let kinds = kinds.map_err(|why| corrupt("version_marks", "the newest", why))?;
    if kinds.len() == strays.len() {
        Ok(kinds)
    } else {
        Err(PortError::Corrupt("the database answered for fewer blobs than it was asked for".to_owned()))
    }
}

fn kind(stray: &Stray, cells: Cells<'_>, young_us: i64) -> Result<StrayKind, String> {
    let newest = cells.unsigned("newest")?;
    let settled = if young_us == 0 { Some(newest) } else { cells.optional_unsigned("settled")? };
    let sequence = stray.blob.version.sequence();
    Ok(if cells.get("is_named")? {
        StrayKind::Named
    } else if sequence > newest {
        StrayKind::Unborn
    } else if settled.is_none_or(|settled| sequence > settled) {
        StrayKind::Young
    } else {
        StrayKind::Unnamed
    })
}

pub(super) async fn note_lost(pool: &Pool, lost: &[LostCopy]) -> Result<(), PortError> {
    let versions: Vec<Uuid> = lost.iter().map(|lost| lost.blob.version.to_uuid()).collect();
    let extents: Vec<i16> = lost.iter().map(|lost| fifteen_bits(lost.blob.extent.get())).collect();
    let backends: Vec<i32> = lost.iter().map(|lost| lost.backend.0).collect();
    let gens: Vec<i16> = lost.iter().map(|lost| fifteen_bits(lost.blob.r#gen.get())).collect();
    let buckets: Vec<i32> = lost.iter().map(|lost| lost.bucket.0).collect();
    let keys: Vec<&str> = lost.iter().map(|lost| lost.key.as_str()).collect();
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&versions, &extents, &backends, &gens, &buckets, &keys];
    pool.run(LOST, &params).await?;
    Ok(())
}

pub(super) async fn note_found(pool: &Pool, backend: BackendId, blobs: &[BlobName]) -> Result<(), PortError> {
    let versions: Vec<Uuid> = blobs.iter().map(|blob| blob.version.to_uuid()).collect();
    let extents: Vec<i16> = blobs.iter().map(|blob| fifteen_bits(blob.extent.get())).collect();
    pool.run(FOUND, &[&backend.0, &versions, &extents]).await?;
    Ok(())
}

pub(super) async fn lost_objects(pool: &Pool) -> Result<u64, PortError> {
    let rows = pool.run(LOST_OBJECTS, &[]).await?;
    Ok(rows.first().map_or(0, |row| u64::try_from(row.get::<_, i64>("n")).unwrap_or(0)))
}

pub(super) async fn candidates(
    pool: &Pool,
    backend: BackendId,
    bucket: BucketId,
    candidates: &[Candidate],
) -> Result<Vec<CandidateKind>, PortError> {
    let foreign: Vec<&str> = candidates.iter().map(|candidate| candidate.foreign_key.as_str()).collect();
    let keys: Vec<&str> = candidates.iter().map(|candidate| candidate.key.as_str()).collect();
    let rows = pool.run(CANDIDATES, &[&backend.0, &bucket.0, &foreign, &keys]).await?;
    let kind = |row: &tokio_postgres::Row| match (row.get("known"), row.get("taken")) {
        (true, _) => CandidateKind::Known,
        (false, true) => CandidateKind::KeyTaken,
        (false, false) => CandidateKind::New,
    };
    Ok(rows.iter().map(kind).collect())
}
