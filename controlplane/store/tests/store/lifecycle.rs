//! Expiry on a real database: which rows a page finds, that the ledger decides of rows and rules as they are by then, and
//! how passes are claimed, saved and carried on.

use crate::support::{KEY, World, declared, op};
use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::call::{Call, CreateUpload, Expire, Expiring, Outcome, SetTags};
use s3o_core::cleanup::Claim;
use s3o_core::lifecycle::{Phase, Place};
use s3o_core::ports::{Buckets, Configs, Ledger, Lifecycle, Sessions};
use s3o_core::session::Hello;
use s3o_types::{ErrorCode, LifecycleRule, ObjectAttributes};
use uuid::Uuid;

fn days(prefix: &str, days: u32) -> LifecycleRule {
    LifecycleRule { prefix: prefix.to_owned(), expire_after_days: Some(days), ..LifecycleRule::default() }
}

async fn world(rules: &[LifecycleRule]) -> World {
    let world = World::new(&[None]).await;
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, '', 16)";
    world.sql.execute(grant, &[&KEY, &world.bucket.0]).await.unwrap();
    set(&world, rules).await.unwrap();
    world
}

async fn set(world: &World, rules: &[LifecycleRule]) -> Result<i64, ErrorCode> {
    let change = BucketChange {
        op: Uuid::now_v7(),
        access_key: KEY.to_owned(),
        name: "photos".parse().unwrap(),
        wanted: Wanted::Lifecycle(rules.to_vec()),
    };
    world.store.change(change).await.unwrap().map_err(|refusal| refusal.code)
}

async fn versioned(world: &World) {
    let enable = "UPDATE buckets SET state = 'versioned', versioning = 'enabled' WHERE id = $1";
    world.sql.execute(enable, &[&world.bucket.0]).await.unwrap();
}

/// Everything was written so many days ago.
async fn age(world: &World, days: i32) {
    for (table, column) in
        [("objects", "modified"), ("object_versions", "modified"), ("uploads", "initiated")]
    {
        let sql = format!("UPDATE {table} SET {column} = {column} - make_interval(days => $1)");
        world.sql.execute(&sql, &[&days]).await.unwrap();
    }
}

/// All that pages of `limit` rows find, from the beginning to the end, and how many pages there were.
async fn due(world: &World, limit: u32) -> (Vec<Expire>, usize) {
    let (mut found, mut pages, mut place) = (Vec::new(), 0, Some(Place::start(Phase::Objects)));
    while let Some(after) = place {
        let page = world.store.due(world.bucket, &after, limit).await.unwrap();
        found.extend(page.due);
        (place, pages) = (page.next, pages + 1);
        assert!(pages < 1000, "it ends");
    }
    (found, pages)
}

async fn expire(world: &World, expire: Expire) -> Outcome {
    world.store.submit(world.request(op(), Call::Expire(expire))).await
}

fn code(outcome: &Outcome) -> Option<ErrorCode> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

fn keys(found: &[Expire]) -> Vec<&str> {
    found.iter().map(|expire| expire.key.as_str()).collect()
}

#[tokio::test]
async fn pages_find_what_is_due_under_the_prefixes_of_rules_only() {
    let world = world(&[days("b/", 1), days("d", 3)]).await;
    for key in ["a", "b", "b/1", "b/2", "b/3", "c", "d", "d/1", "e"] {
        world.put(key, 10).await;
    }
    assert_eq!(due(&world, 100).await.0, []);
    age(&world, 3).await;
    for limit in [1, 2, 100] {
        let (found, pages) = due(&world, limit).await;
        assert_eq!(keys(&found), ["b/1", "b/2", "b/3"], "{limit}");
        assert!(pages <= 12, "{pages} pages of {limit}");
    }
    age(&world, 1).await;
    assert_eq!(keys(&due(&world, 2).await.0), ["b/1", "b/2", "b/3", "d", "d/1"]);
    for found in due(&world, 2).await.0 {
        assert!(matches!(expire(&world, found).await, Outcome::Deleted { existed: true, .. }));
    }
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 4);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue").await, 5);
    world.audit().await;
}

