//! Buckets that clients made, set and deleted in the time that a database has lost, and what they did since.

use std::time::Duration;

use crate::support::{KEY, World, database, op, raw};
use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::journal::LogPlace;
use s3o_core::ports::{Buckets, Journal, Recovery, Restore, Versions};
use s3o_core::restore::MergedBuckets;
use s3o_core::versions::SetVersioning;
use s3o_types::{
    BucketId, BucketLock, CorsRule, DefaultRetention, LifecycleRule, RetentionMode, RetentionPeriod,
    Versioning,
};

const CREATE: Wanted = Wanted::Create { locks: false };

async fn change(world: &World, name: &str, wanted: Wanted) {
    let change =
        BucketChange { op: op().id, access_key: KEY.to_owned(), name: name.parse().unwrap(), wanted };
    world.store.change(change).await.unwrap().unwrap();
}

fn cors(id: &str) -> Wanted {
    Wanted::Cors(vec![CorsRule { id: id.to_owned(), ..CorsRule::default() }])
}

async fn id_of(world: &World, name: &str) -> BucketId {
    let sql = "SELECT id FROM buckets WHERE name = $1 AND state <> 'gone'";
    BucketId(world.sql.query_one(sql, &[&name]).await.unwrap().get(0))
}

async fn put(world: &mut World, bucket: &str, key: &str) {
    let before = world.bucket;
    world.bucket = id_of(world, bucket).await;
    world.put(key, 1).await;
    world.bucket = before;
}

fn retain(days: u32) -> Wanted {
    let (mode, period) = (RetentionMode::Governance, RetentionPeriod::Days(days));
    Wanted::Lock(BucketLock { default_retention: Some(DefaultRetention { mode, period }) })
}

/// Sessions are of a release that knows them.
async fn versions_known(world: &World) {
    world.sql.batch_execute("UPDATE sessions SET features = '{versions}'").await.unwrap();
}

async fn versions(world: &World, bucket: &str) {
    versions_known(world).await;
    let (bucket, wanted) = (id_of(world, bucket).await, Versioning::Enabled);
    let set = SetVersioning { op: op(), access_key: KEY.to_owned(), bucket, wanted };
    world.store.set_versioning(set).await.unwrap();
}

