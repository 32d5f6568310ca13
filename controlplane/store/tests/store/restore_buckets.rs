//! Buckets that clients made, set and deleted in the time that a database has lost, and what they did since.

use std::time::Duration;

use crate::support::{KEY, World, database, op, raw};
use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::call::{Call, CreateUpload};
use s3o_core::journal::LogPlace;
use s3o_core::ports::{Buckets, Journal, Ledger, Recovery, Restore, Versions};
use s3o_core::restore::MergedBuckets;
use s3o_core::versions::SetVersioning;
use s3o_types::{
    BucketId, BucketLock, CorsRule, DefaultRetention, LifecycleRule, ObjectAttributes, RetentionMode,
    RetentionPeriod, Versioning,
};

const CREATE: Wanted = Wanted::Create { locks: false };

pub(crate) async fn change(world: &World, name: &str, wanted: Wanted) {
    let change =
        BucketChange { op: op().id, access_key: KEY.to_owned(), name: name.parse().unwrap(), wanted };
    world.store.change(change).await.unwrap().unwrap();
}

fn cors(id: &str) -> Wanted {
    Wanted::Cors(vec![CorsRule { id: id.to_owned(), ..CorsRule::default() }])
}

pub(crate) async fn id_of(world: &World, name: &str) -> BucketId {
    let sql = "SELECT id FROM buckets WHERE name = $1 AND state <> 'gone'";
    BucketId(world.sql.query_one(sql, &[&name]).await.unwrap().get(0))
}

