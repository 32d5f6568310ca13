//! The scrubber's place on each backend.
//!
//! Invariants: one owner at a time reads on behalf of a backend's row; a claim ends with its owner's session, and then
//! the same copies are read again; what may be read is counted in the row, whoever reads.

use async_trait::async_trait;
use s3o_core::cleanup::Claim;
use s3o_core::ports::{PortError, Scrubs};
use s3o_core::replication::{CopyItem, CopyTask, ReplicationEntry};
use s3o_core::scrub::{SCRUB_BATCH, ScrubBatch, ScrubPace, ScrubProgress, ScrubRound, affordable};
use s3o_core::usage::signed;
use s3o_types::{BackendId, BucketId, Extent, VersionId};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;
use crate::rows::{Cells, fifteen_bits, small};
use crate::unreadable::Unreadable;

/// Backends that are new.
const MAKE: &str = "
    INSERT INTO scrub_cursors (backend) SELECT id FROM backends WHERE state <> 'removed' AND attached
    ON CONFLICT DO NOTHING";

/// An hour's bytes may be saved up. A process has one claim at a time: what it still has is what a tick that failed has left.
/// $1 owner, $2 microseconds, $3 bytes an hour, $4 seconds between rounds, $5 backends that are left out.
const CLAIM: &str = "
    WITH due AS (
        SELECT s.backend, a.allowance
        FROM scrub_cursors s JOIN backends b ON b.id = s.backend, LATERAL (
            SELECT least($3::bigint, s.allowance + (
                $3::bigint * least(extract(epoch FROM now() - s.refilled), 3600) / 3600)::bigint) AS allowance
        ) AS a
        WHERE b.state <> 'removed' AND b.attached AND NOT s.backend = ANY ($5::int[])
          AND (s.copies > 0 OR s.pass_ended IS NULL OR s.pass_ended < now() - $4::bigint * interval '1 second')
          AND (s.claimed_by IS NULL OR s.claimed_by = $1::uuid OR s.claimed_until < now()
            OR NOT EXISTS (SELECT FROM sessions n WHERE n.id = s.claimed_by AND n.deadline > now()))
          AND a.allowance > 0
        ORDER BY s.refilled, s.backend LIMIT 1 FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE scrub_cursors s SET
        allowance = due.allowance, refilled = now(),
        claimed_by = $1::uuid,
        claimed_until = now() + $2::bigint * interval '1 microsecond'
    FROM due WHERE s.backend = due.backend
    RETURNING s.backend, s.allowance, s.after_version, s.after_extent";

const NEXT: &str = "
    SELECT version, extent, bucket, key, stored_size FROM copies
    WHERE backend = $1 AND version >= $2 AND (version, extent) > ($2, $3) AND state IN ('verified', 'uncertain')
    ORDER BY version, extent LIMIT $4";

const FINISH: &str = "
    UPDATE scrub_cursors SET
        claimed_by = NULL, claimed_until = NULL, allowance = allowance - $6,
        after_version = CASE WHEN $7 THEN '00000000-0000-0000-0000-000000000000' ELSE COALESCE($3, after_version) END,
        after_extent = CASE WHEN $7 THEN -1 ELSE COALESCE($4, after_extent) END,
        copies = CASE WHEN $7 THEN 0 ELSE copies + $5 END,
        pass_started = CASE WHEN $7 THEN now() ELSE pass_started END,
        pass_ended = CASE WHEN $7 THEN now() ELSE pass_ended END
    WHERE backend = $1 AND claimed_by = $2";

const ROUNDS: &str = "
    SELECT s.backend, s.copies, extract(epoch FROM now() - s.pass_started)::bigint AS begun_s,
           extract(epoch FROM now() - s.pass_ended)::bigint AS last_done_s
    FROM scrub_cursors s JOIN backends b ON b.id = s.backend WHERE b.state <> 'removed' ORDER BY s.backend";

pub(crate) fn item(cells: Cells<'_>) -> Result<CopyItem, String> {
    Ok(CopyItem {
        entry: ReplicationEntry {
            version: VersionId::from_uuid(cells.get("version")?),
            bucket: BucketId(cells.get("bucket")?),
            key: cells.get("key")?,
            task: CopyTask::Verify,
        },
        extent: small(cells.get("extent")?, Extent::new)?,
        size: cells.unsigned("stored_size")?,
    })
}

/// Behind which a page by blob ends, whatever else is in its last row.
pub(crate) fn place(rows: &[Row]) -> Option<(VersionId, Extent)> {
    let last = rows.last()?;
    // Extents are counted in 15 bits; one below is none of ours, and is passed with the first.
    let extent = u16::try_from(last.get::<_, i16>("extent")).ok().and_then(Extent::new);
    Some((VersionId::from_uuid(last.get("version")), extent.unwrap_or(Extent::ZERO)))
}

/// The row that was claimed, and what it may read.
async fn batch(
    transaction: &Transaction<'_>,
    claimed: &Row,
    unreadable: &Unreadable,
) -> Result<ScrubBatch, Failure> {
    let (backend, allowance): (i32, i64) = (claimed.get("backend"), claimed.get("allowance"));
    let (version, extent): (Uuid, i16) = (claimed.get("after_version"), claimed.get("after_extent"));
    let rows = transaction.query(NEXT, &[&backend, &version, &extent, &i64::from(SCRUB_BATCH)]).await?;
    let mut copies = unreadable.pass(&rows, "copies", item);
    let begun = affordable(allowance, copies.iter().map(|copy| copy.size));
    let is_all = begun == copies.len();
    let is_last = rows.len() < SCRUB_BATCH as usize && is_all;
    copies.truncate(begun);
    let upto = place(&rows).filter(|_| is_all);
    Ok(ScrubBatch { backend: BackendId(backend), copies, upto, is_last })
}

async fn claim(
    transaction: &Transaction<'_>,
    (claim, pace, without): (Claim, ScrubPace, &[BackendId]),
    unreadable: &Unreadable,
) -> Result<Option<ScrubBatch>, Failure> {
    transaction.execute(MAKE, &[]).await?;
    let (rate, without) = (signed(pace.bytes_per_hour), without.iter().map(|id| id.0).collect::<Vec<i32>>());
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&claim.owner, &claim.lasts_us, &rate, &pace.rest_s, &without];
    let claimed = transaction.query_opt(CLAIM, &params).await?;
    match claimed {
        Some(row) => Ok(Some(batch(transaction, &row, unreadable).await?)),
        None => Ok(None),
    }
}

