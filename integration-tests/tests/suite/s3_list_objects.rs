//! `ListObjects` and `ListObjectsV2` against a model: a sorted set of keys.

use std::collections::BTreeSet;

use anyhow::Result;
use aws_sdk_s3::types::EncodingType;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};

const KEYS: [&str; 19] = [
    "a",
    "a b",
    "a+b",
    "a.txt",
    "a/",
    "a/1",
    "a/2/x",
    "a/2/y",
    "a/b",
    "a0",
    "b//c",
    "b/c",
    "z&<>\"'",
    "é",
    "日本/語",
    "\u{fffd}",
    "\u{10000}",
    "~",
    "B",
];

/// What S3 lists: keys and common prefixes greater than `after`, merged, in the order of their bytes.
fn model(prefix: &str, delimiter: &str, after: &str) -> Vec<String> {
    let keys = KEYS.iter().filter(|key| key.starts_with(prefix));
    let entries =
        keys.map(|key| match key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(at) => key[..prefix.len() + at + delimiter.len()].to_owned(),
            None => (*key).to_owned(),
        });
    entries.filter(|entry| entry.as_str() > after).collect::<BTreeSet<_>>().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_agree_with_the_model() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    for key in KEYS {
        s3::put(&client, BUCKET, key, body(key, 10)).await.expect("put");
    }
    for (prefix, delimiter, max) in [
        ("", "", 1000),
        ("", "", 1),
        ("", "/", 1000),
        ("", "/", 2),
        ("a", "/", 1),
        ("a/", "/", 1),
        ("a/", "", 3),
        ("", "2", 2),
        ("b/", "/", 1),
        ("none", "/", 5),
        ("日", "/", 5),
    ] {
        let expected = model(prefix, delimiter, "");
        assert_eq!(
            walk_v2(&client, prefix, delimiter, max).await?,
            expected,
            "{prefix:?} {delimiter:?} {max}"
        );
        assert_eq!(
            walk_v1(&client, prefix, delimiter, max).await?,
            expected,
            "{prefix:?} {delimiter:?} {max}"
        );
    }
    start_after(&client).await?;
    details(&cluster).await?;
    cluster.finish().await
}

async fn walk_v2(
    client: &aws_sdk_s3::Client,
    prefix: &str,
    delimiter: &str,
    max: i32,
) -> Result<Vec<String>> {
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let list = client.list_objects_v2().bucket(BUCKET).prefix(prefix).max_keys(max);
        let list = list.set_delimiter(Some(delimiter.to_owned()).filter(|d| !d.is_empty()));
        let page = list.set_continuation_token(token).send().await?;
        let mut entries: Vec<String> =
            page.contents().iter().filter_map(|o| o.key()).map(Into::into).collect();
        entries.extend(page.common_prefixes().iter().filter_map(|p| p.prefix()).map(Into::into));
        entries.sort();
        assert_eq!(page.key_count(), i32::try_from(entries.len()).ok());
        assert!(entries.len() <= usize::try_from(max)?);
        all.append(&mut entries);
        token = page.next_continuation_token().map(Into::into);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            return Ok(all);
        }
    }
}

async fn walk_v1(
    client: &aws_sdk_s3::Client,
    prefix: &str,
    delimiter: &str,
    max: i32,
) -> Result<Vec<String>> {
    let (mut all, mut marker) = (Vec::<String>::new(), None);
    loop {
        let list = client.list_objects().bucket(BUCKET).prefix(prefix).max_keys(max);
        let list = list.set_delimiter(Some(delimiter.to_owned()).filter(|d| !d.is_empty()));
        let page = list.set_marker(marker).send().await?;
        let mut entries: Vec<String> =
            page.contents().iter().filter_map(|o| o.key()).map(Into::into).collect();
        entries.extend(page.common_prefixes().iter().filter_map(|p| p.prefix()).map(Into::into));
        entries.sort();
        all.append(&mut entries);
        if page.is_truncated() != Some(true) {
            return Ok(all);
        }
        // Without a delimiter the last key is the marker.
        marker = page.next_marker().map(Into::into).or_else(|| all.last().cloned());
    }
}

async fn start_after(client: &aws_sdk_s3::Client) -> Result<()> {
    for (prefix, delimiter, after) in [
        ("", "", "a/1"),
        ("", "/", "a/"),
        ("", "/", "a/1"),
        ("a/", "/", "a/2"),
        ("", "", "zzz"),
        ("", "/", "a."),
    ] {
        let list = client.list_objects_v2().bucket(BUCKET).prefix(prefix).start_after(after);
        let page = list.set_delimiter(Some(delimiter.to_owned()).filter(|d| !d.is_empty())).send().await?;
        let mut entries: Vec<String> =
            page.contents().iter().filter_map(|o| o.key()).map(Into::into).collect();
        entries.extend(page.common_prefixes().iter().filter_map(|p| p.prefix()).map(Into::into));
        entries.sort();
        assert_eq!(entries, model(prefix, delimiter, after), "{prefix:?} {delimiter:?} after {after:?}");
    }
    Ok(())
}

async fn details(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    let none = client.list_objects_v2().bucket(BUCKET).max_keys(0).send().await?;
    assert!(none.contents().is_empty() && none.is_truncated() == Some(false), "{none:?}");
    let all = client.list_objects_v2().bucket(BUCKET).fetch_owner(true).send().await?;
    let first = &all.contents()[0];
    assert_eq!((first.size(), s3::unquoted(first.e_tag())), (Some(10), s3::md5(&body("B", 10))));
    assert!(first.owner().is_some() && first.last_modified().is_some(), "{first:?}");
    let encoded =
        client.list_objects_v2().bucket(BUCKET).encoding_type(EncodingType::Url).prefix("a+").send().await?;
    assert_eq!(encoded.contents()[0].key(), Some("a%2Bb"));
    let raw = cluster.raw(0);
    for query in ["max-keys=-1", "max-keys=x", "list-type=2&continuation-token=nonsense", "encoding-type=odd"]
    {
        let answer = raw.send(&Request::new("GET", &format!("/data?{query}"))).await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "InvalidArgument"),
            "{query}: {}",
            answer.text()
        );
    }
    let answer = raw.send(&Request::new("GET", "/nowhere?list-type=2")).await?;
    // S3's answer to a name that nobody has; one that others have is AccessDenied.
    assert_eq!((answer.status, answer.code().as_str()), (404, "NoSuchBucket"));
    let buckets = client.list_buckets().send().await?;
    let names: Vec<&str> = buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["data", "other", "versioned"]);
    client.head_bucket().bucket(BUCKET).send().await?;
    assert!(client.head_bucket().bucket("nowhere").send().await.is_err());
    client.get_bucket_location().bucket(BUCKET).send().await?;
    assert!(client.get_bucket_versioning().bucket(BUCKET).send().await?.status().is_none());
    Ok(())
}
