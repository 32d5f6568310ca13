//! Versioned buckets on a real database: which rows stand where, what readers find by which name, and that a bucket's
//! state changes between writes and never within one.

use std::sync::Arc;

use crate::support::{KEY, World, declared, op};
use futures::future::join_all;
use s3o_core::call::{Call, Delete, Outcome, Request, SetTags};
use s3o_core::object::{Locate, Located, Lookup, Want};
use s3o_core::ports::{Configs, Ledger, Sessions, Versions};
use s3o_core::session::{Hello, VERSIONS_FEATURE};
use s3o_core::versions::{MarkerSeen, SetVersioning};
use s3o_types::{Conditions, ErrorCode, Op, VersionRef, Versioning};
use uuid::Uuid;

fn set(world: &World, op: Op, wanted: Versioning) -> SetVersioning {
    SetVersioning { op, access_key: KEY.to_owned(), bucket: world.bucket, wanted }
}

async fn turn(world: &World, wanted: Versioning) {
    world.store.set_versioning(set(world, op(), wanted)).await.unwrap();
}

/// Everybody knows versions, and the key may configure the bucket.
async fn world() -> World {
    let world = World::new(&[None]).await;
    world.sql.batch_execute("UPDATE sessions SET features = '{versions}'").await.unwrap();
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, '', 16)";
    world.sql.execute(grant, &[&KEY, &world.bucket.0]).await.unwrap();
    world
}

async fn put(world: &World, key: &str, size: u64) -> Outcome {
    let op = op();
    let begun = world.begun(op, key, size).await;
    world.store.submit(world.commit(op, key, size, &begun)).await
}

fn told(outcome: &Outcome) -> Option<VersionRef> {
    match outcome {
        Outcome::Committed { version, .. }
        | Outcome::Deleted { version, .. }
        | Outcome::TagsSet { version } => *version,
        other => panic!("{other:?}"),
    }
}

fn delete(world: &World, op: Op, key: &str, version: Option<VersionRef>) -> Request {
    let (bucket, key) = (world.bucket, key.to_owned());
    world.request(
        op,
        Call::Delete(Delete {
            bucket,
            key,
            conditions: Conditions::default(),
            version,
            bypass_governance: false,
        }),
    )
}

async fn remove(world: &World, key: &str, version: Option<VersionRef>) -> Outcome {
    world.store.submit(delete(world, op(), key, version)).await
}

async fn look(world: &World, key: &str, version: Option<VersionRef>) -> Lookup {
    let query = Locate { bucket: world.bucket, key: key.to_owned(), version, want: Want::All };
    world.store.locate(query).await.unwrap()
}

async fn found(world: &World, key: &str, version: Option<VersionRef>) -> Located {
    look(world, key, version).await.found().unwrap()
}

async fn counts(world: &World) -> (i64, i64, i64, i64) {
    (
        world.count("SELECT count(*) FROM objects").await,
        world.count("SELECT count(*) FROM object_versions").await,
        world.count("SELECT count(*) FROM copies").await,
        world.count("SELECT count(*) FROM cleanup_queue").await,
    )
}

#[tokio::test]
async fn versions_are_kept_found_and_removed() {
    let world = world().await;
    assert_eq!(told(&put(&world, "k", 1).await), None);
    turn(&world, Versioning::Enabled).await;
    let second = told(&put(&world, "k", 2).await);
    let third = told(&put(&world, "k", 3).await);
    assert_eq!(counts(&world).await, (1, 2, 3, 0));
    assert_eq!(found(&world, "k", None).await.told, third);
    for (name, size) in [(Some(VersionRef::Null), 1), (second, 2), (third, 3)] {
        let located = found(&world, "k", name).await;
        assert_eq!((located.told, located.object.size), (name, size));
        assert_eq!(located.extents[0].copies.len(), 1);
        assert_eq!(located.object.attributes.metadata["who"], "me", "all of the row has moved");
    }

    let marker = told(&remove(&world, "k", None).await).unwrap();
    assert_eq!(counts(&world).await, (0, 4, 3, 0));
    for name in [None, Some(marker)] {
        let Lookup::Marker(MarkerSeen { version, .. }) = look(&world, "k", name).await else { panic!() };
        assert_eq!(version, marker);
    }
    assert_eq!(look(&world, "never", None).await, Lookup::Nothing);
    assert_eq!(look(&world, "other", third).await, Lookup::Nothing, "it is another key's");

    assert_eq!(
        remove(&world, "k", Some(marker)).await,
        Outcome::Deleted { existed: true, version: Some(marker), delete_marker: true }
    );
    assert_eq!(found(&world, "k", None).await.told, third);
    remove(&world, "k", third).await;
    assert_eq!(found(&world, "k", None).await.told, second, "the one below is current again");
    assert_eq!(counts(&world).await, (1, 1, 2, 1));
    remove(&world, "k", Some(VersionRef::Null)).await;
    assert_eq!(look(&world, "k", Some(VersionRef::Null)).await, Lookup::Nothing);
    remove(&world, "k", second).await;
    assert_eq!(counts(&world).await, (0, 0, 0, 3));
    world.audit().await;
}

