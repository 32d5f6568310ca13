//! Backends that are moved, removed and declared again: where blobs count, against a real database.

use std::time::Duration;

use crate::support::{World, begun, declared, eventually, op, raw};
use s3o_core::call::{Call, Found, Outcome, Resolution, Resolve, Retarget};
use s3o_core::cleanup::Claim;
use s3o_core::config::{Declared, MarkerPlace, MarkerSeen};
use s3o_core::ports::{Configs, Ledger, Queues, Sessions};
use s3o_types::{BackendId, BackendState, ErrorCode, Etag, EtagProof, ObjectAttributes, Place};
use uuid::Uuid;

const BACKENDS: [Option<u64>; 2] = [None, None];

fn code(outcome: &Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// The first backend is at another endpoint.
fn moved_to(port: u16) -> Declared {
    let mut moved = declared(&BACKENDS);
    moved.backends[0].endpoint = format!("http://127.0.0.1:{port}");
    moved
}

/// Declares, and finds our marker wherever it is missing.
async fn declare(world: &World, what: &Declared, hash: &str) -> Vec<(BackendId, i32)> {
    world.store.apply_declared(what, hash).await.unwrap();
    let minted = world.count("SELECT value::bigint FROM settings WHERE name = 'generation'").await;
    let mut config = world.store.current();
    while config.generation < minted {
        config = world.store.newer_than(config.generation).await;
    }
    for backend in &config.backends {
        let place = MarkerPlace::of(&backend.spec);
        world.store.attach(MarkerSeen { place, etag: EtagProof::Md5 }).await.unwrap();
    }
    config.backends.iter().map(|b| (b.spec.id, b.spec.place.number())).collect()
}

#[tokio::test]
async fn only_another_endpoint_or_bucket_is_another_place() {
    let world = World::new(&BACKENDS).await;
    let ids: Vec<BackendId> = world.store.current().backends.iter().map(|b| b.spec.id).collect();
    let at = |first, second| vec![(ids[0], first), (ids[1], second)];
    let mut same = declared(&[Some(7), None]);
    same.backends[0].region = "elsewhere".to_owned();
    same.backends[0].credentials = s3o_types::Credentials::AwsDefaultChain;
    assert_eq!(declare(&world, &same, "same").await, at(1, 1));
    assert_eq!(declare(&world, &moved_to(1), "moved").await, at(2, 1));
    let mut bucket = moved_to(1);
    bucket.backends[1].bucket = "another".to_owned();
    assert_eq!(declare(&world, &bucket, "bucket").await, at(2, 2));
    // Back is not what it was: who knows what was missed there.
    assert_eq!(declare(&world, &declared(&BACKENDS), "back").await, at(3, 3));
}

#[tokio::test]
async fn a_write_under_way_counts_only_where_its_backend_is() {
    let world = World::new(&BACKENDS).await;
    let (first, second) = (op(), op());
    let a = world.begun(first, "a", 10).await;
    let b = world.begun(second, "b", 10).await;
    assert_eq!(a.1[0].place, Place::FIRST);
    declare(&world, &moved_to(1), "moved").await;

    let commit = || world.commit(first, "a", 10, &a);
    assert_eq!(code(&world.store.submit(commit()).await), Some(ErrorCode::WriteLost));
    assert_eq!(code(&world.store.submit(commit()).await), Some(ErrorCode::WriteLost));
    assert_eq!(code(&world.store.submit(world.begin(first, "a", 10)).await), Some(ErrorCode::WriteLost));
    assert_eq!(world.count("SELECT count(*) FROM changes WHERE outcome = 14").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE uncertain").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 0);

    // The other one goes elsewhere, and counts.
    let retarget = Retarget { intent: world.carried("b", 10, &b), failed: b.1[0].backend, down: vec![] };
    let retargeted = world.store.submit(world.request(second, Call::Retarget(retarget))).await;
    let Outcome::Retargeted(added) = retargeted else { panic!("{retargeted:?}") };
    assert_eq!(added.place, Place::FIRST);
    let commit = world.commit(second, "b", 10, &(b.0, vec![added]));
    assert!(matches!(world.store.submit(commit).await, Outcome::Committed { .. }));

    // What begins now is meant for the new place; a caller that does not say where it wrote is not believed.
    let third = op();
    let mut c = world.begun(third, "c", 10).await;
    assert_eq!(c.1[0].place, Place::from_number(2));
    c.1[0].place = Place::from_number(0);
    assert_eq!(code(&world.store.submit(world.commit(third, "c", 10, &c)).await), Some(ErrorCode::WriteLost));
    world.put("c", 10).await;
    world.audit().await;
}

/// The release before knows nothing of places: its rows have none.
#[tokio::test]
async fn intents_without_places_mean_the_first() {
    let world = World::new(&BACKENDS).await;
    let forget = "UPDATE intents SET target_place = '{}'";
    let (first, second, third) = (op(), op(), op());
    let a = world.begun(first, "a", 10).await;
    let b = world.begun(second, "b", 10).await;
    let c = world.begun(third, "c", 10).await;
    world.sql.batch_execute(forget).await.unwrap();
    assert_eq!(begun(world.store.submit(world.begin(first, "a", 10)).await), a);
    assert!(matches!(world.store.submit(world.commit(first, "a", 10, &a)).await, Outcome::Committed { .. }));

    // A target that is added finds its own position.
    let mut other = declared(&BACKENDS);
    other.backends[1].endpoint = "http://127.0.0.1:2".to_owned();
    declare(&world, &other, "the other one moved").await;
    let retarget = Retarget { intent: world.carried("b", 10, &b), failed: b.1[0].backend, down: vec![] };
    let added = world.store.submit(world.request(second, Call::Retarget(retarget))).await;
    assert!(matches!(added, Outcome::Retargeted(t) if t.place == Place::from_number(2)));
    let both = begun(world.store.submit(world.begin(second, "b", 10)).await).1;
    assert_eq!(both.iter().map(|t| t.place.number()).collect::<Vec<_>>(), [1, 2]);

    let mut all = other.clone();
    all.backends[0].endpoint = "http://127.0.0.1:1".to_owned();
    declare(&world, &all, "both moved").await;
    assert_eq!(code(&world.store.submit(world.commit(third, "c", 10, &c)).await), Some(ErrorCode::WriteLost));
    world.audit().await;
}

#[tokio::test]
async fn the_reaper_promotes_nothing_at_a_place_of_the_past() {
    let world = World::new(&BACKENDS).await;
    world.begun(op(), "k", 10).await;
    Sessions::close(&world.store, world.session).await.unwrap();
    let owner = Uuid::new_v4();
    let claim = Claim { owner, lasts_us: 60_000_000, limit: 10, due_for_us: 0 };
    let intent = world.store.claim_expired_intents(claim).await.unwrap().remove(0);
    assert_eq!(intent.targets[0].place, Place::FIRST);
    declare(&world, &moved_to(1), "moved").await;
    let blob = Found::Blob {
        stored_size: 10,
        size: 10,
        etag: Some(Etag::new("e")),
        attributes: Some(ObjectAttributes::default()),
        backend_version: None,
    };
    let found = vec![(intent.targets[0].id(), blob)];
    let resolve = world.request(intent.op, Call::Resolve(Box::new(Resolve { intent, owner, found })));
    assert_eq!(world.store.submit(resolve).await, Outcome::Resolved(Resolution::Dropped));
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 0);
    world.audit().await;
}

/// A Commit that has looked where its backend is ends before the backend moves.
#[tokio::test]
async fn a_move_waits_for_the_commits_under_way() {
    let world = World::new(&BACKENDS).await;
    // As a batch of commits does it; 1932750595 is the lock of places.
    let batch = raw(&world.url).await;
    batch.batch_execute("BEGIN; SELECT pg_advisory_xact_lock_shared(1932750595, 0)").await.unwrap();
    // What moves nothing does not wait.
    declare(&world, &declared(&[Some(9), None]), "a quota").await;
    let store = world.store.clone();
    let moving = tokio::spawn(async move { store.apply_declared(&moved_to(1), "moved").await });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1932750595
                 AND mode = 'ExclusiveLock' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the move waits", || async { world.count(waits).await == 1 }).await;
    assert_eq!(world.count("SELECT max(place)::bigint FROM backends").await, 1);
    batch.batch_execute("COMMIT").await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), moving).await.unwrap().unwrap().unwrap();
    assert_eq!(world.count("SELECT max(place)::bigint FROM backends").await, 2);
}

