//! `SetTags` against a real database: one column of one row, in the transaction that logs it.

use crate::support::{World, op};
use futures::future::join_all;
use s3o_core::call::{Call, Outcome, Request, SetTags};
use s3o_core::object::{Locate, Want};
use s3o_core::ports::Ledger;
use s3o_types::{ErrorCode, Op};

fn set(world: &World, op: Op, key: &str, tags: &[(&str, &str)]) -> Request {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    world.request(
        op,
        Call::SetTags(SetTags { bucket: world.bucket, key: key.to_owned(), tags, version: None }),
    )
}

fn code(outcome: &Outcome) -> ErrorCode {
    match outcome {
        Outcome::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_row_has_other_tags_and_is_the_same_otherwise() {
    let world = World::new(&[None]).await;
    world.put("k", 7).await;
    let locate = || async {
        let query = Locate { bucket: world.bucket, key: "k".to_owned(), version: None, want: Want::All };
        world.store.locate(query).await.unwrap().found().unwrap()
    };
    // A lock that another release put there stays.
    world.sql.batch_execute("UPDATE objects SET legal_hold = true").await.unwrap();
    let mut before = locate().await;
    assert_eq!(
        world.store.submit(set(&world, op(), "k", &[("a", "ü"), ("b", "")])).await,
        Outcome::TagsSet { version: None }
    );
    before.object.attributes.tags = [("a".into(), "ü".into()), ("b".into(), String::new())].into();
    assert_eq!(locate().await, before);
    assert_eq!(world.count("SELECT count(*) FROM objects WHERE legal_hold").await, 1);
    let logged = "SELECT count(*) FROM changes c JOIN objects o USING (bucket, key) WHERE c.outcome = 13
                  AND c.version = o.version AND c.object->>'seq' = o.seq::text AND c.n > o.seq
                  AND c.object->'attributes'->'tags' = o.tags";
    assert_eq!(world.count(logged).await, 1);
    assert_eq!(world.store.submit(set(&world, op(), "k", &[])).await, Outcome::TagsSet { version: None });
    assert_eq!(world.count("SELECT count(*) FROM objects WHERE tags IS NULL").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue").await, 0);
    world.audit().await;
}

#[tokio::test]
async fn a_repeat_gets_the_first_outcome_through_any_replica() {
    let world = World::new(&[None]).await;
    let other = world.another_store().await;
    world.put("k", 7).await;
    let first = op();
    assert_eq!(
        world.store.submit(set(&world, first, "k", &[("a", "1")])).await,
        Outcome::TagsSet { version: None }
    );
    world.put("k", 8).await;
    assert_eq!(
        other.submit(set(&world, first, "k", &[("a", "1")])).await,
        Outcome::TagsSet { version: None }
    );
    let tags = "SELECT count(*) FROM objects WHERE tags ? 't' AND NOT tags ? 'a'";
    assert_eq!(world.count(tags).await, 1, "the tags of the overwrite stay");
    assert_eq!(world.count("SELECT count(*) FROM changes WHERE outcome = 13").await, 1);
}

#[tokio::test]
async fn no_key_and_no_right_change_nothing() {
    let world = World::new(&[None]).await;
    assert_eq!(code(&world.store.submit(set(&world, op(), "k", &[("a", "1")])).await), ErrorCode::NoSuchKey);
    world.put("k", 7).await;
    let mut stranger = set(&world, op(), "k", &[("a", "1")]);
    stranger.access_key = "nobody".to_owned();
    assert_eq!(code(&world.store.submit(stranger).await), ErrorCode::AccessDenied);
    let nul = set(&world, op(), "k", &[("a\0", "1")]);
    assert_eq!(code(&world.store.submit(nul).await), ErrorCode::InvalidArgument);
    assert_eq!(world.count("SELECT count(*) FROM changes WHERE outcome = 13").await, 0);
}

/// Batches with writes, deletes and tags of the same keys, through two replicas: the last change of each key is
/// what its row says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_among_writes_and_deletes() {
    let world = World::new(&[None]).await;
    let other = world.another_store().await;
    let keys: Vec<String> = (0..5).map(|n| format!("k{n}")).collect();
    for key in &keys {
        world.put(key, 1).await;
    }
    let calls = (0..200_usize).map(|n| {
        let (world, other, key) = (&world, &other, keys[n % keys.len()].clone());
        async move {
            let store = if n % 2 == 0 { &world.store } else { other };
            match n % 4 {
                0 => drop(world.put(&key, 2).await),
                1 if n % 8 == 1 => drop(store.submit(world.delete(op(), &key)).await),
                _ => {
                    let outcome = store.submit(set(world, op(), &key, &[("n", &n.to_string())])).await;
                    let gone = matches!(&outcome, Outcome::Refused(r) if r.code == ErrorCode::NoSuchKey);
                    assert!(gone || outcome == Outcome::TagsSet { version: None }, "{outcome:?}");
                }
            }
        }
    });
    join_all(calls).await;
    let wrong = "SELECT count(*) FROM (
                     SELECT DISTINCT ON (bucket, key) bucket, key, outcome, version, object
                     FROM changes WHERE outcome IN (1, 3, 13) ORDER BY bucket, key, n DESC
                 ) AS c FULL JOIN objects o USING (bucket, key)
                 WHERE (c.outcome = 3) IS DISTINCT FROM (o.version IS NULL)
                    OR c.outcome <> 3 AND (c.version <> o.version
                                           OR c.object->'attributes'->'tags' IS DISTINCT FROM o.tags)";
    assert_eq!(world.count(wrong).await, 0);
    world.audit().await;
}
