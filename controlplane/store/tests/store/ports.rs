//! Schema, configuration, sessions, queues, maintenance and overview against a real database.

use std::collections::BTreeMap;

use crate::support::{World, declared, empty_database, op, raw};
use s3o_core::call::{Call, Found, Outcome, Resolution, Resolve};
use s3o_core::cleanup::{Claim, CleanupResult, MAX_ATTEMPTS};
use s3o_core::config::{MarkerPlace, MarkerSeen};
use s3o_core::intent::TargetEnd;
use s3o_core::ports::{Configs, Ledger, Maintenance, Overview, Queues, Sessions};
use s3o_core::session::{BackendUsage, UsageReport};
use s3o_store::{Store, StoreError, StoreOptions};
use s3o_types::{BackendState, ErrorCode, Etag, EtagProof, ObjectAttributes};
use uuid::Uuid;

const ATTACHED: &str = "SELECT count(*) FROM backends WHERE attached";

fn claim(owner: Uuid) -> Claim {
    Claim { owner, lasts_us: 60_000_000, limit: 100, due_for_us: 0 }
}

#[tokio::test]
async fn replicas_migrate_at_once_and_partitions_are_there() {
    let url = empty_database().await;
    assert!(matches!(
        Store::connect(StoreOptions::new(&url)).await,
        Err(StoreError::Schema { found: 0, .. })
    ));
    let all = futures::future::join_all((0..4).map(|_| Store::migrate(&url))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let sql = raw(&url).await;
    let count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'changes'::regclass";
    // Today, seven days ahead, and the default.
    assert_eq!(sql.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 9);
    sql.batch_execute("UPDATE refinery_schema_history SET version = 99 WHERE version = 2").await.unwrap();
    assert!(matches!(
        Store::connect(StoreOptions::new(&url)).await,
        Err(StoreError::Schema { found: 99, .. })
    ));
}

#[tokio::test]
async fn declarations_are_applied_once_and_lose_no_object() {
    let world = World::new(&[None, None]).await;
    let other = world.another_store().await;
    world.put("k", 4).await;
    let before = world.count("SELECT value::bigint FROM settings WHERE name = 'generation'").await;
    world.store.apply_declared(&declared(&[None, None]), "[None, None]").await.unwrap();
    assert_eq!(world.count("SELECT value::bigint FROM settings WHERE name = 'generation'").await, before);

    let mut fewer = declared(&[]);
    fewer.buckets.clear();
    fewer.credentials[0].grants.clear();
    world.store.apply_declared(&fewer, "fewer").await.unwrap();
    let config = other.newer_than(before).await;
    // The one with an object drains, the empty one is forgotten; the bucket stays, out of reach.
    let states: Vec<_> = config.backends.iter().map(|b| (b.spec.name.as_str(), b.state)).collect();
    assert_eq!(states, [("b0", BackendState::Draining)]);
    assert_eq!(config.buckets.len(), 1);
    assert!(config.credentials[0].grants.is_empty());
    let refused = world.store.submit(world.begin(op(), "k", 1)).await;
    assert!(matches!(refused, Outcome::Refused(r) if r.code == ErrorCode::AccessDenied));

    world.store.apply_declared(&declared(&[None, None]), "again").await.unwrap();
    let config = other.newer_than(config.generation).await;
    assert!(config.backends.iter().all(|b| b.state == BackendState::Active));
    let before_detach = world.count(ATTACHED).await;
    let detached = config.backends[0].spec.id;
    let place = MarkerPlace::of(&config.backends[0].spec);
    // What was seen at another place says nothing about this one.
    let elsewhere = MarkerPlace { endpoint: "http://127.0.0.1:1".to_owned(), ..place.clone() };
    world.store.detach(elsewhere.clone()).await.unwrap();
    assert_eq!(world.count(ATTACHED).await, before_detach);
    world.store.detach(place.clone()).await.unwrap();
    assert_eq!(world.count(ATTACHED).await, before_detach - 1);
    world.store.attach(MarkerSeen { place: elsewhere, etag: EtagProof::Md5 }).await.unwrap();
    let moved = MarkerPlace { bucket: "another".to_owned(), ..place };
    world.store.attach(MarkerSeen { place: moved, etag: EtagProof::Md5 }).await.unwrap();
    assert_eq!(world.count(ATTACHED).await, before_detach - 1);
    let config = other.newer_than(config.generation).await;
    assert!(!config.backends.iter().find(|b| b.spec.id == detached).unwrap().attached);
    world.audit().await;
}

#[tokio::test]
async fn a_usage_report_counts_once() {
    let world = World::new(&[None]).await;
    let backend = world.store.current().backends[0].spec.id;
    let usage =
        BackendUsage { requests: BTreeMap::from([("put".into(), 3)]), ingress_bytes: 30, egress_bytes: 7 };
    let report = |number| UsageReport { number, usage: BTreeMap::from([(backend, usage.clone())]) };
    for number in [1, 1, 2, 1] {
        world.store.add_usage(world.session, report(number)).await.unwrap();
    }
    let overview = world.store.backend_usage().await.unwrap();
    let month = &overview[0].2;
    assert_eq!((month.requests["put"], month.ingress_bytes, month.egress_bytes), (6, 60, 14));
    assert!(world.store.renew(Uuid::new_v4(), vec![]).await.is_err());
    world.store.renew(world.session, vec![Uuid::now_v7()]).await.unwrap();
    assert!(Overview::sessions(&world.store).await.unwrap()[0].1);
    Sessions::close(&world.store, world.session).await.unwrap();
    assert!(!Overview::sessions(&world.store).await.unwrap()[0].1);
}

#[tokio::test]
async fn cleanup_claims_are_taken_over_and_bytes_count_until_gone() {
    let world = World::new(&[None]).await;
    world.put("k", 10).await;
    world.put("k", 20).await;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    assert!(world.store.claim_cleanup(claim(first)).await.unwrap().is_empty(), "read_grace holds");
    world.make_everything_due().await;
    let claimed = world.store.claim_cleanup(claim(first)).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].recovered, claimed[0].entry.size), (1, false, 10));
    assert!(world.store.claim_cleanup(claim(second)).await.unwrap().is_empty());
    world.sql.batch_execute("UPDATE cleanup_queue SET claimed_until = now() - interval '1 s'").await.unwrap();
    let taken = world.store.claim_cleanup(claim(second)).await.unwrap();
    assert!(taken[0].recovered);
    let done = |items: &[_]| {
        items.iter().map(|i: &s3o_core::cleanup::CleanupItem| (i.clone(), CleanupResult::Deleted)).collect()
    };
    let counts = world.store.finish_cleanup(first, done(&claimed)).await.unwrap();
    assert_eq!(counts, BTreeMap::from([("not_ours".to_owned(), 1)]));
    world.audit().await;
    let counts = world.store.finish_cleanup(second, done(&taken)).await.unwrap();
    assert_eq!(counts, BTreeMap::from([("success".to_owned(), 1)]));
    assert_eq!(world.store.finish_cleanup(second, done(&taken)).await.unwrap()["not_ours"], 1);
    assert_eq!(world.count("SELECT sum(orphaned)::bigint FROM backend_usage").await, 0);
    world.audit().await;
}

