//! Bounds: memory does not grow with objects, and nothing malformed goes without an answer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use s3o_integration_tests::config::{BUCKET, KEY};
use s3o_integration_tests::raw::{Payload, Raw, Request, sha256};
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 256 * MIB;
const CONCURRENT: u64 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_request_is_answered() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    let raw = cluster.raw(0);
    let mut wrong = Vec::new();
    for (name, request, statuses) in malformed() {
        let answer = match raw.send(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        let id = answer.header("x-amz-request-id").map(ToOwned::to_owned);
        let named =
            request.method == "HEAD" || (!answer.code().is_empty() && answer.element("RequestId") == id);
        if !statuses.contains(&answer.status) || id.is_none() || (answer.status >= 400 && !named) {
            wrong.push(format!("{name}: {} {:?} {}", answer.status, answer.headers, answer.text()));
        }
    }
    for (name, bytes) in broken_http(&raw) {
        match raw.send_bytes(&bytes).await {
            Ok(answer) if (400..=501).contains(&answer.status) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    many_headers(&raw).await?;
    // It still works, and nothing is left of any of them.
    s3::put(&cluster.s3(0), BUCKET, "fine", body("fine", 10)).await.expect("put");
    let (_, metrics) = s3o_integration_tests::wait::http_get(cluster.data[0].http, "/metrics").await?;
    let panics = metrics.lines().filter(|line| line.contains("panic") && !line.starts_with('#'));
    for line in panics {
        ensure!(line.ends_with(" 0"), "{line}");
    }
    cluster.finish().await
}

/// Their number is no bound: 2 KiB of metadata may be of many names.
async fn many_headers(raw: &Raw) -> Result<()> {
    let names: Vec<String> = (0..300).map(|n| format!("x-amz-meta-k{n}")).collect();
    let put = Request::new("PUT", "/data/many").body(b"x".to_vec());
    let put = raw.send(&names.iter().fold(put, |put, name| put.header(name, "v"))).await?;
    ensure!(put.status == 200, "{} {}", put.status, put.text());
    let head = raw.send(&Request::new("HEAD", "/data/many")).await?;
    ensure!(names.iter().all(|name| head.header(name) == Some("v")), "{:?}", head.headers);
    Ok(())
}

fn malformed() -> Vec<(&'static str, Request, Vec<u16>)> {
    let get = |path: &str| Request::new("GET", path);
    let put = |path: &str| Request::new("PUT", path).body(b"x".to_vec());
    vec![
        ("percent sign", get("/data/%zz"), vec![400, 403]),
        ("no UTF-8", get("/data/%ff%fe"), vec![400, 403]),
        ("NUL in a key", put("/data/a%00b"), vec![400]),
        ("bucket name", get("/Bad_Bucket/k"), vec![400, 404]),
        ("range", get("/data/none").header("range", "bytes=9-1"), vec![400, 404, 416]),
        ("metadata too large", put("/data/m").header("x-amz-meta-a", &"a".repeat(3000)), vec![400]),
        ("tags", put("/data/t").header("x-amz-tagging", &"a=b&".repeat(20)), vec![400]),
        ("copy source", Request::new("PUT", "/data/c").header("x-amz-copy-source", "nonsense"), vec![400]),
        (
            "copy source escape",
            Request::new("PUT", "/data/c").header("x-amz-copy-source", "/data/%zz"),
            vec![400, 404],
        ),
        ("if-none-match etag on put", put("/data/i").header("if-none-match", "\"abc\""), vec![501, 400]),
        (
            "content-length of nothing",
            put("/data/l").header("x-amz-decoded-content-length", "x"),
            vec![200, 400, 403],
        ),
        (
            "decoded length",
            put("/data/l").payload(Payload::Claimed("STREAMING-AWS4-HMAC-SHA256-PAYLOAD".into())),
            vec![400, 403, 411],
        ),
        ("payload hash", put("/data/p").payload(Payload::Claimed("nonsense".into())), vec![400, 403]),
        ("empty hash", put("/data/p").payload(Payload::Claimed(sha256(b""))), vec![400]),
        ("storage class", put("/data/s").header("x-amz-storage-class", "NONSENSE"), vec![400]),
        (
            "encryption by customer key",
            put("/data/s").header("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            vec![400, 501],
        ),
        ("acl", get("/data/k?acl"), vec![404, 501]),
        ("tagging", get("/data?tagging"), vec![404]),
        ("uploads", Request::new("POST", "/data/k?uploads"), vec![200]),
        ("upload part", put("/data/k?partNumber=1&uploadId=x"), vec![404]),
        ("part number", put("/data/k?partNumber=0&uploadId=x"), vec![400]),
        (
            "complete",
            Request::new("POST", "/data/k?uploadId=x").body(b"<CompleteMultipartUpload>".to_vec()),
            vec![400],
        ),
        ("create bucket", Request::new("PUT", "/brand-new"), vec![403]),
        ("delete bucket", Request::new("DELETE", "/data"), vec![403]),
        ("lifecycle", get("/data?lifecycle"), vec![404]),
        ("versions", get("/data?versions&version-id-marker=x"), vec![400]),
        ("select", Request::new("POST", "/data/k?select&select-type=2").body(b"<x/>".to_vec()), vec![501]),
        ("options", Request::new("OPTIONS", "/data/k"), vec![400, 403, 405, 501]),
        ("patch", Request::new("PATCH", "/data/k"), vec![400, 405, 501]),
        (
            "post form",
            Request::new("POST", "/data")
                .header("content-type", "multipart/form-data; boundary=x")
                .body(b"--x--".to_vec()),
            vec![400, 403, 412, 501],
        ),
        ("version id", get("/data/fine?versionId=nonsense"), vec![400, 404, 501]),
        ("part number", get("/data/fine?partNumber=0"), vec![400, 404, 416, 501]),
    ]
}

/// What no HTTP library sends. The answer need not be XML; there has to be one.
fn broken_http(raw: &Raw) -> Vec<(&'static str, Vec<u8>)> {
    let host = &raw.host;
    let text = |text: String| text.into_bytes();
    vec![
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
        (
            "head too large",
            text(format!("GET / HTTP/1.1\r\nhost: {host}\r\nx-a: {}\r\n\r\n", "a".repeat(600_000))),
        ),
        ("no host", text("GET / HTTP/1.1\r\nconnection: close\r\n\r\n".into())),
        (
            "two lengths",
            text(format!(
                "PUT /data/k HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nxx"
            )),
        ),
        (
            "length no number",
            text(format!(
                "PUT /data/k HTTP/1.1\r\nhost: {host}\r\ncontent-length: x\r\nconnection: close\r\n\r\n"
            )),
        ),
        ("header without colon", text(format!("GET / HTTP/1.1\r\nhost: {host}\r\nnonsense\r\n\r\n"))),
        (
            "authorization nonsense",
            text(format!(
                "GET /data/k HTTP/1.1\r\nhost: {host}\r\nauthorization: AWS4-HMAC-SHA256 x\r\nconnection: close\r\n\r\n"
            )),
        ),
        (
            "authorization basic",
            text(format!(
                "GET /data/k HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic eDp5\r\nconnection: close\r\n\r\n"
            )),
        ),
        (
            "presigned nonsense",
            text(format!(
                "GET /data/k?X-Amz-Algorithm=x&X-Amz-Expires=-1 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
            )),
        ),
        (
            "signature v2",
            text(format!(
                "GET /data/k HTTP/1.1\r\nhost: {host}\r\nauthorization: AWS {}:c2ln\r\nconnection: close\r\n\r\n",
                KEY.0
            )),
        ),
    ]
}

/// PUTs and GETs of `size` bytes, all at once, and what the data plane's memory came to.
async fn memory(size: u64) -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    cluster.backends[0].server.discard_bodies();
    let raw = cluster.raw(0);
    let hash = hash_of_zeros(size)?;
    let puts = (0..CONCURRENT).map(|n| put_zeros(&raw, n, size, &hash));
    for status in futures::future::try_join_all(puts).await? {
        ensure!(status == 200, "a PUT: {status}");
    }
    let peak = cluster.data[0].process.peak_memory()?;
    eprintln!("{CONCURRENT} PUTs of {} MiB: peak {} MiB", size / MIB, peak / MIB);
    ensure!(peak < LIMIT, "{} MiB", peak / MIB);
    cluster.pass();

    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    let raw = cluster.raw(0);
    ensure!(put_zeros(&raw, 0, size, &hash).await? == 200);
    let gets = (0..CONCURRENT).map(|_| get_length(&raw, "/data/zeros/0"));
    for length in futures::future::try_join_all(gets).await? {
        ensure!(length == size, "{length} of {size} bytes came");
    }
    let peak = cluster.data[0].process.peak_memory()?;
    eprintln!("{CONCURRENT} GETs of {} MiB: peak {} MiB", size / MIB, peak / MIB);
    ensure!(peak < LIMIT, "{} MiB", peak / MIB);
    cluster.finish().await
}

fn hash_of_zeros(size: u64) -> Result<String> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let zeros = vec![0; usize::try_from(MIB)?];
    (0..size / MIB).for_each(|_| context.update(&zeros));
    Ok(hex::encode(context.finish()))
}

async fn put_zeros(raw: &Raw, n: u64, size: u64, hash: &str) -> Result<u16> {
    let request = Request::new("PUT", &format!("/data/zeros/{n}")).payload(Payload::Claimed(hash.to_owned()));
    let wire = raw.wire(&Request { content_length: Some(size), ..request });
    let mut stream = TcpStream::connect(raw.address).await?;
    stream.write_all(&wire.head).await?;
    let zeros = vec![0; usize::try_from(MIB)?];
    for _ in 0..size / MIB {
        stream.write_all(&zeros).await?;
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.split(' ').nth(1).context("no status")?.parse()?)
}

/// Reads slowly enough that a server that reads ahead would have to keep it all.
async fn get_length(raw: &Raw, path: &str) -> Result<u64> {
    let wire = raw.wire(&Request::new("GET", path));
    let mut stream = TcpStream::connect(raw.address).await?;
    stream.write_all(&wire.head).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut buffer, mut head, mut length) = (vec![0; 256 * 1024], Vec::new(), 0_u64);
    let mut in_body = false;
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(length);
        }
        if in_body {
            length += n as u64;
            continue;
        }
        head.extend_from_slice(&buffer[..n]);
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            length = (head.len() - end - 4) as u64;
            in_body = true;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_at_32_mib_each() -> Result<()> {
    memory(32 * MIB).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: 64 GiB through one data plane; make test-slow"]
async fn memory_is_bounded_at_1_gib_each() -> Result<()> {
    memory(1024 * MIB).await
}
