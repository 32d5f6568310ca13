//! Multipart uploads, looked at: pages of parts and of uploads, and those that nobody will finish.

use async_trait::async_trait;
use s3o_core::ports::{PortError, Uploads};
use s3o_core::upload::{PartRow, PartsPage, PartsQuery, UploadRow, UploadState, UploadsPage, UploadsQuery};
use s3o_core::worker::Counts;
use s3o_types::BackendId;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;
use crate::rows::{Cells, PartRecord, UploadRecord, corrupt};

/// As `UploadRecord` reads them.
macro_rules! columns {
    () => {
        "u.id, u.bucket, u.key, u.version, u.state, u.attributes, u.checksum_algorithm, u.checksum_type, u.initiated,
           u.initiator, u.closed, u.etag, u.checksums, u.seq, u.is_null"
    };
}
pub(crate) use columns;

/// As `PartRecord` reads them, but for `p_copied`: it is large, and no decision asks for it.
macro_rules! part_columns {
    () => {
        "p.upload AS p_upload, p.part AS p_part, p.gen AS p_gen, p.backend AS p_backend, p.size AS p_size,
           p.etag AS p_etag, p.checksums AS p_checksums, p.backend_etag AS p_backend_etag,
           p.backend_version AS p_backend_version, p.modified AS p_modified, p.others AS p_others,
           p.digest AS p_digest"
    };
}
pub(crate) use part_columns;

const UPLOAD: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM uploads u WHERE u.id = $1::uuid AND u.bucket = $2::int AND u.key = $3::text"
);

const PARTS: &str = concat!(
    "SELECT ",
    part_columns!(),
    ", p.copied AS p_copied
    FROM upload_parts p WHERE p.upload = $1::uuid AND p.part > $2::smallint ORDER BY p.part LIMIT $3::bigint"
);

/// $1 bucket, $2 prefix, $3 greatest key, $4 key after, $5 upload after or NULL, $6 rows.
const UPLOADS: &str = concat!(
    "SELECT ",
    columns!(),
    "
    FROM uploads u
    WHERE u.state = 'open' AND u.bucket = $1::int AND u.key >= $2::text AND u.key <= $3::text
      AND u.key >= $4::text AND (u.key > $4::text OR u.id > $5::uuid)
    ORDER BY u.key, u.id LIMIT $6::bigint"
);

/// $1 age in microseconds, $2 rows, $3 and $4 when the last one was begun, in microseconds since 1970, and which it is.
const STALE: &str = concat!(
    "SELECT ",
    columns!(),
    ", (extract(epoch FROM u.initiated) * 1000000)::bigint AS initiated_us
    FROM (
        (SELECT o.* FROM uploads o
         WHERE o.state = 'open' AND o.initiated < now() - $1::bigint * interval '1 microsecond'
           AND (o.initiated, o.id) > (to_timestamp(0) + $3::bigint * interval '1 microsecond', $4::uuid)
         ORDER BY o.initiated, o.id LIMIT $2::bigint)
        UNION ALL
        (SELECT o.* FROM buckets b JOIN uploads o ON o.bucket = b.id AND o.state = 'open'
         WHERE b.state IN ('deleting', 'gone') AND o.initiated >= now() - $1::bigint * interval '1 microsecond'
           AND (o.initiated, o.id) > (to_timestamp(0) + $3::bigint * interval '1 microsecond', $4::uuid)
         ORDER BY o.initiated, o.id LIMIT $2::bigint)
    ) AS u
    ORDER BY u.initiated, u.id LIMIT $2::bigint"
);

/// A completed upload is remembered for a day, for repeats of its Complete, and so is an aborted one, for the
/// parts that come late. A few at a time: each may have ten thousand attempts.
const PRUNE: &str = "
    WITH old AS (
        SELECT id FROM uploads WHERE state <> 'open' AND closed < now() - interval '1 day'
        ORDER BY closed LIMIT 20 FOR UPDATE SKIP LOCKED
    ),
    attempts AS (DELETE FROM part_attempts a USING old WHERE a.upload = old.id)
    DELETE FROM uploads u USING old WHERE u.id = old.id RETURNING u.id";

