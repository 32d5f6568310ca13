//! Calls against a real database: first outcomes, repeats, batches that contain a bad item.

use crate::support::{World, begun, op};
use futures::future::join_all;
use s3o_core::call::{Call, Outcome, Retarget};
use s3o_core::cleanup::Reason;
use s3o_core::intent::TargetEnd;
use s3o_core::object::{Locate, Lookup, Want};
use s3o_core::ports::Ledger;
use s3o_types::{Conditions, ErrorCode};

fn code(outcome: &Outcome) -> ErrorCode {
    match outcome {
        Outcome::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_write_is_located_as_it_was_committed() {
    let world = World::new(&[None]).await;
    let (version, seq) = world.put("a \"b\"\\{c},é", 5).await;
    let query =
        Locate { bucket: world.bucket, key: "a \"b\"\\{c},é".to_owned(), version: None, want: Want::All };
    let located = world.store.locate(query).await.unwrap().found().unwrap();
    assert_eq!((located.object.version, located.object.seq.0, located.object.size), (version, seq, 5));
    assert_eq!(located.object.attributes.tags["t"], "1");
    assert_eq!(located.object.attributes.metadata["who"], "me");
    assert_eq!(located.object.attributes.headers.content_type.as_deref(), Some("text/plain"));
    assert_eq!(located.object.checksums.values["crc32"], "AAAAAA==");
    let [(copy, storage_key)] = located.extents[0].copies.as_slice() else { panic!("one copy") };
    assert_eq!(copy.stored_size, 5);
    assert!(storage_key.ends_with(&format!("~{version}000000")), "{storage_key}");
    let missing = Locate { bucket: world.bucket, key: "b".to_owned(), version: None, want: Want::All };
    assert_eq!(world.store.locate(missing).await.unwrap(), Lookup::Nothing);
    world.audit().await;
}

#[tokio::test]
async fn repeats_get_the_first_outcome() {
    let world = World::new(&[None]).await;
    let first = op();
    let a = world.begun(first, "k", 10).await;
    assert_eq!(world.begun(first, "k", 10).await, a, "Begin twice");
    let committed = world.store.submit(world.commit(first, "k", 10, &a)).await;
    assert_eq!(world.store.submit(world.commit(first, "k", 10, &a)).await, committed, "Commit twice");
    assert_eq!(world.store.submit(world.begin(first, "k", 10)).await, committed, "Begin after its Commit");
    world.put("k", 20).await;
    assert_eq!(
        world.store.submit(world.commit(first, "k", 10, &a)).await,
        committed,
        "Commit after an overwrite"
    );
    let abort = world.abort(first, "k", 10, &a, TargetEnd::Unknown);
    assert_eq!(world.store.submit(abort).await, committed, "Abort after Commit");
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue").await, 1);
    assert_eq!(world.count("SELECT size FROM objects").await, 20);
    world.audit().await;
}

#[tokio::test]
async fn what_is_written_is_counted_once() {
    let world = World::new(&[None]).await;
    world.put("k", 10).await;
    world.put("k", 20).await;
    let given_up = op();
    let a = world.begun(given_up, "k", 5).await;
    for _ in 0..2 {
        world.store.submit(world.abort(given_up, "k", 5, &a, TargetEnd::Unknown)).await;
    }
    let writes = world.store.stats().writes;
    assert_eq!((writes.intents_enqueued, writes.intents_committed), (3, 2));
    let queued: Vec<_> = writes.cleanup_enqueued().filter(|(_, n)| *n > 0).collect();
    assert_eq!(queued, [(Reason::Displaced, 1), (Reason::Aborted, 1)]);
}

#[tokio::test]
async fn a_repeated_delete_leaves_the_new_object() {
    let world = World::new(&[None]).await;
    world.put("k", 1).await;
    let delete = op();
    let first = world.store.submit(world.delete(delete, "k")).await;
    assert_eq!(first, Outcome::Deleted { existed: true, version: None, delete_marker: false });
    let (version, _) = world.put("k", 2).await;
    assert_eq!(world.store.submit(world.delete(delete, "k")).await, first);
    let query = Locate { bucket: world.bucket, key: "k".to_owned(), version: None, want: Want::All };
    assert_eq!(world.store.locate(query).await.unwrap().found().unwrap().object.version, version);
    world.audit().await;
}

#[tokio::test]
async fn an_aborted_write_stays_aborted_and_counts_once() {
    let world = World::new(&[Some(100)]).await;
    let op = op();
    let a = world.begun(op, "k", 60).await;
    let abort = || world.abort(op, "k", 60, &a, TargetEnd::Unknown);
    assert_eq!(world.store.submit(abort()).await, Outcome::Aborted);
    assert_eq!(world.store.submit(abort()).await, Outcome::Aborted);
    assert_eq!(world.store.submit(world.commit(op, "k", 60, &a)).await, Outcome::Aborted);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE uncertain").await, 1);
    // Its bytes count until they are gone.
    let refused = world.store.submit(world.begin(crate::support::op(), "k", 41)).await;
    assert_eq!(code(&refused), ErrorCode::InsufficientStorage);
    world.audit().await;
}

#[tokio::test]
async fn a_lost_intent_is_recorded_and_its_original_comes_too_late() {
    let world = World::new(&[None]).await;
    let op = op();
    let a = world.begun(op, "k", 3).await;
    // As a crash of PostgreSQL loses it: the row and its reservation, which were never flushed.
    world.sql.batch_execute("DELETE FROM intents; UPDATE backend_usage SET reserved = 0").await.unwrap();
    let commit = || world.commit(op, "k", 3, &a);
    assert_eq!(code(&world.store.submit(commit()).await), ErrorCode::WriteLost);
    assert_eq!(code(&world.store.submit(commit()).await), ErrorCode::WriteLost);
    assert_eq!(code(&world.store.submit(world.begin(op, "k", 3)).await), ErrorCode::WriteLost);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'lost'").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM intents").await, 0);
    world.audit().await;
}

