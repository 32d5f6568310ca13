//! Buckets that clients make, change and delete, against a real database.

use crate::support::{KEY, World, declared, op};
use crate::uploads::Uploading;
use s3o_core::bucket::{BucketChange, Wanted};
use s3o_core::call::{AbortUpload, Call, Outcome};
use s3o_core::config::{BucketConfig, DeclaredBucket, DeclaredCredential};
use s3o_core::ports::{Buckets, Configs, Ledger, Uploads};
use s3o_store::StoreError;
use s3o_types::{AckLevel, CorsRule, DegradedReads, ErrorCode, Right, Rights, Scope, Secret};
use uuid::Uuid;

fn change(name: &str, wanted: Wanted) -> BucketChange {
    let name = name.parse().unwrap();
    BucketChange { op: Uuid::now_v7(), access_key: KEY.to_owned(), name, wanted }
}

async fn done(world: &World, change: BucketChange) -> i64 {
    world.store.change(change).await.unwrap().unwrap()
}

async fn refused(world: &World, change: BucketChange) -> ErrorCode {
    world.store.change(change).await.unwrap().unwrap_err().code
}

async fn bucket(world: &World, name: &str) -> Option<BucketConfig> {
    let config = world.store.newest().await.unwrap();
    config.buckets.iter().find(|bucket| bucket.name.as_str() == name).cloned()
}

/// A world whose calls go to a bucket of the key's own.
async fn with_own_bucket(name: &str) -> World {
    let mut world = World::new(&[None]).await;
    done(&world, change(name, Wanted::Create { locks: false })).await;
    world.bucket = bucket(&world, name).await.unwrap().id;
    world
}

#[tokio::test]
async fn made_used_emptied_deleted_and_made_again() {
    let world = with_own_bucket("mine").await;
    let grants = world.store.newest().await.unwrap();
    let scopes = &grants.credentials[0].scopes;
    assert_eq!(scopes, &[(world.bucket, Scope { prefix: String::new(), rights: Rights::KNOWN })]);
    assert_eq!(
        refused(&world, change("mine", Wanted::Create { locks: false })).await,
        ErrorCode::BucketAlreadyOwnedByYou
    );
    assert_eq!(
        refused(&world, change("photos", Wanted::Create { locks: false })).await,
        ErrorCode::BucketAlreadyExists
    );

    let writing = op();
    let begun = world.begun(writing, "k", 4).await;
    let delete = change("mine", Wanted::Delete);
    assert_eq!(refused(&world, delete.clone()).await, ErrorCode::BucketNotEmpty, "a write is under way");
    world.store.submit(world.commit(writing, "k", 4, &begun)).await;
    assert_eq!(refused(&world, delete.clone()).await, ErrorCode::BucketNotEmpty);
    let gone = world.store.submit(world.delete(op(), "k")).await;
    assert!(matches!(gone, Outcome::Deleted { existed: true, .. }), "{gone:?}");

    let before = world.store.newest().await.unwrap().generation;
    let generation = done(&world, delete.clone()).await;
    assert!(generation > before);
    assert_eq!(done(&world, delete.clone()).await, generation, "a repeat changes nothing");
    assert_eq!(refused(&world, change("mine", Wanted::Delete)).await, ErrorCode::NoSuchBucket);
    let late = world.store.submit(world.begin(op(), "k", 4)).await;
    assert!(matches!(late, Outcome::Refused(refusal) if refusal.code == ErrorCode::AccessDenied));

    // The blob waits for its deletion; until then the name is taken.
    assert_eq!(
        refused(&world, change("mine", Wanted::Create { locks: false })).await,
        ErrorCode::OperationAborted
    );
    assert_eq!(world.store.retire().await.unwrap()["retired"], 0);
    world.sql.batch_execute("DELETE FROM cleanup_queue").await.unwrap();
    done(&world, change("mine", Wanted::Create { locks: false })).await;
    let again = bucket(&world, "mine").await.unwrap();
    assert_ne!(again.id, world.bucket);
    // The first delete, repeated late, does not hit the new bucket.
    done(&world, delete).await;
    assert_eq!(bucket(&world, "mine").await, Some(again));
}

