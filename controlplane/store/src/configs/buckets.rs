//! Buckets that clients make, change and delete.
//!
//! Invariant: all changes of the configuration take turns under the migration lock, declarations too, so that what was
//! read here is what is written over; and a bucket is found empty only under its own lock, exclusively, which whoever
//! writes to it holds shared.

use async_trait::async_trait;
use s3o_core::bucket::{BucketChange, Contents, Facts, Named, Step, Wanted, decide, empty};
use s3o_core::call::Refusal;
use s3o_core::outcome_log::Logged;
use s3o_core::ports::{Buckets, PortError};
use s3o_core::session::VERSIONS_FEATURE;
use s3o_core::worker::Counts;
use s3o_types::{BucketId, Right, Rights};
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::{GENERATION, mint, object_lock};
use crate::Store;
use crate::error::Failure;
use crate::rows::{Cells, bucket_state, corrupt, rules_json};
use crate::schema::{LOCK_BUCKET, LOCK_MIGRATION};

/// $1 operation, $2 access key, $3 feature.
const ASKER: &str = "
    SELECT EXISTS (SELECT FROM buckets WHERE made_by = $1::uuid OR deleted_by = $1::uuid) AS repeated,
           COALESCE((SELECT create_buckets FROM credentials WHERE access_key_id = $2::text), false) AS may_create,
           (SELECT count(*) FROM buckets WHERE owner = $2::text AND state <> 'gone') AS owned,
           (SELECT min(s.name) FROM sessions s
            WHERE s.deadline > now() AND NOT $3::text = ANY (s.features)) AS lacking";

/// $1 name, $2 access key, $3 the bit of the right.
const NAMED: &str = "
    SELECT b.id, b.state, b.declared, b.declared AND b.cors IS NOT NULL AS declares_cors,
           b.declared AND b.lifecycle IS NOT NULL AS declares_lifecycle, b.object_lock_declared AS declares_lock,
           b.versioning, b.owner,
           EXISTS (
               SELECT FROM scoped_grants g
               WHERE g.access_key_id = $2::text AND g.bucket = b.id AND g.prefix = '' AND g.rights & $3::smallint <> 0
           ) AS may_configure
    FROM buckets b WHERE b.name = $1::text AND b.state <> 'gone'";

/// $5: with Object Lock.
const CREATE: &str = "
    WITH made AS (
        INSERT INTO buckets (name, declared, owner, made_by, versioning, state, object_lock)
        VALUES ($1::text, false, $2::text, $3::uuid, CASE WHEN $5::boolean THEN 'enabled' ELSE 'off' END,
                CASE WHEN $5 THEN 'locked' ELSE 'active' END, CASE WHEN $5 THEN '{}'::jsonb END) RETURNING id
    )
    INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) SELECT $2::text, id, '', $4::smallint FROM made";

/// A row without a key, as that of versioning: the journal ships the bucket as it is then, and `s3o recover` tells by it what
/// was changed since. $1 operation, $2 outcome, $3 what, $4 the bucket's name.
const LOG: &str = "
    INSERT INTO changes (n, op, item, outcome, bucket, key, object)
    SELECT nextval('change_seq'), $1::uuid, 0, $2::smallint, id, '', jsonb_build_object('bucket', $3::text)
    FROM buckets WHERE name = $4::text AND state <> 'gone'";

const CONTENTS: &str = "
    SELECT EXISTS (SELECT FROM objects WHERE bucket = $1::int) AS objects,
           EXISTS (SELECT FROM object_versions WHERE bucket = $1::int) AS versions,
           $2::boolean AND EXISTS (SELECT FROM uploads WHERE bucket = $1::int AND state = 'open') AS uploads,
           EXISTS (SELECT FROM intents WHERE bucket = $1::int) AS intents";

const DELETE: &str = "
    WITH deleted AS (
        UPDATE buckets SET state = 'deleting', deleted_by = $2::uuid
        WHERE id = $1::int AND state IN ('active', 'versioned', 'locked') RETURNING id
    ), whole AS (DELETE FROM grants WHERE bucket IN (SELECT id FROM deleted))
    DELETE FROM scoped_grants WHERE bucket IN (SELECT id FROM deleted)";