#[async_trait]
impl Scrubs for Store {
    async fn claim_scrub(
        &self,
        wanted: Claim,
        pace: ScrubPace,
        without: &[BackendId],
    ) -> Result<Option<ScrubBatch>, PortError> {
        let (pool, unreadable) = (&self.inner.general, &self.inner.unreadable);
        let wanted = (wanted, pace, without);
        let work = || pool.transact_once(async |transaction| claim(transaction, wanted, unreadable).await);
        Ok(pool.retried(work).await?)
    }

    async fn finish_scrub(&self, owner: Uuid, progress: ScrubProgress) -> Result<(), PortError> {
        let ScrubProgress { backend, after, copies, bytes, is_last } = progress;
        let version = after.map(|(version, _)| version.to_uuid());
        let extent = after.map(|(_, extent)| fifteen_bits(extent.get()));
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&backend.0, &owner, &version, &extent, &signed(copies), &signed(bytes), &is_last];
        self.inner.general.run(FINISH, &params).await?;
        Ok(())
    }

    async fn scrub_rounds(&self) -> Result<Vec<ScrubRound>, PortError> {
        let rows = self.inner.general.run(ROUNDS, &[]).await?;
        Ok(self.inner.unreadable.pass(&rows, "scrub_cursors", |cells| {
            Ok(ScrubRound {
                backend: BackendId(cells.get("backend")?),
                copies: cells.unsigned("copies")?,
                begun_s: cells.get("begun_s")?,
                last_done_s: cells.get("last_done_s")?,
            })
        }))
    }
}