#[tokio::test]
async fn open_uploads_go_with_their_bucket() {
    const AN_HOUR: i64 = 3_600_000_000;
    let world = with_own_bucket("mine").await;
    let upload = Uploading::open(&world, "k").await;
    assert!(matches!(upload.put(1, 5).await, Outcome::Committed { .. }));
    assert!(world.store.stale_uploads(AN_HOUR, 10).await.unwrap().is_empty(), "it is young");
    done(&world, change("mine", Wanted::Delete)).await;
    let late = upload.complete(&[(1, 0)]).await;
    assert!(matches!(late, Outcome::Refused(_)), "{late:?}");
    assert_eq!(world.store.retire().await.unwrap()["retired"], 0, "its part is still there");
    let left = world.store.stale_uploads(AN_HOUR, 10).await.unwrap();
    assert_eq!(left.iter().map(|upload| upload.id).collect::<Vec<_>>(), [upload.id]);
    let key = "k".to_owned();
    let abort = AbortUpload { bucket: world.bucket, key, upload: upload.id, stale: true };
    let given_up = world.store.submit(world.request(op(), Call::AbortUpload(abort))).await;
    assert_eq!(given_up, Outcome::UploadAborted);
    world.audit().await;
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE storage_key LIKE 'mine/%'").await, 1);
    world.sql.batch_execute("DELETE FROM cleanup_queue").await.unwrap();
    assert_eq!(world.store.retire().await.unwrap()["retired"], 1);
}

#[tokio::test]
async fn a_write_and_a_delete_of_its_bucket_never_both_succeed() {
    let world = std::sync::Arc::new(with_own_bucket("raced").await);
    for _ in 0..20 {
        let (one, two) = (world.clone(), world.clone());
        let begin = tokio::spawn(async move { one.store.submit(one.begin(op(), "k", 1)).await });
        let delete =
            tokio::spawn(async move { two.store.change(change("raced", Wanted::Delete)).await.unwrap() });
        let (begun, deleted) = (begin.await.unwrap(), delete.await.unwrap());
        let began = matches!(begun, Outcome::Begun { .. });
        assert_ne!(began, deleted.is_ok(), "{begun:?} {deleted:?}");
        world.sql.batch_execute("DELETE FROM intents").await.unwrap();
        if deleted.is_ok() {
            // Put back as it was, grants too.
            let again = "UPDATE buckets SET state = 'active', deleted_by = NULL WHERE name = 'raced'";
            let sql = format!(
                "{again}; INSERT INTO scoped_grants SELECT owner, id, '', 31 FROM buckets WHERE name = 'raced'"
            );
            world.sql.batch_execute(&sql).await.unwrap();
        }
    }
}

