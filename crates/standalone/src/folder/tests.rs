//! The folder backend beneath the protocol: what is on the disk after each step, and the order of
//! listings against a sorted list of keys.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::file::{Draft, Head, Stored, copy};
use super::list::{After, Query, list};
use super::paths::{Root, remove};

async fn put(root: &Root, key: &str, body: &[u8]) {
    let place = root.object("b", key).expect("a good key");
    let mut draft = Draft::new(root.draft()).await.expect("a draft");
    draft.write(&Bytes::copy_from_slice(body)).await.expect("written");
    let head = Head { metadata: [("a".to_owned(), key.to_owned())].into(), ..Head::default() };
    draft.finish(head, place, root.bucket("b").expect("the bucket")).await.expect("published");
}

fn body_of(path: &Path) -> (Vec<u8>, Head) {
    use std::io::Read as _;
    let stored = Stored::open(path).expect("an object");
    let mut body = Vec::new();
    stored.file.take(stored.head.size).read_to_end(&mut body).expect("its bytes");
    (body, stored.head)
}

#[tokio::test]
async fn an_object_is_whole_or_absent() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = Root::open(dir.path(), "b").expect("opened");
    // Beyond what s3s-fs can hold: four segments of 200 bytes.
    let key = ["x".repeat(200), "ü".repeat(100), "y".repeat(200), "z".repeat(200)].join("/");
    put(&root, &key, b"hello").await;
    let path = root.object("b", &key).expect("a good key");
    let (body, head) = body_of(&path);
    assert_eq!(body, b"hello");
    assert_eq!(head.etag, "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(head.metadata["a"], key);

    let mut draft = Draft::new(root.draft()).await.expect("a draft");
    draft.write(&Bytes::from_static(b"half")).await.expect("written");
    drop(draft);
    assert_eq!(std::fs::read_dir(dir.path().join(".drafts")).expect("listed").count(), 0);

    let other = root.object("b", "other").expect("a good key");
    let bucket = root.bucket("b").expect("the bucket");
    copy(&path, &root.draft(), Some(Head::default()), &other, &bucket).expect("copied");
    let (body, head) = body_of(&other);
    assert_eq!((body.as_slice(), head.metadata.len()), (b"hello".as_slice(), 0));

    remove(&path, &bucket).expect("removed");
    remove(&path, &bucket).expect("removing nothing is fine");
    assert_eq!(std::fs::read_dir(&bucket).expect("listed").count(), 1, "empty folders are gone");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_absent() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = Root::open(dir.path(), "b").expect("opened");
    put(&root, "k", b"hello").await;
    let path = root.object("b", "k").expect("a good key");
    let whole = std::fs::read(&path).expect("read");
    for cut in [0, 3, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).expect("cut");
        let error = Stored::open(&path).err().expect("damaged");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    let mut longer = b"!".to_vec();
    longer.extend_from_slice(&whole);
    std::fs::write(&path, longer).expect("longer");
    assert!(Stored::open(&path).is_err());
}

#[test]
fn keys_stay_in_their_bucket() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = Root::open(dir.path(), "b").expect("opened");
    for bad in ["../x", "a/../../x", "/x", "a//b", "a/", ".", "a\0b", &"x".repeat(256)] {
        assert!(root.object("b", bad).is_err(), "{bad:?}");
    }
    for bad in [".drafts", "..", "b/c", "nobody"] {
        assert!(root.bucket(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_killed_process_leaves_no_draft() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = Root::open(dir.path(), "b").expect("opened");
    std::fs::write(root.draft(), b"half").expect("a draft");
    Root::open(dir.path(), "b").expect("opened again");
    assert_eq!(std::fs::read_dir(dir.path().join(".drafts")).expect("listed").count(), 0);
}

/// What S3 answers, from all keys at once.
fn expected(keys: &[String], prefix: &str, delimiter: Option<&str>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        let end =
            delimiter.and_then(|d| rest.find(d).map(|at| prefix.len() + at + d.len())).unwrap_or(key.len());
        if out.last().is_none_or(|last| *last != key[..end]) {
            out.push(key[..end].to_owned());
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn pages_are_the_sorted_keys(
        names in proptest::collection::btree_set("[ab.!~-]{1,3}(/[ab.!~-]{1,2}){0,2}~", 0..25),
        prefix in "([ab]{0,2}/?){0,2}",
        delimited in any::<bool>(),
        max in 1_usize..5,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::open(dir.path(), "b").expect("opened");
        let mut keys: Vec<String> = Vec::new();
        for name in names {
            let Ok(path) = root.object("b", &name) else { continue };
            // A key that is another one's folder cannot be held; storage keys never are.
            if std::fs::create_dir_all(path.parent().expect("a parent")).is_ok() && std::fs::write(&path, b"").is_ok() {
                keys.push(name);
            }
        }
        keys.sort();
        let delimiter = delimited.then(|| "/".to_owned());
        let bucket = root.bucket("b").expect("the bucket");
        let (mut seen, mut after) = (Vec::new(), After::Start);
        loop {
            let query = Query { prefix: prefix.clone(), delimiter: delimiter.clone(), after: after.clone(), max };
            let page = list(&bucket, &query).expect("listed");
            let mut both: Vec<String> = page.keys.into_iter().chain(page.prefixes).collect();
            both.sort();
            prop_assert!(both.len() <= max);
            seen.extend(both);
            match page.next {
                Some(next) => after = After::parse(&next.token()).expect("our own token"),
                None => break,
            }
        }
        prop_assert_eq!(seen, expected(&keys, &prefix, delimiter.as_deref()));
    }
}
