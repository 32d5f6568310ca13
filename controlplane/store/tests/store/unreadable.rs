//! Rows that this release cannot read hold up no pass over their table: each page ends behind them, and they are counted.

use std::time::Duration;

use crate::support::{World, declared, op};
use s3o_core::call::{Call, CreateUpload, Outcome};
use s3o_core::cleanup::Claim;
use s3o_core::lifecycle::{Phase, Place};
use s3o_core::ports::{
    Ledger, Lifecycle, Queues, Rebalances, Reconciliation, Removals, Replication, Scrubs, Uploads,
};
use s3o_core::rebalance::Transfer;
use s3o_core::reconcile::{KeyRange, RowsQuery};
use s3o_core::replication::CopyTask;
use s3o_core::scrub::{SCRUB_BATCH, ScrubPace, ScrubProgress};
use s3o_types::{AckLevel, BackendId, LifecycleRule, ObjectAttributes};
use uuid::Uuid;

const B0: BackendId = BackendId(1);
/// More than any page has.
const MANY: u32 = 1100;

/// Copies before all others, in the order of versions.
async fn bad_copies(world: &World, what: &str) {
    let sql = format!(
        "INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size, foreign_key)
         SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, 0, 1, {what}
         FROM generate_series(1, {MANY}) AS n"
    );
    world.sql.batch_execute(&sql).await.unwrap();
}

fn claim(limit: u32) -> Claim {
    Claim { owner: Uuid::new_v4(), lasts_us: 60_000_000, limit, due_for_us: 0 }
}