#[tokio::test]
async fn racing_creates_make_one_bucket() {
    let world = std::sync::Arc::new(World::new(&[None]).await);
    let one = async |world: std::sync::Arc<World>| {
        world.store.change(change("new", Wanted::Create { locks: false })).await.unwrap()
    };
    let all = futures::future::join_all((0..8).map(|_| one(world.clone()))).await;
    assert_eq!(all.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{all:?}");
    assert_eq!(world.count("SELECT count(*) FROM buckets WHERE name = 'new'").await, 1);
}

#[tokio::test]
async fn declarations_and_clients_do_not_take_from_each_other() {
    let world = with_own_bucket("mine").await;
    // A declaration without the bucket, and with the key anew, leaves it and its grant.
    let mut other = declared(&[None]);
    other.credentials[0].secret_access_key = Secret::new("rotated");
    world.store.apply_declared(&other, "rotated").await.unwrap();
    assert!(bucket(&world, "mine").await.is_some());
    assert!(matches!(world.store.submit(world.begin(op(), "k", 1)).await, Outcome::Begun { .. }));

    let taken = DeclaredBucket {
        versioning: None,
        lock: None,
        degraded_reads: DegradedReads::Allowed,
        name: "mine".parse().unwrap(),
        ack: AckLevel::One,
        replication_factor: 1,
        max_object_size: None,
        cors: vec![],
        lifecycle: vec![],
    };
    other.buckets.push(taken);
    let error = world.store.apply_declared(&other, "taken").await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Declaration(why) if why.contains("`mine`") && why.contains(KEY)),
        "{error}"
    );
    other.buckets.pop();

    // Who may not create, may not.
    other.credentials[0].create_buckets = false;
    world.store.apply_declared(&other, "no more").await.unwrap();
    assert_eq!(
        refused(&world, change("another", Wanted::Create { locks: false })).await,
        ErrorCode::AccessDenied
    );
    assert_eq!(refused(&world, change("photos", Wanted::Delete)).await, ErrorCode::AccessDenied);
}

#[tokio::test]
async fn rules_are_stored_where_yaml_has_none() {
    let world = World::new(&[None]).await;
    let rule = |origin: &str| CorsRule {
        allowed_origins: vec![origin.to_owned()],
        allowed_methods: vec!["GET".to_owned()],
        ..CorsRule::default()
    };
    let set = |rules: &[CorsRule]| change("photos", Wanted::Cors(rules.to_vec()));
    assert_eq!(refused(&world, set(&[])).await, ErrorCode::AccessDenied, "it may not configure");
    let mut file = declared(&[None]);
    let scope = Scope { prefix: String::new(), rights: Rights::NONE.with(Right::Configure) };
    file.credentials[0].scopes.push(("photos".parse().unwrap(), scope));
    world.store.apply_declared(&file, "may configure").await.unwrap();
    assert_eq!(refused(&world, set(&[])).await, ErrorCode::AccessDenied, "YAML has rules");
    file.buckets[0].cors.clear();
    world.store.apply_declared(&file, "no rules").await.unwrap();

    let generation = done(&world, set(&[rule("https://a")])).await;
    assert_eq!(done(&world, set(&[rule("https://a")])).await, generation, "nothing has changed");
    assert_eq!(bucket(&world, "photos").await.unwrap().cors, [rule("https://a")]);
    // Another declaration leaves them; one that has rules is what counts.
    file.credentials.push(DeclaredCredential {
        access_key_id: "OTHER".to_owned(),
        secret_access_key: Secret::new("s"),
        create_buckets: false,
        grants: vec![],
        scopes: vec![],
    });
    world.store.apply_declared(&file, "another key").await.unwrap();
    assert_eq!(bucket(&world, "photos").await.unwrap().cors, [rule("https://a")]);
    assert!(done(&world, set(&[])).await > generation);
    assert!(bucket(&world, "photos").await.unwrap().cors.is_empty());
    done(&world, set(&[rule("https://a")])).await;
    file.buckets[0].cors = vec![rule("https://b")];
    world.store.apply_declared(&file, "rules").await.unwrap();
    assert_eq!(bucket(&world, "photos").await.unwrap().cors, [rule("https://b")]);
}

#[tokio::test]
async fn what_readers_get_without_the_database_is_declared() {
    let world = World::new(&[None]).await;
    let mut changed = declared(&[None]);
    assert_eq!(bucket(&world, "photos").await.unwrap().degraded_reads, DegradedReads::Allowed);
    for (word, hash) in [(DegradedReads::Refused, "a"), (DegradedReads::Cache, "b")] {
        changed.buckets[0].degraded_reads = word;
        world.store.apply_declared(&changed, hash).await.unwrap();
        assert_eq!(bucket(&world, "photos").await.unwrap().degraded_reads, word);
    }
}
