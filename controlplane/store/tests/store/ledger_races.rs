//! Many writers, several replicas, a server that dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{World, eventually, op, scratch};
use futures::future::join_all;
use s3o_core::call::{Outcome, Refusal};
use s3o_core::object::{Locate, Want};
use s3o_core::ports::Ledger;
use s3o_localpg::{LocalPostgres, Options};
use s3o_store::Store;
use s3o_types::ErrorCode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_begins_never_overshoot_a_quota() {
    let world = World::new(&[Some(1000)]).await;
    let other = world.another_store().await;
    let begins = (0..200).map(|n| {
        let store = if n % 2 == 0 { &world.store } else { &other };
        let request = world.begin(op(), &format!("k{n}"), 10);
        async move { store.submit(request).await }
    });
    let outcomes = join_all(begins).await;
    let begun = outcomes.iter().filter(|o| matches!(o, Outcome::Begun { .. })).count();
    let full = |o: &&Outcome| matches!(o, Outcome::Refused(r) if r.code == ErrorCode::InsufficientStorage);
    assert_eq!((begun, outcomes.iter().filter(full).count()), (100, 100));
    assert_eq!(world.count("SELECT sum(reserved)::bigint FROM backend_usage").await, 1000);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_writers_on_one_key_leave_the_greatest_seq() {
    let world = World::new(&[None]).await;
    let other = world.another_store().await;
    let writes = (0..200).map(|n| {
        let store: &Store = if n % 2 == 0 { &world.store } else { &other };
        let world = &world;
        async move {
            let op = op();
            let a = crate::support::begun(store.submit(world.begin(op, "hot", 7)).await);
            match store.submit(world.commit(op, "hot", 7, &a)).await {
                Outcome::Committed { seq, .. } => (seq, a.0),
                other => panic!("{other:?}"),
            }
        }
    });
    let done = join_all(writes).await;
    let (seq, version) = done.iter().max().copied().unwrap();
    let query = Locate { bucket: world.bucket, key: "hot".to_owned(), version: None, want: Want::All };
    let located = other.locate(query).await.unwrap().found().unwrap();
    assert_eq!((located.object.seq, located.object.version), (seq, version));
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'displaced'").await, 199);
    assert_eq!(world.count("SELECT count(DISTINCT storage_key) FROM cleanup_queue").await, 199);
    assert_eq!(world.count("SELECT count(*) FROM copies").await, 1);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_over_the_same_keys_in_opposite_order() {
    let world = World::new(&[None]).await;
    let other = world.another_store().await;
    for _ in 0..10 {
        let there = (0..60).map(|n| world.store.submit(world.delete(op(), &format!("k{n}"))));
        let back = (0..60).rev().map(|n| other.submit(world.delete(op(), &format!("k{n}"))));
        let (a, b) = tokio::join!(join_all(there), join_all(back));
        assert!(a.iter().chain(&b).all(|outcome| matches!(outcome, Outcome::Deleted { .. })));
    }
    assert_eq!(world.count("SELECT count(*) FROM changes").await, 1200);
}

/// Whatever another transaction holds of a call (its key, its intent's row, both), that call is put off; the
/// others are decided meanwhile, new ones that join its later batches too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_call_holds_up_only_itself() {
    let world = World::new(&[None]).await;
    let bucket = world.bucket.0;
    let key = format!("SELECT pg_advisory_xact_lock(hashtextextended('held', {bucket}))");
    let row = "SELECT FROM intents WHERE key = 'held' FOR UPDATE";
    for locks in [key.clone(), row.to_owned(), format!("{key}; {row}")] {
        let op = op();
        let a = world.begun(op, "held", 3).await;
        world.sql.batch_execute(&format!("BEGIN; {locks}")).await.unwrap();
        let held = world.store.submit(world.commit(op, "held", 3, &a));
        let others = async {
            for round in 0..3 {
                let all =
                    (0..30).map(|n| world.store.submit(world.delete(crate::support::op(), &format!("k{n}"))));
                let deleted = |outcome: &Outcome| {
                    *outcome == Outcome::Deleted { existed: false, version: None, delete_marker: false }
                };
                assert!(join_all(all).await.iter().all(deleted), "round {round} beside {locks}");
                world.put("another", 1).await;
            }
            world.sql.batch_execute("COMMIT").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(held, others);
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
    assert!(world.store.stats().lanes.iter().any(|lane| lane.deferred > 0));
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_acknowledged() {
    let mut server = LocalPostgres::start(Options::new(scratch("killed"))).await.unwrap();
    Store::migrate(&server.url()).await.unwrap();
    let world = Arc::new(World::on(server.url(), &[None, None]).await);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (world, stop, done) = (world.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (op, key) = (op(), format!("w{writer}/{n}"));
                    let outcome = world.store.submit(world.begin(op, &key, 3)).await;
                    let Outcome::Begun { version, targets, .. } = outcome else { continue };
                    let commit = world.commit(op, &key, 3, &(version, targets));
                    if let Outcome::Committed { seq, .. } = world.store.submit(commit).await {
                        acknowledged.push((key, version, seq));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
                acknowledged
            })
        })
        .collect();
    let more = async || {
        let enough = done.load(Ordering::Relaxed) + 50;
        eventually("50 more commits", async || done.load(Ordering::Relaxed) >= enough).await;
    };
    for _ in 0..2 {
        more().await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    more().await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<_> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    for (key, version, seq) in acknowledged {
        let located = world
            .store
            .locate(Locate { bucket: world.bucket, key, version: None, want: Want::All })
            .await
            .unwrap()
            .found()
            .unwrap();
        assert_eq!((located.object.version, located.object.seq), (version, seq));
    }
    world.audit().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_while_the_database_is_down_answers_everybody() {
    let mut server = LocalPostgres::start(Options::new(scratch("closing"))).await.unwrap();
    Store::migrate(&server.url()).await.unwrap();
    let world = World::on(server.url(), &[None]).await;
    world.put("k", 1).await;
    server.kill().await.unwrap();
    let begin = world.store.submit(world.begin(op(), "k", 1));
    let delete = world.store.submit(world.delete(op(), "k"));
    let query = Locate { bucket: world.bucket, key: "k".to_owned(), version: None, want: Want::All };
    let locate = world.store.locate(query);
    let close = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Store::close(&world.store).await;
    };
    let (begun, deleted, located, ()) = tokio::join!(begin, delete, locate, close);
    let says_so = |refusal: &Refusal| {
        refusal.code == ErrorCode::ServiceUnavailable && refusal.message.contains("shutting down")
    };
    for outcome in [begun, deleted] {
        assert!(matches!(&outcome, Outcome::Refused(refusal) if says_so(refusal)), "{outcome:?}");
    }
    assert!(located.is_err_and(|refusal| says_so(&refusal)));
}
