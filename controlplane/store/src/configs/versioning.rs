//! Whether a bucket keeps versions: as YAML declares it, and as clients ask for it.
//!
//! Invariant: it changes under the bucket's lock taken alone. Whoever decides a write holds it shared, so that each write
//! is decided before the change or after it, and none by both.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use s3o_core::call::Refusal;
use s3o_core::config::DeclaredBucket;
use s3o_core::outcome_log::Logged;
use s3o_core::ports::{PortError, Versions};
use s3o_core::session::VERSIONS_FEATURE;
use s3o_core::versions::{SetVersioning, VersioningFacts, VersionsPage, VersionsQuery, set_versioning};
use s3o_types::{BucketId, ErrorCode, Op, Right, Rights, Versioning};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::Store;
use crate::configs::mint;
use crate::error::Failure;
use crate::ledger;
use crate::rows::{Cells, bucket_state, corrupt};
use crate::schema::LOCK_BUCKET;

/// $1 bucket, $2 and $3 operation, $4 access key, $5 bits of the right, $6 feature.
const FACTS: &str = "
    SELECT b.id, b.state, b.versioning, b.versioning_declared, b.object_lock IS NOT NULL AS locks,
           EXISTS (SELECT FROM changes
                   WHERE op = $2::uuid AND item = $3::int AND day >= (now() AT TIME ZONE 'UTC')::date - 1) AS done,
           EXISTS (SELECT FROM scoped_grants g
                   WHERE g.access_key_id = $4::text AND g.bucket = b.id AND g.prefix = ''
                     AND g.rights & $5::smallint <> 0) AS may,
           (SELECT min(s.name) FROM sessions s
            WHERE s.deadline > now() AND NOT $6::text = ANY (s.features)) AS lacking
    FROM buckets b WHERE b.id = $1::int AND b.state <> 'gone'";

const CHANGE: &str = "
    UPDATE buckets SET versioning = $2::text, state = CASE state WHEN 'active' THEN 'versioned' ELSE state END
    WHERE id = $1::int";

/// A row without a key: the setting is the bucket's. What it takes to replay it stands in the place of the object.
const LOG: &str = "
    INSERT INTO changes (n, op, item, outcome, bucket, key, object)
    VALUES (nextval('change_seq'), $1, $2, $3, $4, '', jsonb_build_object('versioning', $5::text))";

async fn lock(transaction: &Transaction<'_>, bucket: i32) -> Result<(), Failure> {
    transaction.execute("SELECT pg_advisory_xact_lock($1::int, $2::int)", &[&LOCK_BUCKET, &bucket]).await?;
    Ok(())
}

async fn change(
    transaction: &Transaction<'_>,
    bucket: i32,
    versioning: Versioning,
    op: Op,
) -> Result<(), Failure> {
    transaction.execute(CHANGE, &[&bucket, &versioning.as_str()]).await?;
    let outcome = Logged::VersioningSet.code();
    transaction.execute(LOG, &[&op.id, &op.item, &outcome, &bucket, &versioning.as_str()]).await?;
    Ok(())
}

/// Locks those buckets that the declaration changes, before anything else of it is written: whoever changes one on a
/// client's behalf takes the lock first too.
pub(super) async fn lock_declared(
    transaction: &Transaction<'_>,
    declared: &[DeclaredBucket],
) -> Result<(), Failure> {
    let said = declared.iter().filter_map(|bucket| Some((bucket, bucket.keeps_versions()?)));
    let names: Vec<&str> = said.clone().map(|(bucket, _)| bucket.name.as_str()).collect();
    let words: Vec<&str> = said.clone().map(|(_, versioning)| versioning.as_str()).collect();
    let locks: Vec<bool> = said.map(|(bucket, _)| bucket.lock.is_some()).collect();
    let changed = "
        SELECT b.id FROM unnest($1::text[], $2::text[], $3::boolean[]) AS d (name, versioning, locks)
        JOIN buckets b ON b.name = d.name AND b.state <> 'gone'
        WHERE b.versioning <> d.versioning OR (d.locks AND b.object_lock IS NULL) ORDER BY b.id";
    for row in transaction.query(changed, &[&names, &words, &locks]).await? {
        lock(transaction, row.get("id")).await?;
    }
    Ok(())
}

