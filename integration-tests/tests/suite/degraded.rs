//! Reads while control planes or PostgreSQL are away: real processes are killed, and come back.

use anyhow::{Result, ensure};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use s3o_integration_tests::config::{BUCKET, OTHER, VERSIONED};
use s3o_integration_tests::raw::{Request, Response};
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options, settle, wait};
use s3o_proto::v1;

/// `x-s3o-degraded`.
const MARK: &str = "x-s3o-degraded";

/// Waits until the data plane knows that nothing is decided, or that everything is again.
async fn until_breaker(cluster: &Cluster, closed: bool) -> Result<()> {
    wait::until("the breaker `database`", || async {
        let (_, health) = wait::http_get(cluster.data[0].http, "/health").await?;
        let status = health.contains("\"status\":\"degraded\"");
        let is_closed = health.contains("\"database_breaker\":\"closed\"");
        Ok(is_closed == closed && (closed || status))
    })
    .await
}

/// Waits until the data plane has the newest configuration, and has kept it.
async fn until_configured(cluster: &Cluster) -> Result<()> {
    cluster.wait_configured(0).await?;
    wait::until("a snapshot of it", || async {
        let kept = std::fs::read(cluster.folder().join("data0.snapshot"))?;
        let kept = <v1::Configuration as prost::Message>::decode(kept.as_slice())?;
        Ok(kept.generation == cluster.generation().await?)
    })
    .await
}

async fn send(cluster: &Cluster, method: &str, path: &str) -> Result<Response> {
    cluster.raw(0).send(&Request::new(method, path)).await
}

/// The object comes whole, and says that it may be old.
async fn ensure_read(cluster: &Cluster, key: &str, bytes: &[u8]) -> Result<()> {
    let got = send(cluster, "GET", &format!("/{BUCKET}/{key}")).await?;
    ensure!(got.status == 200 && got.body == bytes, "{key}: {} {}", got.status, got.text());
    ensure!(got.header(MARK) == Some("true") && got.header("etag").is_some(), "{got:?}");
    let head = send(cluster, "HEAD", &format!("/{BUCKET}/{key}")).await?;
    let length = bytes.len().to_string();
    ensure!(head.status == 200 && head.header("content-length") == Some(length.as_str()), "{head:?}");
    ensure!(head.header(MARK) == Some("true") && head.header("etag") == got.header("etag"), "{head:?}");
    Ok(())
}

async fn ensure_refused(cluster: &Cluster) -> Result<()> {
    let write = cluster.raw(0).send(&Request::new("PUT", "/data/w").body(b"w".to_vec())).await?;
    ensure!(write.status == 503 && write.header("retry-after").is_some(), "{write:?}");
    for (method, path) in [("DELETE", "/data/k"), ("GET", "/data?list-type=2"), ("GET", "/data/k?tagging")] {
        let answer = send(cluster, method, path).await?;
        ensure!(
            answer.status == 503 && answer.header("retry-after").is_some(),
            "{method} {path}: {answer:?}"
        );
    }
    Ok(())
}

async fn ensure_code(cluster: &Cluster, path: &str, status: u16) -> Result<()> {
    let answer = send(cluster, "GET", path).await?;
    ensure!(answer.status == status, "{path}: {} {}", answer.status, answer.text());
    Ok(())
}