#[tokio::test]
async fn a_suspended_bucket_has_one_null_version_of_a_key() {
    let world = world().await;
    put(&world, "k", 1).await;
    turn(&world, Versioning::Enabled).await;
    let id = told(&put(&world, "k", 2).await);
    turn(&world, Versioning::Suspended).await;
    assert_eq!(told(&put(&world, "k", 3).await), Some(VersionRef::Null));
    assert_eq!(counts(&world).await, (1, 1, 2, 1), "the null version of before is queued");
    assert_eq!(told(&put(&world, "k", 4).await), Some(VersionRef::Null));
    assert_eq!(told(&remove(&world, "k", None).await), Some(VersionRef::Null));
    assert_eq!(told(&remove(&world, "k", None).await), Some(VersionRef::Null));
    assert_eq!(counts(&world).await, (0, 2, 1, 3));
    assert_eq!(found(&world, "k", id).await.object.size, 2);
    turn(&world, Versioning::Enabled).await;
    put(&world, "k", 5).await;
    let Lookup::Marker(_) = look(&world, "k", Some(VersionRef::Null)).await else { panic!() };
    world.audit().await;
}

#[tokio::test]
async fn tags_are_set_on_the_version_that_is_named() {
    let world = world().await;
    turn(&world, Versioning::Enabled).await;
    let first = told(&put(&world, "k", 1).await);
    put(&world, "k", 2).await;
    let marker = told(&remove(&world, "k", None).await);
    let tag = |version, value: &str| {
        let tags = [("tag".to_owned(), value.to_owned())].into();
        let set = SetTags { bucket: world.bucket, key: "k".to_owned(), tags, version };
        world.store.submit(world.request(op(), Call::SetTags(set)))
    };
    assert_eq!(told(&tag(first, "one").await), first);
    assert_eq!(found(&world, "k", first).await.object.attributes.tags["tag"], "one");
    let code = |outcome| match outcome {
        Outcome::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(tag(marker, "x").await), ErrorCode::MethodNotAllowed);
    assert_eq!(code(tag(None, "x").await), ErrorCode::NoSuchKey);
    assert_eq!(code(tag(Some(VersionRef::Null), "x").await), ErrorCode::NoSuchVersion);
}

#[tokio::test]
async fn a_repeat_is_told_of_the_version_of_before() {
    let world = world().await;
    turn(&world, Versioning::Enabled).await;
    let (write, mark, erase) = (op(), op(), op());
    let begun = world.begun(write, "k", 1).await;
    let committed = world.store.submit(world.commit(write, "k", 1, &begun)).await;
    let marked = world.store.submit(delete(&world, mark, "k", None)).await;
    let erased = world.store.submit(delete(&world, erase, "k", told(&marked))).await;
    assert!(told(&committed).is_some() && told(&marked).is_some());
    turn(&world, Versioning::Suspended).await;
    let before = counts(&world).await;
    let other = world.another_store().await;
    assert_eq!(other.submit(world.commit(write, "k", 1, &begun)).await, committed);
    assert_eq!(other.submit(delete(&world, mark, "k", None)).await, marked);
    assert_eq!(other.submit(delete(&world, erase, "k", told(&marked))).await, erased);
    assert_eq!(counts(&world).await, before);
}

#[tokio::test]
async fn versioning_is_set_once_by_those_who_may() {
    let world = World::new(&[None]).await;
    let refused = async |wanted| {
        let asked = set(&world, op(), wanted);
        world.store.set_versioning(asked).await.unwrap_err().code
    };
    assert_eq!(refused(Versioning::Enabled).await, ErrorCode::AccessDenied);
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, $3, 16)";
    world.sql.execute(grant, &[&KEY, &world.bucket.0, &"a/"]).await.unwrap();
    assert_eq!(refused(Versioning::Enabled).await, ErrorCode::AccessDenied, "of the whole bucket only");
    world.sql.execute(grant, &[&KEY, &world.bucket.0, &""]).await.unwrap();
    assert_eq!(refused(Versioning::Enabled).await, ErrorCode::FeatureRequired, "an old data plane is there");
    world.renew_session().await;

    let generation = world.store.current().generation;
    let enable = op();
    world.store.set_versioning(set(&world, enable, Versioning::Enabled)).await.unwrap();
    let config = world.store.newer_than(generation).await;
    assert_eq!(config.buckets[0].versioning, Versioning::Enabled);
    let state = world.sql.query_one("SELECT state FROM buckets", &[]).await.unwrap();
    assert_eq!(state.get::<_, &str>(0), "versioned", "what an older release cannot read");
    turn(&world, Versioning::Suspended).await;
    world.store.set_versioning(set(&world, enable, Versioning::Enabled)).await.unwrap();
    let versioning = world.store.versioning(world.bucket).await.unwrap();
    assert_eq!(versioning, Some(Versioning::Suspended), "a repeat changes nothing");
    assert_eq!(refused(Versioning::Off).await, ErrorCode::InvalidArgument);
    assert_eq!(world.store.versioning(s3o_types::BucketId(99)).await.unwrap(), None);
}

