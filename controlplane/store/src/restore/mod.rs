//! A database made again from the journal and the blobs: the records are staged, then the blobs, and then keys are brought
//! to what they say.
//!
//! Invariant: staging changes nothing that anybody else reads.

mod apply;
mod buckets;
mod identity;
mod own;
mod run;

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use s3o_core::journal::{LogPlace, StoredFile};
use s3o_core::ports::{PortError, Restore};
use s3o_core::restore::{
    Applied, FoundKey, FoundObject, KeyPlace, KnownBackend, LostVersion, LostVersions, MergedBuckets,
    Revived, UnnamedBlob,
};
use s3o_core::usage::signed;
use s3o_types::{BackendId, Etag, ObjectLock, StorageKey, VersionId};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

pub(crate) use run::RestoreRun;

use crate::Store;
use crate::error::Failure;
use crate::recovery::{is_before_gap, version_number};
use crate::rows::{Cells, bucket_lock, corrupt, fifteen_bits};

/// Stages the records, `line`, of a FROM clause.
fn staged_as_events(from: &str, wanted: &str) -> String {
    format!(
        "INSERT INTO restore_events (kind, bucket, key, seq, version, is_null, line)
         SELECT line->>'k', (line->>'b')::int, line->>'key', COALESCE((line->>'seq')::bigint, 0),
                COALESCE(line->>'v', '00000000-0000-0000-0000-000000000000')::uuid,
                COALESCE((line->>'null')::boolean, false), line
         FROM {from} WHERE {wanted}"
    )
}

/// Records of a kind that this release does not know are passed over.
static EVENTS: LazyLock<String> = LazyLock::new(|| {
    let lines =
        "unnest($1::text[]) WITH ORDINALITY AS t (text, place), LATERAL (SELECT text::jsonb AS line) AS l";
    let known = "line->>'k' IN ('version', 'marker', 'tags', 'lock', 'gone', 'cleared', 'dead')";
    format!("{} ORDER BY place", staged_as_events(lines, known))
});

const BLOBS: &str = "
    INSERT INTO restore_blobs (backend, storage_key, version, extent, gen, size, etag, bucket_name, key)
    SELECT $1::int, storage_key, version, extent, gen, size, etag, bucket_name, key
    FROM unnest($2::text[], $3::uuid[], $4::smallint[], $5::smallint[], $6::bigint[], $7::text[], $8::text[], $9::text[])
         AS t (storage_key, version, extent, gen, size, etag, bucket_name, key)
    ON CONFLICT DO NOTHING";

/// Of versions that nothing names and that may have been committed after the last segment: one blob each. Where a key of a
/// bucket that keeps no versions has a row of a greater one, the blob is of before it. A write that was begun before the
/// database was restored, and that nobody goes on with, may have been acknowledged; one with a condition only if that is
/// still met. Pieces are told of whatever their age: an upload may have been open for long.
const UNNAMED: &str = concat!(
    "SELECT DISTINCT ON (b.version) b.version, b.backend, b.storage_key, b.size, b.etag,
           b.extent <> 0 AS is_piece
    FROM restore_blobs b
    WHERE b.version > $1::uuid AND (b.version >= $2::uuid OR b.extent <> 0 OR b.version >= (
          SELECT (lpad(to_hex((value->>'version_seq')::bigint), 16, '0') || repeat('0', 16))::uuid
          FROM settings WHERE name = 'recovery'))
      AND NOT EXISTS (SELECT FROM restore_events e WHERE e.version = b.version)
      AND NOT EXISTS (SELECT FROM copies c WHERE c.version = b.version)
      AND NOT EXISTS (SELECT FROM cleanup_queue q WHERE q.version = b.version)
      AND NOT EXISTS (SELECT FROM cleanup_dlq d WHERE d.version = b.version)
      AND NOT EXISTS (
          SELECT FROM intents i WHERE i.version = b.version AND NOT (
              i.kind IN ('put', 'copy')
              AND COALESCE(",
    is_before_gap!("i.version"),
    ", false)
              AND NOT EXISTS (SELECT FROM sessions s
                              WHERE s.id = i.session AND s.deadline > now() AND i.op = ANY (s.open_ops))
              AND NOT (i.if_absent AND EXISTS (SELECT FROM objects o WHERE o.bucket = i.bucket AND o.key = i.key))
              AND (i.if_match IS NULL OR EXISTS (
                  SELECT FROM objects o
                  WHERE o.bucket = i.bucket AND o.key = i.key AND i.if_match IN ('*', o.etag)))))
      AND NOT EXISTS (SELECT FROM uploads u WHERE u.version = b.version)
      AND NOT EXISTS (
          SELECT FROM buckets k JOIN (
              SELECT bucket, key, version FROM objects UNION ALL SELECT bucket, key, version FROM object_versions
          ) AS o ON o.bucket = k.id
          WHERE k.name = b.bucket_name AND k.state <> 'gone' AND k.versioning <> 'enabled'
            AND o.key = b.key AND o.version > b.version)
    ORDER BY b.version, b.extent, b.gen LIMIT $3::bigint"
);

/// Whether a write that was begun before the database was restored may be going on: its session has not said for long enough
/// whether it is, as for the reaper (`queues.rs`).
const UNDECIDED: &str = concat!(
    "SELECT EXISTS (
        SELECT FROM intents i LEFT JOIN sessions s ON s.id = i.session
        WHERE ",
    is_before_gap!("i.version"),
    "
          AND i.begun > now() - interval '2 minutes' AND (s.id IS NULL OR s.deadline > now())
    ) AS undecided"
);

