//! The queue of versions that have too few copies or too many, and what their copies are.
//!
//! Invariants: a claim carries owner and deadline and is the only fence; a version that is queued while it is claimed
//! stays queued when its worker is done.

use async_trait::async_trait;
use s3o_core::cleanup::Claim;
use s3o_core::object::{CopyRow, ObjectRow};
use s3o_core::ports::{PortError, Replication};
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyTask, ExtentCopies, ReplicationEntry, ReplicationItem, ReplicationResult,
    backoff_us,
};
use s3o_core::worker::Counts;
use s3o_types::{BackendId, BackendState, BucketId, VersionId};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;
use crate::ledger::{ADD_REPLICATION, COPIES_AFTER, VERSION, queued};
use crate::queues::printable;
use crate::rows::{Cells, CopyRecord, ObjectRecord, corrupt, fifteen_bits};
use crate::scan;

/// A claim ends with its owner's session, if not before.
const CLAIM: &str = "
    WITH due AS (
        SELECT version FROM replication_queue
        WHERE task = $4 AND not_before <= now() - $5::bigint * interval '1 microsecond' AND (claimed_by IS NULL OR claimed_until < now()
            OR NOT EXISTS (SELECT FROM sessions s WHERE s.id = claimed_by AND s.deadline > now()))
        ORDER BY not_before, version LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    UPDATE replication_queue q
    SET claimed_by = $1, claimed_until = now() + $2::bigint * interval '1 microsecond', again = false
    FROM due WHERE q.version = due.version
    RETURNING q.version, q.bucket, q.key, q.task, q.attempts";

/// What becomes of a row, by its turn. One that was queued again meanwhile goes back as new, whatever was found: to be read, if
/// somebody asked for that. One that could not be read is looked at for the rest first, since a backend that is away must not
/// hold that up; the reading is owed (`verify`, with its failures as `attempts`) until nothing else is left to do, or what is
/// left cannot be done now: then it is read, after the wait that its failures say, and looked at for the rest behind that. One
/// that waits for another task by now was taken over and handed on.
const FINISH: &str = "
    WITH mine AS MATERIALIZED (
        SELECT q.version, q.verify, r.task, r.error, q.attempts, CASE
                WHEN r.claimed = 'verify' AND r.error IS NOT NULL THEN 'unread'
                WHEN q.again AND q.verify AND (r.claimed = 'verify' OR q.attempts = 0) THEN 'read'
                WHEN q.again THEN 'anew'
                WHEN q.verify AND r.task IS NULL THEN 'owed'
                WHEN r.error IS NOT NULL THEN 'failed'
                WHEN r.task IS NOT NULL THEN 'handed on'
                ELSE 'done' END AS turn
        FROM unnest($2::uuid[], $3::text[], $4::text[], $6::text[]) AS r (version, task, error, claimed)
        JOIN replication_queue q ON q.version = r.version AND q.task = r.claimed AND q.claimed_by = $1
        ORDER BY q.version FOR UPDATE OF q
    ),
    done AS (
        DELETE FROM replication_queue q USING mine WHERE q.version = mine.version AND mine.turn = 'done'
    ),
    back AS (
        SELECT version, error,
               CASE WHEN turn IN ('read', 'owed') THEN 'verify' WHEN turn IN ('unread', 'anew') THEN 'add' ELSE task END AS task,
               turn = 'unread' OR (verify AND turn IN ('anew', 'handed on')) AS verify,
               CASE WHEN turn IN ('unread', 'failed') THEN attempts + 1
                    WHEN verify AND turn IN ('anew', 'handed on', 'owed') THEN attempts ELSE 0 END AS attempts,
               turn IN ('failed', 'owed') AS waits
        FROM mine WHERE turn <> 'done'
    )
    UPDATE replication_queue q SET
        claimed_by = NULL, claimed_until = NULL, again = false, verify = back.verify,
        task = COALESCE(back.task, q.task), attempts = back.attempts, last_error = back.error,
        not_before = CASE WHEN back.waits AND back.attempts > 0
            THEN now() + ($5::bigint[])[least(back.attempts, cardinality($5::bigint[]))] * interval '1 microsecond'
            ELSE now() END
    FROM back WHERE q.version = back.version";

/// Counting stops at 100,001, which reads "more than a hundred thousand".
const WAITING: &str = "
    SELECT count(*) AS n FROM (SELECT FROM replication_queue WHERE task = $1 LIMIT 100001) AS q";

/// Failures after which the wait stays what it is.
const LONGEST_AFTER: u32 = 10;

/// The extents of a page: `COPIES_AFTER` has it in its text.
const PAGE: usize = 64;

fn item(cells: Cells<'_>) -> Result<ReplicationItem, String> {
    let attempts: i32 = cells.get("attempts")?;
    Ok(ReplicationItem {
        entry: ReplicationEntry {
            version: VersionId::from_uuid(cells.get("version")?),
            bucket: BucketId(cells.get("bucket")?),
            key: cells.get("key")?,
            task: cells.word("task")?,
        },
        attempts: u32::try_from(attempts).map_err(|error| format!("attempts: {error}"))?,
    })
}

fn parts(result: &ReplicationResult) -> (Option<&'static str>, Option<String>) {
    match result {
        ReplicationResult::Done => (None, None),
        ReplicationResult::HandedOver(task) => (Some(task.as_str()), None),
        ReplicationResult::Failed(why) => (None, Some(printable(why))),
    }
}

#[async_trait]
impl Replication for Store {
    async fn claim_versions(&self, task: CopyTask, claim: Claim) -> Result<Vec<ReplicationItem>, PortError> {
        let Claim { owner, lasts_us, limit, due_for_us } = claim;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&owner, &lasts_us, &i64::from(limit), &task.as_str(), &due_for_us];
        Ok(self.claimed(CLAIM, &params, "replication_queue", item).await?)
    }

    async fn finish_versions(
        &self,
        owner: Uuid,
        results: Vec<(ReplicationItem, ReplicationResult)>,
    ) -> Result<(), PortError> {
        let versions: Vec<Uuid> = results.iter().map(|(item, _)| item.entry.version.to_uuid()).collect();
        let (tasks, errors): (Vec<Option<&str>>, Vec<Option<String>>) =
            results.iter().map(|(_, result)| parts(result)).unzip();
        let waits: Vec<i64> = (1..=LONGEST_AFTER).map(backoff_us).collect();
        let claimed: Vec<&str> = results.iter().map(|(item, _)| item.entry.task.as_str()).collect();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&owner, &versions, &tasks, &errors, &waits, &claimed];
        self.inner.general.run(FINISH, &params).await?;
        Ok(())
    }

    async fn queue_versions(&self, entries: Vec<ReplicationEntry>) -> Result<(), PortError> {
        let params = queued(&entries);
        let params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            params.iter().map(|param| &**param as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        self.inner.general.run(ADD_REPLICATION, &params).await?;
        Ok(())
    }

    async fn copies(&self, query: CopiesQuery) -> Result<Option<CopiesPage>, PortError> {
        let CopiesQuery { entry: ReplicationEntry { version, bucket, key, task: _ }, after } = query;
        let version = version.to_uuid();
        let found = self.inner.general.run(VERSION, &[&bucket.0, &key, &version]).await?;
        let Some(found) = found.first() else { return Ok(None) };
        // Extents are counted from 0, and the first may be it.
        let after = after.map_or(-1, |extent| fifteen_bits(extent.get()));
        let rows = self.inner.general.run(COPIES_AFTER, &[&version, &after]).await?;
        Ok(Some(page(found, &rows)?))
    }

    async fn note_views(
        &self,
        viewer: Uuid,
        down_us: Vec<(BackendId, Option<i64>)>,
    ) -> Result<(), PortError> {
        scan::note_views(&self.inner.general, viewer, &down_us).await
    }

    async fn unhealthy(
        &self,
        replica: Uuid,
        down_us: Vec<(BackendId, Option<i64>)>,
        threshold_us: i64,
    ) -> Result<Vec<BackendId>, PortError> {
        scan::unhealthy(&self.inner.general, replica, &down_us, threshold_us).await
    }

    async fn scan(&self, unhealthy: &[BackendId]) -> Result<Option<Counts>, PortError> {
        scan::step(&self.inner.general, unhealthy).await
    }

    async fn waiting(&self, task: CopyTask) -> Result<u64, PortError> {
        let rows = self.inner.general.run(WAITING, &[&task.as_str()]).await?;
        Ok(rows.first().map_or(0, |row| u64::try_from(row.get::<_, i64>("n")).unwrap_or(0)))
    }
}

