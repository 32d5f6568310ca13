//! After everything: is every acknowledged object whole, and is every byte accounted for?
//!
//! Invariant: it looks at the tables and the backends themselves, past all of our code, and says
//! everything that is wrong, not only the first thing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use s3o_types::{BlobName, Extent, Gen, StorageKey, VersionId};
use uuid::Uuid;

use crate::cluster::Cluster;

/// Blobs by (backend row, storage key), with their sizes.
type Blobs = BTreeMap<(i32, String), u64>;

/// A verified copy of an object, or of a noncurrent version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOf {
    /// Bucket and key, with a slash between.
    pub name: String,
    /// The object's ETag.
    pub etag: String,
    /// Which of its extents.
    pub extent: i16,
    /// The backend's name.
    pub backend: String,
    /// Where it is there.
    pub storage_key: String,
}

/// Fails with all that is wrong. Call it when nothing runs any more.
pub async fn audit(cluster: &Cluster) -> Result<()> {
    audit_but(cluster, &BTreeSet::new()).await
}

/// The same, but for blobs that the test itself has damaged or removed: backend and storage key.
pub async fn audit_but(cluster: &Cluster, damaged: &BTreeSet<(String, String)>) -> Result<()> {
    let mut wrong = Vec::new();
    let sql = cluster.sql().await?;
    let ids = backend_ids(&sql).await?;
    let stored = stored_blobs(cluster, &ids)?;
    let mut copies = copies(&sql).await?;
    let parts = parts(&sql).await?;
    let queued = queued(&sql).await?;

    copies.extend(parts);
    let excepted: BTreeSet<(i32, String)> =
        damaged.iter().filter_map(|(backend, key)| Some((*ids.get(backend)?, key.clone()))).collect();
    for ((backend, key), size) in &copies {
        match stored.get(&(*backend, key.clone())) {
            None if excepted.contains(&(*backend, key.clone())) => {}
            None => wrong.push(format!("copy without its blob: {key} on backend {backend}")),
            Some(found) if found != size => {
                wrong.push(format!("{key} on backend {backend}: {found} bytes, its row says {size}"));
            }
            Some(_) => {}
        }
    }
    for ((backend, key), size) in &stored {
        // What others wrote is no concern of ours.
        let foreign = StorageKey::parse(key) == StorageKey::Foreign;
        if !foreign
            && !copies.contains_key(&(*backend, key.clone()))
            && !queued.contains_key(&(*backend, key.clone()))
        {
            wrong.push(format!("blob without a row: {key} on backend {backend}, {size} bytes"));
        }
    }
    journal(cluster, &sql, &ids, &mut wrong).await?;
    // Of one moment: the journal's files may come and go meanwhile.
    sql.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    usage(&sql, &ids, &mut wrong).await?;
    sql.batch_execute("COMMIT").await?;
    rows_agree(&sql, &mut wrong).await?;
    if wrong.is_empty() { Ok(()) } else { bail!("the audit found:\n  {}", wrong.join("\n  ")) }
}

/// Each file of the journal has a row. The row is there before the file and until after it, and the worker may run now:
/// so it is one that was there before the files were looked at, or is there afterwards.
async fn journal(
    cluster: &Cluster,
    sql: &tokio_postgres::Client,
    ids: &BTreeMap<String, i32>,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let mut rows = journal_rows(sql).await?;
    let mut files = Vec::new();
    for backend in &cluster.backends {
        let Some(id) = ids.get(&backend.name) else { continue };
        let stored = backend.stored()?.into_iter();
        let ours = stored.filter(|(key, _)| key.starts_with(s3o_types::storage_key::JOURNAL_PREFIX));
        files.extend(ours.map(|(key, size)| ((*id, key), size)));
    }
    rows.extend(journal_rows(sql).await?);
    for ((backend, key), size) in files {
        if rows.get(&(backend, key.clone())) != Some(&size) {
            wrong.push(format!("a file of the journal without a row: {key} on backend {backend}"));
        }
    }
    Ok(())
}