#[tokio::test]
async fn an_uncertain_key_is_deleted_twice_and_failures_end_as_dead_letters() {
    let world = World::new(&[None]).await;
    for key in ["uncertain", "failing"] {
        let op = op();
        let a = world.begun(op, key, 10).await;
        let end = if key == "failing" { TargetEnd::Stored } else { TargetEnd::Unknown };
        assert_eq!(world.store.submit(world.abort(op, key, 10, &a, end)).await, Outcome::Aborted);
    }
    let owner = Uuid::new_v4();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..MAX_ATTEMPTS {
        world.make_everything_due().await;
        let claimed = world.store.claim_cleanup(claim(owner)).await.unwrap();
        let results = claimed.into_iter().map(|item| {
            let failing = item.entry.storage_key.contains("failing");
            let result =
                if failing { CleanupResult::Failed("503".to_owned()) } else { CleanupResult::Absent };
            (item, result)
        });
        for (what, n) in world.store.finish_cleanup(owner, results.collect()).await.unwrap() {
            *seen.entry(what).or_default() += n;
        }
        world.audit().await;
    }
    let expected = [("exhausted", 1), ("retry", 9), ("second_pass", 1), ("success_absent", 1)];
    assert_eq!(seen, expected.map(|(what, n)| (what.to_owned(), n)).into());
    let depths = world.store.depths().await.unwrap();
    assert_eq!((depths.cleanup, depths.dead_letters, depths.intents), (0, 1, 0));
}

