//! Claimed work: the cleanup queue and expired intents.
//!
//! Invariants: a claim carries owner and deadline and is the only fence; results count only while the
//! claim is still the owner's. All times are the database's clock.

use async_trait::async_trait;
use s3o_core::cleanup::{
    Claim, CleanupItem, CleanupResult, DEFERRED_US, MAX_ATTEMPTS, QueueDepths, backoff_us,
};
use s3o_core::intent::Intent;
use s3o_core::ports::{PortError, Queues};
use s3o_core::session::{LEASE_SECONDS, UNLISTED_SECONDS};
use s3o_core::worker::Counts;
use s3o_types::Op;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;
use crate::recovery::is_before_gap;
use crate::rows::{Cells, CleanupRecord, IntentRecord};
use crate::versions;

/// Nothing, while the recovery mode is on; nor what stays on a backend that is given up.
const CLAIM_CLEANUP: &str = "
    WITH due AS (
        SELECT id, claimed_by IS NOT NULL AS recovered
        FROM cleanup_queue
        WHERE kind = 'blob' AND not_before <= now() - $4::bigint * interval '1 microsecond'
          AND (claimed_by IS NULL OR claimed_until < now())
          AND (SELECT may_delete())
          AND NOT EXISTS (SELECT FROM backends b WHERE b.id = cleanup_queue.backend AND b.removal = 'forget' AND b.state = 'draining')
        ORDER BY not_before, id LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    UPDATE cleanup_queue q
    SET claimed_by = $1, claimed_until = now() + $2::bigint * interval '1 microsecond'
    FROM due WHERE q.id = due.id
    RETURNING q.id, q.kind, q.backend, q.storage_key, q.version, q.extent, q.gen, q.backend_version, q.size,
              q.reason, q.uncertain, q.attempts, q.second_pass, due.recovered";

/// One statement: `mine` locks the rows that are still the owner's and says what becomes of each; every
/// row then goes one way. An uncertain key's bytes stay orphaned until its second DELETE is done.
const FINISH_CLEANUP: &str = "
    WITH result AS (
        SELECT * FROM unnest($2::bigint[], $3::text[], $4::text[]) AS r (id, what, error)
    ),
    held AS (
        SELECT id FROM cleanup_queue WHERE claimed_by = $1 AND id = ANY ($2::bigint[]) ORDER BY id FOR UPDATE
    ),
    mine AS MATERIALIZED (
        SELECT q.id, q.backend, q.size, q.attempts + 1 AS attempts, r.error,
               CASE WHEN r.what = 'deferred' THEN 'deferred'
                    WHEN r.what = 'failed' AND q.attempts + 1 >= $5::int THEN 'exhausted'
                    WHEN r.what = 'failed' THEN 'retry'
                    WHEN q.uncertain AND NOT q.second_pass THEN 'second_pass'
                    WHEN r.what = 'absent' THEN 'success_absent'
                    ELSE 'success' END AS fate
        FROM held JOIN cleanup_queue q USING (id) JOIN result r USING (id)
    ),
    put_off AS (
        UPDATE cleanup_queue q SET claimed_by = NULL, claimed_until = NULL, second_pass = true, attempts = 0,
            last_error = NULL, not_before = now() + $6::bigint * interval '1 microsecond'
        FROM mine WHERE q.id = mine.id AND mine.fate = 'second_pass'
    ),
    deferred AS (
        UPDATE cleanup_queue q SET claimed_by = NULL, claimed_until = NULL, last_error = mine.error,
            not_before = now() + $9::bigint * interval '1 microsecond'
        FROM mine WHERE q.id = mine.id AND mine.fate = 'deferred'
    ),
    retry AS (
        UPDATE cleanup_queue q SET claimed_by = NULL, claimed_until = NULL, attempts = mine.attempts,
            last_error = mine.error,
            not_before = now() + ($7::bigint[])[mine.attempts] * interval '1 microsecond'
        FROM mine WHERE q.id = mine.id AND mine.fate = 'retry'
    ),
    taken AS (
        DELETE FROM cleanup_queue q USING mine
        WHERE q.id = mine.id AND mine.fate IN ('success', 'success_absent', 'exhausted')
        RETURNING q.*, mine.fate, mine.attempts AS tries, mine.error
    ),
    dead AS (
        INSERT INTO cleanup_dlq (id, kind, backend, storage_key, version, extent, gen, backend_version, size,
                                 reason, uncertain, second_pass, attempts, last_error, queued)
        SELECT id, kind, backend, storage_key, version, extent, gen, backend_version, size,
               reason, uncertain, second_pass, tries, error, queued
        FROM taken WHERE fate = 'exhausted'
    ),
    freed AS (
        INSERT INTO backend_usage (backend, slot, orphaned)
        SELECT backend, $8::smallint, -sum(size)::bigint FROM taken
        WHERE fate <> 'exhausted' GROUP BY backend ORDER BY backend
        ON CONFLICT (backend, slot) DO UPDATE SET orphaned = backend_usage.orphaned + excluded.orphaned
    )
    SELECT fate, count(*) AS n FROM mine GROUP BY fate";

/// DESIGN §4: an intent has expired when its session's deadline has passed, or when it is over two
/// minutes old and its session's last heartbeat does not list it. A session without a row may be about to be
/// opened (its data plane was served by another replica): its intents have a lease of their own.
const CLAIM_INTENTS: &str = concat!(
    "WITH expired AS (
        SELECT i.op, i.item
        FROM intents i LEFT JOIN sessions s ON s.id = i.session
        WHERE (i.claimed_by IS NULL OR i.claimed_until < now())
          AND ((SELECT may_delete()) OR NOT ",
    is_before_gap!("i.version"),
    ")
          AND ((s.id IS NULL AND i.begun < now() - $5::bigint * interval '1 second') OR s.deadline <= now()
               OR (i.begun < now() - $4::bigint * interval '1 second' AND NOT i.op = ANY (s.open_ops)))
        ORDER BY i.begun LIMIT $3
        FOR UPDATE OF i SKIP LOCKED
    )
    UPDATE intents i SET claimed_by = $1, claimed_until = now() + $2::bigint * interval '1 microsecond'
    FROM expired e WHERE i.op = e.op AND i.item = e.item
    RETURNING i.op, i.item, i.session, i.bucket, i.key, i.version, i.size, i.kind, i.if_absent, i.if_match,
        i.required_copies, i.log_floor, i.begun, i.target_backend, i.target_extent, i.target_gen,
        i.target_key, i.target_place, i.claimed_by, i.upload"
);

const RELEASE_INTENTS: &str = "
    UPDATE intents i SET claimed_by = NULL, claimed_until = NULL
    FROM unnest($2::uuid[], $3::int[]) AS t (op, item)
    WHERE i.op = t.op AND i.item = t.item AND i.claimed_by = $1";

/// Counts stop at 100,001, which reads "more than a hundred thousand": a scrape must not scan a queue of
/// tens of millions of rows.
const DEPTHS: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM cleanup_queue LIMIT 100001) AS q) AS cleanup,
           (SELECT count(*) FROM (SELECT FROM cleanup_dlq LIMIT 100001) AS q) AS dead,
           (SELECT count(*) FROM (SELECT FROM intents LIMIT 100001) AS q) AS intents";

