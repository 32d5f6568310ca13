//! Passes through buckets whose rules let something expire: who goes through which, how far, and a page of rows.
//!
//! Invariants: a page is a range of a primary key or an index, one statement, and holds nothing; what it finds due is
//! decided by the ledger. A claim carries owner and deadline and is the only fence, and each page renews it.

mod page;
mod ranges;

use async_trait::async_trait;
use s3o_core::cleanup::Claim;
use s3o_core::lifecycle::{DuePage, Place, Standing};
use s3o_core::ports::{Lifecycle, PortError};
use s3o_types::{BucketId, Seq, UploadId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;
use crate::rows::{Cells, corrupt};

/// Where the row `v` of `object_versions` stands, as [`read_standing`] reads it. A hundred newer versions are more than any
/// rule keeps (`MAX_NEWER_VERSIONS`).
macro_rules! standing {
    () => {
        "COALESCE(
               (SELECT n.modified FROM object_versions n
                WHERE n.bucket = v.bucket AND n.key = v.key AND n.seq > v.seq ORDER BY n.seq LIMIT 1),
               (SELECT o.modified FROM objects o WHERE o.bucket = v.bucket AND o.key = v.key)) AS successor,
           (SELECT count(*) FROM (
               SELECT FROM object_versions n
               WHERE n.bucket = v.bucket AND n.key = v.key AND n.seq > v.seq AND NOT n.delete_marker
               LIMIT 100) AS newer) AS newer,
           NOT EXISTS (
               SELECT FROM object_versions n WHERE n.bucket = v.bucket AND n.key = v.key AND n.seq <> v.seq)
           AND NOT EXISTS (SELECT FROM objects o WHERE o.bucket = v.bucket AND o.key = v.key) AS alone"
    };
}
pub(crate) use standing;

pub(crate) fn read_standing(cells: Cells<'_>) -> Result<Standing, String> {
    Ok(Standing {
        successor: cells.get::<Option<crate::rows::PgTime>>("successor")?.map(|time| time.0),
        newer: u32::try_from(cells.unsigned("newer")?).unwrap_or(u32::MAX),
        alone: cells.get("alone")?,
    })
}

const CLAIM: &str = "
    INSERT INTO lifecycle_passes AS p (bucket, claimed_by, claimed_until)
    VALUES ($1, $2, now() + $3::bigint * interval '1 microsecond')
    ON CONFLICT (bucket) DO UPDATE SET claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until
    WHERE p.claimed_until < now() OR p.claimed_by = excluded.claimed_by OR NOT EXISTS (
        SELECT FROM sessions s WHERE s.id = p.claimed_by AND s.deadline > now())
    RETURNING phase, after_key, after_seq, after_upload";

const SAVE: &str = "
    UPDATE lifecycle_passes SET phase = $3, after_key = $4, after_seq = $5, after_upload = $6,
        claimed_until = now() + $7::bigint * interval '1 microsecond'
    WHERE bucket = $1 AND claimed_by = $2 RETURNING 1";

const END: &str = "DELETE FROM lifecycle_passes WHERE bucket = $1 AND claimed_by = $2";

fn place(row: &Row) -> Result<Place, String> {
    let cells = Cells(row);
    Ok(Place {
        phase: cells.word("phase")?,
        key: cells.get("after_key")?,
        seq: cells.get::<Option<i64>>("after_seq")?.map(Seq),
        upload: cells.get::<Option<Uuid>>("after_upload")?.map(UploadId),
    })
}

#[async_trait]
impl Lifecycle for Store {
    async fn claim_pass(&self, bucket: BucketId, claim: Claim) -> Result<Option<Place>, PortError> {
        let rows = self.inner.general.run(CLAIM, &[&bucket.0, &claim.owner, &claim.lasts_us]).await?;
        let bad = |why| corrupt("lifecycle_passes", bucket.0, why);
        let place: Result<Option<Place>, Failure> =
            rows.first().map(|row| place(row).map_err(bad)).transpose();
        Ok(place?)
    }

    async fn due(&self, bucket: BucketId, after: &Place, limit: u32) -> Result<DuePage, PortError> {
        Ok(page::look((&self.inner.general, &self.inner.unreadable), bucket, after, limit.max(1)).await?)
    }

    async fn save_pass(
        &self,
        bucket: BucketId,
        claim: Claim,
        place: Option<&Place>,
    ) -> Result<bool, PortError> {
        let pool = &self.inner.general;
        let Some(Place { phase, key, seq, upload }) = place else {
            // A statement whose reply was lost is repeated, and finds nothing: it has ended all the same.
            pool.run(END, &[&bucket.0, &claim.owner]).await?;
            return Ok(true);
        };
        let (seq, upload) = (seq.map(|seq| seq.0), upload.map(|upload| upload.0));
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&bucket.0, &claim.owner, &phase.as_str(), key, &seq, &upload, &claim.lasts_us];
        Ok(!pool.run(SAVE, &params).await?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn newer_versions_are_counted_as_far_as_rules_keep_them() {
        assert!(standing!().contains(&format!("LIMIT {}", s3o_types::MAX_NEWER_VERSIONS)));
    }
}
