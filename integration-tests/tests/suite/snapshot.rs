//! A data plane that starts while no control plane is there.

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options, wait};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_from_its_snapshot() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    s3::put(&cluster.s3(0), BUCKET, "k", body("k", 1000)).await.expect("put");
    let snapshot = cluster.folder().join("data0.snapshot");
    wait::until("the snapshot", || async { Ok(snapshot.is_file()) }).await?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&snapshot)?.permissions());
    ensure!(mode & 0o777 == 0o600, "mode {mode:o}: it holds secrets");

    cluster.control[0].process.kill()?;
    cluster.restart_data_plane(0).await?;
    let (status, health) = wait::http_get(cluster.data[0].http, "/health").await?;
    ensure!(status == 200 && health.contains("degraded"), "{status} {health}");
    // It knows keys and buckets; without a control plane nothing can be decided.
    let write = s3::put(&cluster.s3(0), BUCKET, "w", body("w", 10)).await.expect_err("nobody can decide it");
    ensure!(write.status() == 503, "{write:?}");
    // Nor can it be said that there is no such bucket.
    let nowhere = s3::put(&cluster.s3(0), "nowhere", "w", body("w", 10)).await.expect_err("no such bucket");
    ensure!(nowhere.status() == 503, "{nowhere:?}");

    cluster.start_control_plane(0).await?;
    wait::until("reads and writes", || async {
        let read = s3::get(&cluster.s3(0), BUCKET, "k").await.is_ok_and(|got| got.is_some());
        Ok(read && s3::put(&cluster.s3(0), BUCKET, "w", body("w", 10)).await.is_ok())
    })
    .await?;
    wait::until("healthy again", || async {
        Ok(!wait::http_get(cluster.data[0].http, "/health").await?.1.contains("degraded"))
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_softly() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    let bytes = body("soft", 300_000);
    let wire = raw.wire(&s3o_integration_tests::raw::Request::new("PUT", "/data/soft").body(bytes.to_vec()));
    let mut connection = raw.connect().await?;
    connection.write(&wire.head).await?;
    connection.write(&wire.body[..100_000]).await?;
    wait::until("an intent", || async { Ok(cluster.intents().await? == 1) }).await?;
    cluster.data[0].process.signal(nix::sys::signal::Signal::SIGTERM)?;
    let http = cluster.data[0].http;
    wait::until("not ready", || async {
        Ok(!wait::http_get(http, "/health/ready").await.is_ok_and(|(s, _)| s == 200))
    })
    .await?;
    // What runs is finished.
    connection.write(&wire.body[100_000..]).await?;
    let answer = connection.read().await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let code = cluster.data[0].process.ended(wait::DEADLINE).await?;
    ensure!(code == Some(0), "it ended with {code:?}");
    cluster.data[0].process.start()?;
    wait::ready(http).await?;
    ensure!(s3::get(&cluster.s3(0), BUCKET, "soft").await.expect("get").is_some_and(|(_, got)| got == bytes));
    cluster.finish().await
}