/// An object that a blob describes. Its place is in the gap that the recovery mode has left in the numbers: behind all that
/// was committed before, in the order of the versions, and before all that was written since. A mode that an older release
/// has turned on does not say where its gap is. $9: the journal has a gap of its own, and it may be of there: then its place
/// is behind those of its key that are older by their ids, since nobody knows when it was committed: they come in the order of
/// their ids, and each of those that were committed between two others drew a number between theirs. Where none is left before
/// the next newer one, it is the next below that none of the key's has. In a bucket that keeps no versions it is the
/// older one of any that is newer by its id.
const REVIVE: &str = concat!(
    "WITH known AS (
        SELECT o.seq, o.version FROM buckets k JOIN objects o ON o.bucket = k.id
        WHERE k.name = $1 AND k.state <> 'gone' AND o.key = $2
        UNION ALL
        SELECT o.seq, o.version FROM buckets k JOIN object_versions o ON o.bucket = k.id
        WHERE k.name = $1 AND k.state <> 'gone' AND o.key = $2
        UNION ALL
        SELECT e.seq, e.version FROM buckets k JOIN restore_events e ON e.bucket = k.id
        WHERE k.name = $1 AND k.state <> 'gone' AND e.key = $2 AND e.kind IN ('version', 'marker', 'cleared')
    ),
    staged AS (
        INSERT INTO restore_events (kind, bucket, key, seq, version, is_null, line)
        SELECT 'version', k.id, $2, COALESCE(
                   (SELECT max(p.seq) FROM (
                        SELECT LEAST(o.least + 1, b.greatest - 1) - down AS seq FROM (
                            SELECT min(seq) AS greatest FROM known WHERE version > $3::uuid
                        ) AS b, LATERAL (
                            SELECT COALESCE(max(seq) FILTER (WHERE seq < b.greatest), 0) AS least
                            FROM known WHERE version < $3::uuid
                        ) AS o, generate_series(0, (SELECT count(*) FROM known)) AS down
                        WHERE $9::boolean AND b.greatest IS NOT NULL
                    ) AS p WHERE NOT EXISTS (SELECT FROM known WHERE known.seq = p.seq)),
                   (SELECT (value->>'change_seq')::bigint + GREATEST(1, 2147483648
                           + ",
    version_number!("$3::uuid"),
    "
                           - (value->>'version_seq')::bigint)
                    FROM settings WHERE name = 'recovery'),
                   nextval('change_seq')), $3::uuid, k.versioning <> 'enabled', jsonb_build_object(
            'size', $4::bigint, 'etag', $5::text, 'm', $6::bigint, 'a', $7::text::jsonb, 'l', $8::text::jsonb)
        FROM buckets k WHERE k.name = $1 AND k.state <> 'gone'
          AND (k.versioning = 'enabled' OR NOT EXISTS (SELECT FROM known WHERE version > $3::uuid))
        RETURNING ord
    )
    SELECT EXISTS (SELECT FROM staged) AS staged,
           EXISTS (SELECT FROM buckets WHERE name = $1 AND state <> 'gone') AS has_bucket"
);

/// What the bucket retains by itself, as it would be if the object were committed now.
const BUCKET_LOCK: &str = "
    SELECT object_lock, now() AS now FROM buckets WHERE name = $1 AND state <> 'gone'";

/// A row a version, and how many there are in all.
const LOST: &str = "
    SELECT k.name, v.key, v.version, count(*) OVER () AS n FROM (
        SELECT bucket, key, version, parts FROM objects
        UNION ALL
        SELECT bucket, key, version, parts FROM object_versions WHERE NOT delete_marker
    ) AS v JOIN buckets k ON k.id = v.bucket
    WHERE (SELECT count(DISTINCT c.extent) FROM copies c WHERE c.version = v.version) < COALESCE(v.parts, 1)
    ORDER BY v.version LIMIT $1::bigint";

