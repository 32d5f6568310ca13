//! Listings against a naive model, and their cost at 200,000 keys.

use std::collections::BTreeSet;

use crate::support::World;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use s3o_core::listing::{ListEntry, ListQuery, Page};
use s3o_core::ports::Ledger;
use s3o_types::BucketId;

/// Characters around what UTF-8, and the code points it leaves out, make difficult.
fn text(max: usize) -> impl Strategy<Value = String> {
    let chars = [
        'a',
        'b',
        '/',
        '-',
        'é',
        '\u{1}',
        '%',
        '\u{D7FF}',
        '\u{E000}',
        '\u{FFFF}',
        '\u{10000}',
        '\u{10FFFF}',
    ];
    prop::collection::vec(prop::sample::select(chars.to_vec()), 0..=max).prop_map(|c| c.into_iter().collect())
}

fn delimiter() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "/",
        "//",
        "a/",
        "\u{10FFFF}",
        "/\u{10FFFF}",
        "\u{10FFFF}\u{10FFFF}",
        "\u{D7FF}",
    ])
    .prop_map(str::to_owned)
}

/// Positions of all entries, in order: what the port's documentation says, word by word.
fn model(keys: &BTreeSet<String>, query: &ListQuery) -> Vec<(String, bool)> {
    let entry = |key: &String| {
        let rest = key.strip_prefix(query.prefix.as_str())?;
        let at = if query.delimiter.is_empty() { None } else { rest.find(&query.delimiter) };
        Some(match at {
            Some(at) => (format!("{}{}", query.prefix, &rest[..at + query.delimiter.len()]), true),
            None => (key.clone(), false),
        })
    };
    let all: BTreeSet<(String, bool)> = keys.iter().filter_map(entry).collect();
    all.into_iter().filter(|(position, _)| *position > query.after).collect()
}

fn shown(page: &Page) -> Vec<(String, bool)> {
    let common = |entry: &ListEntry| matches!(entry, ListEntry::CommonPrefix(_));
    page.entries.iter().map(|entry| (entry.position().to_owned(), common(entry))).collect()
}

async fn insert(world: &World, bucket: i32, keys: &[String]) {
    let insert = "INSERT INTO objects (bucket, key, seq, version, size, etag, modified)
                  SELECT $1, key, 1, gen_random_uuid(), 1, 'e', now() FROM unnest($2::text[]) AS key";
    world.sql.execute(insert, &[&bucket, &keys]).await.unwrap();
}

#[tokio::test]
async fn pages_agree_with_the_model() {
    let world = World::new(&[None]).await;
    let mut runner = TestRunner::deterministic();
    let keys = prop::collection::btree_set(text(6).prop_filter("a key", |key| !key.is_empty()), 0..40);
    for bucket in 1000..1060 {
        let keys = keys.new_tree(&mut runner).unwrap().current();
        insert(&world, bucket, &keys.iter().cloned().collect::<Vec<_>>()).await;
        for _ in 0..12 {
            let case = (text(2), delimiter(), text(4), 1..6_u32).new_tree(&mut runner).unwrap().current();
            let (prefix, delimiter, after, max_keys) = case;
            let mut query = ListQuery { bucket: BucketId(bucket), prefix, delimiter, after, max_keys };
            let expected = model(&keys, &query);
            let mut listed = Vec::new();
            loop {
                let page = world.store.list(query.clone()).await.unwrap();
                assert!(page.entries.len() <= max_keys as usize);
                listed.extend(shown(&page));
                let Some(next) = page.next else { break };
                assert_eq!(page.entries.last().unwrap().position(), next);
                query.after = next;
            }
            assert_eq!(listed, expected, "{query:?} over {keys:?}");
        }
    }
}

#[tokio::test]
async fn the_longest_keys_and_the_edges() {
    let world = World::new(&[None]).await;
    let top = "\u{10FFFF}".repeat(256);
    let keys = ["p/".to_owned(), "p/x".to_owned(), "p".to_owned(), top.clone(), "z".repeat(1024)];
    insert(&world, 7, &keys).await;
    let list = |prefix: &str, delimiter: &str, max_keys| {
        let (prefix, delimiter) = (prefix.to_owned(), delimiter.to_owned());
        world.store.list(ListQuery { bucket: BucketId(7), prefix, delimiter, after: String::new(), max_keys })
    };
    assert_eq!(list("", "/", 0).await.unwrap(), Page::default());
    let all = shown(&list("", "/", 5000).await.unwrap());
    assert_eq!(
        all,
        [("p".to_owned(), false), ("p/".to_owned(), true), (keys[4].clone(), false), (top.clone(), false)]
    );
    assert_eq!(
        shown(&list("p/", "/", 10).await.unwrap()),
        [("p/".to_owned(), false), ("p/x".to_owned(), false)]
    );
    assert_eq!(shown(&list(&top, "", 10).await.unwrap()), [(top.clone(), false)]);
    assert_eq!(shown(&list("", "\u{10FFFF}", 10).await.unwrap()).last().unwrap().0, "\u{10FFFF}");
    assert_eq!(list("a\0", "/", 10).await.unwrap(), Page::default());
}

/// Buffers touched, as the top line of the plan says.
fn buffers(plan: &str) -> u64 {
    let line = plan.lines().find(|line| line.contains("Buffers: shared")).unwrap();
    let number = |word: &str| word.split_once('=').and_then(|(_, n)| n.parse::<u64>().ok());
    line.split_whitespace().filter_map(number).sum()
}

#[tokio::test]
async fn cost_follows_the_results_at_200_000_keys() {
    let world = World::new(&[None]).await;
    let fill = "ALTER TABLE objects SET (autovacuum_enabled = false);
                INSERT INTO objects (bucket, key, seq, version, size, etag, modified)
                SELECT 5, 'd' || lpad((n / 1000)::text, 3, '0') || '/' || n, n, gen_random_uuid(), 1, 'e', now()
                FROM generate_series(0, 199999) AS n";
    world.sql.batch_execute(fill).await.unwrap();
    let query = |delimiter: &str, max_keys| ListQuery {
        bucket: BucketId(5),
        prefix: String::new(),
        delimiter: delimiter.to_owned(),
        after: String::new(),
        max_keys,
    };
    for statistics in [false, true] {
        if statistics {
            world.sql.batch_execute("ANALYZE objects").await.unwrap();
        }
        // (results, buffers): 4 pages of index and 1 of the table a descent; twice that is allowed.
        for (delimiter, max_keys, results) in [("/", 1000, 200), ("/", 10, 11), ("", 1000, 1001)] {
            let plan = world.store.explain_list(&query(delimiter, max_keys)).await.unwrap();
            assert!(!plan.contains("Seq Scan on objects") && !plan.contains("Bitmap"), "{plan}");
            assert!(
                buffers(&plan) <= results * 10,
                "{} buffers for {results} results\n{plan}",
                buffers(&plan)
            );
        }
    }
    let page = world.store.list(query("/", 1000)).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (200, None));
}
