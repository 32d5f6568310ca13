//! One page of rows of a bucket, and which of them seem to be due.

use std::collections::BTreeMap;

use s3o_core::call::{Expire, Expiring};
use s3o_core::lifecycle::{Aged, DuePage, Phase, Place, expires, noncurrent_expires, upload_expires};
use s3o_types::{BucketId, LifecycleRule, ObjectLock, Seq, UploadId, VersionId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{ranges, read_standing, standing};
use crate::error::Failure;
use crate::ledger::beyond;
use crate::pool::Pool;
use crate::rows::{Cells, corrupt, lifecycle, object_lock};
use crate::unreadable::Unreadable;

const RULES: &str = "
    SELECT lifecycle, stored_lifecycle FROM buckets WHERE id = $1 AND state IN ('active', 'versioned', 'locked')";

/// $1 bucket, $2 least key, $3 greatest key, $4 the last key, $5 rows. The clock is the database's, as in every page.
const OBJECTS: &str = "
    SELECT key, version, size, modified, tags, now() AS now FROM objects
    WHERE bucket = $1 AND key >= $2::text AND key <= $3::text AND key > $4::text
    ORDER BY key LIMIT $5::bigint";

/// The same, of a key's versions the newest first; $6 the last `seq` of the last key. The branches of an Append run in
/// their order: the rest of that key, then the others.
const VERSIONS: &str = concat!(
    "SELECT v.key, v.seq, v.version, v.delete_marker, v.size, v.modified, v.tags, v.is_null, v.retain_until,
            v.retain_mode, v.legal_hold, now() AS now, ",
    standing!(),
    "
    FROM (
        (SELECT * FROM object_versions
         WHERE bucket = $1 AND key = $4::text AND seq < $6::bigint AND key >= $2::text AND key <= $3::text
         ORDER BY seq DESC LIMIT $5::bigint)
        UNION ALL
        (SELECT * FROM object_versions
         WHERE bucket = $1 AND key >= $2::text AND key <= $3::text AND key > $4::text
         ORDER BY key, seq DESC LIMIT $5::bigint)
        LIMIT $5::bigint
    ) AS v"
);

/// The same of open uploads; $6 the last upload of the last key.
const UPLOADS: &str = "
    SELECT key, id, initiated, now() AS now FROM uploads
    WHERE state = 'open' AND bucket = $1 AND key >= $2::text AND key <= $3::text
      AND key >= $4::text AND (key > $4::text OR id > $6::uuid)
    ORDER BY key, id LIMIT $5::bigint";

/// Rules and rows are read by statements of their own: whatever lies between, the ledger decides of both again.
pub(super) async fn look(
    (pool, unreadable): (&Pool, &Unreadable),
    bucket: BucketId,
    after: &Place,
    limit: u32,
) -> Result<DuePage, Failure> {
    let rules = rules(pool, bucket).await?;
    let Some(prefix) = ranges::next(&rules, after.phase, &after.key) else {
        return Ok(DuePage { due: Vec::new(), next: after.phase.next().map(Place::start) });
    };
    let greatest = beyond(prefix);
    let rows = rows(pool, bucket, after, (prefix, &greatest), limit).await?;
    let bad = |why| corrupt(after.phase.as_str(), format!("{}/…", bucket.0), why);
    let due = unreadable.pass(&rows, after.phase.as_str(), |cells| due(&rules, bucket, after.phase, cells));
    let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = match rows.last().filter(|_| is_full) {
        Some(last) => behind(after.phase, Cells(last)).map_err(bad)?,
        None => Place { key: greatest, ..Place::start(after.phase) },
    };
    Ok(DuePage { due: due.into_iter().flatten().collect(), next: Some(next) })
}

async fn rules(pool: &Pool, bucket: BucketId) -> Result<Vec<LifecycleRule>, Failure> {
    let rows = pool.run(RULES, &[&bucket.0]).await?;
    let read = |row: &Row| lifecycle(Cells(row)).map_err(|why| corrupt("buckets", bucket.0, why));
    rows.first().map(read).transpose().map(Option::unwrap_or_default)
}

async fn rows(
    pool: &Pool,
    bucket: BucketId,
    after: &Place,
    (least, greatest): (&str, &str),
    limit: u32,
) -> Result<Vec<Row>, Failure> {
    let limit = i64::from(limit);
    let seq = after.seq.map(|seq| seq.0);
    let upload = after.upload.map(|upload| upload.0);
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&bucket.0, &least, &greatest, &after.key, &limit];
    match after.phase {
        Phase::Objects => pool.run(OBJECTS, &params).await,
        Phase::Versions => {
            params.push(&seq);
            pool.run(VERSIONS, &params).await
        }
        Phase::Uploads => {
            params.push(&upload);
            pool.run(UPLOADS, &params).await
        }
    }
}

fn behind(phase: Phase, cells: Cells<'_>) -> Result<Place, String> {
    let mut place = Place { key: cells.get("key")?, ..Place::start(phase) };
    match phase {
        Phase::Objects => {}
        Phase::Versions => place.seq = Some(Seq(cells.get("seq")?)),
        Phase::Uploads => place.upload = Some(UploadId(cells.get("id")?)),
    }
    Ok(place)
}

fn due(
    rules: &[LifecycleRule],
    bucket: BucketId,
    phase: Phase,
    cells: Cells<'_>,
) -> Result<Option<Expire>, String> {
    let key: String = cells.get("key")?;
    let now = cells.time("now")?;
    let what = match phase {
        Phase::Objects => {
            let tags = cells.json("tags")?;
            // Nothing keeps one from being hidden by a marker.
            expires(rules, &aged(&key, Some(&tags), ObjectLock::default(), cells)?, now)
                .map(|_| Ok::<_, String>(Expiring::Current(version(cells)?)))
        }
        Phase::Versions => {
            let tags = cells.json("tags")?;
            let contents = (!cells.get::<bool>("delete_marker")?).then_some(&tags);
            let aged = aged(&key, contents, object_lock(cells)?, cells)?;
            noncurrent_expires(rules, &aged, read_standing(cells)?, now).map(|_| {
                Ok(Expiring::Noncurrent { version: version(cells)?, is_null: cells.get("is_null")? })
            })
        }
        Phase::Uploads => upload_expires(rules, &key, cells.time("initiated")?, now)
            .map(|_| Ok(Expiring::Upload(UploadId(cells.get("id")?)))),
    };
    what.transpose().map(|what| what.map(|what| Expire { bucket, key, what }))
}

fn version(cells: Cells<'_>) -> Result<VersionId, String> {
    Ok(VersionId::from_uuid(cells.get::<Uuid>("version")?))
}

fn aged<'a>(
    key: &'a str,
    tags: Option<&'a BTreeMap<String, String>>,
    lock: ObjectLock,
    cells: Cells<'_>,
) -> Result<Aged<'a>, String> {
    let size = cells.unsigned("size")?;
    Ok(Aged { key, contents: tags.map(|tags| (size, tags)), modified: cells.time("modified")?, lock })
}