#[tokio::test]
async fn a_replacement_target_is_named_first() {
    let world = World::new(&[None, None]).await;
    let op = op();
    let mut a = world.begun(op, "k", 3).await;
    let retarget = || {
        let intent = world.carried("k", 3, &a);
        let failed = a.1[0].backend;
        world.request(op, Call::Retarget(Retarget { intent, failed, down: vec![] }))
    };
    let first = world.store.submit(retarget()).await;
    assert_eq!(world.store.submit(retarget()).await, first, "Retarget twice");
    let Outcome::Retargeted(target) = first else { panic!("{first:?}") };
    assert_eq!(world.count("SELECT cardinality(target_key)::bigint FROM intents").await, 2);
    a.1 = vec![target];
    let committed = world.store.submit(world.commit(op, "k", 3, &a)).await;
    assert!(matches!(committed, Outcome::Committed { .. }), "{committed:?}");
    // The failed target may hold a blob: it is unknown how it ended.
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE uncertain").await, 1);
    world.audit().await;
}

#[tokio::test]
async fn one_poisoned_item_fails_alone() {
    let world = World::new(&[None]).await;
    let add = "ALTER TABLE objects ADD CONSTRAINT no_poison CHECK (key <> 'poison')";
    world.sql.batch_execute(add).await.unwrap();
    let keys: Vec<String> =
        (0..40).map(|n| if n == 17 { "poison".to_owned() } else { format!("k{n}") }).collect();
    let writes = keys.iter().map(|key| async {
        let op = op();
        let a = world.begun(op, key, 1).await;
        (op, key.clone(), a)
    });
    let begun = join_all(writes).await;
    let commits = begun.iter().map(|(op, key, a)| world.store.submit(world.commit(*op, key, 1, a)));
    for (outcome, key) in join_all(commits).await.into_iter().zip(&keys) {
        if key == "poison" {
            assert_eq!(code(&outcome), ErrorCode::InternalError);
        } else {
            assert!(matches!(outcome, Outcome::Committed { .. }), "{key}: {outcome:?}");
        }
    }
    let nul = world.store.submit(world.begin(op(), "a\0b", 1)).await;
    assert_eq!(code(&nul), ErrorCode::InvalidArgument);
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 39);
    world.audit().await;
}

