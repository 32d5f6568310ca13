//! What the queues do with rows that were not even tried, with sessions that are not there yet, and when a
//! backend is full.

use std::collections::BTreeMap;

use crate::support::{World, eventually, op};
use s3o_core::call::{Call, Found, Outcome, Resolution, Resolve};
use s3o_core::cleanup::{Claim, CleanupResult, CleanupTimes};
use s3o_core::ports::{Ledger, Overview, Queues, Replication};
use s3o_core::replication::{CopyTask, ReplicationEntry, ReplicationResult};
use s3o_store::{Store, StoreOptions};
use s3o_types::{AckLevel, ErrorCode, Etag, ObjectAttributes};
use uuid::Uuid;

const TO_READ: &str = "SELECT count(*) FROM replication_queue WHERE task = 'verify'";

fn claim(owner: Uuid) -> Claim {
    Claim { owner, lasts_us: 60_000_000, limit: 100, due_for_us: 0 }
}

#[tokio::test]
async fn a_deferred_row_is_put_off_and_no_attempt_is_counted() {
    let world = World::new(&[None]).await;
    world.put("k", 10).await;
    world.put("k", 20).await;
    let owner = Uuid::new_v4();
    // Far more often than a failing row may fail.
    for _ in 0..15 {
        world.make_everything_due().await;
        let claimed = world.store.claim_cleanup(claim(owner)).await.unwrap();
        assert_eq!((claimed.len(), claimed[0].attempts), (1, 0));
        let result = CleanupResult::Deferred("the backend is down".to_owned());
        let counts = world.store.finish_cleanup(owner, vec![(claimed[0].clone(), result)]).await.unwrap();
        assert_eq!(counts, BTreeMap::from([("deferred".to_owned(), 1)]));
        assert!(world.store.claim_cleanup(claim(owner)).await.unwrap().is_empty());
    }
    let waiting = "SELECT count(*) FROM cleanup_queue WHERE claimed_by IS NULL AND last_error LIKE '%down%'
                   AND not_before BETWEEN now() + interval '50 s' AND now() + interval '60 s'";
    assert_eq!(world.count(waiting).await, 1);
    world.audit().await;
}

#[tokio::test]
async fn an_intent_of_a_session_without_a_row_has_a_lease_all_the_same() {
    let world = World::new(&[None]).await;
    world.begun(op(), "k", 1).await;
    world.sql.batch_execute("DELETE FROM sessions").await.unwrap();
    let reaper = Uuid::new_v4();
    assert!(world.store.claim_expired_intents(claim(reaper)).await.unwrap().is_empty());
    world.sql.batch_execute("UPDATE intents SET begun = now() - interval '1 hour'").await.unwrap();
    assert_eq!(world.store.claim_expired_intents(claim(reaper)).await.unwrap().len(), 1);
}

/// The log is read for an intent from its floor on; one that is too old to be promoted does not have it read.
#[tokio::test]
async fn an_intent_of_yesterday_is_dropped_though_its_blob_is_whole() {
    let world = World::new(&[None]).await;
    let op = op();
    world.begun(op, "k", 5).await;
    world.sql.batch_execute("UPDATE intents SET begun = now() - interval '14 hours'").await.unwrap();
    let reaper = Uuid::new_v4();
    let intent = world.store.claim_expired_intents(claim(reaper)).await.unwrap().remove(0);
    let blob = Found::Blob {
        stored_size: 5,
        size: 5,
        etag: Some(Etag::new("d41d8cd98f00b204e9800998ecf8427e")),
        attributes: Some(ObjectAttributes::default()),
        backend_version: None,
    };
    let found = vec![(intent.targets[0].id(), blob)];
    let resolve = Call::Resolve(Box::new(Resolve { intent, owner: reaper, found }));
    let mut request = world.request(op, resolve);
    request.bulk = true;
    assert_eq!(world.store.submit(request).await, Outcome::Resolved(Resolution::Dropped));
    world.audit().await;
}

const HOUR: i64 = 3600 * 1_000_000;

fn is_full(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(refusal) if refusal.code == ErrorCode::InsufficientStorage)
}