const CORS: &str = "
    UPDATE buckets SET stored_cors = $2::text::jsonb
    WHERE id = $1::int AND stored_cors IS DISTINCT FROM $2::text::jsonb";

const LIFECYCLE: &str = "
    UPDATE buckets SET stored_lifecycle = $2::text::jsonb
    WHERE id = $1::int AND stored_lifecycle IS DISTINCT FROM $2::text::jsonb";

/// Nobody may write to a bucket that is being deleted, so that nothing is added to what is found missing here. Its open
/// uploads are given up meanwhile, as those that nobody finishes. Whose
/// the hashed storage keys in the queue are cannot be told: they hold every bucket up until they are deleted. A
/// dead letter may stay for ever, so that only those with the bucket's name count. In the recovery mode what is in a bucket
/// is not known.
const RETIRE: &str = "
    UPDATE buckets b SET state = 'gone', gone_after = (SELECT last_value FROM version_seq)
    WHERE b.state = 'deleting'
      AND NOT EXISTS (SELECT FROM objects o WHERE o.bucket = b.id)
      AND NOT EXISTS (SELECT FROM object_versions v WHERE v.bucket = b.id)
      AND NOT EXISTS (SELECT FROM uploads u WHERE u.bucket = b.id AND u.state = 'open')
      AND NOT EXISTS (SELECT FROM intents i WHERE i.bucket = b.id)
      AND NOT EXISTS (SELECT FROM cleanup_queue q WHERE starts_with(q.storage_key, b.name || '/')
                                                     OR starts_with(q.storage_key, '.s3o/long/'))
      AND NOT EXISTS (SELECT FROM cleanup_dlq d WHERE starts_with(d.storage_key, b.name || '/'))
      AND (SELECT may_delete())
    RETURNING b.id";

#[async_trait]
impl Buckets for Store {
    async fn change(&self, change: BucketChange) -> Result<Result<i64, Refusal>, PortError> {
        let pool = &self.inner.general;
        let changed =
            pool.retried(|| pool.transact_once(async |transaction| make(transaction, &change).await)).await?;
        // The change is served at once, not at the next poll.
        self.inner.wake_config.notify_one();
        Ok(changed)
    }

    async fn retire(&self) -> Result<Counts, PortError> {
        let retired = self.inner.general.run(RETIRE, &[]).await?;
        let n = u64::try_from(retired.len()).unwrap_or(u64::MAX);
        Ok(Counts::from([("retired".to_owned(), n)]))
    }
}

