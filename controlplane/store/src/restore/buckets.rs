//! Buckets are brought to what the newest file's header says of them: made, set otherwise, and at the end deleted.
//!
//! Invariants: what a client has changed since the database was restored is newer than anything that was lost, and stays;
//! a record is never applied to another bucket than the one that it was written of; a bucket that holds anything is not
//! deleted, and nothing in it is.

use std::sync::LazyLock;

use s3o_core::outcome_log::Logged;
use s3o_core::ports::PortError;
use s3o_core::restore::MergedBuckets;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use super::PATIENCE;
use super::run::RestoreRun;
use crate::configs::{Uploads, delete_empty, mint};
use crate::error::Failure;
use crate::journal::lines::SILENT;
use crate::pool::Pool;
use crate::recovery::is_before_gap;
use crate::schema::{LOCK_BUCKET, LOCK_MIGRATION};

/// The header's buckets, and which of the database's each is: the same one; or one that bears its name by now; or none
/// yet, with its own id, or another where that is taken.
const NAMED: &str = "
    CREATE TEMP TABLE header_buckets ON COMMIT DROP AS
    WITH h AS (
        SELECT b AS line, (b->>'id')::int AS id, b->>'name' AS name,
               COALESCE(b->>'state', 'active') NOT IN ('deleting', 'gone') AS is_live
        FROM jsonb_array_elements($1::text::jsonb->'buckets') AS b
    ),
    known AS (
        SELECT h.*, COALESCE(
            (SELECT o.id FROM buckets o WHERE o.id = h.id AND o.name = h.name),
            (SELECT o.id FROM buckets o WHERE h.is_live AND o.name = h.name AND o.state <> 'gone')) AS target
        FROM h
    )
    SELECT line, id, name, is_live, target IS NULL AS is_new, COALESCE(
        target,
        CASE WHEN EXISTS (SELECT FROM buckets o WHERE o.id = known.id)
             THEN nextval(pg_get_serial_sequence('buckets', 'id'))::int ELSE id END) AS target
    FROM known";

/// Names that two have taken: one in the time that was lost, another one since, or before and not given up since. One that
/// is being deleted is nobody's; nor is one that nobody made and no file declares, as soon as it is empty; one that was
/// deleted in the lost time is its owner's only if a client has done something in it since, or has an upload open that was begun
/// or got a part since, or a write under way: an upload of before the point ended before the bucket was deleted, or with it, and a write of
/// before that is nobody's any more is not waited for, since nobody ends it while the mode is on.
/// $1: the last change of before.
static TAKEN: LazyLock<String> = LazyLock::new(|| {
    let (silent, is_old_write, is_old_upload) =
        (&*SILENT, is_before_gap!("i.version"), is_before_gap!("u.version"));
    format!(
        "SELECT h.name, h.line->>'owner' AS lost, o.owner AS owner, o.declared
    FROM header_buckets h JOIN buckets o ON o.id = h.target
    WHERE h.is_live AND NOT h.is_new AND o.id <> h.id AND o.owner IS DISTINCT FROM h.line->>'owner'
      AND o.state <> 'deleting'
      AND CASE WHEN EXISTS (SELECT FROM header_buckets g WHERE g.id = o.id AND g.name = o.name AND NOT g.is_live) THEN
               EXISTS (SELECT FROM changes c
                       WHERE c.bucket = o.id AND c.n > $1::bigint AND c.outcome NOT IN ({silent}))
               OR EXISTS (SELECT FROM uploads u
                          WHERE u.bucket = o.id AND u.state = 'open' AND (NOT COALESCE({is_old_upload}, false)
                              OR EXISTS (SELECT FROM changes c
                                         WHERE c.bucket = o.id AND c.version = u.version AND c.n > $1::bigint)))
               OR EXISTS (SELECT FROM intents i LEFT JOIN sessions s ON s.id = i.session
                          WHERE i.bucket = o.id AND i.kind <> 'replicate' AND (NOT COALESCE({is_old_write}, false)
                              OR (COALESCE(s.deadline > now(), true)
                                  AND (i.begun > now() - interval '2 minutes' OR i.op = ANY (s.open_ops)))))
           WHEN o.owner IS NULL AND NOT o.declared THEN
               EXISTS (SELECT FROM objects v WHERE v.bucket = o.id)
               OR EXISTS (SELECT FROM object_versions v WHERE v.bucket = o.id)
               OR EXISTS (SELECT FROM uploads u WHERE u.bucket = o.id AND u.state = 'open')
               OR EXISTS (SELECT FROM intents i WHERE i.bucket = o.id)
           ELSE true END
    ORDER BY h.name LIMIT 1"
    )
});