#[tokio::test]
async fn what_changed_since_the_page_is_kept() {
    let tagged = LifecycleRule { tags: [("t".to_owned(), "1".to_owned())].into(), ..days("", 1) };
    let world = world(std::slice::from_ref(&tagged)).await;
    for key in ["deleted", "kept", "overwritten", "retagged"] {
        world.put(key, 10).await;
    }
    age(&world, 9).await;
    let (found, _) = due(&world, 100).await;
    assert_eq!(found.len(), 4);
    world.put("overwritten", 20).await;
    world.store.submit(world.delete(op(), "deleted")).await;
    let retag = SetTags {
        bucket: world.bucket,
        key: "retagged".to_owned(),
        tags: [("t".to_owned(), "2".to_owned())].into(),
        version: None,
    };
    world.store.submit(world.request(op(), Call::SetTags(retag))).await;
    // Nor does anything go by a rule that is gone.
    set(&world, &[]).await.unwrap();
    for found in &found {
        assert_eq!(code(&expire(&world, found.clone()).await), Some(ErrorCode::PreconditionFailed));
    }
    set(&world, &[tagged]).await.unwrap();
    let mut expired = Vec::new();
    for found in found {
        if code(&expire(&world, found.clone()).await) != Some(ErrorCode::PreconditionFailed) {
            expired.push(found.key);
        }
    }
    assert_eq!(expired, ["kept"]);
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 2);
    world.audit().await;
}

#[tokio::test]
async fn versions_go_by_the_age_of_their_successors_and_as_many_stay_as_are_kept() {
    let rule = LifecycleRule {
        noncurrent_days: Some(2),
        newer_noncurrent_versions: Some(1),
        ..LifecycleRule::default()
    };
    let markers = LifecycleRule { expired_delete_markers: true, ..LifecycleRule::default() };
    let world = world(&[rule, markers]).await;
    world.put("k", 1).await;
    versioned(&world).await;
    for size in 2..6 {
        world.put("k", size).await;
    }
    world.put("other", 1).await;
    // Of the noncurrent ones, all written long ago, the newest is kept; of the others, one's successor is too young.
    age(&world, 9).await;
    let young = "UPDATE object_versions SET modified = now() WHERE size = 3";
    world.sql.batch_execute(young).await.unwrap();
    let sizes =
        "SELECT string_agg(size::text, ',' ORDER BY seq) FROM object_versions WHERE NOT delete_marker";
    let left = async || world.sql.query_one(sizes, &[]).await.unwrap().get::<_, Option<String>>(0);
    for limit in [1, 3, 100] {
        let (found, _) = due(&world, limit).await;
        assert_eq!(found.len(), 2, "{found:?}");
    }
    let (found, _) = due(&world, 2).await;
    assert!(
        matches!(found[1].what, Expiring::Noncurrent { is_null: true, .. }),
        "the first is the null version: {found:?}"
    );
    for found in found {
        assert!(matches!(expire(&world, found).await, Outcome::Deleted { existed: true, .. }));
    }
    assert_eq!(left().await.as_deref(), Some("2,4"));
    // A marker hides the versions below it until they are gone; then it goes.
    world.store.submit(world.delete(op(), "k")).await;
    age(&world, 9).await;
    let (found, _) = due(&world, 100).await;
    assert_eq!(found.len(), 2, "one is kept, whatever its age: {found:?}");
    for found in found {
        assert!(matches!(expire(&world, found).await, Outcome::Deleted { existed: true, .. }));
    }
    assert_eq!(left().await.as_deref(), Some("5"));
    world
        .sql
        .batch_execute("UPDATE buckets SET stored_lifecycle = '[{\"noncurrent_days\": 1}]'")
        .await
        .unwrap();
    for found in due(&world, 100).await.0 {
        expire(&world, found).await;
    }
    assert_eq!((left().await, world.count("SELECT count(*) FROM object_versions").await), (None, 1));
    world
        .sql
        .batch_execute("UPDATE buckets SET stored_lifecycle = '[{\"expired_delete_markers\": true}]'")
        .await
        .unwrap();
    let (found, _) = due(&world, 100).await;
    assert_eq!(keys(&found), ["k"]);
    let gone = expire(&world, found[0].clone()).await;
    assert!(matches!(gone, Outcome::Deleted { delete_marker: true, .. }), "{gone:?}");
    assert_eq!(world.count("SELECT count(*) FROM object_versions").await, 0);
    world.audit().await;
}

