//! Listings of versions against a naive model, and their cost where keys have many.

use std::collections::BTreeMap;

use crate::support::World;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use s3o_core::ports::Versions;
use s3o_core::versions::{VersionAfter, VersionEntry, VersionsPage, VersionsQuery};
use s3o_types::{BucketId, Seq, VersionRef};

fn text(max: usize) -> impl Strategy<Value = String> {
    let chars = ['a', 'b', '/', '-', 'é', '\u{1}', '\u{E000}', '\u{10FFFF}'];
    prop::collection::vec(prop::sample::select(chars.to_vec()), 0..=max).prop_map(|c| c.into_iter().collect())
}

fn delimiter() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "/", "a/", "\u{10FFFF}"]).prop_map(str::to_owned)
}

/// Per key, from the oldest on: whether it is a marker. What is newest and no marker is current.
type Rows = BTreeMap<String, Vec<bool>>;

/// What is shown of an entry: key or prefix, place (0 for a prefix), marker, latest.
type Shown = (String, i64, bool, bool);

fn model(rows: &Rows, query: &VersionsQuery, from: i64) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for (key, versions) in rows.iter().filter(|(key, _)| key.starts_with(&query.prefix)) {
        let rest = &key[query.prefix.len()..];
        let at = if query.delimiter.is_empty() { None } else { rest.find(&query.delimiter) };
        if let Some(at) = at {
            let common = format!("{}{}", query.prefix, &rest[..at + query.delimiter.len()]);
            if common > query.key_after && all.last().is_none_or(|last| last.0 != common) {
                all.push((common, 0, false, false));
            }
            continue;
        }
        for (n, marker) in versions.iter().enumerate().rev() {
            let seq = i64::try_from(n).unwrap() + 1;
            if *key > query.key_after || (*key == query.key_after && seq < from) {
                all.push((key.clone(), seq, *marker, n + 1 == versions.len()));
            }
        }
    }
    all
}

fn shown(page: &VersionsPage) -> Vec<Shown> {
    let entry = |entry: &VersionEntry| match entry {
        VersionEntry::CommonPrefix(common) => (common.clone(), 0, false, false),
        VersionEntry::Marker(row) => (row.key.clone(), row.seq.0, true, row.is_latest),
        VersionEntry::Version(row, object) => {
            assert_eq!(object.key, row.key);
            (row.key.clone(), row.seq.0, false, row.is_latest)
        }
    };
    page.entries.iter().map(entry).collect()
}