/// Pages of rows that cannot be read, in one claim. An owner without a session has no claim that lasts, and would be given the
/// same page for ever; what is behind so many waits for the next tick.
const PAGES: u32 = 100;

impl Store {
    /// Claims until something is there that this release can read, or nothing is due: a row that it cannot read stays claimed
    /// until its claim ends, and the others go on.
    pub(crate) async fn claimed<T>(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
        table: &'static str,
        read: impl Fn(Cells<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, Failure> {
        for _ in 0..PAGES {
            let rows = self.inner.general.run(sql, params).await?;
            let items = self.inner.unreadable.pass(&rows, table, &read);
            if rows.is_empty() || !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }
}

/// Error texts come from backends: as long as an operator reads, and nothing PostgreSQL refuses.
pub(crate) fn printable(why: &str) -> String {
    why.chars().filter(|&c| c != '\0').take(500).collect()
}

fn parts(result: &CleanupResult) -> (&'static str, Option<String>) {
    match result {
        CleanupResult::Deleted => ("deleted", None),
        CleanupResult::Absent => ("absent", None),
        CleanupResult::Failed(why) => ("failed", Some(printable(why))),
        CleanupResult::Deferred(why) => ("deferred", Some(printable(why))),
    }
}

#[async_trait]
impl Queues for Store {
    async fn claim_cleanup(&self, claim: Claim) -> Result<Vec<CleanupItem>, PortError> {
        let Claim { owner, lasts_us, limit, due_for_us } = claim;
        self.inner.general.retried(|| versions::expand(&self.inner.general)).await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&owner, &lasts_us, &i64::from(limit), &due_for_us];
        let read = |cells: Cells<'_>| CleanupItem::try_from(CleanupRecord(cells));
        Ok(self.claimed(CLAIM_CLEANUP, &params, "cleanup_queue", read).await?)
    }

    async fn finish_cleanup(
        &self,
        owner: Uuid,
        results: Vec<(CleanupItem, CleanupResult)>,
    ) -> Result<Counts, PortError> {
        let ids: Vec<i64> = results.iter().map(|(item, _)| item.id).collect();
        let (whats, errors): (Vec<&str>, Vec<Option<String>>) =
            results.iter().map(|(_, result)| parts(result)).unzip();
        let attempts = i32::try_from(MAX_ATTEMPTS).unwrap_or(i32::MAX);
        let window = self.inner.cleanup_times.late_put_window_us;
        let waits: Vec<i64> = (1..=MAX_ATTEMPTS).map(backoff_us).collect();
        let slot = self.inner.slots.maintenance();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&owner, &ids, &whats, &errors, &attempts, &window, &waits, &slot, &DEFERRED_US];
        let rows = self.inner.general.run(FINISH_CLEANUP, &params).await?;
        let mut counts = Counts::new();
        let mut done = 0;
        for row in &rows {
            let n = u64::try_from(row.get::<_, i64>("n")).unwrap_or(0);
            done += n;
            counts.insert(row.get("fate"), n);
        }
        let all = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        if all > done {
            counts.insert("not_ours".to_owned(), all - done);
        }
        Ok(counts)
    }

    async fn claim_expired_intents(&self, claim: Claim) -> Result<Vec<Intent>, PortError> {
        let Claim { owner, lasts_us, limit, due_for_us: _ } = claim;
        let unlisted = i64::from(UNLISTED_SECONDS);
        let lease = i64::from(LEASE_SECONDS);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&owner, &lasts_us, &i64::from(limit), &unlisted, &lease];
        let read = |cells: Cells<'_>| Intent::try_from(IntentRecord(cells));
        Ok(self.claimed(CLAIM_INTENTS, &params, "intents", read).await?)
    }

    async fn release_intents(&self, owner: Uuid, ops: Vec<Op>) -> Result<(), PortError> {
        let (ids, items): (Vec<Uuid>, Vec<i32>) = ops.iter().map(|op| (op.id, op.item)).unzip();
        self.inner.general.run(RELEASE_INTENTS, &[&owner, &ids, &items]).await?;
        Ok(())
    }

    async fn depths(&self) -> Result<QueueDepths, PortError> {
        let rows = self.inner.general.run(DEPTHS, &[]).await?;
        let count =
            |name: &str| rows.first().map_or(0, |row| u64::try_from(row.get::<_, i64>(name)).unwrap_or(0));
        Ok(QueueDepths { cleanup: count("cleanup"), dead_letters: count("dead"), intents: count("intents") })
    }
}
