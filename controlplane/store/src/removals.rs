//! Backends that are given up.
//!
//! Invariant: a backend is given up only while it is drained, under the row lock that Begin takes; whoever lets something
//! of it go holds its row, so that taking the drain back waits, and nothing more goes after it.

use std::time::Duration;

use async_trait::async_trait;
use s3o_core::call::ExtentOf;
use s3o_core::ports::{PortError, Removals};
use s3o_core::removal::{HeldCopy, NotRemoved, Removal, RemovalOrder, RemovalPreview, RemovalSeen};
use s3o_core::upload::UploadRow;
use s3o_types::{BackendId, BucketId, Extent, Gen, Place, Seq, VersionId};
use tokio_postgres::Transaction;
use uuid::Uuid;

use crate::Store;
use crate::configs::mint;
use crate::error::Failure;
use crate::journal::let_go;
use crate::rows::{Cells, UploadRecord, corrupt, fifteen_bits, removal, small};
use crate::scan::is_away;
use crate::schema::LOCK_REMOVALS;
use crate::scrubs::place;
use crate::uploads::columns;

/// How long a look at millions of copies may take.
const PATIENCE: Duration = Duration::from_mins(30);

const FIND: &str = "SELECT id, state FROM backends WHERE name = $1 AND state <> 'removed'";