async fn journal_rows(sql: &tokio_postgres::Client) -> Result<Blobs> {
    let rows = sql.query("SELECT backend, storage_key, bytes FROM journal_files WHERE NOT gone", &[]).await?;
    let row =
        |row: &tokio_postgres::Row| Ok(((row.get(0), row.get(1)), u64::try_from(row.get::<_, i64>(2))?));
    rows.iter().map(row).collect()
}

async fn backend_ids(sql: &tokio_postgres::Client) -> Result<BTreeMap<String, i32>> {
    let rows = sql.query("SELECT name, id FROM backends", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn stored_blobs(cluster: &Cluster, ids: &BTreeMap<String, i32>) -> Result<Blobs> {
    let mut blobs = Blobs::new();
    for backend in &cluster.backends {
        let Some(id) = ids.get(&backend.name) else { continue };
        for (key, size) in backend.stored()? {
            if !matches!(StorageKey::parse(&key), StorageKey::Reserved) {
                blobs.insert((*id, key), size);
            }
        }
    }
    Ok(blobs)
}

async fn copies(sql: &tokio_postgres::Client) -> Result<Blobs> {
    let rows = sql
        .query(
            "SELECT c.backend, b.name, c.key, c.version, c.extent, c.gen, c.stored_size, c.foreign_key
             FROM copies c JOIN buckets b ON b.id = c.bucket",
            &[],
        )
        .await?;
    let mut blobs = Blobs::new();
    for row in rows {
        let blob = blob_name(row.get::<_, Uuid>(3), row.get(4), row.get(5))?;
        let own = StorageKey::format(row.get(1), row.get(2), blob);
        let key = row.get::<_, Option<String>>(7).unwrap_or(own);
        blobs.insert((row.get(0), key), u64::try_from(row.get::<_, i64>(6))?);
    }
    Ok(blobs)
}

/// Where every copy should be: backend and storage key.
pub async fn copy_keys(cluster: &Cluster) -> Result<BTreeSet<(String, String)>> {
    let sql = cluster.sql().await?;
    let names: BTreeMap<i32, String> =
        backend_ids(&sql).await?.into_iter().map(|(name, id)| (id, name)).collect();
    let place = |(backend, key): (i32, String)| Some((names.get(&backend)?.clone(), key));
    Ok(copies(&sql).await?.into_keys().filter_map(place).collect())
}

/// Every verified copy of what clients can read.
pub async fn copies_of_objects(cluster: &Cluster) -> Result<Vec<CopyOf>> {
    let query = "SELECT b.name, c.key, c.version, c.extent, c.gen, k.name, o.etag, c.foreign_key
                 FROM copies c JOIN buckets b ON b.id = c.bucket JOIN backends k ON k.id = c.backend
                 JOIN (SELECT version, etag FROM objects UNION ALL SELECT version, etag FROM object_versions) AS o
                     ON o.version = c.version
                 WHERE c.state = 'verified' ORDER BY c.version, c.extent, c.backend";
    let copy = |row: &tokio_postgres::Row| {
        let (bucket, key): (&str, &str) = (row.get(0), row.get(1));
        let own = StorageKey::format(bucket, key, blob_name(row.get(2), row.get(3), row.get(4))?);
        Ok(CopyOf {
            name: format!("{bucket}/{key}"),
            etag: row.get(6),
            extent: row.get(3),
            backend: row.get(5),
            storage_key: row.get::<_, Option<String>>(7).unwrap_or(own),
        })
    };
    cluster.sql().await?.query(query, &[]).await?.iter().map(copy).collect()
}

async fn queued(sql: &tokio_postgres::Client) -> Result<Blobs> {
    let rows = sql
        .query(
            "SELECT backend, storage_key, size FROM cleanup_queue WHERE kind <> 'version'
             UNION ALL SELECT backend, storage_key, size FROM cleanup_dlq",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok(((row.get(0), row.get(1)), u64::try_from(row.get::<_, i64>(2))?))).collect()
}

/// Parts of open uploads, by their storage keys.
async fn parts(sql: &tokio_postgres::Client) -> Result<Blobs> {
    let rows = sql
        .query(
            "SELECT p.backend, b.name, u.key, u.version, p.part, p.gen, p.size
             FROM part_copies p JOIN uploads u ON u.id = p.upload JOIN buckets b ON b.id = u.bucket",
            &[],
        )
        .await?;
    let mut blobs = Blobs::new();
    for row in rows {
        let blob = blob_name(row.get(3), row.get(4), row.get(5))?;
        let size = u64::try_from(row.get::<_, i64>(6))?;
        blobs.insert((row.get(0), StorageKey::format(row.get(1), row.get(2), blob)), size);
    }
    Ok(blobs)
}

fn blob_name(version: Uuid, extent: i16, attempt: i16) -> Result<BlobName> {
    Ok(BlobName {
        version: VersionId::from_uuid(version),
        extent: Extent::new(u16::try_from(extent)?).unwrap_or_default(),
        r#gen: Gen::new(u16::try_from(attempt)?).unwrap_or_default(),
    })
}

/// What the counters say, against sums over all tables that hold bytes.
async fn usage(
    sql: &tokio_postgres::Client,
    ids: &BTreeMap<String, i32>,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let said = sums(
        sql,
        "SELECT backend, sum(used)::bigint, sum(reserved)::bigint, sum(orphaned)::bigint, sum(objects)::bigint
         FROM backend_usage GROUP BY backend",
    )
    .await?;
    let rows = sums(
        sql,
        "WITH bytes AS (
             SELECT c.backend, c.stored_size AS used, 0 AS reserved, 0 AS orphaned,
                    (COALESCE(c.extent_offset, 0) = 0)::int AS objects
             FROM copies c WHERE NOT EXISTS
                 (SELECT FROM cleanup_queue q WHERE q.kind = 'version' AND q.version = c.version)
             UNION ALL
             SELECT c.backend, 0, 0, c.stored_size, 0
             FROM copies c JOIN cleanup_queue q ON q.kind = 'version' AND q.version = c.version
             UNION ALL SELECT backend, bytes, 0, 0, 0 FROM journal_files
             UNION ALL SELECT backend, 0, size, 0, 0 FROM part_copies
             UNION ALL SELECT t.backend, 0, i.size, 0, 0 FROM intents i, unnest(i.target_backend) AS t (backend)
             UNION ALL SELECT backend, 0, 0, size, 0 FROM cleanup_queue WHERE kind <> 'version'
             UNION ALL SELECT backend, 0, 0, size, 0 FROM cleanup_dlq
         )
         SELECT backend, sum(used)::bigint, sum(reserved)::bigint, sum(orphaned)::bigint, sum(objects)::bigint
         FROM bytes GROUP BY backend",
    )
    .await?;
    for (name, id) in ids {
        let (said, are) =
            (said.get(id).copied().unwrap_or_default(), rows.get(id).copied().unwrap_or_default());
        for (what, (said, is)) in ["used", "reserved", "orphaned", "objects"].iter().zip(said.iter().zip(are))
        {
            if *said != is {
                wrong.push(format!("backend {name}: {what} is {said}, the rows say {is}"));
            }
        }
    }
    Ok(())
}

async fn sums(sql: &tokio_postgres::Client, query: &str) -> Result<BTreeMap<i32, [i64; 4]>> {
    let rows = sql.query(query, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), [row.get(1), row.get(2), row.get(3), row.get(4)])).collect())
}