/// Writes what is declared.
pub(super) async fn declare(
    transaction: &Transaction<'_>,
    declared: &[DeclaredBucket],
    ids: &HashMap<String, i32>,
) -> Result<(), Failure> {
    let said = "UPDATE buckets SET versioning_declared = $2 WHERE id = $1 RETURNING versioning";
    let buckets: BTreeMap<i32, Option<Versioning>> = declared
        .iter()
        .filter_map(|bucket| Some((*ids.get(bucket.name.as_str())?, bucket.keeps_versions())))
        .collect();
    for (id, versioning) in buckets {
        let row = transaction.query_one(said, &[&id, &versioning.is_some()]).await?;
        let now: Versioning = Cells(&row).word("versioning").map_err(|why| corrupt("buckets", id, why))?;
        if let Some(versioning) = versioning.filter(|versioning| *versioning != now) {
            change(transaction, id, versioning, Op { id: Uuid::new_v4(), item: 0 }).await?;
        }
    }
    Ok(())
}

fn facts(row: Option<&Row>) -> Result<VersioningFacts, String> {
    let Some(row) = row else {
        return Ok(VersioningFacts {
            done: false,
            may: true,
            state: None,
            versioning: Versioning::Off,
            locks: false,
            declared: false,
            lacking: None,
        });
    };
    let cells = Cells(row);
    Ok(VersioningFacts {
        done: cells.get("done")?,
        may: cells.get("may")?,
        state: Some(bucket_state(cells)?),
        versioning: cells.word("versioning")?,
        locks: cells.get("locks")?,
        declared: cells.get("versioning_declared")?,
        lacking: cells.get("lacking")?,
    })
}

/// One try, in one transaction.
async fn set(transaction: &Transaction<'_>, asked: &SetVersioning) -> Result<Result<(), Refusal>, Failure> {
    let SetVersioning { op, access_key, bucket, wanted } = asked;
    lock(transaction, bucket.0).await?;
    let right = i16::from(Rights::NONE.with(Right::Configure).bits());
    let row = transaction
        .query_opt(FACTS, &[&bucket.0, &op.id, &op.item, access_key, &right, &VERSIONS_FEATURE])
        .await?;
    let facts = facts(row.as_ref()).map_err(|why| corrupt("buckets", bucket.0, why))?;
    match set_versioning(*wanted, &facts) {
        Err(refusal) => return Ok(Err(refusal)),
        // Repeats are told from calls that come later, also where there was nothing to change.
        Ok(_) if facts.done => {}
        Ok(changes) => {
            change(transaction, bucket.0, *wanted, *op).await?;
            if changes {
                mint(transaction).await?;
            }
        }
    }
    Ok(Ok(()))
}

fn refused(failure: &Failure) -> Refusal {
    if failure.is_passing() {
        return Refusal::new(ErrorCode::ServiceUnavailable, "the database did not answer in time");
    }
    tracing::error!(%failure, "a bucket's versioning cannot be set");
    Refusal::new(ErrorCode::InternalError, failure.to_string())
}

#[async_trait]
impl Versions for Store {
    async fn list_versions(&self, query: VersionsQuery) -> Result<VersionsPage, Refusal> {
        ledger::list_versions(&self.inner.lookup, &query).await
    }

    async fn versioning(&self, bucket: BucketId) -> Result<Option<Versioning>, PortError> {
        let sql = "SELECT versioning FROM buckets WHERE id = $1::int AND state <> 'gone'";
        let rows = self.inner.lookup.run(sql, &[&bucket.0]).await?;
        let read = |row: &Row| {
            let word = Cells(row).word("versioning");
            word.map_err(|why| corrupt("buckets", bucket.0, why))
        };
        Ok(rows.first().map(read).transpose()?)
    }

    async fn set_versioning(&self, asked: SetVersioning) -> Result<(), Refusal> {
        let pool = &self.inner.general;
        let done =
            pool.retried(|| pool.transact_once(async |transaction| set(transaction, &asked).await)).await;
        // The change is served at once, not at the next poll.
        self.inner.wake_config.notify_one();
        done.map_err(|failure| refused(&failure))?
    }
}