#[tokio::test]
async fn an_unreadable_row_fails_only_those_that_need_it() {
    let world = World::new(&[None]).await;
    world.put("bad", 1).await;
    world.put("good", 1).await;
    world.sql.batch_execute("UPDATE objects SET attributes = '[1]' WHERE key = 'bad'").await.unwrap();
    let keys = ["bad", "good"];
    let outcomes = join_all(keys.map(|key| world.store.submit(world.delete(op(), key)))).await;
    let Outcome::Refused(refusal) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(refusal.code, ErrorCode::InternalError);
    assert!(refusal.message.contains("objects") && refusal.message.contains("bad"), "{}", refusal.message);
    assert_eq!(outcomes[1], Outcome::Deleted { existed: true, version: None, delete_marker: false });
}

#[tokio::test]
async fn conditions_and_permissions_are_looked_at_in_the_transaction() {
    let world = World::new(&[None]).await;
    world.put("k", 1).await;
    let mut absent = world.begin(op(), "k", 1);
    let Call::Begin(begin) = &mut absent.call else { unreachable!() };
    begin.conditions = Conditions { if_absent: true, if_match: None };
    assert_eq!(code(&world.store.submit(absent).await), ErrorCode::PreconditionFailed);
    let mut stranger = world.delete(op(), "k");
    stranger.access_key = "nobody".to_owned();
    assert_eq!(code(&world.store.submit(stranger).await), ErrorCode::AccessDenied);
    let mut elsewhere = world.begin(op(), "k", 1);
    let Call::Begin(begin) = &mut elsewhere.call else { unreachable!() };
    begin.bucket = s3o_types::BucketId(999);
    assert_eq!(code(&world.store.submit(elsewhere).await), ErrorCode::AccessDenied);
    let bulk = op();
    let mut request = world.delete(bulk, "k");
    request.bulk = true;
    assert_eq!(
        world.store.submit(request).await,
        Outcome::Deleted { existed: true, version: None, delete_marker: false }
    );
}

#[tokio::test]
async fn begin_in_two_replicas_at_once_has_one_outcome() {
    let world = World::new(&[None]).await;
    let other = world.another_store().await;
    for n in 0..20 {
        let op = op();
        let key = format!("k{n}");
        let (a, b) = tokio::join!(
            world.store.submit(world.begin(op, &key, 1)),
            other.submit(world.begin(op, &key, 1))
        );
        assert_eq!(begun(a), begun(b));
    }
    assert_eq!(world.count("SELECT count(*) FROM intents").await, 20);
    world.audit().await;
}

/// No statistic can turn a lookup into a scan: here there are none, and the tables were empty when the
/// statements were planned.
#[tokio::test]
async fn hot_lookups_use_indexes_without_statistics() {
    let world = World::new(&[None]).await;
    let off = "ALTER TABLE objects SET (autovacuum_enabled = false);
               ALTER TABLE copies SET (autovacuum_enabled = false);
               ALTER TABLE intents SET (autovacuum_enabled = false)";
    world.sql.batch_execute(off).await.unwrap();
    let today = "changes_' || to_char((now() AT TIME ZONE 'UTC')::date, 'YYYYMMDD')";
    let tables = format!("relname IN ('objects', 'copies', 'intents', '{today})");
    let scans = format!("SELECT COALESCE(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables WHERE {tables}");
    let before = world.count(&scans).await;
    for round in 0..3 {
        join_all((0..40).map(|n| world.put(if n == 0 { "same" } else { ["x", "y"][n % 2] }, round + 1)))
            .await;
        join_all((0..40).map(|n| world.store.submit(world.delete(op(), &format!("k{n}"))))).await;
        let query = Locate { bucket: world.bucket, key: "same".to_owned(), version: None, want: Want::All };
        assert!(world.store.locate(query).await.unwrap().found().is_some());
    }
    // A backend reports what it has counted when it ends.
    world.store.close().await;
    let used = format!("SELECT COALESCE(min(idx_scan), 0)::bigint FROM pg_stat_user_tables WHERE {tables}");
    crate::support::eventually("counted", || async { world.count(&used).await > 0 }).await;
    assert_eq!(world.count(&scans).await, before);
}
