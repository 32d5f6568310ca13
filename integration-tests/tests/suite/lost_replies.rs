//! Replies that are lost after the work was done, bodies that stop, leases that end: one whole object,
//! and nothing left over.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{REAPER, expire_leases, run_worker};
use s3o_integration_tests::{Cluster, Mode, Options, wait};

const SIZE: usize = 400_000;

async fn stored(cluster: &Cluster, key: &str) -> Option<Bytes> {
    s3::get(&cluster.s3(0), BUCKET, key).await.expect("get").map(|(_, bytes)| bytes)
}

/// Whatever the client heard: its retry ends in the whole object.
async fn retry(cluster: &Cluster, key: &str) -> Result<()> {
    wait::until("the retry", || async {
        Ok(s3::put(&cluster.s3(0), BUCKET, key, body(key, SIZE)).await.is_ok())
    })
    .await?;
    ensure!(stored(cluster, key).await == Some(body(key, SIZE)), "{key} is not whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_begin_is_lost() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let link = &cluster.data[0].links[0];
    link.set(Mode::HoldReplies);
    let client = cluster.s3(0);
    let running = tokio::spawn(async move { s3::put(&client, BUCKET, "k", body("k", SIZE)).await });
    wait::until("an intent", || async { Ok(cluster.intents().await? == 1) }).await?;
    link.cut();
    link.set(Mode::Pass);
    let answer = running.await?;
    if answer.is_ok() {
        ensure!(stored(&cluster, "k").await == Some(body("k", SIZE)), "acknowledged and not whole");
    } else {
        ensure!(answer.as_ref().is_err_and(s3::Failure::is_unknown), "{answer:?}");
    }
    retry(&cluster, "k").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_commit_is_lost() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let link = &cluster.data[0].links[0];
    let gate = cluster.backends[0].hold_replies();
    let client = cluster.s3(0);
    let running = tokio::spawn(async move { s3::put(&client, BUCKET, "k", body("k", SIZE)).await });
    wait::until("the blob", || async { Ok(cluster.backends[0].blob_count() == 1) }).await?;
    link.set(Mode::HoldReplies);
    drop(gate);
    wait::until("the commit", || async { Ok(objects(&cluster).await? == 1) }).await?;
    link.cut();
    link.set(Mode::Pass);
    let answer = running.await?;
    // Ours is repeated by op: the client need not hear of it at all.
    ensure!(answer.is_ok() || answer.as_ref().is_err_and(s3::Failure::is_unknown), "{answer:?}");
    ensure!(stored(&cluster, "k").await == Some(body("k", SIZE)), "committed and not whole");
    retry(&cluster, "k").await?;
    cluster.finish().await
}

async fn objects(cluster: &Cluster) -> Result<i64> {
    Ok(cluster.sql().await?.query_one("SELECT count(*) FROM objects", &[]).await?.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backends_reply_is_lost() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    for (key, size) in [("small", SIZE), ("large", 12 << 20)] {
        cluster.backends[0].lose_next_put_reply();
        let answer = s3::put(&cluster.s3(0), BUCKET, key, body(key, size)).await;
        match answer {
            // Small bodies are sent again, elsewhere.
            Ok(_) => ensure!(stored(&cluster, key).await == Some(body(key, size)), "{key} is not whole"),
            Err(failure) => ensure!(failure.status() == 503, "{key}: {failure:?}"),
        }
        retry(&cluster, key).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_past_its_lease() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    let bytes = body("k", SIZE);
    let wire = raw.wire(&Request::new("PUT", "/data/k").body(bytes.to_vec()));
    let mut connection = raw.connect().await?;
    connection.write(&wire.head).await?;
    connection.write(&wire.body[..SIZE / 2]).await?;
    wait::until("an intent", || async { Ok(cluster.intents().await? == 1) }).await?;
    // The lease alone fences nothing; the claim does, and the reaper finds no blob.
    wait::until("the reaper", || async {
        expire_leases(&cluster).await?;
        run_worker(&cluster, REAPER).await?;
        Ok(cluster.intents().await? == 0)
    })
    .await?;
    connection.write(&wire.body[SIZE / 2..]).await?;
    let answer = connection.read().await?;
    ensure!(answer.status == 503, "a write whose intent was reaped: {} {}", answer.status, answer.text());
    ensure!(stored(&cluster, "k").await.is_none(), "a write that was refused is there");
    retry(&cluster, "k").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ended_without_a_reaper_still_commits() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let gate = cluster.backends[0].hold_replies();
    let client = cluster.s3(0);
    let running = tokio::spawn(async move { s3::put(&client, BUCKET, "k", body("k", SIZE)).await });
    wait::until("the blob", || async { Ok(cluster.backends[0].blob_count() == 1) }).await?;
    expire_leases(&cluster).await?;
    drop(gate);
    let answer = running.await?;
    // A reaper's own tick may have come in between: then the client hears 503.
    match answer {
        Ok(_) => ensure!(stored(&cluster, "k").await == Some(body("k", SIZE)), "acknowledged and not whole"),
        Err(failure) => ensure!(failure.status() == 503, "{failure:?}"),
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_end_early_or_late() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    let bytes = body("k", SIZE).to_vec();
    // Shorter than said, and the client waits; or closes; or resets.
    for how in ["finish", "reset"] {
        let said = u64::try_from(SIZE)? + 1000;
        let request =
            Request { content_length: Some(said), ..Request::new("PUT", "/data/k").body(bytes.clone()) };
        let wire = raw.wire(&request);
        let mut connection = raw.connect().await?;
        connection.write(&wire.head).await?;
        connection.write(&wire.body).await?;
        wait::until("an intent", || async { Ok(cluster.intents().await? == 1) }).await?;
        if how == "finish" {
            connection.finish().await?;
            // A client that has stopped sending may still listen.
            if let Ok(answer) = connection.read().await {
                ensure!(answer.status == 400, "{how}: {} {}", answer.status, answer.text());
            }
        } else {
            connection.reset()?;
        }
        wait::until("the abort", || async { Ok(cluster.intents().await? == 0) }).await?;
        ensure!(stored(&cluster, "k").await.is_none(), "a short body was stored");
    }
    // Longer than said: what is beyond is not part of it, and the hash is wrong.
    let request =
        Request { content_length: Some(1000), ..Request::new("PUT", "/data/k").body(bytes.clone()) };
    let answer = raw.send(&request).await?;
    ensure!(answer.status == 400, "longer than said: {} {}", answer.status, answer.text());
    // Chunks that hold less, or more, than x-amz-decoded-content-length says.
    for decoded in ["399000", "401000"] {
        let chunks =
            s3o_integration_tests::raw::Payload::UnsignedChunks { size: 65_536, trailers: Vec::new() };
        let wire = raw.wire(&Request::new("PUT", "/data/k").body(bytes.clone()).payload(chunks));
        let head = String::from_utf8(wire.head)?;
        let needle = format!("x-amz-decoded-content-length: {SIZE}");
        ensure!(head.contains(&needle), "{head}");
        // The header is signed, so that the lie is signed again.
        let mut lie = Request::new("PUT", "/data/k").header("x-amz-decoded-content-length", decoded);
        lie.headers.push(("content-encoding".into(), "aws-chunked".into()));
        let lie = lie.body(wire.body).payload(s3o_integration_tests::raw::Payload::Claimed(
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER".into(),
        ));
        let answer = raw.send(&lie).await?;
        ensure!(answer.status == 400, "{decoded}: {} {}", answer.status, answer.text());
    }
    ensure!(stored(&cluster, "k").await.is_none(), "a body of the wrong length was stored");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_before_the_body_is_replaced() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    cluster.backends[0].refuse_puts();
    let client = cluster.impatient(0, Duration::from_secs(60));
    let done = s3::put(&client, BUCKET, "k", body("k", SIZE)).await;
    ensure!(done.is_ok(), "{done:?}");
    ensure!(stored(&cluster, "k").await == Some(body("k", SIZE)), "not whole");
    let backend: String = cluster
        .sql()
        .await?
        .query_one("SELECT b.name FROM copies c JOIN backends b ON b.id = c.backend", &[])
        .await
        .context("one copy")?
        .get(0);
    ensure!(backend == "b1", "it is on {backend}");
    cluster.finish().await
}