/// Whoever writes to these holds their locks shared: buckets of a name that another one had in the lost time, in which nothing is
/// to be begun while they are found empty, and those whose versioning or Object Lock is to be set.
const LOCKED: &str = "
    SELECT DISTINCT b.id FROM header_buckets h JOIN buckets b ON b.id = h.target
    WHERE h.is_live AND NOT h.is_new AND b.state <> 'gone' AND (
        b.id <> h.id OR h.line->>'versioning' <> b.versioning
        OR NULLIF(h.line->'object_lock', 'null') IS DISTINCT FROM b.object_lock) ORDER BY b.id";

/// Those that are nobody's, and are empty by what [`TAKEN`] has found, give their names up.
const GIVE_UP: &str = "
    UPDATE buckets o SET state = 'gone' FROM header_buckets h
    WHERE o.id = h.target AND h.is_live AND o.id <> h.id
      AND (o.state = 'deleting' OR (
          o.owner IS NULL AND NOT o.declared AND o.owner IS DISTINCT FROM h.line->>'owner'
          AND NOT EXISTS (SELECT FROM header_buckets g WHERE g.id = o.id AND g.name = o.name AND NOT g.is_live)))";

/// The last change of before the database was restored, for all that is known. $1 a header.
const BEFORE: &str = "
    SELECT GREATEST(($1::text::jsonb->>'change_seq')::bigint,
                    (SELECT (value->>'change_seq')::bigint FROM settings WHERE name = 'recovery')) AS n";

/// Columns that the header does not know have their defaults; those that this release does not know are left out. One that
/// was being deleted gives its name up where it is another's by now.
const MAKE: &str = "
    INSERT INTO buckets OVERRIDING SYSTEM VALUE
    SELECT (jsonb_populate_record(jsonb_populate_record(NULL::buckets, jsonb_build_object(
        'state', 'active', 'ack', 'one', 'replication_factor', 1, 'versioning', 'off', 'versioning_declared', false,
        'object_lock_declared', false, 'declared', false, 'created', now(), 'degraded_reads', 'allowed')),
        h.line || jsonb_build_object('id', h.target) || CASE
            WHEN NOT h.is_live AND EXISTS (SELECT FROM buckets o WHERE o.name = h.name AND o.state <> 'gone')
            THEN '{\"state\": \"gone\"}'::jsonb ELSE '{}'::jsonb END)).*
    FROM header_buckets h WHERE h.is_new
    RETURNING state NOT IN ('deleting', 'gone') AS is_live";

/// Records of the lost history are of the header's ids: those behind each of `$1`, up to the same of `$2`.
const RENUMBER: &str = "
    UPDATE restore_events e SET bucket = h.target
    FROM header_buckets h, unnest($1::bigint[], $2::bigint[]) AS lost (after, upto)
    WHERE e.bucket = h.id AND h.target <> h.id AND e.ord > lost.after AND e.ord <= lost.upto";

const GRANTS: &str = "
    INSERT INTO scoped_grants
    SELECT (jsonb_populate_record(NULL::scoped_grants, g || jsonb_build_object('bucket', h.target))).*
    FROM jsonb_array_elements($1::text::jsonb->'grants') AS g
    JOIN header_buckets h ON h.id = (g->>'bucket')::int AND h.is_live
    JOIN buckets b ON b.id = h.target AND b.state IN ('active', 'versioned', 'locked')
    ON CONFLICT DO NOTHING";

/// Behind all ids that were given out, here and by what was lost.
const IDS: &str = "
    SELECT setval(pg_get_serial_sequence('buckets', 'id'), GREATEST(
               (SELECT last_value FROM buckets_id_seq), (SELECT max(id) FROM buckets),
               (SELECT max((b->>'id')::int) FROM jsonb_array_elements($1::text::jsonb->'buckets') AS b), 1)),
           setval(pg_get_serial_sequence('backends', 'id'), GREATEST((SELECT max(id) FROM backends),
               (SELECT max((b->>'id')::int) FROM jsonb_array_elements($1::text::jsonb->'backends') AS b), 1))";

/// What clients have set since: changes of after the header's. $2 and $3 outcomes.
const SINCE: &str = "
    CREATE TEMP TABLE set_since ON COMMIT DROP AS
    SELECT DISTINCT bucket, COALESCE(object->>'bucket', 'versioning') AS what FROM changes
    WHERE n > ($1::text::jsonb->>'change_seq')::bigint AND outcome IN ($2::smallint, $3::smallint)
      AND EXISTS (SELECT FROM header_buckets)";