#[tokio::test]
async fn a_backend_that_comes_back_where_it_was_is_itself_again() {
    let world = World::new(&BACKENDS).await;
    let first = world.store.current().backends[0].spec.id;
    let mut without = declared(&BACKENDS);
    without.backends.remove(0);
    let removed = declare(&world, &without, "without").await;
    assert_eq!(removed.len(), 1);
    let again = declare(&world, &declared(&BACKENDS), "again").await;
    assert_eq!(again[0], (first, 1));
    assert_eq!(world.store.current().backends[0].state, BackendState::Active);
    world.put("k", 3).await;
    assert_eq!(world.count("SELECT backend::bigint FROM copies").await, i64::from(first.0));

    // One that still holds something only drained; elsewhere it is the same backend at another place.
    world.store.apply_declared(&without, "drain").await.unwrap();
    assert_eq!(declare(&world, &moved_to(1), "moved").await[0], (first, 2));

    // Removed, and declared at a place where it never was: somebody else.
    world.store.submit(world.delete(op(), "k")).await;
    world
        .sql
        .batch_execute("DELETE FROM cleanup_queue; UPDATE backend_usage SET orphaned = 0")
        .await
        .unwrap();
    world.store.apply_declared(&without, "gone").await.unwrap();
    let other = declare(&world, &moved_to(7), "somebody else").await[0];
    assert_ne!(other.0, first);
    // While the name is taken, nobody else comes back under it.
    assert_eq!(declare(&world, &moved_to(1), "the same, moved").await[0], (other.0, 2));
    world.audit().await;
}
