//! Who may do what: signatures, presigned URLs, grants.

use std::time::Duration;

use anyhow::Result;
use s3o_integration_tests::config::{BUCKET, KEY, OTHER, READER, SCOPED};
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::raw::{Payload, Raw, Request, Response};
use s3o_integration_tests::s3::{self, Failure, body};
use s3o_integration_tests::{Cluster, Options};
use time::OffsetDateTime;

fn is(answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
    assert!(answer.header("x-amz-request-id").is_some(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    let bytes = body("auth", 1000);
    s3::put(&client, BUCKET, "k", bytes.clone()).await.expect("put");
    s3::put(&client, OTHER, "k", bytes.clone()).await.expect("put");
    signatures(&cluster).await?;
    grants(&cluster).await?;
    scopes(&cluster, &bytes).await?;
    presigned(&cluster, &bytes).await?;
    hosts(&cluster, &bytes).await?;
    cluster.finish().await
}

async fn signatures(cluster: &Cluster) -> Result<()> {
    let raw = cluster.raw(0);
    let get = Request::new("GET", "/data/k");
    let wrong_secret = Raw::new(raw.address, KEY.0, "wrong").send(&get).await?;
    is(&wrong_secret, 403, "SignatureDoesNotMatch");
    let wrong_key = Raw::new(raw.address, "AKIANOBODY", KEY.1).send(&get).await?;
    is(&wrong_key, 403, "InvalidAccessKeyId");
    let now = OffsetDateTime::now_utc();
    for off in [time::Duration::minutes(-20), time::Duration::minutes(20)] {
        let skewed = Request { at: Some(now + off), ..get.clone() };
        is(&raw.send(&skewed).await?, 403, "RequestTimeTooSkewed");
    }
    let anonymous = format!("GET /data/k HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", raw.host);
    is(&raw.send_bytes(anonymous.as_bytes()).await?, 403, "AccessDenied");

    // A header that the signature does not cover must not count.
    let put = Request::new("PUT", "/data/unsigned-header").body(b"x".to_vec());
    let mut wire = raw.wire(&put);
    let at = wire.head.len() - 2;
    wire.head.splice(at..at, b"x-amz-meta-smuggled: 1\r\n".iter().copied());
    wire.head.append(&mut wire.body);
    let smuggled = raw.send_bytes(&wire.head).await?;
    assert_eq!(smuggled.status, 403, "{}", smuggled.text());

    // Nor one that was changed after it was signed.
    let mut wire = raw.wire(&Request::new("GET", "/data/k").header("x-amz-meta-a", "one"));
    let text = String::from_utf8(wire.head)?.replace("x-amz-meta-a: one", "x-amz-meta-a: two");
    wire.head = text.into_bytes();
    is(&raw.send_bytes(&wire.head).await?, 403, "SignatureDoesNotMatch");
    Ok(())
}

async fn grants(cluster: &Cluster) -> Result<()> {
    let reader = Raw::new(cluster.data[0].s3, READER.0, READER.1);
    assert_eq!(reader.send(&Request::new("GET", "/data/k")).await?.status, 200);
    assert_eq!(reader.send(&Request::new("GET", "/data?list-type=2")).await?.status, 200);
    is(&reader.send(&Request::new("PUT", "/data/w").body(b"x".to_vec())).await?, 403, "AccessDenied");
    is(&reader.send(&Request::new("DELETE", "/data/k")).await?, 403, "AccessDenied");
    is(&reader.send(&Request::new("GET", "/other/k")).await?, 403, "AccessDenied");
    is(&reader.send(&Request::new("GET", "/other?list-type=2")).await?, 403, "AccessDenied");
    let client = s3::client(reader.address, READER.0, READER.1, Duration::from_secs(60));
    let buckets = client.list_buckets().send().await?;
    let names: Vec<&str> = buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, [BUCKET]);
    Ok(())
}

async fn presigned(cluster: &Cluster, bytes: &[u8]) -> Result<()> {
    let raw = cluster.raw(0);
    let plain = async |method: &str, url: &str, body: &str| {
        let length = body.len();
        let host = &raw.host;
        let text = format!(
            "{method} {url} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        raw.send_bytes(text.as_bytes()).await
    };
    let now = OffsetDateTime::now_utc();
    let url = raw.presign("GET", "/data/k", 60, now);
    assert_eq!(plain("GET", &url, "").await?.body, bytes);
    is(&plain("DELETE", &url, "").await?, 403, "SignatureDoesNotMatch");
    is(&plain("GET", &url.replace("/data/k", "/data/other"), "").await?, 403, "SignatureDoesNotMatch");
    is(
        &plain("GET", &raw.presign("GET", "/data/k", 60, now - time::Duration::hours(1)), "").await?,
        403,
        "AccessDenied",
    );
    let put = raw.presign("PUT", "/data/presigned", 60, now);
    assert_eq!(plain("PUT", &put, "hello").await?.status, 200);
    let (_, got) = s3::get(&cluster.s3(0), BUCKET, "presigned").await.expect("get").expect("it exists");
    assert_eq!(got.as_ref(), b"hello");

    // A header that claims to sign the host helps no URL that does not.
    let hostless = raw.presign_headers("GET", "/data/k", 60, now, &[("x-test".into(), "1".into())]);
    let claim = "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host, Signature=00";
    let host = &raw.host;
    for (line, status, code) in [
        (String::new(), 403, "AccessDenied"),
        (format!("authorization: {claim}\r\n"), 400, "InvalidArgument"),
    ] {
        let text = format!(
            "GET {hostless} HTTP/1.1\r\nhost: {host}\r\nx-test: 1\r\n{line}connection: close\r\n\r\n"
        );
        is(&raw.send_bytes(text.as_bytes()).await?, status, code);
    }
    Ok(())
}

async fn hosts(cluster: &Cluster, bytes: &[u8]) -> Result<()> {
    let mut raw = cluster.raw(0);
    // Virtual-host style at the configured domain; any other name is path style.
    raw.host = format!("{BUCKET}.s3.test");
    assert_eq!(raw.send(&Request::new("GET", "/k")).await?.body, bytes);
    for host in ["s3.test", "localhost", "some-service.namespace.svc"] {
        raw.host = host.to_owned();
        let answer = raw.send(&Request::new("GET", "/data/k").payload(Payload::Unsigned)).await?;
        assert_eq!(answer.body, bytes, "{host}");
    }
    // Behind a proxy that puts its own name into the request and says which one it was asked by.
    let inner = cluster.raw(0);
    for (public, status) in [("s3.public.test", 200), ("s3.private.test", 403)] {
        raw.host = public.to_owned();
        let url = raw.presign("GET", "/data/k", 60, OffsetDateTime::now_utc());
        let (address, forwarded) = (&inner.host, format!("x-forwarded-host: {public}"));
        let text =
            format!("GET {url} HTTP/1.1\r\nhost: {address}\r\n{forwarded}\r\nconnection: close\r\n\r\n");
        let answer = inner.send_bytes(text.as_bytes()).await?;
        assert_eq!(answer.status, status, "{public}: {}", answer.text());
        if status == 403 {
            assert_eq!(
                (answer.code().as_str(), answer.element("Host")),
                ("SignatureDoesNotMatch", Some(inner.host.clone()))
            );
        }
    }
    Ok(())
}

/// Single rights under prefixes: reads and lists `team/`, writes `drop/`, deletes under `bin/`.
async fn scopes(cluster: &Cluster, bytes: &bytes::Bytes) -> Result<()> {
    let all = cluster.s3(0);
    for key in ["team/a", "teams", "drop/a", "bin/a", "bin/b"] {
        s3::put(&all, BUCKET, key, bytes.clone()).await.expect("put");
    }
    let scoped = s3::client(cluster.data[0].s3, SCOPED.0, SCOPED.1, Duration::from_secs(60));
    let denied = Failure::Answer { status: 403, code: "AccessDenied".into() };
    assert!(s3::get(&scoped, BUCKET, "team/a").await.expect("it may").is_some());
    assert_eq!(s3::get(&scoped, BUCKET, "teams").await, Err(denied.clone()));
    assert_eq!(s3::get(&scoped, BUCKET, "drop/a").await, Err(denied.clone()), "write is not read");
    assert_eq!(s3::list(&scoped, BUCKET, "team/").await.expect("it may").len(), 1);
    for prefix in ["", "team", "drop/"] {
        assert_eq!(s3::list(&scoped, BUCKET, prefix).await, Err(denied.clone()), "{prefix}");
    }
    s3::put(&scoped, BUCKET, "drop/b", bytes.clone()).await.expect("it may");
    assert_eq!(s3::put(&scoped, BUCKET, "team/b", bytes.clone()).await, Err(denied.clone()));
    assert_eq!(s3::delete(&scoped, BUCKET, "drop/b").await, Err(denied.clone()), "write is not delete");
    s3::copy(&scoped, BUCKET, "team/a", "drop/copied").await.expect("read there, write here");
    assert_eq!(s3::copy(&scoped, BUCKET, "teams", "drop/c").await, Err(denied.clone()));
    assert_eq!(s3::copy(&scoped, BUCKET, "team/a", "team/c").await, Err(denied.clone()));
    let upload = Upload::open(&scoped, "drop/parts").await.expect("it may");
    let part = upload.put(&scoped, 1, bytes.clone()).await.expect("it may");
    upload.complete(&scoped, &[(1, part)]).await.expect("it may");
    assert_eq!(Upload::open(&scoped, "team/parts").await.expect_err("it may not"), denied);
    s3::delete(&scoped, BUCKET, "bin/a").await.expect("it may");
    let document =
        b"<Delete><Object><Key>bin/b</Key></Object><Object><Key>team/a</Key></Object></Delete>".to_vec();
    let raw = Raw::new(cluster.data[0].s3, SCOPED.0, SCOPED.1);
    let digest = hex::decode(s3::md5(&document))?;
    let md5 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    let batch = Request::new("POST", "/data?delete").header("content-md5", &md5).body(document);
    let answer = raw.send(&batch).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("<Deleted><Key>bin/b</Key></Deleted>"), "{}", answer.text());
    assert!(answer.text().contains("<Code>AccessDenied</Code>"), "{}", answer.text());
    let answer = Raw::new(cluster.data[0].s3, READER.0, READER.1).send(&batch).await?;
    assert_eq!((answer.status, answer.text().matches("<Code>AccessDenied</Code>").count()), (200, 2));
    assert!(s3::get(&all, BUCKET, "team/a").await.expect("get").is_some());
    let buckets = scoped.list_buckets().send().await?;
    assert_eq!(buckets.buckets().len(), 1);
    assert_eq!(s3::get(&scoped, OTHER, "k").await, Err(denied));
    missing(&raw).await
}

/// A key that is not there is refused to whoever may not list it (`GetObject` reference, "Permissions").
async fn missing(scoped: &Raw) -> Result<()> {
    let reader = Raw::new(scoped.address, READER.0, READER.1);
    for path in ["", "?tagging", "?acl", "?attributes"] {
        let get = |key: &str| {
            Request::new("GET", &format!("/data/{key}{path}")).header("x-amz-object-attributes", "ETag")
        };
        is(&scoped.send(&get("team/none")).await?, 404, "NoSuchKey");
        is(&scoped.send(&get("blind/none")).await?, 403, "AccessDenied");
        is(&reader.send(&get("blind/none")).await?, 404, "NoSuchKey");
    }
    assert_eq!(scoped.send(&Request::new("HEAD", "/data/team/none")).await?.status, 404);
    assert_eq!(scoped.send(&Request::new("HEAD", "/data/blind/none")).await?.status, 403);
    for (source, status, code) in [("team/none", 404, "NoSuchKey"), ("blind/none", 403, "AccessDenied")] {
        let source = format!("/data/{source}");
        let copy = Request::new("PUT", "/data/drop/x").header("x-amz-copy-source", &source);
        is(&scoped.send(&copy).await?, status, code);
    }
    let tags = Request::new("PUT", "/data/drop/none?tagging").body("<Tagging><TagSet/></Tagging>");
    is(&scoped.send(&tags).await?, 403, "AccessDenied");
    Ok(())
}