/// A database as it is now, in another one.
async fn copied(world: World) -> (World, World) {
    let World { url, store, sql, .. } = world;
    store.close().await;
    drop((store, sql));
    let copy = database().await;
    let name = |url: &str| url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let (from, to) = (name(&url), name(&copy));
    let server = raw(&url.replace(&format!("/{from}"), "/postgres")).await;
    for _ in 0..100 {
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {to}")).await.unwrap();
        if server.batch_execute(&format!("CREATE DATABASE {to} TEMPLATE {from}")).await.is_ok() {
            return (World::on(url, &[None]).await, World::on(copy, &[None]).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("somebody holds the database");
}

/// All records, and the header behind them.
async fn shipped(world: &World) -> (Vec<String>, String) {
    let (mut lines, mut upto) = (Vec::new(), LogPlace::default());
    loop {
        let page = world.store.changes(upto, 100).await.unwrap();
        lines.extend(page.lines);
        upto = page.upto;
        let left =
            format!("SELECT count(*) FROM changes WHERE (xid, n) > ('{}'::xid8, {})", upto.xid, upto.n);
        if world.count(&left).await == 0 {
            return (lines, world.store.journal_header(upto).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn merge(world: &World, lines: Vec<String>, header: &str) -> Result<MergedBuckets, String> {
    world.store.restore_begin().await.unwrap();
    world.store.restore_records(lines).await.unwrap();
    let mut merged = world.store.restore_staged(header, 0).await.unwrap()?;
    let mut after = (0, String::new());
    while let Some((last, _)) = world.store.restore_keys(&after, 0, &[]).await.unwrap() {
        after = last;
    }
    merged += world.store.restore_buckets_end(header).await.unwrap();
    Ok(merged)
}

/// Each bucket that is not gone: its state, versioning, rules, owner and the keys in it.
async fn seen(world: &World) -> Vec<String> {
    let sql = "
        SELECT concat_ws(' ', name, state, versioning, stored_cors->0->>'id', stored_lifecycle->0->>'id', owner,
               (SELECT string_agg(key, ',' ORDER BY key) FROM objects o WHERE o.bucket = b.id),
               (SELECT count(*) FROM scoped_grants g WHERE g.bucket = b.id)) AS line
        FROM buckets b WHERE state <> 'gone' AND owner IS NOT NULL ORDER BY name";
    world.sql.query(sql, &[]).await.unwrap().iter().map(|row| row.get("line")).collect()
}

#[tokio::test]
async fn every_change_of_a_bucket_is_shipped() {
    let world = World::new(&[None]).await;
    change(&world, "mine", CREATE).await;
    change(&world, "mine", cors("a")).await;
    change(&world, "mine", Wanted::Delete).await;
    let (lines, header) = shipped(&world).await;
    assert_eq!(lines.iter().filter(|line| line.contains("\"k\": \"bucket\"")).count(), 3, "{lines:?}");
    assert!(header.contains("\"mine\"") && header.contains("\"deleting\""), "{header}");
}

#[tokio::test]
async fn what_clients_did_to_buckets_in_the_lost_time_is_merged() {
    let world = World::new(&[None]).await;
    for name in ["set", "left", "empty", "full", "since"] {
        change(&world, name, CREATE).await;
    }
    let (mut lost, mut now) = copied(world).await;

    change(&lost, "set", cors("lost")).await;
    let expire = LifecycleRule { id: "lost".to_owned(), ..LifecycleRule::default() };
    change(&lost, "set", Wanted::Lifecycle(vec![expire])).await;
    change(&lost, "left", cors("lost")).await;
    versions(&lost, "left").await;
    for name in ["empty", "full"] {
        change(&lost, name, Wanted::Delete).await;
    }
    put(&mut lost, "since", "before").await;
    for name in ["new", "again"] {
        change(&lost, name, CREATE).await;
        put(&mut lost, name, &format!("of {name}")).await;
    }
    let (lines, header) = shipped(&lost).await;

    // Before anybody notices: a bucket that takes the number of one that was lost.
    change(&now, "other", CREATE).await;
    assert_eq!(id_of(&now, "other").await, id_of(&lost, "new").await);
    now.store.enter_recovery("a test").await.unwrap();
    change(&now, "left", cors("since")).await;
    change(&now, "since", Wanted::Delete).await;
    change(&now, "again", CREATE).await;
    put(&mut now, "full", "since").await;
    put(&mut now, "again", "since").await;

    let merged = merge(&now, lines.clone(), &header).await.unwrap();
    assert_eq!(
        seen(&now).await,
        [
            "again active off AKTEST of again,since 1",
            "empty deleting off AKTEST 0",
            "full active off AKTEST since 1",
            "left versioned enabled since AKTEST 1",
            "new active off AKTEST of new 1",
            "other active off AKTEST 1",
            "set active off lost lost AKTEST 1",
            "since active off AKTEST before 1",
        ]
    );
    assert_eq!((merged.made, merged.changed, merged.deleted), (1, 2, 1));
    assert_eq!(merged.kept.len(), 2, "{merged:?}");
    assert!(merged.kept.iter().any(|why| why.starts_with("full: ") && why.contains("objects")), "{merged:?}");
    assert!(merged.kept.iter().any(|why| why.starts_with("since: ")), "{merged:?}");
    // Done again it changes nothing.
    let before = seen(&now).await;
    let merged = merge(&now, lines, &header).await.unwrap();
    assert_eq!((merged.made, merged.changed, merged.deleted), (0, 0, 0));
    assert_eq!(seen(&now).await, before);
}

#[tokio::test]
async fn a_name_of_two_owners_is_the_operators_to_sort_out() {
    let (lost, now) = copied(World::new(&[None]).await).await;
    change(&lost, "new", CREATE).await;
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    change(&now, "new", CREATE).await;
    now.sql.batch_execute("UPDATE buckets SET owner = 'AKOTHER' WHERE name = 'new'").await.unwrap();
    let before = seen(&now).await;
    let why = merge(&now, lines, &header).await.unwrap_err();
    assert!(why.contains("`new`") && why.contains("AKTEST") && why.contains("AKOTHER"), "{why}");
    assert_eq!(seen(&now).await, before);
}

#[tokio::test]
async fn object_lock_of_the_lost_time_is_merged() {
    let world = World::new(&[None]).await;
    versions_known(&world).await;
    change(&world, "turned", CREATE).await;
    for name in ["default", "both", "deleted"] {
        change(&world, name, Wanted::Create { locks: true }).await;
    }
    let (lost, now) = copied(world).await;
    versions(&lost, "turned").await;
    for name in ["turned", "default", "both"] {
        change(&lost, name, retain(1)).await;
    }
    change(&lost, "new", Wanted::Create { locks: true }).await;
    change(&lost, "deleted", Wanted::Delete).await;
    let (lines, header) = shipped(&lost).await;

    now.store.enter_recovery("a test").await.unwrap();
    change(&now, "both", retain(2)).await;
    let merged = merge(&now, lines.clone(), &header).await.unwrap();
    let sql = "
        SELECT concat_ws(' ', name, state, versioning, COALESCE(object_lock->'default_retention'->>'days', 'none')) AS line
        FROM buckets WHERE object_lock IS NOT NULL ORDER BY name";
    let seen: Vec<String> =
        now.sql.query(sql, &[]).await.unwrap().iter().map(|row| row.get("line")).collect();
    assert_eq!(
        seen,
        [
            "both locked enabled 2",
            "default locked enabled 1",
            "deleted deleting enabled none",
            "new locked enabled none",
            "turned locked enabled 1",
        ]
    );
    assert_eq!((merged.made, merged.changed, merged.deleted), (1, 2, 1), "{merged:?}");
    let merged = merge(&now, lines, &header).await.unwrap();
    assert_eq!((merged.made, merged.changed, merged.deleted), (0, 0, 0), "{merged:?}");
}