/// Its place is its number, its id is made of it, so that it can be named.
async fn insert(world: &World, bucket: i32, rows: &Rows) {
    let current = "INSERT INTO objects (bucket, key, seq, version, size, etag, modified, is_null)
                   VALUES ($1, $2, $3, gen_random_uuid(), 1, 'e', now(), false)";
    let noncurrent = "INSERT INTO object_versions (bucket, key, seq, version, size, etag, modified, is_null, delete_marker)
                      VALUES ($1, $2, $3, gen_random_uuid(), 1, 'e', now(), false, $4)";
    for (key, versions) in rows {
        for (n, marker) in versions.iter().enumerate() {
            let seq = i64::try_from(n).unwrap() + 1;
            if n + 1 == versions.len() && !marker {
                world.sql.execute(current, &[&bucket, key, &seq]).await.unwrap();
            } else {
                world.sql.execute(noncurrent, &[&bucket, key, &seq, marker]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn pages_agree_with_the_model() {
    let world = World::new(&[None]).await;
    let mut runner = TestRunner::deterministic();
    let keys = text(5).prop_filter("a key", |key| !key.is_empty());
    let rows = prop::collection::btree_map(keys, prop::collection::vec(any::<bool>(), 1..4), 0..20);
    for bucket in 1000..1030 {
        let rows = rows.new_tree(&mut runner).unwrap().current();
        insert(&world, bucket, &rows).await;
        for _ in 0..12 {
            let case = (text(2), delimiter(), text(4), 1..6_u32).new_tree(&mut runner).unwrap().current();
            let (prefix, delimiter, key_after, max_keys) = case;
            let bucket = BucketId(bucket);
            let mut query =
                VersionsQuery { bucket, prefix, delimiter, key_after, version_after: None, max_keys };
            // A position under a common prefix is behind all of it, as in listings of keys.
            let expected = model(&rows, &query, 0);
            let mut listed = Vec::new();
            loop {
                let page = world.store.list_versions(query.clone()).await.unwrap();
                assert!(page.entries.len() <= max_keys as usize);
                listed.extend(shown(&page));
                let Some((key, seq, ..)) = listed.last().cloned().filter(|_| page.truncated) else { break };
                query.key_after = key;
                query.version_after = (seq > 0).then_some(VersionAfter::Seq(Seq(seq)));
            }
            assert_eq!(listed, expected, "{query:?} over {rows:?}");
        }
    }
}

#[tokio::test]
async fn a_page_goes_on_behind_a_version_that_is_named() {
    let world = World::new(&[None]).await;
    let rows = Rows::from([("k".to_owned(), vec![false, true, false, false]), ("l".to_owned(), vec![true])]);
    insert(&world, 7, &rows).await;
    let query = |after| VersionsQuery {
        bucket: BucketId(7),
        prefix: String::new(),
        delimiter: String::new(),
        key_after: "k".to_owned(),
        version_after: after,
        max_keys: 10,
    };
    let all = VersionsQuery { key_after: String::new(), ..query(None) };
    let page = world.store.list_versions(all).await.unwrap();
    assert_eq!((page.entries.len(), page.truncated), (5, false));
    let VersionEntry::Version(third, _) = &page.entries[1] else { panic!("{page:?}") };
    let rest = world.store.list_versions(query(Some(VersionAfter::Version(third.version)))).await.unwrap();
    let places: Vec<i64> = shown(&rest).iter().map(|row| row.1).collect();
    assert_eq!(places, [2, 1, 1]);
    let current = page.entries[0].clone();
    let VersionEntry::Version(current, _) = current else { panic!() };
    let rest = world.store.list_versions(query(Some(VersionAfter::Version(current.version)))).await.unwrap();
    assert_eq!(shown(&rest).len(), 4);
    // One that is gone: nobody knows where it was.
    let gone = VersionAfter::Version(VersionRef::Null);
    assert_eq!(shown(&world.store.list_versions(query(Some(gone))).await.unwrap()).len(), 5);
    let gone = VersionAfter::Seq(Seq(3));
    assert_eq!(shown(&world.store.list_versions(query(Some(gone))).await.unwrap()).len(), 3);
    assert_eq!(
        shown(&world.store.list_versions(query(None)).await.unwrap()).len(),
        1,
        "behind the whole key"
    );
}

/// Buffers touched, as the top line of the plan says.
fn buffers(plan: &str) -> u64 {
    let line = plan.lines().find(|line| line.contains("Buffers: shared")).unwrap();
    let number = |word: &str| word.split_once('=').and_then(|(_, n)| n.parse::<u64>().ok());
    line.split_whitespace().filter_map(number).sum()
}

#[tokio::test]
async fn cost_follows_the_results_at_100_000_versions() {
    let world = World::new(&[None]).await;
    // A hundred folders of ten keys of a hundred versions; the newest of each is current.
    let fill = "ALTER TABLE object_versions SET (autovacuum_enabled = false);
                ALTER TABLE objects SET (autovacuum_enabled = false);
                INSERT INTO object_versions (bucket, key, seq, version, size, etag, modified, is_null)
                SELECT 5, 'd' || lpad((n / 1000)::text, 3, '0') || '/' || (n / 100), n % 100 + 1, gen_random_uuid(), 1,
                       'e', now(), false
                FROM generate_series(0, 99999) AS n;
                INSERT INTO objects (bucket, key, seq, version, size, etag, modified, is_null)
                SELECT bucket, key, 101, gen_random_uuid(), 1, 'e', now(), false
                FROM (SELECT DISTINCT bucket, key FROM object_versions) AS keys";
    world.sql.batch_execute(fill).await.unwrap();
    let query = |delimiter: &str, key_after: &str, after: Option<i64>, max_keys| VersionsQuery {
        bucket: BucketId(5),
        prefix: String::new(),
        delimiter: delimiter.to_owned(),
        key_after: key_after.to_owned(),
        version_after: after.map(|seq| VersionAfter::Seq(Seq(seq))),
        max_keys,
    };
    for statistics in [false, true] {
        if statistics {
            world.sql.batch_execute("ANALYZE object_versions; ANALYZE objects").await.unwrap();
        }
        // Each result is a descent of both tables, and of the versions of the key: twice that is allowed.
        for (query, results) in [
            (query("/", "", None, 1000), 100),
            (query("/", "", None, 10), 11),
            (query("", "", None, 1000), 1001),
            (query("", "d050/505", Some(40), 1000), 1001),
            (query("/", "d050/", None, 10), 11),
        ] {
            let plan = world.store.explain_versions(&query).await.unwrap();
            assert!(!plan.contains("Seq Scan on object") && !plan.contains("Bitmap"), "{plan}");
            let buffers = buffers(&plan);
            assert!(buffers <= results * 25 + 50, "{buffers} buffers for {results} results\n{plan}");
        }
    }
    let page = world.store.list_versions(query("/", "", None, 1000)).await.unwrap();
    assert_eq!((page.entries.len(), page.truncated), (100, false));
}