pub(crate) async fn put(world: &mut World, bucket: &str, key: &str) {
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
pub(crate) async fn copied(world: World) -> (World, World) {
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
pub(crate) async fn shipped(world: &World) -> (Vec<String>, String) {
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

pub(crate) async fn merge(world: &World, lines: Vec<String>, header: &str) -> Result<MergedBuckets, String> {
    world.store.restore_begin().await.unwrap();
    world.store.restore_records(lines).await.unwrap();
    let mut merged = world.store.restore_staged(header, &[(0, i64::MAX)]).await.unwrap()?;
    let mut after = (0, String::new());
    while let Some((last, _)) = world.store.restore_keys(&after, 0, LogPlace::default(), &[]).await.unwrap() {
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

/// The documented way: what is in the second one is taken away, it is deleted, and the first one takes its place.
#[tokio::test]
async fn a_name_of_two_owners_is_the_operators_to_sort_out() {
    let (mut lost, mut now) = copied(World::new(&[None]).await).await;
    change(&lost, "new", CREATE).await;
    put(&mut lost, "new", "lost").await;
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    change(&now, "new", CREATE).await;
    change(&now, "new", cors("since")).await;
    for key in ["since", "lost"] {
        put(&mut now, "new", key).await;
    }
    now.sql.batch_execute("UPDATE buckets SET owner = 'AKOTHER' WHERE name = 'new'").await.unwrap();
    let before = seen(&now).await;
    let why = merge(&now, lines.clone(), &header).await.unwrap_err();
    assert!(why.contains("`new`") && why.contains("AKTEST") && why.contains("AKOTHER"), "{why}");
    assert_eq!(seen(&now).await, before);

    let other = now.bucket;
    now.bucket = id_of(&now, "new").await;
    for key in ["since", "lost"] {
        now.store.submit(now.delete(op(), key)).await;
    }
    now.bucket = other;
    change(&now, "new", Wanted::Delete).await;
    merge(&now, lines, &header).await.unwrap();
    assert_eq!(
        seen(&now).await,
        ["new active off AKTEST lost 1"],
        "with none of what the other one was set to"
    );
}

/// One of the file's, that is taken out of it, is nobody's as soon as nothing is in it.
#[tokio::test]
async fn a_name_that_the_file_gives_up_goes_to_its_owner() {
    let (lost, mut now) = copied(World::new(&[None]).await).await;
    change(&lost, "new", CREATE).await;
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    change(&now, "new", CREATE).await;
    let declared = "UPDATE buckets SET owner = NULL, declared = true WHERE name = 'new'";
    now.sql.batch_execute(declared).await.unwrap();
    put(&mut now, "new", "since").await;
    assert!(merge(&now, lines.clone(), &header).await.unwrap_err().contains("the file"));
    now.sql.batch_execute("UPDATE buckets SET declared = false WHERE name = 'new'").await.unwrap();
    assert!(merge(&now, lines.clone(), &header).await.unwrap_err().contains("nobody"), "something is in it");
    let other = now.bucket;
    now.bucket = id_of(&now, "new").await;
    now.store.submit(now.delete(op(), "since")).await;
    now.bucket = other;
    merge(&now, lines, &header).await.unwrap();
    assert_eq!(seen(&now).await, ["new active off AKTEST 1"]);
}

/// A bucket was being deleted at the point, and made anew by its owner in the lost time.
#[tokio::test]
async fn one_that_was_being_deleted_is_the_one_that_was_made_since() {
    let world = World::new(&[None]).await;
    change(&world, "again", CREATE).await;
    change(&world, "again", Wanted::Delete).await;
    let (lost, now) = copied(world).await;
    lost.store.retire().await.unwrap();
    change(&lost, "again", CREATE).await;
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    let merged = merge(&now, lines, &header).await.unwrap();
    assert_eq!(seen(&now).await, ["again active off AKTEST 1"]);
    assert_eq!((merged.deleted, merged.kept.len()), (0, 0), "{merged:?}");
}

/// In the lost time its owner deleted a bucket, and somebody else made one of the name: the database of before, and the lost
/// journal.
async fn moved() -> (World, Vec<String>, String) {
    let world = World::new(&[None]).await;
    change(&world, "moved", CREATE).await;
    let (lost, now) = copied(world).await;
    change(&lost, "moved", Wanted::Delete).await;
    lost.store.retire().await.unwrap();
    change(&lost, "moved", CREATE).await;
    let other = "UPDATE buckets SET owner = 'AKOTHER' WHERE name = 'moved' AND state <> 'gone'";
    lost.sql.batch_execute(other).await.unwrap();
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    (now, lines, header)
}

/// Since then its owner has written to the one that is there again.
#[tokio::test]
async fn what_was_written_since_is_not_given_to_somebody_else() {
    let (mut now, lines, header) = moved().await;
    put(&mut now, "moved", "since").await;
    let why = merge(&now, lines.clone(), &header).await.unwrap_err();
    assert!(why.contains("AKOTHER") && why.contains("AKTEST"), "{why}");
    let kept = now.bucket;
    now.bucket = id_of(&now, "moved").await;
    now.store.submit(now.delete(op(), "since")).await;
    now.bucket = kept;
    let why = merge(&now, lines.clone(), &header).await.unwrap_err();
    assert!(why.contains("AKTEST"), "what was deleted since must not be taken for the other one's: {why}");
    change(&now, "moved", Wanted::Delete).await;
    merge(&now, lines, &header).await.unwrap();
    assert_eq!(seen(&now).await, ["moved active off AKOTHER 1"]);
}

/// Or has only begun something: no change tells of it.
#[tokio::test]
async fn what_was_begun_since_is_not_given_to_somebody_else() {
    let (mut now, lines, header) = moved().await;
    let kept = now.bucket;
    now.bucket = id_of(&now, "moved").await;
    let attributes = ObjectAttributes::default();
    let call = CreateUpload { bucket: now.bucket, key: "k".to_owned(), attributes, checksum: None };
    now.store.submit(now.request(op(), Call::CreateUpload(call))).await;
    assert_eq!(now.count("SELECT count(*) FROM uploads WHERE state = 'open'").await, 1);
    let why = merge(&now, lines.clone(), &header).await.unwrap_err();
    assert!(why.contains("AKOTHER") && why.contains("AKTEST"), "{why}");
    now.sql.batch_execute("DELETE FROM uploads").await.unwrap();
    now.begun(op(), "k", 10).await;
    let why = merge(&now, lines.clone(), &header).await.unwrap_err();
    assert!(why.contains("AKOTHER") && why.contains("AKTEST"), "{why}");
    now.sql.batch_execute("DELETE FROM intents").await.unwrap();
    now.bucket = kept;
    merge(&now, lines, &header).await.unwrap();
    assert_eq!(seen(&now).await, ["moved active off AKOTHER 1"]);
}

/// A bucket was deleted in the lost time; since then a client has begun an upload in the one that is there again.
#[tokio::test]
async fn an_upload_that_was_begun_since_keeps_its_bucket() {
    let world = World::new(&[None]).await;
    change(&world, "left", CREATE).await;
    let (lost, mut now) = copied(world).await;
    change(&lost, "left", Wanted::Delete).await;
    let (lines, header) = shipped(&lost).await;
    now.store.enter_recovery("a test").await.unwrap();
    let other = now.bucket;
    now.bucket = id_of(&now, "left").await;
    let attributes = ObjectAttributes::default();
    let call = CreateUpload { bucket: now.bucket, key: "k".to_owned(), attributes, checksum: None };
    now.store.submit(now.request(op(), Call::CreateUpload(call))).await;
    now.bucket = other;
    let merged = merge(&now, lines, &header).await.unwrap();
    assert!(merged.deleted == 0 && merged.kept[0].contains("multipart uploads"), "{merged:?}");
    assert_eq!(seen(&now).await, ["left active off AKTEST 1"]);
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