/// By their first parts: a scrape must not read millions of rows.
const ACTIVE: &str = "
    SELECT p.backend, count(*) AS n
    FROM (SELECT id FROM uploads WHERE state = 'open' ORDER BY initiated DESC LIMIT 10000) AS u,
    LATERAL (
        SELECT DISTINCT backend FROM (
            SELECT backend FROM part_copies WHERE part_copies.upload = u.id ORDER BY part LIMIT 64
        ) AS first
    ) AS p
    GROUP BY p.backend";

fn upload(row: &Row) -> Result<UploadRow, Failure> {
    let bad = |why| corrupt("uploads", row.get::<_, Uuid>("id"), why);
    UploadRow::try_from(UploadRecord(Cells(row))).map_err(bad)
}

fn part(row: &Row) -> Result<PartRow, Failure> {
    let bad = |why| corrupt("upload_parts", row.get::<_, Uuid>("p_upload"), why);
    PartRow::try_from(PartRecord(Cells(row))).map_err(bad)
}

#[async_trait]
impl Uploads for Store {
    async fn parts(&self, query: PartsQuery) -> Result<Option<PartsPage>, PortError> {
        let PartsQuery { bucket, key, upload: id, after, max_parts } = query;
        let after = i16::try_from(after).unwrap_or(i16::MAX);
        let limit = i64::from(max_parts) + 1;
        // The parts first: an upload that is closed in between says so, and then they do not matter.
        let rows = self.inner.lookup.run(PARTS, &[&id.0, &after, &limit]).await?;
        let found = self.inner.lookup.run(UPLOAD, &[&id.0, &bucket.0, &key]).await?;
        let Some(found) = found.first() else { return Ok(None) };
        let parts: Result<Vec<PartRow>, Failure> = rows.iter().map(part).collect();
        let (mut parts, upload) = (parts?, upload(found)?);
        if upload.state != UploadState::Open {
            parts.clear();
        }
        let truncated = parts.len() > usize::from(max_parts);
        parts.truncate(usize::from(max_parts));
        Ok(Some(PartsPage { upload, parts, truncated }))
    }

    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, PortError> {
        let UploadsQuery { bucket, prefix, key_after, upload_after, max_uploads } = query;
        let greatest = crate::ledger::beyond(&prefix);
        let after: Option<Uuid> = upload_after.map(|upload| upload.0);
        let limit = i64::from(max_uploads) + 1;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&bucket.0, &prefix, &greatest, &key_after, &after, &limit];
        let rows = self.inner.lookup.run(UPLOADS, &params).await?;
        let uploads: Result<Vec<UploadRow>, Failure> = rows.iter().map(upload).collect();
        let mut uploads = uploads?;
        let wanted = usize::try_from(max_uploads).unwrap_or(usize::MAX);
        let truncated = uploads.len() > wanted;
        uploads.truncate(wanted);
        Ok(UploadsPage { uploads, truncated })
    }

    async fn stale_uploads(&self, age_us: i64, limit: u32) -> Result<Vec<UploadRow>, PortError> {
        let mut after = (0_i64, Uuid::nil());
        loop {
            let rows =
                self.inner.general.run(STALE, &[&age_us, &i64::from(limit), &after.0, &after.1]).await?;
            // One that this release cannot read is another's to give up.
            let read = |cells: Cells<'_>| UploadRow::try_from(UploadRecord(cells));
            let uploads = self.inner.unreadable.pass(&rows, "uploads", read);
            match rows.last() {
                Some(last) if uploads.is_empty() => after = (last.get("initiated_us"), last.get("id")),
                _ => return Ok(uploads),
            }
        }
    }

    async fn prune_uploads(&self) -> Result<Counts, PortError> {
        let pruned = self.inner.general.run(PRUNE, &[]).await?;
        let n = u64::try_from(pruned.len()).unwrap_or(u64::MAX);
        Ok(Counts::from([("pruned".to_owned(), n)]))
    }

    async fn active_uploads(&self) -> Result<Vec<(BackendId, u64)>, PortError> {
        let rows = self.inner.general.run(ACTIVE, &[]).await?;
        let count = |row: &Row| u64::try_from(row.get::<_, i64>("n")).unwrap_or(0);
        Ok(rows.iter().map(|row| (BackendId(row.get("backend")), count(row))).collect())
    }
}