#[tokio::test]
async fn an_intent_is_reaped_when_its_lease_is_over() {
    let world = World::new(&[None]).await;
    let (kept, stored, gone) = (op(), op(), op());
    world.begun(kept, "kept", 1).await;
    let a = world.begun(stored, "stored", 5).await;
    world.begun(gone, "gone", 5).await;
    let reaper = Uuid::new_v4();
    assert!(world.store.claim_expired_intents(claim(reaper)).await.unwrap().is_empty());
    world.sql.batch_execute("UPDATE intents SET begun = now() - interval '3 minutes'").await.unwrap();
    world.store.renew(world.session, vec![kept.id]).await.unwrap();
    let mut claimed = world.store.claim_expired_intents(claim(reaper)).await.unwrap();
    claimed.sort_by_key(|intent| intent.op);
    assert_eq!(claimed.iter().map(|i| i.op).collect::<Vec<_>>(), [stored, gone]);

    // Claimed, so fenced off; let go, and it may commit again.
    let fenced = world.store.submit(world.commit(stored, "stored", 5, &a)).await;
    assert!(matches!(fenced, Outcome::Refused(r) if r.code == ErrorCode::ServiceUnavailable));
    world.store.release_intents(reaper, vec![stored, gone]).await.unwrap();
    assert_eq!(world.store.claim_expired_intents(claim(reaper)).await.unwrap().len(), 2);

    let resolve = |n: usize, found: Found| {
        let intent = claimed[n].clone();
        let found = vec![(intent.targets[0].id(), found)];
        world.request(intent.op, Call::Resolve(Box::new(Resolve { intent, owner: reaper, found })))
    };
    let blob = Found::Blob {
        stored_size: 5,
        size: 5,
        etag: Some(Etag::new("d41d8cd98f00b204e9800998ecf8427e")),
        attributes: Some(ObjectAttributes::default()),
        backend_version: None,
    };
    let promoted = world.store.submit(resolve(0, blob.clone())).await;
    assert_eq!(promoted, Outcome::Resolved(Resolution::Promoted));
    // Something happened to the key since: a whole blob is not promoted, and a repeat says so too.
    world.put("gone", 1).await;
    for _ in 0..2 {
        let late = world.store.submit(resolve(1, blob.clone())).await;
        assert_eq!(late, Outcome::Resolved(Resolution::Superseded));
    }
    Sessions::close(&world.store, world.session).await.unwrap();
    assert_eq!(world.store.claim_expired_intents(claim(reaper)).await.unwrap()[0].op, kept);
    world.audit().await;
}