async fn make(transaction: &Transaction<'_>, change: &BucketChange) -> Result<Result<i64, Refusal>, Failure> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK_MIGRATION}, 0)");
    transaction.batch_execute(&lock).await?;
    if matches!(change.wanted, Wanted::Create { .. }) {
        // The name may be that of a bucket that was deleted, and that nothing holds up any more.
        transaction.execute(RETIRE, &[]).await?;
    }
    let facts = facts(transaction, change).await?;
    let step = match decide(change, &facts) {
        Ok(step) => step,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match write(transaction, change, step).await? {
        Ok(true) => {
            let (outcome, what) = (Logged::BucketChanged.code(), change.wanted.as_str());
            transaction.execute(LOG, &[&change.op, &outcome, &what, &change.name.as_str()]).await?;
            mint(transaction).await.map(Ok)
        }
        Ok(false) => Ok(Ok(transaction.query_one(GENERATION, &[]).await?.get(0))),
        Err(refusal) => Ok(Err(refusal)),
    }
}

async fn facts(transaction: &Transaction<'_>, change: &BucketChange) -> Result<Facts, Failure> {
    let BucketChange { op, access_key, name, wanted: _ } = change;
    let asker = transaction.query_one(ASKER, &[op, access_key, &VERSIONS_FEATURE]).await?;
    let right = i16::from(Rights::NONE.with(Right::Configure).bits());
    let named = transaction.query_opt(NAMED, &[&name.as_str(), access_key, &right]).await?;
    let bad = |why| corrupt("buckets", name, why);
    Ok(Facts {
        repeated: asker.get("repeated"),
        may_create: asker.get("may_create"),
        may_configure: named.as_ref().is_some_and(|row| row.get("may_configure")),
        owned: Cells(&asker).unsigned("owned").map_err(bad)?,
        lacking: asker.get("lacking"),
        named: named.as_ref().map(named_bucket).transpose().map_err(bad)?,
    })
}

fn named_bucket(row: &Row) -> Result<Named, String> {
    let cells = Cells(row);
    Ok(Named {
        id: BucketId(cells.get("id")?),
        state: bucket_state(cells)?,
        declared: cells.get("declared")?,
        declares_cors: cells.get("declares_cors")?,
        declares_lifecycle: cells.get("declares_lifecycle")?,
        declares_lock: cells.get("declares_lock")?,
        versioning: cells.word("versioning")?,
        owner: cells.get("owner")?,
    })
}

/// Whether the configuration is another then.
async fn write(
    transaction: &Transaction<'_>,
    change: &BucketChange,
    step: Step,
) -> Result<Result<bool, Refusal>, Failure> {
    let BucketChange { op, access_key, name, wanted } = change;
    match step {
        Step::Done => Ok(Ok(false)),
        Step::Create { locks } => {
            let all = i16::from(Rights::KNOWN.bits());
            transaction.execute(CREATE, &[&name.as_str(), access_key, op, &all, &locks]).await?;
            Ok(Ok(true))
        }
        Step::Delete(id) => {
            match empty(delete_empty(transaction, id.0, Some(*op), Uploads::GivenUp).await?) {
                Ok(()) => Ok(Ok(true)),
                Err(refusal) => Ok(Err(refusal)),
            }
        }
        Step::Cors(id) => {
            let rules = stored_rules(name.as_str(), wanted)?;
            Ok(Ok(transaction.execute(CORS, &[&id.0, &rules]).await? > 0))
        }
        Step::Lifecycle(id) => {
            let rules = stored_rules(name.as_str(), wanted)?;
            Ok(Ok(transaction.execute(LIFECYCLE, &[&id.0, &rules]).await? > 0))
        }
        Step::Lock(id) => {
            let Wanted::Lock(lock) = wanted else { return Ok(Ok(false)) };
            object_lock::set(transaction, id, lock).await
        }
    }
}

/// What is done about a bucket's open uploads where it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uploads {
    /// They are given up afterwards: whoever deletes it means them, too.
    GivenUp,
    /// They keep it: their client has begun them without knowing that it was deleted.
    Keep,
}

/// Deletes a bucket if there is nothing in it. What there is, found under its lock.
pub(crate) async fn delete_empty(
    transaction: &Transaction<'_>,
    id: i32,
    op: Option<Uuid>,
    uploads: Uploads,
) -> Result<Contents, Failure> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK_BUCKET}, {id})");
    transaction.batch_execute(&lock).await?;
    // A new statement: it sees what those that held the lock have written.
    let contents = contents(&transaction.query_one(CONTENTS, &[&id, &(uploads == Uploads::Keep)]).await?);
    if contents == Contents::default() {
        transaction.execute(DELETE, &[&id, &op]).await?;
    }
    Ok(contents)
}

fn stored_rules(bucket: &str, wanted: &Wanted) -> Result<Option<String>, Failure> {
    match wanted {
        Wanted::Cors(rules) if !rules.is_empty() => rules_json(bucket, rules).map(Some),
        Wanted::Lifecycle(rules) if !rules.is_empty() => rules_json(bucket, rules).map(Some),
        Wanted::Cors(_) | Wanted::Lifecycle(_) | Wanted::Lock(_) | Wanted::Create { .. } | Wanted::Delete => {
            Ok(None)
        }
    }
}

fn contents(row: &Row) -> Contents {
    Contents {
        objects: row.get("objects"),
        versions: row.get("versions"),
        uploads: row.get("uploads"),
        intents: row.get("intents"),
    }
}