fn page(found: &Row, rows: &[Row]) -> Result<CopiesPage, Failure> {
    let cells = Cells(found);
    let object =
        ObjectRow::try_from(ObjectRecord(cells)).map_err(|why| corrupt("objects", "a version", why))?;
    let bad = |why: String| corrupt("copies", object.version, why);
    let mut extents: Vec<ExtentCopies> = Vec::new();
    for row in rows {
        let copy = CopyRow::try_from(CopyRecord(Cells(row))).map_err(bad)?;
        let state: BackendState = Cells(row).word("b_state").map_err(bad)?;
        match extents.last_mut().filter(|extent| extent.extent == copy.blob.extent) {
            Some(extent) => extent.copies.push((copy, state)),
            None => extents.push(ExtentCopies {
                extent: copy.blob.extent,
                piece: copy.piece,
                copies: vec![(copy, state)],
            }),
        }
    }
    let factor: i16 = cells.get("replication_factor").map_err(bad)?;
    Ok(CopiesPage {
        bucket_name: cells.get("bucket_name").map_err(bad)?,
        replication_factor: u16::try_from(factor).unwrap_or(1),
        more: extents.len() >= PAGE,
        extents,
        object,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_the_text_are_those_of_the_code() {
        assert!(COPIES_AFTER.contains(&format!("LIMIT {PAGE}")));
        assert_eq!(backoff_us(LONGEST_AFTER), backoff_us(u32::MAX));
    }
}