#[tokio::test]
async fn a_versioned_bucket_gets_markers_and_uploads_are_given_up() {
    let uploads = LifecycleRule { abort_uploads_after_days: Some(1), ..LifecycleRule::default() };
    let world = world(&[days("", 1), uploads]).await;
    versioned(&world).await;
    world.put("k", 1).await;
    for _ in 0..3 {
        let create = CreateUpload {
            bucket: world.bucket,
            key: "u".to_owned(),
            attributes: ObjectAttributes::default(),
            checksum: None,
        };
        world.store.submit(world.request(op(), Call::CreateUpload(create))).await;
    }
    assert!(due(&world, 2).await.0.is_empty());
    age(&world, 2).await;
    let (found, _) = due(&world, 2).await;
    assert_eq!(keys(&found), ["k", "u", "u", "u"]);
    let mut outcomes = Vec::new();
    for found in &found {
        outcomes.push(expire(&world, found.clone()).await);
    }
    assert!(matches!(outcomes[0], Outcome::Deleted { delete_marker: true, .. }), "{outcomes:?}");
    assert_eq!(outcomes[1..], [Outcome::UploadAborted, Outcome::UploadAborted, Outcome::UploadAborted]);
    assert_eq!(code(&expire(&world, found[3].clone()).await), Some(ErrorCode::NoSuchUpload));
    assert_eq!(world.count("SELECT count(*) FROM object_versions").await, 2);
    assert!(due(&world, 100).await.0.is_empty(), "the version is noncurrent now, and the marker hides it");
}

#[tokio::test]
async fn a_pass_is_one_owners_and_goes_on_where_it_was_left() {
    let world = world(&[days("", 1)]).await;
    let owner = async || {
        let session = Uuid::new_v4();
        let hello = Hello { session, name: "cp".to_owned(), version: "1".to_owned(), features: vec![] };
        world.store.open(hello).await.unwrap();
        Claim { owner: session, lasts_us: 60_000_000, limit: 1, due_for_us: 0 }
    };
    let (one, two) = (owner().await, owner().await);
    let start = Place::start(Phase::Objects);
    assert_eq!(world.store.claim_pass(world.bucket, one).await.unwrap(), Some(start));
    assert_eq!(world.store.claim_pass(world.bucket, two).await.unwrap(), None);
    let place =
        Place { phase: Phase::Versions, key: "k".to_owned(), seq: Some(s3o_types::Seq(7)), upload: None };
    assert!(world.store.save_pass(world.bucket, one, Some(&place)).await.unwrap());
    assert_eq!(world.store.claim_pass(world.bucket, one).await.unwrap(), Some(place.clone()));
    // Its owner dies: another one goes on there, and what the first still saves is not heard.
    Sessions::close(&world.store, one.owner).await.unwrap();
    assert_eq!(world.store.claim_pass(world.bucket, two).await.unwrap(), Some(place.clone()));
    assert!(!world.store.save_pass(world.bucket, one, Some(&place)).await.unwrap());
    world.store.save_pass(world.bucket, one, None).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM lifecycle_passes").await, 1);
    assert!(world.store.save_pass(world.bucket, two, None).await.unwrap());
    assert_eq!(world.count("SELECT count(*) FROM lifecycle_passes").await, 0);
}

#[tokio::test]
async fn what_is_declared_counts_and_is_not_changed_by_clients() {
    let world = world(&[days("stored/", 1)]).await;
    let shown = async || world.store.newest().await.unwrap().buckets[0].lifecycle.clone();
    assert_eq!(shown().await, [days("stored/", 1)]);
    let mut other = declared(&[None]);
    other.buckets[0].lifecycle = vec![days("declared/", 2)];
    world.store.apply_declared(&other, "declared").await.unwrap();
    assert_eq!(shown().await, [days("declared/", 2)]);
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, '', 16)";
    world.sql.execute(grant, &[&KEY, &world.bucket.0]).await.unwrap();
    assert_eq!(set(&world, &[]).await, Err(ErrorCode::AccessDenied));
    other.buckets[0].lifecycle.clear();
    world.store.apply_declared(&other, "undeclared").await.unwrap();
    assert!(shown().await.is_empty(), "the stored ones were dropped");
}
