//! `GetObjectTagging`, `PutObjectTagging`, `DeleteObjectTagging`, and tags on PUT and copy: the row changes, the
//! object does not.

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Tag, Tagging, TaggingDirective};
use s3o_integration_tests::config::{BUCKET, READER};
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, Failure, body};
use s3o_integration_tests::{Cluster, Options};

async fn set(client: &Client, key: &str, tags: &[(&str, &str)]) -> Result<(), Failure> {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build().expect("a tag"));
    let tagging = Tagging::builder().set_tag_set(Some(tags.collect())).build().expect("tags");
    let put = client.put_object_tagging().bucket(BUCKET).key(key).tagging(tagging);
    put.send().await.map(|_| ()).map_err(|error| Failure::of(&error))
}

async fn tags(client: &Client, key: &str) -> Result<Vec<(String, String)>, Failure> {
    let got = client.get_object_tagging().bucket(BUCKET).key(key).send().await;
    let got = got.map_err(|error| Failure::of(&error))?;
    Ok(got.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn refused(status: u16, code: &str) -> Failure {
    Failure::Answer { status, code: code.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_change_and_the_object_does_not() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    s3::put(&client, BUCKET, "k", body("k", 1000)).await.expect("put");
    let before = client.head_object().bucket(BUCKET).key("k").send().await?;
    assert_eq!(tags(&client, "k").await, Ok(vec![]));
    let wanted = [("empty", ""), ("where is", "ü/+=@"), ("who", "me")];
    assert_eq!(set(&client, "k", &wanted).await, Ok(()));
    assert_eq!(tags(&client, "k").await, Ok(pairs(&wanted)));
    let after = client.head_object().bucket(BUCKET).key("k").send().await?;
    assert_eq!(after.tag_count(), Some(3));
    assert_eq!((after.e_tag(), after.last_modified()), (before.e_tag(), before.last_modified()));
    assert_eq!(client.get_object().bucket(BUCKET).key("k").send().await?.tag_count(), Some(3));
    in_the_log(&cluster, "k").await?;
    client.delete_object_tagging().bucket(BUCKET).key("k").send().await?;
    assert_eq!(tags(&client, "k").await, Ok(vec![]));
    assert_eq!(client.head_object().bucket(BUCKET).key("k").send().await?.tag_count(), None);
    assert_eq!(set(&client, "k", &[("a", "1")]).await, Ok(()));
    s3::put(&client, BUCKET, "k", body("other", 10)).await.expect("put");
    assert_eq!(tags(&client, "k").await, Ok(vec![]), "an overwrite takes nothing over");
    copies(&client).await?;
    refusals(&cluster, &client).await?;
    cluster.finish().await
}

/// The journal replays the greatest number of a key: that row must be the whole object, tags included.
async fn in_the_log(cluster: &Cluster, key: &str) -> Result<()> {
    let query = "SELECT c.outcome, c.object->>'etag' = o.etag AND c.version = o.version
                        AND c.object->>'seq' = o.seq::text AND c.object->'attributes'->'tags' = o.tags
                 FROM changes c JOIN objects o ON o.bucket = c.bucket AND o.key = c.key
                 WHERE c.key = $1 ORDER BY c.n DESC LIMIT 1";
    let row = cluster.sql().await?.query_one(query, &[&key]).await.context("the last change")?;
    ensure!(row.get::<_, i16>(0) == 13, "its outcome is {}", row.get::<_, i16>(0));
    ensure!(row.get::<_, Option<bool>>(1) == Some(true), "it is not the object as it is");
    Ok(())
}

async fn copies(client: &Client) -> Result<()> {
    let put = client.put_object().bucket(BUCKET).key("tagged").tagging("a=1&b%20c=%C3%BC");
    put.body(body("tagged", 10).into()).send().await?;
    let copy = |to: &str| client.copy_object().bucket(BUCKET).key(to).copy_source(format!("{BUCKET}/tagged"));
    copy("copied").send().await?;
    assert_eq!(tags(client, "copied").await, Ok(pairs(&[("a", "1"), ("b c", "ü")])));
    copy("replaced").tagging_directive(TaggingDirective::Replace).tagging("n=2").send().await?;
    assert_eq!(tags(client, "replaced").await, Ok(pairs(&[("n", "2")])));
    copy("bare").tagging_directive(TaggingDirective::Replace).send().await?;
    assert_eq!(tags(client, "bare").await, Ok(vec![]));
    let bad = client.put_object().bucket(BUCKET).key("bad").tagging("a=1&a=2").send().await;
    assert_eq!(Failure::of(&bad.expect_err("twice")), refused(400, "InvalidArgument"));
    Ok(())
}

async fn refusals(cluster: &Cluster, client: &Client) -> Result<()> {
    assert_eq!(set(client, "none", &[("a", "1")]).await, Err(refused(404, "NoSuchKey")));
    assert_eq!(tags(client, "none").await, Err(refused(404, "NoSuchKey")));
    let deleted = client.delete_object_tagging().bucket(BUCKET).key("none").send().await;
    assert_eq!(Failure::of(&deleted.expect_err("no key")), refused(404, "NoSuchKey"));
    assert_eq!(set(client, "k", &[("a", "1"), ("a", "2")]).await, Err(refused(400, "InvalidTag")));
    let names: Vec<String> = (0..11).map(|n| format!("k{n}")).collect();
    let eleven: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(set(client, "k", &eleven).await, Err(refused(400, "BadRequest")));
    assert_eq!(set(client, "k", &eleven[..10]).await, Ok(()));
    let reader = s3::client(cluster.data[0].s3, READER.0, READER.1, std::time::Duration::from_secs(60));
    assert_eq!(set(&reader, "k", &[("a", "1")]).await, Err(refused(403, "AccessDenied")));
    assert_eq!(tags(&reader, "k").await.map(|tags| tags.len()), Ok(10));

    let raw = cluster.raw(0);
    let document = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    let put = |body: &str| Request::new("PUT", &format!("/{BUCKET}/k?tagging")).body(body);
    let wrong = put(document).header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
    assert_eq!(raw.send(&wrong).await?.code(), "BadDigest");
    let wrong = put(document).header("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(raw.send(&wrong).await?.code(), "BadDigest");
    for malformed in ["<Tagging><TagSet>", "<Tagging></Tagging>", "<Tags/>", "no document"] {
        assert_eq!(raw.send(&put(malformed)).await?.code(), "MalformedXML", "{malformed}");
    }
    assert_eq!(tags(client, "k").await.map(|tags| tags.len()), Ok(10), "nothing of that was taken");
    assert_eq!(raw.send(&put(document)).await?.status, 200);
    assert_eq!(tags(client, "k").await, Ok(pairs(&[("a", "1")])));
    Ok(())
}

/// Whichever version is current when the tags are decided gets them; no overwrite and no tag is half done.
#[tokio::test(flavor = "multi_thread")]
async fn tags_among_overwrites() -> Result<()> {
    let cluster = Cluster::start(Options { data_planes: 2, ..Options::default() }).await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    s3::put(&clients[0], BUCKET, "hot", body("hot", 100)).await.expect("put");
    let writes = (0..40).map(|n| {
        let client = &clients[n % 2];
        async move {
            if n % 4 == 0 {
                s3::put(client, BUCKET, "hot", body(&format!("hot {n}"), 100 + n)).await.map(|_| ())
            } else {
                set(client, "hot", &[("n", &n.to_string())]).await
            }
        }
    });
    let answers = futures::future::join_all(writes).await;
    ensure!(answers.iter().all(Result::is_ok), "{answers:?}");
    let sql = cluster.sql().await?;
    let last = "SELECT c.object->'attributes'->'tags' IS NOT DISTINCT FROM o.tags AND c.version = o.version
                FROM changes c JOIN objects o ON o.bucket = c.bucket AND o.key = c.key
                WHERE c.key = 'hot' AND c.outcome IN (1, 13) ORDER BY c.n DESC LIMIT 1";
    ensure!(
        sql.query_one(last, &[]).await?.get::<_, Option<bool>>(0) == Some(true),
        "the last change is not the row"
    );
    let counts = "SELECT count(*) FILTER (WHERE outcome = 1), count(*) FILTER (WHERE outcome = 13)
                  FROM changes WHERE key = 'hot'";
    let row = sql.query_one(counts, &[]).await?;
    ensure!((row.get::<_, i64>(0), row.get::<_, i64>(1)) == (11, 30), "a change is missing, or there twice");
    cluster.finish().await
}