/// These read whole tables.
pub(super) const PATIENCE: Duration = Duration::from_mins(30);

const LAST: &str = "SELECT COALESCE(max(ord), 0) AS ord FROM restore_events";

const OWN_BUCKETS: &str = "
    SELECT jsonb_build_object('buckets', COALESCE(jsonb_agg(to_jsonb(b)), '[]'))::text AS header FROM buckets b";

fn unnamed(row: &Row) -> Result<UnnamedBlob, Failure> {
    let cells = Cells(row);
    let read = || -> Result<UnnamedBlob, String> {
        Ok(UnnamedBlob {
            backend: BackendId(cells.get("backend")?),
            storage_key: cells.get("storage_key")?,
            version: VersionId::from_uuid(cells.get("version")?),
            size: cells.unsigned("size")?,
            etag: cells.get::<Option<&str>>("etag")?.map(Etag::new),
            is_piece: cells.get("is_piece")?,
        })
    };
    read().map_err(|why| corrupt("restore_blobs", "a row", why))
}

/// Bucket and key as far as a storage key says them, and the blob.
fn parsed(storage_key: &str) -> (Option<s3o_types::BlobName>, Option<String>, Option<String>) {
    match StorageKey::parse(storage_key) {
        StorageKey::Plain { bucket, key, blob } => (Some(blob), Some(bucket), Some(key)),
        StorageKey::Hashed { digest: _, blob } => (Some(blob), None, None),
        StorageKey::Reserved | StorageKey::Foreign => (None, None, None),
    }
}

/// JSON, if there is one.
fn lock_of_revived(row: &Row, asked: ObjectLock) -> Result<Option<String>, String> {
    let cells = Cells(row);
    let Some(bucket) = bucket_lock(cells)? else { return Ok(None) };
    let lock = bucket.of_new(asked, cells.time("now")?);
    if lock.is_none() {
        return Ok(None);
    }
    serde_json::to_string(&lock).map(Some).map_err(|error| error.to_string())
}

impl Store {
    async fn patiently(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        let read = async |transaction: &Transaction<'_>| {
            self.inner.restore_run.goes_on(transaction).await?;
            Ok(transaction.query(sql, params).await?)
        };
        self.inner.general.transact_within(PATIENCE, read).await
    }
}

#[async_trait]
impl Restore for Store {
    async fn restore_begin(&self) -> Result<(), PortError> {
        Ok(self.inner.restore_run.begin(&self.inner.general).await?)
    }

