//! Quotas never overshoot, and what does not fit is refused before its body is read.

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_never_overshoot() -> Result<()> {
    const QUOTA: u64 = 100_000;
    const SIZE: usize = 10_000;
    let options = Options {
        quota_bytes: Some(QUOTA),
        control_planes: 2,
        data_planes: 2,
        routing: "spread",
        ..Options::default()
    };
    let cluster = Cluster::start(options).await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    let puts = (0..40).map(|n| {
        let (key, client) = (format!("q/{n}"), &clients[n % 2]);
        async move { s3::put(client, BUCKET, &key, body(&key, SIZE)).await }
    });
    let answers = futures::future::join_all(puts).await;
    for failure in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        ensure!(failure.status() == 507, "{failure:?}");
    }
    for backend in &cluster.backends {
        let stored: u64 =
            backend.stored()?.iter().filter(|(key, _)| !key.starts_with(".s3o/")).map(|(_, size)| size).sum();
        ensure!(stored <= QUOTA, "{}: {stored} bytes", backend.name);
    }
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure!((19..=20).contains(&stored), "{stored} of 20 fit");

    // Refused before the body: the client that waits for 100 Continue never sends it.
    let raw = cluster.raw(0);
    let request = Request::new("PUT", "/data/big").header("expect", "100-continue").body(vec![7; 200_000]);
    let wire = raw.wire(&request);
    let mut connection = raw.connect().await?;
    connection.write(&wire.head).await?;
    let answer = connection.read().await?;
    ensure!((answer.status, answer.code().as_str()) == (507, "InsufficientStorage"), "{}", answer.text());

    // Room comes back when something is deleted and gone.
    let stored = (0..40).filter(|&n: &usize| answers[n].is_ok());
    for n in stored.take(2) {
        s3::delete(&clients[0], BUCKET, &format!("q/{n}")).await.expect("delete");
    }
    s3o_integration_tests::settle::settle(&cluster).await?;
    ensure!(s3::put(&clients[1], BUCKET, "again", body("again", SIZE)).await.is_ok());
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_is_told_to_go_on() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    let raw = cluster.raw(0);
    let wire =
        raw.wire(&Request::new("PUT", "/data/k").header("expect", "100-continue").body(vec![7; 100_000]));
    let mut connection = raw.connect().await?;
    connection.write(&wire.head).await?;
    let go_on = connection.read_until(b"\r\n\r\n").await?;
    ensure!(go_on.starts_with(b"HTTP/1.1 100"), "{:?}", String::from_utf8_lossy(&go_on));
    connection.write(&wire.body).await?;
    let answer = connection.read().await?;
    ensure!(answer.status == 200, "{}", answer.text());
    cluster.finish().await
}
