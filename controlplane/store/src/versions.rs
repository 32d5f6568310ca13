//! Versions of many extents that are due for deletion: their copies become rows of the cleanup queue, some at a
//! time, so that neither the client that displaced the version nor anybody behind it waits for thousands.
//!
//! Invariant: a blob is named by its copy row or by a queue row, never by both or none; its bytes count as
//! orphaned all the while.

use s3o_core::object::CopyRow;
use s3o_core::usage::signed;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::error::Failure;
use crate::ledger::COPIES_OF;
use crate::pool::Pool;
use crate::rows::{Cells, CopyRecord, corrupt, fifteen_bits};

/// Copies that become queue rows in one transaction.
const CHUNK: i64 = 256;

const DUE: &str = "
    SELECT id, version, storage_key, reason FROM cleanup_queue
    WHERE kind = 'version' AND not_before <= now() ORDER BY not_before, id LIMIT 1 FOR UPDATE SKIP LOCKED";

const QUEUE: &str = "
    INSERT INTO cleanup_queue (backend, storage_key, version, extent, gen, backend_version, size, reason, uncertain,
                               not_before)
    SELECT backend, storage_key, version, extent, gen, backend_version, size, $8, false,
           (SELECT not_before FROM cleanup_queue WHERE id = $9)
    FROM unnest($1::int[], $2::text[], $3::uuid[], $4::smallint[], $5::smallint[], $6::text[], $7::bigint[])
         AS t (backend, storage_key, version, extent, gen, backend_version, size)";

const PUT_OFF: &str = "
    UPDATE cleanup_queue SET not_before = now() + interval '1 hour', last_error = $2 WHERE id = $1";

const DROP: &str = "
    WITH forgotten AS (
        DELETE FROM copy_attempts a USING unnest($1::uuid[], $2::smallint[]) AS t (version, extent)
        WHERE a.version = t.version AND a.extent = t.extent
    )
    DELETE FROM copies c USING unnest($1::uuid[], $2::smallint[], $3::int[]) AS t (version, extent, backend)
    WHERE c.version = t.version AND c.extent = t.extent AND c.backend = t.backend";

/// Makes queue rows of the next copies of a version that is due. `false`: there is none.
pub(crate) async fn expand(pool: &Pool) -> Result<bool, Failure> {
    pool.transact_once(async |transaction: &Transaction<'_>| {
        let Some(due) = transaction.query_opt(DUE, &[]).await? else { return Ok(false) };
        let (id, version): (i64, Uuid) = (due.get("id"), due.get("version"));
        let rows = transaction.query(COPIES_OF, &[&version, &CHUNK]).await?;
        let copies: Result<Vec<CopyRow>, String> =
            rows.iter().map(|row| CopyRow::try_from(CopyRecord(Cells(row)))).collect();
        let copies = match copies {
            Ok(copies) => copies,
            // Perhaps a later release can: nothing else waits for it.
            Err(why) => {
                tracing::error!(error = %corrupt("copies", version, &why), "left alone for an hour");
                transaction.execute(PUT_OFF, &[&id, &why]).await?;
                return Ok(true);
            }
        };
        queue(transaction, &due, &copies).await?;
        if i64::try_from(copies.len()).is_ok_and(|n| n < CHUNK) {
            transaction.execute("DELETE FROM cleanup_queue WHERE id = $1", &[&id]).await?;
        }
        Ok(true)
    })
    .await
}

async fn queue(transaction: &Transaction<'_>, due: &Row, copies: &[CopyRow]) -> Result<(), Failure> {
    let (prefix, reason, id): (String, String, i64) =
        (due.get("storage_key"), due.get("reason"), due.get("id"));
    let backends: Vec<i32> = copies.iter().map(|copy| copy.backend.0).collect();
    let key = |copy: &CopyRow| copy.foreign_key.clone().unwrap_or_else(|| format!("{prefix}{}", copy.blob));
    let keys: Vec<String> = copies.iter().map(key).collect();
    let versions: Vec<Uuid> = copies.iter().map(|copy| copy.blob.version.to_uuid()).collect();
    let extents: Vec<i16> = copies.iter().map(|copy| fifteen_bits(copy.blob.extent.get())).collect();
    let gens: Vec<i16> = copies.iter().map(|copy| fifteen_bits(copy.blob.r#gen.get())).collect();
    let backend_versions: Vec<Option<&str>> =
        copies.iter().map(|copy| copy.backend_version.as_deref()).collect();
    let sizes: Vec<i64> = copies.iter().map(|copy| signed(copy.stored_size)).collect();
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
        [&backends, &keys, &versions, &extents, &gens, &backend_versions, &sizes, &reason, &id];
    transaction.execute(QUEUE, &params).await?;
    transaction.execute(DROP, &[&versions, &extents, &backends]).await?;
    Ok(())
}
