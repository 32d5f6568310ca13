//! The Object Lock of buckets: as YAML declares it, and as clients ask for it.
//!
//! Invariant: a bucket gets it under its own lock taken alone, as versioning is changed, so that no write is decided by both
//! states; and no statement here takes it away.

use std::collections::HashMap;

use s3o_core::bucket::lacks_versioning;
use s3o_core::call::Refusal;
use s3o_core::config::DeclaredBucket;
use s3o_types::{BucketId, BucketLock, Versioning};
use tokio_postgres::Transaction;

use crate::error::Failure;
use crate::rows::corrupt;
use crate::schema::LOCK_BUCKET;

/// Only of a bucket that keeps versions: whoever suspends that holds the same lock. The word keeps older releases off.
const SET: &str = "
    UPDATE buckets SET object_lock = $2::text::jsonb, state = 'locked'
    WHERE id = $1::int AND versioning = 'enabled' AND state IN ('versioned', 'locked')
      AND object_lock IS DISTINCT FROM $2::text::jsonb";

const KEEPS_VERSIONS: &str = "
    SELECT versioning = 'enabled' AS keeps FROM buckets WHERE id = $1::int AND state IN ('versioned', 'locked')";

fn json(bucket: i32, lock: &BucketLock) -> Result<String, Failure> {
    serde_json::to_string(lock).map_err(|error| corrupt("buckets", bucket, error))
}

/// Whether it was another before.
pub(super) async fn set(
    transaction: &Transaction<'_>,
    bucket: BucketId,
    lock: &BucketLock,
) -> Result<Result<bool, Refusal>, Failure> {
    let alone = "SELECT pg_advisory_xact_lock($1::int, $2::int)";
    transaction.execute(alone, &[&LOCK_BUCKET, &bucket.0]).await?;
    // A new statement: it sees what those that held the lock have written.
    let row = transaction.query_opt(KEEPS_VERSIONS, &[&bucket.0]).await?;
    if !row.is_some_and(|row| row.get("keeps")) {
        return Ok(Err(lacks_versioning()));
    }
    let json = json(bucket.0, lock)?;
    Ok(Ok(transaction.execute(SET, &[&bucket.0, &json]).await? > 0))
}

/// Whether something is declared that a bucket with Object Lock cannot be.
pub(super) async fn refuse_suspension(
    transaction: &Transaction<'_>,
    declared: &[DeclaredBucket],
) -> Result<(), Failure> {
    let suspended = declared.iter().filter(|bucket| bucket.versioning == Some(Versioning::Suspended));
    let names: Vec<&str> = suspended.map(|bucket| bucket.name.as_str()).collect();
    let locked = "SELECT name FROM buckets
                  WHERE name = ANY ($1) AND object_lock IS NOT NULL AND state <> 'gone' ORDER BY name LIMIT 1";
    match transaction.query_opt(locked, &[&names]).await? {
        None => Ok(()),
        Some(row) => {
            let name: &str = row.get("name");
            Err(Failure::Declaration(format!(
                "buckets: `{name}` has Object Lock, which it has for good; its versioning cannot be suspended"
            )))
        }
    }
}

/// Writes what is declared, after versioning.
pub(super) async fn declare(
    transaction: &Transaction<'_>,
    declared: &[DeclaredBucket],
    ids: &HashMap<String, i32>,
) -> Result<(), Failure> {
    let said = "UPDATE buckets SET object_lock_declared = $2 WHERE id = $1 AND object_lock_declared <> $2";
    for bucket in declared {
        let Some(&id) = ids.get(bucket.name.as_str()) else { continue };
        transaction.execute(said, &[&id, &bucket.lock.is_some()]).await?;
        if let Some(lock) = &bucket.lock {
            let json = json(id, lock)?;
            transaction.execute(SET, &[&id, &json]).await?;
        }
    }
    Ok(())
}
