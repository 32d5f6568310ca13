//! Backends that are emptied: by an operator's wish, or because no file declares them any more.
//!
//! Invariant: a backend's state changes only under the row lock that Begin takes: the next Begin sees it.

use async_trait::async_trait;
use s3o_core::ports::{Drains, PortError};
use s3o_core::replication::Drain;
use s3o_types::BackendId;
use tokio_postgres::{Row, Transaction};

use crate::Store;
use crate::configs::{mint, retire_empty};
use crate::error::Failure;
use crate::reconcile;
use crate::removals::lock_removal;
use crate::rows::{Cells, corrupt, removal};
use crate::scan::{self, Scan};

const LOCK: &str = "
    SELECT b.id FROM backend_usage u JOIN backends b ON b.id = u.backend
    WHERE u.slot = 0 AND b.name = $1 AND b.state <> 'removed' FOR UPDATE OF u";

/// A statement after the lock: it sees what those that held it have written.
const LOCKED: &str =
    "SELECT declared, asked_to_drain, removal FROM backends WHERE id = $1 AND state <> 'removed'";

const DRAINS: &str = "
    SELECT b.id, b.name, b.asked_to_drain, s.finished, u.objects, u.used, u.other,
           b.removal, b.removal_losses_upto,
           (SELECT count(*) FROM replication_queue q
            WHERE EXISTS (SELECT FROM copies c WHERE c.version = q.version AND c.backend = b.id)) AS waiting
    FROM backends b JOIN copy_scans s ON s.kind = 'drain' AND s.subject = b.id,
    LATERAL (
        SELECT COALESCE(sum(objects), 0)::bigint AS objects, COALESCE(sum(used), 0)::bigint AS used,
               COALESCE(sum(reserved + orphaned), 0)::bigint AS other
        FROM backend_usage WHERE backend_usage.backend = b.id
    ) AS u
    WHERE b.state = 'draining' ORDER BY b.name";

const NAMED: &str = "SELECT id FROM backends WHERE name = $1 AND state <> 'removed'";

/// To take a drain back ends what it was for.
const SET: &str = "
    UPDATE backends SET asked_to_drain = $2, state = $3, removal = CASE WHEN $2 THEN removal END,
        removal_losses_upto = CASE WHEN $2 THEN removal_losses_upto END
    WHERE id = $1";

async fn set_drain(transaction: &Transaction<'_>, name: &str, wish: bool) -> Result<bool, Failure> {
    let Some(row) = transaction.query_opt(NAMED, &[&name]).await? else { return Ok(false) };
    lock_removal(transaction, row.get(0)).await?;
    let Some(row) = transaction.query_opt(LOCK, &[&name]).await? else { return Ok(false) };
    let id: i32 = row.get(0);
    let Some(row) = transaction.query_opt(LOCKED, &[&id]).await? else { return Ok(false) };
    let (declared, asked): (bool, bool) = (row.get(0), row.get(1));
    let removal: Option<&str> = row.get(2);
    if asked == wish && (wish || removal.is_none()) {
        // To ask twice changes nothing; to take back what nobody asked for is a mistake.
        return Ok(wish);
    }
    let state = if wish || !declared { "draining" } else { "active" };
    transaction.execute(SET, &[&id, &wish, &state]).await?;
    if wish {
        scan::begin(transaction, Scan::Drain, id).await?;
    } else if asked && declared {
        scan::end(transaction, Scan::Drain, id).await?;
        // Versions that were copied elsewhere have one copy too many now.
        scan::begin(transaction, Scan::Returned, id).await?;
    }
    if state == "active" && removal == Some("forget") {
        // What was forgotten is there still, and nothing names it: it is looked for.
        reconcile::begin(transaction, id).await?;
    }
    mint(transaction).await?;
    Ok(true)
}

fn drain(row: &Row) -> Result<Drain, String> {
    let cells = Cells(row);
    let finished: bool = cells.get("finished")?;
    let (objects, bytes, other_bytes) =
        (cells.unsigned("objects")?, cells.unsigned("used")?, cells.unsigned("other")?);
    Ok(Drain {
        backend: BackendId(cells.get("id")?),
        name: cells.get("name")?,
        asked: cells.get("asked_to_drain")?,
        objects,
        bytes,
        other_bytes,
        waiting: cells.unsigned("waiting")?,
        // A scan that is finished found no copy then. The journal's files leave later, and reconcile may attach one.
        done: finished && objects == 0 && bytes == 0 && other_bytes == 0,
        removal: removal(cells)?,
    })
}

impl Store {
    async fn change_drain(&self, name: &str, wish: bool) -> Result<bool, PortError> {
        let pool = &self.inner.general;
        let change = || pool.transact_once(async |transaction| set_drain(transaction, name, wish).await);
        let done = pool.retried(change).await?;
        self.inner.wake_config.notify_one();
        Ok(done)
    }
}

#[async_trait]
impl Drains for Store {
    async fn drain(&self, name: &str) -> Result<bool, PortError> {
        self.change_drain(name, true).await
    }

    async fn undrain(&self, name: &str) -> Result<bool, PortError> {
        self.change_drain(name, false).await
    }

    async fn drains(&self) -> Result<Vec<Drain>, PortError> {
        let rows = self.inner.general.run(DRAINS, &[]).await?;
        let read =
            |row: &Row| drain(row).map_err(|why| corrupt("backends", row.get::<_, String>("name"), why));
        Ok(rows.iter().map(read).collect::<Result<_, Failure>>()?)
    }

    async fn retire(&self) -> Result<u64, PortError> {
        let pool = &self.inner.general;
        let retire = || {
            pool.transact_once(async |transaction: &Transaction<'_>| {
                let retired = retire_empty(transaction).await?;
                if retired > 0 {
                    mint(transaction).await?;
                }
                Ok(retired)
            })
        };
        let retired = pool.retried(retire).await?;
        if retired > 0 {
            self.inner.wake_config.notify_one();
        }
        Ok(u64::try_from(retired).unwrap_or(u64::MAX))
    }
}