/// Rules count where YAML has none. A bucket that keeps versions by what was lost keeps them whatever is said of it since:
/// what it has would be overwritten otherwise. So has one with Object Lock, whose versions are locked. $1: those whose lock
/// is held.
const SET: &str = "
    WITH wanted AS (
        SELECT b.id,
            CASE WHEN b.cors IS NULL AND h.line ? 'stored_cors'
                      AND NOT EXISTS (SELECT FROM set_since s WHERE s.bucket = b.id AND s.what = 'cors')
                 THEN NULLIF(h.line->'stored_cors', 'null') ELSE b.stored_cors END AS cors,
            CASE WHEN b.lifecycle IS NULL AND h.line ? 'stored_lifecycle'
                      AND NOT EXISTS (SELECT FROM set_since s WHERE s.bucket = b.id AND s.what = 'lifecycle')
                 THEN NULLIF(h.line->'stored_lifecycle', 'null') ELSE b.stored_lifecycle END AS lifecycle,
            CASE WHEN b.id = ANY ($1::int[]) AND h.line->>'versioning' <> 'off' AND (b.versioning = 'off' OR (
                      NOT b.versioning_declared
                      AND NOT EXISTS (SELECT FROM set_since s WHERE s.bucket = b.id AND s.what = 'versioning')))
                 THEN h.line->>'versioning' ELSE b.versioning END AS versioning,
            CASE WHEN b.id = ANY ($1::int[]) AND jsonb_typeof(h.line->'object_lock') = 'object' AND (b.object_lock IS NULL OR (
                      NOT b.object_lock_declared
                      AND NOT EXISTS (SELECT FROM set_since s WHERE s.bucket = b.id AND s.what = 'object_lock')))
                 THEN h.line->'object_lock' ELSE b.object_lock END AS object_lock,
            CASE WHEN b.id <> h.id THEN h.line->>'owner' ELSE b.owner END AS owner
        FROM header_buckets h JOIN buckets b ON b.id = h.target
        WHERE h.is_live AND NOT h.is_new AND b.state <> 'gone'
    ),
    dropped AS (
        DELETE FROM scoped_grants g USING wanted w JOIN buckets b ON b.id = w.id
        WHERE g.bucket = w.id AND w.owner IS DISTINCT FROM b.owner
    )
    UPDATE buckets b SET
        stored_cors = w.cors, stored_lifecycle = w.lifecycle, owner = w.owner, object_lock = w.object_lock,
        versioning = CASE WHEN w.object_lock IS NOT NULL THEN 'enabled' ELSE w.versioning END,
        state = CASE WHEN b.state NOT IN ('active', 'versioned') THEN b.state
                     WHEN w.object_lock IS NOT NULL THEN 'locked'
                     WHEN w.versioning <> 'off' THEN 'versioned' ELSE 'active' END
    FROM wanted w WHERE b.id = w.id
      AND (b.stored_cors, b.stored_lifecycle, b.versioning, b.owner, b.object_lock)
          IS DISTINCT FROM (w.cors, w.lifecycle, w.versioning, w.owner, w.object_lock)";

/// Those that the database has and that were deleted, with the operation that did it; a client has made none of the name
/// since, nor changed what is there, or `is_kept`.
const DELETED: &str = "
    SELECT b.id, b.name, (h.line->>'deleted_by')::uuid AS op,
           EXISTS (SELECT FROM set_since s WHERE s.bucket = b.id) AS is_kept
    FROM header_buckets h JOIN buckets b ON b.id = h.id AND b.name = h.name
    WHERE NOT h.is_live AND NOT h.is_new AND b.state IN ('active', 'versioned', 'locked') AND NOT b.declared
      AND NOT EXISTS (SELECT FROM header_buckets o WHERE o.is_live AND o.target = b.id)
    ORDER BY b.id";

/// Deleted since, when it seemed to be empty, and it is not.
const KEEP: &str = "
    UPDATE buckets b SET deleted_by = NULL, state = CASE WHEN b.object_lock IS NOT NULL THEN 'locked'
                                                    WHEN b.versioning = 'off' THEN 'active' ELSE 'versioned' END
    FROM header_buckets h
    WHERE b.id = h.target AND h.is_live AND b.state = 'deleting'
      AND (EXISTS (SELECT FROM objects o WHERE o.bucket = b.id)
        OR EXISTS (SELECT FROM object_versions v WHERE v.bucket = b.id))
    RETURNING b.name";

/// All changes of the configuration take turns.
async fn lock(transaction: &Transaction<'_>, header: &str) -> Result<(), Failure> {
    transaction.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK_MIGRATION}, 0)")).await?;
    transaction.query(IDS, &[&header]).await?;
    transaction.execute(NAMED, &[&header]).await?;
    Ok(())
}