impl World {
    /// An old data plane goes, and one that knows versions comes.
    async fn renew_session(&self) {
        Sessions::close(&self.store, self.session).await.unwrap();
        let features = vec![VERSIONS_FEATURE.to_owned()];
        let hello = Hello { session: Uuid::new_v4(), name: "new".into(), version: "2".into(), features };
        self.store.open(hello).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_declared_is_not_the_clients_to_change() {
    let world = world().await;
    let mut declaration = declared(&[None]);
    declaration.buckets[0].versioning = Some(Versioning::Enabled);
    world.store.apply_declared(&declaration, "one").await.unwrap();
    assert_eq!(world.store.versioning(world.bucket).await.unwrap(), Some(Versioning::Enabled));
    // Applying took the grant of the test's key with it.
    let grant = "INSERT INTO scoped_grants (access_key_id, bucket, prefix, rights) VALUES ($1, $2, '', 16)";
    world.sql.execute(grant, &[&KEY, &world.bucket.0]).await.unwrap();
    let refused = world.store.set_versioning(set(&world, op(), Versioning::Suspended)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::AccessDenied);
    assert!(refused.message.contains("declared"), "{}", refused.message);
    turn(&world, Versioning::Enabled).await;
    // What is not said any more stays as it is, and is the clients' again.
    declaration.buckets[0].versioning = None;
    world.store.apply_declared(&declaration, "two").await.unwrap();
    assert_eq!(world.store.versioning(world.bucket).await.unwrap(), Some(Versioning::Enabled));
    world.sql.execute(grant, &[&KEY, &world.bucket.0]).await.unwrap();
    turn(&world, Versioning::Suspended).await;
}

#[tokio::test]
async fn no_write_straddles_a_change() {
    let world = Arc::new(world().await);
    turn(&world, Versioning::Enabled).await;
    let other = world.another_store().await;
    let stores = [world.store.clone(), other];
    let writers = (0..8).map(|n| {
        let (world, store) = (world.clone(), stores[n % 2].clone());
        async move {
            for round in 0..12 {
                let (op, key) = (op(), format!("k{}", (n + round) % 3));
                if round % 4 == 3 {
                    store.submit(delete(&world, op, &key, None)).await;
                    continue;
                }
                let begun = crate::support::begun(store.submit(world.begin(op, &key, 1)).await);
                let outcome = store.submit(world.commit(op, &key, 1, &begun)).await;
                assert!(matches!(outcome, Outcome::Committed { version: Some(_), .. }), "{outcome:?}");
            }
        }
    });
    let turner = async {
        for round in 0..10 {
            let wanted = if round % 2 == 0 { Versioning::Suspended } else { Versioning::Enabled };
            turn(&world, wanted).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(join_all(writers), turner);
    let nulls = "SELECT COALESCE(max(n), 0)::bigint FROM (
                     SELECT count(*) AS n FROM (
                         SELECT bucket, key FROM objects WHERE is_null
                         UNION ALL SELECT bucket, key FROM object_versions WHERE is_null
                     ) AS nulls GROUP BY bucket, key) AS counted";
    assert!(world.count(nulls).await <= 1);
    let above =
        "SELECT count(*) FROM objects o JOIN object_versions v USING (bucket, key) WHERE v.seq >= o.seq";
    assert_eq!(world.count(above).await, 0);
    let hidden = "SELECT count(*) FROM object_versions v WHERE NOT v.delete_marker
                  AND NOT EXISTS (SELECT FROM objects o WHERE o.bucket = v.bucket AND o.key = v.key)
                  AND NOT EXISTS (SELECT FROM object_versions w
                                  WHERE w.bucket = v.bucket AND w.key = v.key AND w.seq > v.seq)";
    assert_eq!(world.count(hidden).await, 0);
    let lost = "SELECT count(*) FROM (SELECT version FROM objects UNION ALL
                    SELECT version FROM object_versions WHERE NOT delete_marker) AS v
                WHERE NOT EXISTS (SELECT FROM copies c WHERE c.version = v.version)";
    assert_eq!(world.count(lost).await, 0);
    world.audit().await;
}
