//! Promise 4 as a query: what the counters say against what the rows add up to, in one snapshot.

use s3o_core::ports::PortError;
use s3o_core::usage::Usage;
use s3o_types::BackendId;

use crate::Store;
use crate::overview::usage;
use crate::rows::{Cells, corrupt};

/// Both views of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageAudit {
    /// The backend.
    pub backend: BackendId,
    /// The sum of its counters.
    pub counted: Usage,
    /// The sum of copies, parts of uploads, intents, cleanup rows and dead letters.
    pub actual: Usage,
}

impl UsageAudit {
    /// Whether the counters are right.
    pub fn agrees(&self) -> bool {
        self.counted == self.actual
    }
}

/// Two rows a backend: counted first. Scans whole tables: for audits and tests.
const AUDIT: &str = "
    WITH actual AS (
        SELECT c.backend, CASE WHEN q.id IS NULL THEN stored_size ELSE 0 END AS used, 0 AS reserved,
               CASE WHEN q.id IS NULL THEN 0 ELSE stored_size END AS orphaned,
               (q.id IS NULL AND COALESCE(extent_offset, 0) = 0)::int AS objects
        FROM copies c LEFT JOIN cleanup_queue q ON q.kind = 'version' AND q.version = c.version
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
    )
    SELECT backend, counted, sum(used)::bigint AS used, sum(reserved)::bigint AS reserved,
           sum(orphaned)::bigint AS orphaned, sum(objects)::bigint AS objects
    FROM both_views GROUP BY backend, counted ORDER BY backend, counted DESC";

impl Store {
    /// Recomputes the usage of every backend from its rows and sets it beside the counters.
    pub async fn audit_usage(&self) -> Result<Vec<UsageAudit>, PortError> {
        let rows = self.inner.general.run(AUDIT, &[]).await?;
        let mut audits: Vec<UsageAudit> = Vec::new();
        for row in &rows {
            let cells = Cells(row);
            let bad = |why| corrupt("backend_usage", "audit", why);
            let backend = BackendId(cells.get("backend").map_err(bad)?);
            let bytes = usage(cells).map_err(bad)?;
            if cells.get("counted").map_err(bad)? {
                audits.push(UsageAudit { backend, counted: bytes, actual: Usage::default() });
            } else if let Some(audit) = audits.iter_mut().find(|audit| audit.backend == backend) {
                audit.actual = bytes;
            } else {
                audits.push(UsageAudit { backend, counted: Usage::default(), actual: bytes });
            }
        }
        Ok(audits)
    }
}