async fn since(transaction: &Transaction<'_>, header: &str) -> Result<(), Failure> {
    let (versioning, changed) = (Logged::VersioningSet.code(), Logged::BucketChanged.code());
    transaction.execute(SINCE, &[&header, &versioning, &changed]).await?;
    Ok(())
}

/// Makes buckets that are lacking; says how many of them are live.
pub(super) async fn make(transaction: &Transaction<'_>, header: &str) -> Result<u64, Failure> {
    lock(transaction, header).await?;
    made(transaction, header).await
}

async fn made(transaction: &Transaction<'_>, header: &str) -> Result<u64, Failure> {
    let made = transaction.query(MAKE, &[]).await?;
    transaction.query(IDS, &[&header]).await?;
    transaction.execute(GRANTS, &[&header]).await?;
    Ok(made.iter().filter(|row| row.get("is_live")).count() as u64)
}

/// Makes buckets that are lacking, sets others as they were, and lets the staged records name the database's. `lost`: those
/// that are of the lost history. `Err`: a name is two owners', and nothing was done.
pub(super) async fn merge(
    pool: &Pool,
    run: &RestoreRun,
    header: &str,
    lost: &[(i64, i64)],
) -> Result<Result<MergedBuckets, String>, PortError> {
    let (after, upto): (Vec<i64>, Vec<i64>) = lost.iter().copied().unzip();
    let merged = pool.transact_within(PATIENCE, async |transaction: &Transaction<'_>| {
        run.goes_on(transaction).await?;
        lock(transaction, header).await?;
        // All at once, in the order in which a batch takes them.
        let mut locked: Vec<i32> = Vec::new();
        for row in transaction.query(LOCKED, &[]).await? {
            let id: i32 = row.get("id");
            transaction
                .execute("SELECT pg_advisory_xact_lock($1::int, $2::int)", &[&LOCK_BUCKET, &id])
                .await?;
            locked.push(id);
        }
        let before: Option<i64> = transaction.query_one(BEFORE, &[&header]).await?.get("n");
        if let Some(row) = transaction.query_opt(TAKEN.as_str(), &[&before.unwrap_or(0)]).await? {
            return Ok(Err(taken(&row)));
        }
        if transaction.execute(GIVE_UP, &[]).await? > 0 {
            transaction.batch_execute("DROP TABLE header_buckets").await?;
            transaction.execute(NAMED, &[&header]).await?;
        }
        let made = made(transaction, header).await?;
        transaction.execute(RENUMBER, &[&after, &upto]).await?;
        since(transaction, header).await?;
        let changed = transaction.execute(SET, &[&locked]).await?;
        transaction.execute(GRANTS, &[&header]).await?;
        mint(transaction).await?;
        Ok(Ok(MergedBuckets { made, changed, ..MergedBuckets::default() }))
    });
    Ok(merged.await?)
}

fn taken(row: &Row) -> String {
    let who = |owner: Option<&str>, is_declared: bool| match owner {
        Some(key) => format!("the access key {key}"),
        None if is_declared => "the file".to_owned(),
        None => "nobody who is known".to_owned(),
    };
    format!(
        "the bucket `{}` was made by {} in the time that the database has lost, and the one that is there now is of {}: take \
         what is in that one away, delete it, or take it out of the file, and then recover again",
        row.get::<_, &str>("name"),
        who(row.get("lost"), true),
        who(row.get("owner"), row.get("declared"))
    )
}

/// All keys are as they should be: deletes buckets that were deleted, where nothing is in them.
pub(super) async fn end(pool: &Pool, run: &RestoreRun, header: &str) -> Result<MergedBuckets, PortError> {
    let ended = pool.transact_within(PATIENCE, async |transaction: &Transaction<'_>| {
        run.goes_on(transaction).await?;
        lock(transaction, header).await?;
        since(transaction, header).await?;
        let mut merged = MergedBuckets::default();
        for row in transaction.query(DELETED, &[]).await? {
            let (id, name, op): (i32, String, Option<Uuid>) = (row.get("id"), row.get("name"), row.get("op"));
            let kept = if row.get("is_kept") {
                Some("it was set otherwise since".to_owned())
            } else {
                delete_empty(transaction, id, op, Uploads::Keep)
                    .await?
                    .named()
                    .map(|has| format!("it has {has}"))
            };
            match kept {
                Some(why) => merged.kept.push(format!("{name}: it was deleted, and {why}")),
                None => merged.deleted += 1,
            }
        }
        for row in transaction.query(KEEP, &[]).await? {
            let name: String = row.get("name");
            merged.kept.push(format!("{name}: it was deleted since, and what was written before is in it"));
        }
        transaction.execute(GRANTS, &[&header]).await?;
        mint(transaction).await?;
        Ok(merged)
    });
    Ok(ended.await?)
}