    async fn restore_records(&self, lines: Vec<String>) -> Result<(), PortError> {
        let stage = async |transaction: &Transaction<'_>| {
            self.inner.restore_run.goes_on(transaction).await?;
            transaction.execute(EVENTS.as_str(), &[&lines]).await?;
            Ok(())
        };
        Ok(self.inner.general.transact_once(stage).await?)
    }

    async fn restore_found(&self, backend: BackendId, found: Vec<FoundKey>) -> Result<(), PortError> {
        let parsed: Vec<_> = found.iter().map(|found| parsed(&found.storage_key)).collect();
        let keys: Vec<&str> = found.iter().map(|found| found.storage_key.as_str()).collect();
        let versions: Vec<Option<Uuid>> =
            parsed.iter().map(|(blob, _, _)| blob.map(|blob| blob.version.to_uuid())).collect();
        let extents: Vec<Option<i16>> =
            parsed.iter().map(|(blob, _, _)| blob.map(|blob| fifteen_bits(blob.extent.get()))).collect();
        let gens: Vec<Option<i16>> =
            parsed.iter().map(|(blob, _, _)| blob.map(|blob| fifteen_bits(blob.r#gen.get()))).collect();
        let sizes: Vec<i64> = found.iter().map(|found| signed(found.size)).collect();
        let etags: Vec<Option<&str>> =
            found.iter().map(|found| found.etag.as_ref().map(Etag::as_str)).collect();
        let buckets: Vec<Option<&str>> = parsed.iter().map(|(_, bucket, _)| bucket.as_deref()).collect();
        let names: Vec<Option<&str>> = parsed.iter().map(|(_, _, key)| key.as_deref()).collect();
        let params: [&(dyn ToSql + Sync); 9] =
            [&backend.0, &keys, &versions, &extents, &gens, &sizes, &etags, &buckets, &names];
        let stage = async |transaction: &Transaction<'_>| {
            self.inner.restore_run.goes_on(transaction).await?;
            transaction.execute(BLOBS, &params).await?;
            Ok(())
        };
        Ok(self.inner.general.transact_once(stage).await?)
    }

    async fn restore_last_record(&self) -> Result<i64, PortError> {
        let rows = self.inner.general.run(LAST, &[]).await?;
        Ok(rows.first().map_or(0, |row| row.get("ord")))
    }

    async fn restore_own(&self, after: LogPlace) -> Result<(LogPlace, bool), PortError> {
        Ok(own::stage(&self.inner.general, &self.inner.restore_run, after).await?)
    }

    async fn restore_keys(
        &self,
        after: &KeyPlace,
        record: i64,
        own: LogPlace,
        md5: &[BackendId],
    ) -> Result<Option<(KeyPlace, Applied)>, PortError> {
        let md5: Vec<i32> = md5.iter().map(|id| id.0).collect();
        let (pool, times) = (&self.inner.general, &self.inner.cleanup_times);
        let apply = || {
            pool.transact_within(PATIENCE, async |transaction: &Transaction<'_>| {
                self.inner.restore_run.goes_on(transaction).await?;
                apply::apply(transaction, after, record, own, &md5, times).await
            })
        };
        Ok(pool.retried(apply).await?)
    }

    async fn restore_undecided(&self) -> Result<bool, PortError> {
        let rows = self.inner.general.run(UNDECIDED, &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get("undecided")))
    }

    async fn restore_unnamed(
        &self,
        after: VersionId,
        from: VersionId,
        limit: u32,
    ) -> Result<Vec<UnnamedBlob>, PortError> {
        let params: [&(dyn ToSql + Sync); 3] = [&after.to_uuid(), &from.to_uuid(), &i64::from(limit)];
        let rows = self.patiently(UNNAMED, &params).await?;
        Ok(rows.iter().map(unnamed).collect::<Result<_, _>>()?)
    }

    async fn restore_revive(&self, found: FoundObject, by_id: bool) -> Result<Revived, PortError> {
        let FoundObject { bucket_name, key, version, size, etag, modified_us, mut attributes } = found;
        let asked = std::mem::take(&mut attributes.lock);
        let attributes =
            serde_json::to_string(&attributes).map_err(|error| corrupt("objects", &key, error))?;
        let (version, size, etag) = (version.to_uuid(), signed(size), etag.as_str().to_owned());
        let revive = async |transaction: &Transaction<'_>| {
            self.inner.restore_run.goes_on(transaction).await?;
            let lock = match transaction.query_opt(BUCKET_LOCK, &[&bucket_name]).await? {
                Some(row) => lock_of_revived(&row, asked).map_err(|why| corrupt("buckets", &key, why))?,
                None => None,
            };
            let params: [&(dyn ToSql + Sync); 9] =
                [&bucket_name, &key, &version, &size, &etag, &modified_us, &attributes, &lock, &by_id];
            let row = transaction.query_one(REVIVE, &params).await?;
            Ok(match (row.get("staged"), row.get("has_bucket")) {
                (true, _) => Revived::Staged,
                (false, true) => Revived::Older,
                (false, false) => Revived::NoBucket,
            })
        };
        Ok(self.inner.general.transact_once(revive).await?)
    }

    async fn restore_lost(&self, limit: u32) -> Result<LostVersions, PortError> {
        let rows = self.patiently(LOST, &[&i64::from(limit)]).await?;
        let count = rows.first().map_or(0, |row| row.get::<_, i64>("n"));
        let lost = |row: &Row| LostVersion {
            bucket_name: row.get("name"),
            key: row.get("key"),
            version: VersionId::from_uuid(row.get("version")),
        };
        Ok(LostVersions { count: u64::try_from(count).unwrap_or(0), first: rows.iter().map(lost).collect() })
    }

    async fn restore_buckets(&self) -> Result<String, PortError> {
        let rows = self.inner.general.run(OWN_BUCKETS, &[]).await?;
        Ok(rows.first().map(|row| row.get("header")).unwrap_or_default())
    }

    async fn restore_identity(
        &self,
        header: &str,
        backends: Vec<KnownBackend>,
    ) -> Result<Result<(), String>, PortError> {
        identity::take(&self.inner.general, header, &backends).await
    }

    async fn restore_staged(
        &self,
        header: &str,
        lost: &[(i64, i64)],
    ) -> Result<Result<MergedBuckets, String>, PortError> {
        let staged = identity::staged(&self.inner.general, &self.inner.restore_run, header, lost).await;
        // The change is served at once, not at the next poll.
        self.inner.wake_config.notify_one();
        staged
    }

    async fn restore_buckets_end(&self, header: &str) -> Result<MergedBuckets, PortError> {
        let ended = buckets::end(&self.inner.general, &self.inner.restore_run, header).await;
        self.inner.wake_config.notify_one();
        ended
    }

    async fn restore_end(&self, open: VersionId, files: Vec<StoredFile>) -> Result<(), PortError> {
        identity::end(&self.inner.general, &self.inner.restore_run, open, &files).await
    }
}