#[tokio::test]
async fn partitions_are_made_under_rows_of_the_default_and_dropped_when_old() {
    let world = World::new(&[None]).await;
    world.put("before", 1).await;
    let today = "(now() AT TIME ZONE 'UTC')::date";
    let name: String = world
        .sql
        .query_one(&format!("SELECT 'changes_' || to_char({today}, 'YYYYMMDD')"), &[])
        .await
        .unwrap()
        .get(0);
    world.sql.batch_execute(&format!("DROP TABLE {name}")).await.unwrap();
    let op = op();
    let a = world.begun(op, "k", 1).await;
    let first = world.store.submit(world.commit(op, "k", 1, &a)).await;
    assert_eq!(world.count("SELECT count(*) FROM changes_default").await, 1);
    assert_eq!(
        world.store.submit(world.commit(op, "k", 1, &a)).await,
        first,
        "found in the default partition"
    );
    let old =
        "CREATE TABLE changes_20200101 PARTITION OF changes FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')";
    world.sql.batch_execute(old).await.unwrap();
    let other = world.another_store().await;
    let (x, y) = tokio::join!(world.store.rotate_changes(), other.rotate_changes());
    let total = |what: &str| {
        x.as_ref().unwrap().get(what).unwrap_or(&0) + y.as_ref().unwrap().get(what).unwrap_or(&0)
    };
    assert_eq!(total("made"), 1);
    assert!(total("dropped") >= 1);
    assert_eq!(world.count("SELECT count(*) FROM changes_default").await, 0);
    assert_eq!(world.count(&format!("SELECT count(*) FROM {name}")).await, 1);
    assert_eq!(world.store.submit(world.commit(op, "k", 1, &a)).await, first, "found in its own partition");
}

/// A running `pg_dump` holds every table; today's and tomorrow's partitions are there.
#[tokio::test]
async fn somebody_who_reads_the_log_keeps_no_control_plane_from_starting() {
    let world = World::new(&[None]).await;
    let partition = async |n: i32| {
        let sql = format!("SELECT 'changes_' || to_char((now() AT TIME ZONE 'UTC')::date + {n}, 'YYYYMMDD')");
        world.sql.query_one(&sql, &[]).await.unwrap().get::<_, String>(0)
    };
    let drop = async |n: i32| {
        let sql = format!("DROP TABLE {}", partition(n).await);
        world.sql.batch_execute(&sql).await.unwrap();
    };
    drop(5).await;
    let old =
        "CREATE TABLE changes_20200101 PARTITION OF changes FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')";
    world.sql.batch_execute(old).await.unwrap();
    world.sql.batch_execute("BEGIN; LOCK TABLE changes, changes_default IN ACCESS SHARE MODE").await.unwrap();
    Store::migrate(&world.url).await.unwrap();
    assert!(world.store.rotate_changes().await.is_err());
    world.sql.batch_execute("COMMIT").await.unwrap();
    // One old partition that cannot be dropped does not stop the new ones.
    let dumping = raw(&world.url).await;
    dumping.batch_execute("BEGIN; LOCK TABLE ONLY changes_20200101 IN ACCESS SHARE MODE").await.unwrap();
    assert!(world.store.rotate_changes().await.is_err());
    let made = format!("SELECT count(*) FROM pg_class WHERE relname = '{}'", partition(5).await);
    assert_eq!(world.count(&made).await, 1);
    dumping.batch_execute("COMMIT").await.unwrap();
    assert_eq!(world.store.rotate_changes().await.unwrap()["dropped"], 1);
    // Without tomorrow's, it has to be made.
    drop(1).await;
    world.sql.batch_execute("BEGIN; LOCK TABLE changes_default IN ACCESS SHARE MODE").await.unwrap();
    assert!(Store::migrate(&world.url).await.is_err());
    world.sql.batch_execute("COMMIT").await.unwrap();
    Store::migrate(&world.url).await.unwrap();
}

#[tokio::test]
async fn ticks_are_recorded_and_a_closed_store_refuses() {
    let world = World::new(&[None]).await;
    world.store.record_tick("reaper", "one", Err("no\0".to_owned())).await.unwrap();
    world.store.record_tick("reaper", "one", Err("again".to_owned())).await.unwrap();
    let failing = world.store.workers().await.unwrap().remove(0);
    assert_eq!((failing.consecutive_failures, failing.last_error.as_deref()), (2, Some("again")));
    world.store.record_tick("reaper", "one", Ok(())).await.unwrap();
    assert_eq!(world.store.workers().await.unwrap()[0].consecutive_failures, 0);
    assert!(world.store.database_reachable());
    assert_eq!(world.store.prune_sessions().await.unwrap()["pruned"], 0);
    Store::close(&world.store).await;
    let refused = world.store.submit(world.delete(op(), "k")).await;
    assert!(matches!(refused, Outcome::Refused(r) if r.code == ErrorCode::ServiceUnavailable));
}
