//! One run of a recovery at a time: another run, or a crash of the server, takes from under it what it has staged, and it
//! neither goes on nor ends the recovery mode.

use s3o_core::journal::LogPlace;
use s3o_core::ports::{Recovery, Restore};
use s3o_store::Store;
use s3o_types::{BackendId, VersionId};
use uuid::Uuid;

use crate::restore_buckets::{copied, shipped};
use crate::support::World;

const STAGED: &str = "SELECT (SELECT count(*) FROM restore_events) + (SELECT count(*) FROM restore_blobs)";

/// A database that lacks the last write, the records of what it lacks, and their header.
async fn behind() -> (World, Vec<String>, String) {
    let world = World::new(&[None]).await;
    world.put("before", 1).await;
    let (lost, now) = copied(world).await;
    lost.put("k", 1).await;
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    now.store.restore_begin().await.unwrap();
    now.store.restore_records(lines.clone()).await.unwrap();
    (now, lines, header)
}

/// Each step of a run says that it is over, and does nothing.
async fn assert_over(world: &World, store: &Store, lines: &[String], header: &str) {
    let (nil, start, own) = (VersionId::from_uuid(Uuid::nil()), (0, String::new()), LogPlace::default());
    let staged = world.count(STAGED).await;
    let steps = [
        store.restore_records(lines.to_vec()).await,
        store.restore_found(BackendId(1), vec![]).await,
        store.restore_own(own).await.map(|_| ()),
        store.restore_staged(header, &[(0, i64::MAX)]).await.map(|_| ()),
        store.restore_keys(&start, 0, own, &[]).await.map(|_| ()),
        store.restore_unnamed(nil, nil, 1).await.map(|_| ()),
        store.restore_lost(1).await.map(|_| ()),
        store.restore_buckets_end(header).await.map(|_| ()),
        store.restore_end(nil, vec![]).await,
        store.end_recovery().await,
    ];
    for (n, step) in steps.into_iter().enumerate() {
        let why = step.expect_err("it is over").to_string();
        assert!(why.contains("begin again"), "step {n}: {why}");
    }
    assert_eq!(world.count(STAGED).await, staged, "nothing is mixed into what another one has");
    assert!(world.store.recovery().await.unwrap().is_some(), "nothing was merged");
    assert_eq!(world.count("SELECT count(*) FROM objects WHERE key = 'k'").await, 0);
}

/// From its staging to its end.
async fn goes_through(world: &World, store: &Store, header: &str) {
    store.restore_staged(header, &[(0, i64::MAX)]).await.unwrap().unwrap();
    let mut after = (0, String::new());
    while let Some((last, _)) = store.restore_keys(&after, 0, LogPlace::default(), &[]).await.unwrap() {
        after = last;
    }
    store.restore_buckets_end(header).await.unwrap();
    store.end_recovery().await.unwrap();
    assert!(store.recovery().await.unwrap().is_none());
    assert_eq!(world.count("SELECT count(*) FROM objects WHERE key = 'k'").await, 1);
}

#[tokio::test]
async fn a_run_is_over_when_another_process_begins_one() {
    let (now, lines, header) = behind().await;
    let other = now.another_store().await;
    other.restore_begin().await.unwrap();
    assert_eq!(now.count(STAGED).await, 0, "what was staged is gone");
    assert_over(&now, &now.store, &lines, &header).await;
    other.restore_records(lines.clone()).await.unwrap();
    assert_over(&now, &now.store, &lines, &header).await;
    goes_through(&now, &other, &header).await;
    other.close().await;
}

/// A server that crashed has emptied what is not logged.
#[tokio::test]
async fn a_run_is_over_when_the_server_has_crashed() {
    let (now, lines, header) = behind().await;
    let unlogged = "SELECT count(*) FROM pg_class
                    WHERE relname IN ('restore_run', 'restore_events', 'restore_blobs') AND relpersistence = 'u'";
    assert_eq!(now.count(unlogged).await, 3, "all of them or none");
    now.sql.batch_execute("TRUNCATE restore_run, restore_events, restore_blobs").await.unwrap();
    assert_over(&now, &now.store, &lines, &header).await;
    now.store.restore_begin().await.unwrap();
    now.store.restore_records(lines).await.unwrap();
    goes_through(&now, &now.store, &header).await;
}