/// What the bars of `s3o admin` are drawn of.
#[tokio::test]
async fn what_waits_for_a_worker_is_counted() {
    let world = World::new(&[None]).await;
    let waiting = async |worker: &str| Overview::waiting(&world.store, worker).await.unwrap();
    for worker in ["cleanup_queue", "pending_reaper", "scrubber", "replicator", "over_replication"] {
        assert_eq!(waiting(worker).await, Some(0), "{worker}");
    }
    for worker in ["quota_audit", "stale_multipart", "nobody"] {
        assert_eq!(waiting(worker).await, None, "{worker}");
    }
    world.sql.batch_execute("UPDATE journal SET (xid, n) = (pg_current_xact_id(), 0)").await.unwrap();
    assert_eq!(waiting("journal").await, Some(0), "what came before is shipped");
    world.put("k", 1).await;
    assert_eq!(waiting("journal").await, Some(1));
    world.begun(op(), "open", 7).await;
    assert_eq!(waiting("pending_reaper").await, Some(0), "its session lives");
    world.sql.batch_execute("UPDATE sessions SET deadline = now()").await.unwrap();
    assert_eq!(waiting("pending_reaper").await, Some(1));
    let queued = "
        INSERT INTO replication_queue (version, bucket, key, task)
        SELECT gen_random_uuid(), 1, 'k', task FROM unnest('{verify,verify,trim}'::text[]) AS t (task);
        INSERT INTO cleanup_queue (kind, backend, storage_key, version, extent, gen, size, reason, uncertain, not_before)
        SELECT kind, 1, 'k', gen_random_uuid(), 0, 0, 1, 'deleted', false, now() + later
        FROM (VALUES ('blob', interval '0'), ('version', interval '0'), ('blob', interval '1 hour')) AS t (kind, later)";
    world.sql.batch_execute(queued).await.unwrap();
    assert_eq!(waiting("scrubber").await, Some(2), "what is to be read at once");
    assert_eq!(
        waiting("cleanup_queue").await,
        Some(2),
        "blobs, and versions whose blobs become rows; what is due"
    );
}

#[tokio::test]
async fn a_begin_without_room_makes_deleted_blobs_due_at_once() {
    let world = World::new(&[Some(100)]).await;
    world.put("k", 90).await;
    world.store.submit(world.delete(op(), "k")).await;
    let owner = Uuid::new_v4();
    assert!(world.store.claim_cleanup(claim(owner)).await.unwrap().is_empty(), "read_grace holds");
    assert!(is_full(&world.store.submit(world.begin(op(), "new", 50)).await));
    let due =
        || async { world.count("SELECT count(*) FROM cleanup_queue WHERE not_before <= now()").await == 1 };
    eventually("due", due).await;
    let claimed = world.store.claim_cleanup(claim(owner)).await.unwrap();
    let results = vec![(claimed[0].clone(), CleanupResult::Deleted)];
    world.store.finish_cleanup(owner, results).await.unwrap();
    world.begun(op(), "new", 50).await;
    world.audit().await;
}

#[tokio::test]
async fn pressure_never_shortens_the_delay_for_restores() {
    let world = World::new(&[Some(100)]).await;
    let cleanup_times =
        CleanupTimes { read_grace_us: 2 * HOUR, cleanup_delay_us: HOUR, late_put_window_us: HOUR };
    let store =
        Store::connect(StoreOptions { cleanup_times, ..StoreOptions::new(&world.url) }).await.unwrap();
    let first = op();
    let a = crate::support::begun(store.submit(world.begin(first, "k", 90)).await);
    store.submit(world.commit(first, "k", 90, &a)).await;
    store.submit(world.delete(op(), "k")).await;
    assert!(is_full(&store.submit(world.begin(op(), "new", 50)).await));
    let moved = "SELECT count(*) FROM cleanup_queue WHERE not_before = queued + interval '1 hour'";
    eventually("pulled forward to the delay", || async { world.count(moved).await == 1 }).await;
    assert!(store.claim_cleanup(claim(Uuid::new_v4())).await.unwrap().is_empty());
}