/// `k` overwritten, `gone` deleted for good, `h//x` under a hashed name.
async fn fill(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    for (key, name) in [("k", "old"), ("gone", "gone"), ("k", "new"), ("h//x", "hashed"), ("big", "big")] {
        let size = if key == "big" { 3 << 20 } else { 1000 };
        s3::put(&client, BUCKET, key, body(name, size)).await.expect("put");
    }
    s3::delete(&client, BUCKET, "gone").await.expect("delete");
    wait::until("the deleted blob to go", || async {
        settle::run_worker(cluster, "cleanup_queue").await?;
        let is_gone = |key: &String| !key.starts_with("data/gone~");
        Ok(cluster.backends.iter().all(|backend| backend.server.keys().iter().all(is_gone)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn control_planes_are_killed() -> Result<()> {
    let mut cluster = Cluster::start(Options { copies: 2, ack: "all", ..Options::default() }).await?;
    fill(&cluster).await?;
    until_configured(&cluster).await?;
    cluster.control[0].process.kill()?;
    until_breaker(&cluster, false).await?;
    ensure_read(&cluster, "k", &body("new", 1000)).await?;
    ensure_read(&cluster, "big", &body("big", 3 << 20)).await?;
    let range =
        cluster.raw(0).send(&Request::new("GET", "/data/big").header("range", "bytes=100-199")).await?;
    ensure!(range.status == 206 && range.body == body("big", 3 << 20)[100..200], "{}", range.status);
    ensure_code(&cluster, "/data/gone", 404).await?;
    ensure_code(&cluster, "/data/never", 404).await?;
    ensure_refused(&cluster).await?;
    // One backend does not answer: what the other has is read, and nothing is said not to be.
    cluster.backends[1].server.kill().await;
    ensure_read(&cluster, "k", &body("new", 1000)).await?;
    ensure_code(&cluster, "/data/never", 503).await?;
    cluster.backends[1].server.restart().await?;

    cluster.start_control_plane(0).await?;
    until_breaker(&cluster, true).await?;
    let client = cluster.s3(0);
    s3::put(&client, BUCKET, "w", body("w", 10)).await.expect("put");
    let got = send(&cluster, "GET", "/data/k").await?;
    ensure!(got.status == 200 && got.header(MARK).is_none(), "{got:?}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_is_started_in_the_outage() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    fill(&cluster).await?;
    until_configured(&cluster).await?;
    cluster.control[0].process.kill()?;
    cluster.restart_data_plane(0).await?;
    until_breaker(&cluster, false).await?;
    ensure_read(&cluster, "k", &body("new", 1000)).await?;
    ensure_read(&cluster, "h//x", &body("hashed", 1000)).await?;
    ensure_read(&cluster, "big", &body("big", 3 << 20)).await?;
    // Its configuration is that of the disk: there may be backends that it knows nothing of.
    ensure_code(&cluster, "/data/never", 503).await?;
    ensure_refused(&cluster).await?;
    cluster.start_control_plane(0).await?;
    until_breaker(&cluster, true).await?;
    s3::put(&cluster.s3(0), BUCKET, "w", body("w", 10)).await.expect("put");
    ensure_code(&cluster, "/data/never", 404).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_stops() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    fill(&cluster).await?;
    until_configured(&cluster).await?;
    cluster.database.kill().await?;
    // Nobody asks anything: it is noticed all the same.
    until_breaker(&cluster, false).await?;
    ensure_read(&cluster, "k", &body("new", 1000)).await?;
    ensure_code(&cluster, "/data/gone", 404).await?;
    ensure_refused(&cluster).await?;
    cluster.database.restart().await?;
    until_breaker(&cluster, true).await?;
    wait::until("a write", || async {
        Ok(s3::put(&cluster.s3(0), BUCKET, "w", body("w", 10)).await.is_ok())
    })
    .await?;
    let got = send(&cluster, "GET", "/data/w").await?;
    ensure!(got.status == 200 && got.header(MARK).is_none(), "{got:?}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_decide_what_is_read() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    cluster.reload(|file| file["buckets"][1]["degraded_reads"] = "refused".into())?;
    wait::until("the setting", || async {
        let row = cluster.sql().await?;
        let word = row.query_one("SELECT degraded_reads FROM buckets WHERE name = $1", &[&OTHER]).await?;
        Ok(word.get::<_, String>(0) == "refused")
    })
    .await?;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let set = client.put_bucket_versioning().bucket(VERSIONED).versioning_configuration(enabled);
    set.send().await?;
    for bucket in [BUCKET, OTHER, VERSIONED] {
        s3::put(&client, bucket, "k", body(bucket, 100)).await.expect("put");
    }
    s3::put(&client, VERSIONED, "deleted", body("deleted", 100)).await.expect("put");
    s3::delete(&client, VERSIONED, "deleted").await.expect("delete");
    until_configured(&cluster).await?;
    cluster.control[0].process.kill()?;
    until_breaker(&cluster, false).await?;
    ensure_code(&cluster, "/data/k", 200).await?;
    ensure_code(&cluster, "/other/k", 503).await?;
    ensure_code(&cluster, "/versioned/k", 200).await?;
    // A marker is on no backend: what is there is not asked for.
    ensure_code(&cluster, "/versioned/deleted", 503).await?;
    ensure_code(&cluster, "/versioned/never", 503).await?;
    cluster.start_control_plane(0).await?;
    until_breaker(&cluster, true).await?;
    cluster.finish().await
}
