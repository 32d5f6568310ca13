//! `GetObject` and `HeadObject`: ranges, conditions, overrides.

use anyhow::Result;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, Failure, body};
use s3o_integration_tests::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn ranges_conditions_and_overrides() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    let bytes = body("ranges", 100_000);
    s3::put(&client, BUCKET, "k", bytes.clone()).await.expect("put");
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-", 0..100_000),
        ("bytes=500-999", 500..1000),
        ("bytes=99999-", 99_999..100_000),
        ("bytes=-1", 99_999..100_000),
        ("bytes=-200000", 0..100_000),
        ("bytes=99000-200000", 99_000..100_000),
    ] {
        let got = client.get_object().bucket(BUCKET).key("k").range(range).send().await?;
        let content_range = format!("bytes {}-{}/100000", expected.start, expected.end - 1);
        assert_eq!(got.content_range(), Some(content_range.as_str()), "{range}");
        assert_eq!(got.body.collect().await?.into_bytes(), bytes.slice(expected), "{range}");
    }
    for range in ["bytes=100000-", "bytes=-0"] {
        let refused = client.get_object().bucket(BUCKET).key("k").range(range).send().await.expect_err(range);
        assert_eq!(refused.code(), Some("InvalidRange"), "{range}");
    }
    // What is no range of bytes is not there (RFC 9110, 14.2).
    for range in ["bytes=5-2", "lines=1-2", "bytes=a-b"] {
        let answer = cluster.raw(0).send(&Request::new("GET", "/data/k").header("range", range)).await?;
        assert!(matches!(answer.status, 200 | 400 | 416), "{range}: {}", answer.status);
    }
    conditions(&cluster).await?;
    overrides(&cluster).await?;
    missing(&cluster).await?;
    cluster.finish().await
}

async fn conditions(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    let head = client.head_object().bucket(BUCKET).key("k").send().await?;
    let etag = head.e_tag().expect("etag").to_owned();
    let modified = *head.last_modified().expect("modified");
    let (before, after) =
        (DateTime::from_secs(modified.secs() - 10), DateTime::from_secs(modified.secs() + 10));
    let get = || client.get_object().bucket(BUCKET).key("k");
    let status = |result: Result<_, _>| result.map_or_else(|error| Failure::of(&error).status(), |_| 200);
    assert_eq!(status(get().if_match(&etag).send().await), 200);
    assert_eq!(status(get().if_match("\"other\"").send().await), 412);
    assert_eq!(status(get().if_none_match(&etag).send().await), 304);
    assert_eq!(status(get().if_none_match("\"other\"").send().await), 200);
    assert_eq!(status(get().if_modified_since(before).send().await), 200);
    assert_eq!(status(get().if_modified_since(after).send().await), 304);
    assert_eq!(status(get().if_unmodified_since(after).send().await), 200);
    assert_eq!(status(get().if_unmodified_since(before).send().await), 412);
    // If-Match that holds outweighs If-Unmodified-Since; If-None-Match that fails outweighs If-Modified-Since.
    assert_eq!(status(get().if_match(&etag).if_unmodified_since(before).send().await), 200);
    assert_eq!(status(get().if_none_match(&etag).if_modified_since(before).send().await), 304);
    let head = client.head_object().bucket(BUCKET).key("k").if_none_match(&etag).send().await;
    assert_eq!(head.map_or_else(|error| Failure::of(&error).status(), |_| 200), 304);
    Ok(())
}

async fn overrides(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    let get = client.get_object().bucket(BUCKET).key("k").response_content_type("text/plain");
    let got =
        get.response_content_disposition("attachment; filename=\"x\"").response_cache_control("no-store");
    let got = got.response_content_language("en").response_content_encoding("identity").send().await?;
    assert_eq!(got.content_type(), Some("text/plain"));
    assert_eq!(got.content_disposition(), Some("attachment; filename=\"x\""));
    assert_eq!(got.cache_control(), Some("no-store"));
    assert_eq!(got.content_language(), Some("en"));
    Ok(())
}

async fn missing(cluster: &Cluster) -> Result<()> {
    let raw = cluster.raw(0);
    let answer = raw.send(&Request::new("GET", "/data/none")).await?;
    assert_eq!((answer.status, answer.code().as_str()), (404, "NoSuchKey"));
    let request_id = answer.header("x-amz-request-id").expect("request id").to_owned();
    assert_eq!(answer.element("RequestId"), Some(request_id));
    let answer = raw.send(&Request::new("GET", "/data/none").header("x-request-id", "mine-1")).await?;
    assert_eq!(answer.header("x-amz-request-id"), Some("mine-1"));
    let answer = raw.send(&Request::new("HEAD", "/data/none")).await?;
    assert!(answer.status == 404 && answer.body.is_empty(), "{answer:?}");
    let answer = raw.send(&Request::new("GET", "/nowhere/none")).await?;
    // S3's answer to a name that nobody has; one that others have is AccessDenied.
    assert_eq!((answer.status, answer.code().as_str()), (404, "NoSuchBucket"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_survives_what_a_backend_does() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    let bytes = body("survivor", 3 << 20);
    s3::put(&client, BUCKET, "k", bytes.clone()).await.expect("put");
    // A body that ends early must not look like a whole one.
    cluster.backends[0].cut_next_get(1 << 20);
    let cut = s3::get(&client, BUCKET, "k").await;
    assert!(!matches!(&cut, Ok(Some((_, got))) if *got != bytes), "a cut body looked whole");
    assert!(!matches!(&cut, Ok(None)), "a failing backend is not NoSuchKey");
    cluster.backends[0].fail_next_gets(1);
    let failed = s3::get(&client, BUCKET, "k").await;
    assert!(!matches!(&failed, Ok(None)), "a failing backend is not NoSuchKey");
    cluster.backends[0].heal();
    s3o_integration_tests::wait::until("the object is read again", || async {
        Ok(s3::get(&client, BUCKET, "k").await.ok().flatten().is_some_and(|(_, got)| got == bytes))
    })
    .await?;
    // A blob that is gone although its row is there: the metadata is right, so it is never NoSuchKey.
    cluster.backends[0].lose_all_blobs();
    let lost = s3::get(&client, BUCKET, "k").await.expect_err("the blob is gone");
    assert_eq!(lost.status(), 503);
    let put = client.put_object().bucket(BUCKET).key("k").body(ByteStream::from(bytes.clone())).send().await;
    assert!(put.is_ok(), "{put:?}");
    assert!(s3::get(&client, BUCKET, "k").await.expect("get").is_some());
    cluster.finish().await
}