/// However many readers report it, before and while it is read; and what else there is to do does not wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_cannot_be_read_is_read_once_a_wait_and_tended_meanwhile() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    let entry = |task| ReplicationEntry { version, bucket: world.bucket, key: "k".to_owned(), task };
    let report = async || world.store.queue_versions(vec![entry(CopyTask::Verify)]).await.unwrap();
    let waits = || world.count("SELECT count(*) FROM replication_queue WHERE not_before > now()");
    let due = || world.sql.batch_execute("UPDATE replication_queue SET not_before = now()");
    let owner = world.owner().await;
    report().await;
    for failed in 0..3 {
        let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
        assert_eq!(item.attempts, failed);
        report().await;
        world.finish(owner, &item, ReplicationResult::Failed("it is down".to_owned())).await;
        report().await;
        assert!(world.claimed(owner, CopyTask::Verify).await.is_empty(), "{failed}");
        let add = world.claimed(owner, CopyTask::Add).await.remove(0);
        world.finish(owner, &add, ReplicationResult::HandedOver(CopyTask::Trim)).await;
        let trim = world.claimed(owner, CopyTask::Trim).await.remove(0);
        world.finish(owner, &trim, ReplicationResult::Done).await;
        assert_eq!(waits().await, 1, "{failed}");
        report().await;
        assert!(world.claimed(owner, CopyTask::Verify).await.is_empty(), "{failed}");
        due().await.unwrap();
    }
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Add)).await;
    let add = world.claimed(owner, CopyTask::Add).await.remove(0);
    // What fails meanwhile does not make up for the reading that is asked for by now.
    report().await;
    world.finish(owner, &add, ReplicationResult::Failed("no room".to_owned())).await;
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    assert_eq!(item.attempts, 0);
    world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Add)).await;
    let add = world.claimed(owner, CopyTask::Add).await.remove(0);
    world.finish(owner, &add, ReplicationResult::Done).await;
    assert_eq!(world.count("SELECT count(*) FROM replication_queue").await, 0);
}

/// What it lacks can nowhere be stored, or what is too much cannot go yet: it is read again all the same, once a wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_cannot_be_read_is_read_again_where_nothing_else_can_be_done() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    let entry =
        ReplicationEntry { version, bucket: world.bucket, key: "k".to_owned(), task: CopyTask::Verify };
    let due = || world.sql.batch_execute("UPDATE replication_queue SET not_before = now()");
    let failed = || ReplicationResult::Failed("not now".to_owned());
    let owner = world.owner().await;
    world.store.queue_versions(vec![entry]).await.unwrap();
    for round in 0..4 {
        let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
        assert_eq!(item.attempts, round);
        world.finish(owner, &item, failed()).await;
        let mut item = world.claimed(owner, CopyTask::Add).await.remove(0);
        if round % 2 == 1 {
            world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Trim)).await;
            item = world.claimed(owner, CopyTask::Trim).await.remove(0);
        }
        world.finish(owner, &item, failed()).await;
        for task in [CopyTask::Add, CopyTask::Trim, CopyTask::Verify] {
            assert!(world.claimed(owner, task).await.is_empty(), "{round}: {task:?} waits");
        }
        assert_eq!(world.count(TO_READ).await, 1, "{round}");
        due().await.unwrap();
    }
    // Its backend answers: from then on it waits for nothing but what it lacks.
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Add)).await;
    let item = world.claimed(owner, CopyTask::Add).await.remove(0);
    assert_eq!(item.attempts, 0);
    world.finish(owner, &item, failed()).await;
    assert_eq!(world.count(TO_READ).await, 0);
}

/// The copy that is made meanwhile has the version queued once more, or a scan does; so does a reader: it has failed as often all the
/// same. What failed of something else does not count for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_is_owed_waits_whatever_is_queued_meanwhile() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    let entry = |task| ReplicationEntry { version, bucket: world.bucket, key: "k".to_owned(), task };
    let queue = async |task| world.store.queue_versions(vec![entry(task)]).await.unwrap();
    let due = || world.sql.batch_execute("UPDATE replication_queue SET not_before = now()");
    let failed = || ReplicationResult::Failed("not now".to_owned());
    let owner = world.owner().await;
    let item = world.claimed(owner, CopyTask::Add).await.remove(0);
    world.finish(owner, &item, failed()).await;
    queue(CopyTask::Verify).await;
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    assert_eq!(item.attempts, 0, "it was not read yet");
    world.finish(owner, &item, failed()).await;
    for task in [CopyTask::Add, CopyTask::Verify] {
        let item = world.claimed(owner, CopyTask::Add).await.remove(0);
        queue(task).await;
        world.finish(owner, &item, ReplicationResult::Done).await;
        assert_eq!(world.count(TO_READ).await, 0, "{task:?}: it is looked at for the rest once more");
    }
    let item = world.claimed(owner, CopyTask::Add).await.remove(0);
    world.finish(owner, &item, ReplicationResult::Done).await;
    assert!(world.claimed(owner, CopyTask::Verify).await.is_empty(), "it waits");
    due().await.unwrap();
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    assert_eq!(item.attempts, 1);
    // One that is asked for while it is read is another one.
    queue(CopyTask::Verify).await;
    world.finish(owner, &item, ReplicationResult::HandedOver(CopyTask::Add)).await;
    let item = world.claimed(owner, CopyTask::Verify).await.remove(0);
    assert_eq!(item.attempts, 0);
}