fn met(world: &World, table: &str) -> u64 {
    world.store.stats().unreadable.get(table).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_over_copies_go_on_behind_them() {
    let world = World::copied(AckLevel::One, 1).await;
    let good = world.put("k", 10).await.0;
    bad_copies(&world, "0, 1, 'bad', 'verified', -1, NULL").await;
    let pace = ScrubPace { bytes_per_hour: 1 << 40, rest_s: 0 };
    let owner = world.owner().await;
    let mine = Claim { owner, ..claim(SCRUB_BATCH) };
    assert_eq!(world.store.claim_scrub(mine, pace, &[]).await.unwrap(), None, "nothing is to be spent yet");
    let mut seen = Vec::new();
    while seen.is_empty() {
        let refill = "UPDATE scrub_cursors SET refilled = now() - interval '1 hour'";
        world.sql.batch_execute(refill).await.unwrap();
        let batch = world.store.claim_scrub(mine, pace, &[]).await.unwrap().unwrap();
        assert!(batch.backend == B0 && (!batch.is_last || !batch.copies.is_empty()), "{batch:?}");
        seen.extend(batch.copies.iter().map(|copy| copy.entry.version));
        let (backend, copies, is_last) = (batch.backend, batch.copies.len() as u64, batch.is_last);
        let progress = ScrubProgress { backend, after: batch.upto, copies, bytes: 0, is_last };
        world.store.finish_scrub(owner, progress).await.unwrap();
    }
    assert_eq!(seen, [good]);
    assert!(met(&world, "copies") >= u64::from(MANY));

    let transfer = Transfer { from: B0, to: BackendId(2), bytes: 100 };
    let first = Rebalances::candidates(&world.store, transfer, None).await.unwrap();
    assert!(first.copies.is_empty() && first.next.is_some(), "{first:?}");
    let second = Rebalances::candidates(&world.store, transfer, first.next).await.unwrap();
    assert_eq!(second.copies.iter().map(|copy| copy.entry.version).collect::<Vec<_>>(), [good]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_is_gone_through_behind_them() {
    let world = World::copied(AckLevel::One, 1).await;
    let good = world.put("k", 10).await.0;
    bad_copies(&world, "-1, 1, 'bad', 'verified', 1, NULL").await;
    let held = world.store.held_copies(B0, None, 500).await.unwrap();
    assert_eq!(held.iter().map(|copy| copy.of.version).collect::<Vec<_>>(), [good]);
    assert_eq!(met(&world, "copies"), u64::from(MANY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_pass_them_and_see_all_others() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    bad_copies(&world, "0, 1, 'bad', 'verified', -1, 'a' || lpad(n::text, 8, '0')").await;
    let imported = "UPDATE copies SET foreign_key = 'z' WHERE key = 'k'";
    world.sql.batch_execute(imported).await.unwrap();
    let rows = world.store.imported_rows(B0, "", 1000).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.storage_key.as_str()).collect::<Vec<_>>(), ["z"]);

    world.put("broken", 10).await;
    world.put("whole", 10).await;
    world.sql.batch_execute("UPDATE copies SET stored_size = -1 WHERE key = 'broken'").await.unwrap();
    let query = RowsQuery {
        backend: B0,
        bucket: world.bucket,
        bucket_name: "photos".to_owned(),
        keys: KeyRange::After(String::new(), 10),
        after: None,
        per_key: 32,
    };
    let page = world.store.rows(query).await.unwrap();
    let found: Vec<_> =
        page.keys.iter().map(|keys| (keys.path.as_str(), keys.rows.len(), keys.more)).collect();
    assert_eq!(found, [("photos/broken", 0, false), ("photos/k", 0, false), ("photos/whole", 1, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_give_out_what_comes_behind_them() {
    let world = World::new(&[None]).await;
    for n in 0..30 {
        world.put(&format!("k{n:02}"), 1).await;
        world.store.submit(world.delete(op(), &format!("k{n:02}"))).await;
    }
    let bad = "UPDATE cleanup_queue SET not_before = now() - interval '1 hour';
               UPDATE cleanup_queue SET size = -1, not_before = not_before - interval '1 hour'
               WHERE id IN (SELECT id FROM cleanup_queue ORDER BY id LIMIT 25)";
    world.sql.batch_execute(bad).await.unwrap();
    assert_eq!(world.store.claim_cleanup(claim(10)).await.unwrap().len(), 5);
    assert_eq!(met(&world, "cleanup_queue"), 25);
}

/// The claims of an owner whose session is not open yet, or not any more, count for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_without_a_session_is_not_given_them_for_ever() {
    let world = World::copied(AckLevel::One, 2).await;
    for n in 0..3 {
        world.put(&format!("k{n}"), 1).await;
    }
    let bad = "UPDATE replication_queue SET attempts = -1 WHERE key < 'k2'";
    world.sql.batch_execute(bad).await.unwrap();
    let nobody = claim(2);
    assert_eq!(
        world.store.claim_versions(CopyTask::Add, nobody).await.unwrap(),
        [],
        "the same two each time"
    );
    let owner = Claim { owner: world.owner().await, ..nobody };
    let claimed = world.store.claim_versions(CopyTask::Add, owner).await.unwrap();
    assert_eq!(claimed.iter().map(|item| item.entry.key.as_str()).collect::<Vec<_>>(), ["k2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_are_given_up_behind_them() {
    let world = World::new(&[None]).await;
    for n in 0..12 {
        let create = CreateUpload {
            bucket: world.bucket,
            key: format!("k{n:02}"),
            attributes: ObjectAttributes::default(),
            checksum: None,
        };
        let created = world.store.submit(world.request(op(), Call::CreateUpload(create))).await;
        assert_eq!(created, Outcome::UploadCreated);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    world.sql.batch_execute("UPDATE uploads SET attributes = '5' WHERE key < 'k10'").await.unwrap();
    let stale = world.store.stale_uploads(0, 5).await.unwrap();
    assert_eq!(stale.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["k10", "k11"]);
    assert_eq!(met(&world, "uploads"), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_is_found_behind_them() {
    let world = World::new(&[None]).await;
    for n in 0..12 {
        world.put(&format!("k{n:02}"), 1).await;
    }
    let mut expiring = declared(&[None]);
    let rule = LifecycleRule { id: "r".to_owned(), expire_after_days: Some(1), ..LifecycleRule::default() };
    expiring.buckets[0].lifecycle = vec![rule];
    world.store.apply_declared(&expiring, "with a rule").await.unwrap();
    let old = "UPDATE objects SET modified = now() - interval '9 days';
               UPDATE objects SET size = -1 WHERE key < 'k10'";
    world.sql.batch_execute(old).await.unwrap();
    let (mut found, mut place) = (Vec::new(), Some(Place::start(Phase::Objects)));
    while let Some(after) = place {
        let page = world.store.due(world.bucket, &after, 5).await.unwrap();
        found.extend(page.due.into_iter().map(|expire| expire.key));
        place = page.next;
    }
    assert_eq!(found, ["k10", "k11"]);
    assert_eq!(met(&world, "objects"), 10);
}
