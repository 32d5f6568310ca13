//! Promise 4 as a query: what the counters say against what the rows add up to, in one snapshot.

use std::time::Duration;

use s3o_core::ports::PortError;
use s3o_core::usage::{Usage, UsageDrift};
use s3o_types::BackendId;
use tokio_postgres::{Row, Transaction};

use crate::Store;
use crate::error::Failure;
use crate::overview::usage;
use crate::pool::Pool;
use crate::rows::{Cells, corrupt};
use crate::schema::LOCK_AUDIT;

/// It reads whole tables.
const PATIENCE: Duration = Duration::from_mins(30);

/// Two rows a backend: counted first. Scans whole tables.
///
/// Where `$1` names a slot, the difference is added there. Every transaction changes rows and counters together, so that
/// in one snapshot the difference is what is wrong, and nothing else; and it is added to whatever the counters are by
/// then. So nobody has to be kept from writing meanwhile, but two audits from adding the same.
const AUDIT: &str = "
    WITH actual AS (
        SELECT c.backend, CASE WHEN q.id IS NULL THEN stored_size ELSE 0 END AS used, 0 AS reserved,
               CASE WHEN q.id IS NULL THEN 0 ELSE stored_size END AS orphaned,
               (q.id IS NULL AND COALESCE(extent_offset, 0) = 0)::int AS objects
        FROM copies c LEFT JOIN cleanup_queue q ON q.kind = 'version' AND q.version = c.version
        UNION ALL
        SELECT backend, bytes, 0, 0, 0 FROM journal_files
        UNION ALL
        SELECT backend, 0, size, 0, 0 FROM part_copies
        UNION ALL
        SELECT t.backend, 0, i.size, 0, 0 FROM intents i, unnest(i.target_backend) AS t (backend)
        UNION ALL
        SELECT backend, 0, 0, size, 0 FROM cleanup_queue WHERE kind <> 'version'
        UNION ALL
        SELECT backend, 0, 0, size, 0 FROM cleanup_dlq
    ),
    both_views AS (
        SELECT backend, true AS counted, used, reserved, orphaned, objects FROM backend_usage
        UNION ALL
        SELECT backend, false, used, reserved, orphaned, objects FROM actual
        UNION ALL
        SELECT id, view.counted, 0, 0, 0, 0 FROM backends, (VALUES (true), (false)) AS view (counted)
    ),
    sums AS MATERIALIZED (
        SELECT backend, counted, sum(used)::bigint AS used, sum(reserved)::bigint AS reserved,
               sum(orphaned)::bigint AS orphaned, sum(objects)::bigint AS objects
        FROM both_views GROUP BY backend, counted
    ),
    repaired AS (
        INSERT INTO backend_usage (backend, slot, used, reserved, orphaned, objects)
        SELECT backend, $1::smallint, a.used - c.used, a.reserved - c.reserved, a.orphaned - c.orphaned,
               a.objects - c.objects
        FROM sums a JOIN sums c USING (backend)
        WHERE $1 IS NOT NULL AND NOT a.counted AND c.counted
          AND (a.used, a.reserved, a.orphaned, a.objects) <> (c.used, c.reserved, c.orphaned, c.objects)
        ORDER BY backend
        ON CONFLICT (backend, slot) DO UPDATE SET
            used = backend_usage.used + excluded.used, reserved = backend_usage.reserved + excluded.reserved,
            orphaned = backend_usage.orphaned + excluded.orphaned,
            objects = backend_usage.objects + excluded.objects
    )
    SELECT * FROM sums ORDER BY backend, counted DESC";

impl Store {
    /// Recomputes the usage of every backend from its rows and sets it beside the counters.
    pub async fn audit_usage(&self) -> Result<Vec<UsageDrift>, PortError> {
        run(&self.inner.general, None).await
    }
}

/// The same; with a slot, what is wrong is put right there. Nothing, while another replica is at it.
pub(crate) async fn run(pool: &Pool, repair: Option<i16>) -> Result<Vec<UsageDrift>, PortError> {
    let audit = pool.transact_within(PATIENCE, async |transaction: &Transaction<'_>| {
        if repair.is_some() {
            let lock = format!("SELECT pg_try_advisory_xact_lock({LOCK_AUDIT}, 0)");
            if !transaction.query_one(&lock, &[]).await?.get::<_, bool>(0) {
                return Ok(Vec::new());
            }
        }
        drifts(&transaction.query(AUDIT, &[&repair]).await?)
    });
    Ok(audit.await?)
}

fn drifts(rows: &[Row]) -> Result<Vec<UsageDrift>, Failure> {
    let mut drifts: Vec<UsageDrift> = Vec::new();
    for row in rows {
        let cells = Cells(row);
        let bad = |why| corrupt("backend_usage", "audit", why);
        let backend = BackendId(cells.get("backend").map_err(bad)?);
        let bytes = usage(cells).map_err(bad)?;
        if cells.get("counted").map_err(bad)? {
            drifts.push(UsageDrift { backend, counted: bytes, actual: Usage::default() });
        } else if let Some(drift) = drifts.iter_mut().find(|drift| drift.backend == backend) {
            drift.actual = bytes;
        } else {
            drifts.push(UsageDrift { backend, counted: Usage::default(), actual: bytes });
        }
    }
    Ok(drifts)
}