async fn rows_agree(sql: &tokio_postgres::Client, wrong: &mut Vec<String>) -> Result<()> {
    for (what, query) in [
        ("intents left", "SELECT key FROM intents"),
        (
            "objects without a verified copy",
            "SELECT key FROM objects o WHERE NOT EXISTS
             (SELECT FROM copies c WHERE c.version = o.version AND (c.state = 'verified' OR c.foreign_key IS NOT NULL))",
        ),
        (
            "copies of no version",
            "SELECT key FROM copies c WHERE NOT EXISTS (SELECT FROM objects o WHERE o.version = c.version)
             AND NOT EXISTS (SELECT FROM object_versions v WHERE v.version = c.version)
             AND NOT EXISTS (SELECT FROM cleanup_queue q WHERE q.kind = 'version' AND q.version = c.version)",
        ),
        (
            "objects whose last change is not theirs",
            "SELECT o.key FROM objects o JOIN buckets b ON b.id = o.bucket AND b.versioning = 'off'
             CROSS JOIN LATERAL (
                 SELECT max(n) AS n FROM changes c
                 WHERE c.bucket = o.bucket AND c.key = o.key AND c.outcome IN (1, 2, 3, 42)) AS last
             -- One that was made again from the journal or its blob is in no log.
             WHERE o.seq < last.n
                OR (o.seq > last.n AND EXISTS (SELECT FROM changes c WHERE c.version = o.version AND c.outcome IN (1, 2, 42)))",
        ),
        (
            "versions without a verified copy",
            "SELECT key FROM object_versions v WHERE NOT v.delete_marker AND NOT EXISTS
             (SELECT FROM copies c WHERE c.version = v.version AND c.state = 'verified')",
        ),
        (
            "versions above the current one",
            "SELECT v.key FROM object_versions v JOIN objects o USING (bucket, key) WHERE v.seq >= o.seq",
        ),
        (
            "keys whose newest version is hidden by nothing",
            "SELECT v.key FROM object_versions v WHERE NOT v.delete_marker
             AND NOT EXISTS (SELECT FROM objects o WHERE o.bucket = v.bucket AND o.key = v.key)
             AND NOT EXISTS (SELECT FROM object_versions w
                             WHERE w.bucket = v.bucket AND w.key = v.key AND w.seq > v.seq)",
        ),
        (
            "keys with two null versions",
            "SELECT o.key FROM objects o JOIN object_versions v USING (bucket, key) WHERE o.is_null AND v.is_null",
        ),
        (
            "parts of closed uploads",
            "SELECT p.upload::text FROM upload_parts p JOIN uploads u ON u.id = p.upload WHERE u.state <> 'open'",
        ),
        (
            "objects with other bytes than their extents",
            "SELECT o.key FROM (
                 SELECT key, version, size, parts FROM objects
                 UNION ALL SELECT key, version, size, parts FROM object_versions
             ) AS o WHERE o.parts IS NOT NULL AND (o.size, o.parts) <> (
                 SELECT COALESCE(sum(c.extent_size), 0)::bigint, count(*)::int
                 FROM (SELECT DISTINCT extent, extent_size FROM copies
                       WHERE version = o.version AND state = 'verified') AS c)",
        ),
        (
            "versions with more or fewer copies than their bucket wants",
            "SELECT o.key FROM (
                 SELECT bucket, key, version FROM objects UNION ALL SELECT bucket, key, version FROM object_versions
             ) AS o JOIN buckets b ON b.id = o.bucket WHERE EXISTS (
                 SELECT FROM copies c JOIN backends k ON k.id = c.backend WHERE c.version = o.version
                 GROUP BY c.extent
                 HAVING count(*) <> b.replication_factor
                     OR count(*) FILTER (WHERE (c.state = 'verified' OR c.foreign_key IS NOT NULL) AND k.state = 'active')
                         <> b.replication_factor)",
        ),
        (
            "copies that are queued for deletion",
            "SELECT c.key FROM copies c JOIN cleanup_queue q USING (version, extent, gen, backend)",
        ),
    ] {
        let keys: BTreeSet<String> = sql.query(query, &[]).await?.iter().map(|row| row.get(0)).collect();
        if !keys.is_empty() {
            wrong.push(format!("{what}: {keys:?}"));
        }
    }
    Ok(())
}