/// One pass over the backend's copies: an operator waits for it. Copies of versions that were displaced and wait for their
/// deletion may be among them.
const PREVIEW: &str = concat!(
    "SELECT b.id, b.name, u.objects, u.used, b.place, (SELECT last_value FROM change_seq) AS log_head,
        (SELECT (extract(epoch FROM s.started) * 1000000)::bigint FROM copy_scans s
         WHERE s.kind = 'drain' AND s.subject = b.id) AS drained_us,
        (SELECT count(*) FROM copies c WHERE c.backend = b.id AND c.foreign_key IS NOT NULL) AS imported,
        (SELECT count(DISTINCT c.version) FROM copies c WHERE c.backend = b.id AND NOT EXISTS (
            SELECT FROM copies o JOIN backends k ON k.id = o.backend
            WHERE o.version = c.version AND o.extent = c.extent AND o.backend <> c.backend
              AND o.state = 'verified' AND k.state = 'active' AND k.attached AND NOT ",
    is_away!("k.id"),
    ")) AS last_copies,
        (SELECT count(DISTINCT p.upload) FROM part_copies p WHERE p.backend = b.id) AS uploads
    FROM backends b, LATERAL (
        SELECT COALESCE(sum(objects), 0)::bigint AS objects, COALESCE(sum(used), 0)::bigint AS used
        FROM backend_usage WHERE backend_usage.backend = b.id
    ) AS u
    WHERE b.id = $1"
);

const LOCK: &str = "SELECT FROM backend_usage WHERE backend = $1 AND slot = 0 FOR UPDATE";

/// After a look that may have taken minutes.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// By the clock of the moment, not of the transaction: the lock may have taken its time.
const ORDER: &str = "
    UPDATE backends b SET removal = $2, removal_losses_upto = $3
    WHERE b.id = $1 AND b.state = 'draining' AND b.name = $4 AND b.place = $5
      AND extract(epoch FROM clock_timestamp()) * 1000000 <= $6::bigint
      AND EXISTS (SELECT FROM copy_scans s WHERE s.kind = 'drain' AND s.subject = b.id
                  AND (extract(epoch FROM s.started) * 1000000)::bigint = $7)";

/// An order whose answer was lost may stand already.
const STANDS: &str = "
    SELECT state = 'draining' AS drained,
           state = 'draining' AND removal = $3 AND removal_losses_upto IS NOT DISTINCT FROM $4 AS stands
    FROM backends WHERE id = $1 AND name = $2 AND state <> 'removed'";

const REMOVALS: &str = "
    SELECT id, removal, removal_losses_upto FROM backends
    WHERE state = 'draining' AND removal IS NOT NULL ORDER BY id";

const HELD: &str = "
    SELECT version, extent, gen, bucket, key FROM copies
    WHERE backend = $1 AND version >= $2 AND (version, extent) > ($2, $3) ORDER BY version, extent LIMIT $4";

const UPLOADS: &str = concat!(
    "SELECT ",
    columns!(),
    "
    FROM uploads u
    WHERE u.state = 'open' AND u.id IN (SELECT p.upload FROM part_copies p WHERE p.backend = $1)
      AND u.id > $3
    ORDER BY u.id LIMIT $2"
);

/// $1 backend, $2 rows of each kind, $3 slot. 1932750598 = `schema::LOCK_REMOVALS`.
const FORGET: &str = concat!(
    "
    WITH given_up AS (
        SELECT id FROM backends WHERE id = $1 AND state = 'draining' AND removal = 'forget'
          AND (SELECT may_delete())
          AND pg_try_advisory_xact_lock_shared(1932750598, id) FOR SHARE
    ),
    due AS MATERIALIZED (
        SELECT q.id FROM cleanup_queue q JOIN given_up g ON g.id = q.backend
        WHERE q.claimed_by IS NULL OR q.claimed_until < now()
        ORDER BY q.storage_key LIMIT $2 FOR UPDATE OF q SKIP LOCKED
    ),
    queued AS (DELETE FROM cleanup_queue q USING due WHERE q.id = due.id RETURNING q.backend, q.size),
    letters AS MATERIALIZED (
        SELECT d.id FROM cleanup_dlq d JOIN given_up g ON g.id = d.backend ORDER BY d.storage_key LIMIT $2
        FOR UPDATE OF d SKIP LOCKED
    ),
    dead AS (DELETE FROM cleanup_dlq d USING letters l WHERE d.id = l.id RETURNING d.backend, d.size),
    stored AS MATERIALIZED (
        SELECT f.backend, f.storage_key, f.bytes FROM journal_files f JOIN given_up g ON g.id = f.backend
        WHERE NOT f.gone ORDER BY f.storage_key FOR UPDATE OF f
    ),
    files AS (
        ",
    let_go!(),
    "
        FROM stored s WHERE f.backend = s.backend AND f.storage_key = s.storage_key RETURNING s.backend, s.bytes
    ),
    gone AS (
        SELECT backend, 0 AS used, -size AS orphaned FROM queued
        UNION ALL SELECT backend, 0, -size FROM dead
        UNION ALL SELECT backend, -bytes, 0 FROM files
    ),
    freed AS (
        INSERT INTO backend_usage (backend, slot, used, orphaned)
        SELECT backend, $3::smallint, sum(used)::bigint, sum(orphaned)::bigint FROM gone GROUP BY backend
        ON CONFLICT (backend, slot) DO UPDATE SET used = backend_usage.used + excluded.used,
            orphaned = backend_usage.orphaned + excluded.orphaned
    )
    SELECT count(*) AS n FROM gone"
);

/// What could not be deleted is tried again.
const TRY_AGAIN: &str = "
    WITH letters AS MATERIALIZED (
        SELECT d.id FROM cleanup_dlq d JOIN backends b ON b.id = d.backend
        WHERE d.backend = $1 AND b.state = 'draining' AND b.removal = 'purge'
          AND (SELECT may_delete())
        ORDER BY d.storage_key LIMIT $2
        FOR UPDATE OF d SKIP LOCKED
    ),
    dead AS (DELETE FROM cleanup_dlq d USING letters l WHERE d.id = l.id RETURNING d.*)
    INSERT INTO cleanup_queue (kind, backend, storage_key, version, extent, gen, backend_version, size, reason,
                               uncertain, second_pass, not_before)
    SELECT kind, backend, storage_key, version, extent, gen, backend_version, size, reason, uncertain, second_pass,
           now() FROM dead
    RETURNING 1";

/// For who changes how a backend is given up. Taken first: while it is waited for no Begin is held up, and it is waited for as
/// long as what lets something go takes that began before.
pub(crate) async fn lock_removal(transaction: &Transaction<'_>, backend: i32) -> Result<(), Failure> {
    transaction
        .execute("SELECT pg_advisory_xact_lock($1::int, $2::int)", &[&LOCK_REMOVALS, &backend])
        .await?;
    Ok(())
}

/// `None`: not any more.
fn given_up(cells: Cells<'_>) -> Result<Option<(BackendId, Removal)>, String> {
    let id = BackendId(cells.get("id")?);
    Ok(removal(cells)?.map(|removal| (id, removal)))
}

fn preview(cells: Cells<'_>, now_us: i64) -> Result<RemovalPreview, String> {
    Ok(RemovalPreview {
        backend: BackendId(cells.get("id")?),
        name: cells.get("name")?,
        objects: cells.unsigned("objects")?,
        bytes: cells.unsigned("used")?,
        imported: cells.unsigned("imported")?,
        last_copies: cells.unsigned("last_copies")?,
        uploads: cells.unsigned("uploads")?,
        seen: RemovalSeen {
            now_us,
            drained_us: cells.get::<Option<i64>>("drained_us")?.unwrap_or_default(),
            place: Place::from_number(cells.get("place")?),
            log_head: Seq(cells.get("log_head")?),
        },
    })
}

fn held(cells: Cells<'_>) -> Result<HeldCopy, String> {
    let of = ExtentOf {
        bucket: BucketId(cells.get("bucket")?),
        key: cells.get("key")?,
        version: VersionId::from_uuid(cells.get("version")?),
        extent: small(cells.get("extent")?, Extent::new)?,
    };
    Ok(HeldCopy { of, r#gen: small(cells.get("gen")?, Gen::new)? })
}

async fn order(
    transaction: &Transaction<'_>,
    name: &str,
    order: RemovalOrder,
) -> Result<Result<(), NotRemoved>, Failure> {
    let RemovalOrder { backend, removal: Removal { mode, losses_upto }, drained_us, place, until_us } = order;
    let (mode, upto) = (mode.as_str(), losses_upto.map(|seq| seq.0));
    lock_removal(transaction, backend.0).await?;
    transaction.query(LOCK, &[&backend.0]).await?;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&backend.0, &mode, &upto, &name, &place.number(), &until_us, &drained_us];
    if transaction.execute(ORDER, &params).await? > 0 {
        mint(transaction).await?;
        return Ok(Ok(()));
    }
    let row = transaction.query_opt(STANDS, &[&backend.0, &name, &mode, &upto]).await?;
    let Some(row) = row else { return Ok(Err(NotRemoved::Unknown)) };
    Ok(match (row.get("drained"), row.get::<_, Option<bool>>("stands")) {
        (_, Some(true)) => Ok(()),
        (true, _) => Err(NotRemoved::Expired),
        (false, _) => Err(NotRemoved::NotDrained),
    })
}

#[async_trait]
impl Removals for Store {
    async fn preview_removal(&self, name: &str) -> Result<Result<RemovalPreview, NotRemoved>, PortError> {
        let pool = &self.inner.general;
        let found = pool.run(FIND, &[&name]).await?;
        let Some(found) = found.first() else { return Ok(Err(NotRemoved::Unknown)) };
        let (id, state): (i32, &str) = (found.get("id"), found.get("state"));
        if state != "draining" {
            return Ok(Err(NotRemoved::NotDrained));
        }
        let looked = pool.transact_within(PATIENCE, async |transaction: &Transaction<'_>| {
            let row = transaction.query_opt(PREVIEW, &[&id]).await?;
            Ok((row, transaction.query_one(CLOCK, &[]).await?.get::<_, i64>(0)))
        });
        let (row, now_us) = looked.await?;
        let Some(row) = row else { return Ok(Err(NotRemoved::Unknown)) };
        Ok(Ok(preview(Cells(&row), now_us).map_err(|why| corrupt("backends", name, why))?))
    }

    async fn remove(&self, name: &str, wish: RemovalOrder) -> Result<Result<(), NotRemoved>, PortError> {
        let pool = &self.inner.general;
        let change =
            || pool.transact_once(async |transaction: &Transaction<'_>| order(transaction, name, wish).await);
        let done = pool.retried(change).await?;
        self.inner.wake_config.notify_one();
        Ok(done)
    }

    async fn removals(&self) -> Result<Vec<(BackendId, Removal)>, PortError> {
        let rows = self.inner.general.run(REMOVALS, &[]).await?;
        Ok(self.inner.unreadable.pass(&rows, "backends", given_up).into_iter().flatten().collect())
    }

    async fn held_copies(
        &self,
        backend: BackendId,
        after: Option<(VersionId, Extent)>,
        limit: u32,
    ) -> Result<Vec<HeldCopy>, PortError> {
        let mut after = after;
        loop {
            let version = after.map_or(Uuid::nil(), |(version, _)| version.to_uuid());
            let extent = after.map_or(-1, |(_, extent)| fifteen_bits(extent.get()));
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                [&backend.0, &version, &extent, &i64::from(limit)];
            let rows = self.inner.general.run(HELD, &params).await?;
            let copies = self.inner.unreadable.pass(&rows, "copies", held);
            // None that can be read: it is gone on behind them.
            if rows.is_empty() || !copies.is_empty() {
                return Ok(copies);
            }
            after = place(&rows);
        }
    }

    async fn uploads_on(&self, backend: BackendId, limit: u32) -> Result<Vec<UploadRow>, PortError> {
        let mut after = Uuid::nil();
        loop {
            let rows = self.inner.general.run(UPLOADS, &[&backend.0, &i64::from(limit), &after]).await?;
            let read = |cells: Cells<'_>| UploadRow::try_from(UploadRecord(cells));
            let uploads = self.inner.unreadable.pass(&rows, "uploads", read);
            match rows.last() {
                Some(last) if uploads.is_empty() => after = last.get("id"),
                _ => return Ok(uploads),
            }
        }
    }

    async fn forget_queued(&self, backend: BackendId, limit: u32) -> Result<u64, PortError> {
        let (pool, limit) = (&self.inner.general, i64::from(limit));
        let slot = self.inner.slots.maintenance();
        let forgotten = pool.run(FORGET, &[&backend.0, &limit, &slot]).await?;
        let forgotten: i64 = forgotten.first().map_or(0, |row| row.get("n"));
        let again = pool.run(TRY_AGAIN, &[&backend.0, &limit]).await?.len();
        Ok(u64::try_from(forgotten).unwrap_or(0) + again as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_the_text_are_those_of_the_code() {
        assert!(FORGET.contains(&LOCK_REMOVALS.to_string()));
    }
}
