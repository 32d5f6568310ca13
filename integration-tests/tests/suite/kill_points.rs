//! SIGKILL of a data plane at each step of a write: afterwards every acknowledged object is whole, what
//! was not acknowledged happened or did not, and no byte is left over.

use std::time::Duration;

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use bytes::Bytes;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, Failure, body};
use s3o_integration_tests::{Cluster, Options, wait};

/// What a client was doing.
const KINDS: [&str; 4] = ["put", "overwrite", "copy", "delete"];
const SIZE: usize = 600_000;

async fn call(client: Client, kind: &'static str) -> Result<(), Failure> {
    match kind {
        "copy" => s3::copy(&client, BUCKET, "source", kind).await.map(|_| ()),
        "delete" => s3::delete(&client, BUCKET, kind).await,
        _ => s3::put(&client, BUCKET, kind, new(kind)).await.map(|_| ()),
    }
}

fn old(kind: &str) -> Bytes {
    body(&format!("old {kind}"), SIZE)
}

fn new(kind: &str) -> Bytes {
    body(&format!("new {kind}"), SIZE)
}

/// `None`: absent.
fn before(kind: &str) -> Option<Bytes> {
    matches!(kind, "overwrite" | "delete").then(|| old(kind))
}

fn after(kind: &str) -> Option<Bytes> {
    match kind {
        "delete" => None,
        "copy" => Some(body("source", SIZE)),
        _ => Some(new(kind)),
    }
}

async fn kill_at(point: &'static str) -> Result<()> {
    let options = Options { data_planes: 2, failpoint: Some(point), ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    let steady = cluster.s3(0);
    s3::put(&steady, BUCKET, "source", body("source", SIZE)).await.expect("put");
    let mut acknowledged = Vec::new();
    for kind in KINDS {
        if let Some(bytes) = before(kind) {
            s3::put(&steady, BUCKET, kind, bytes).await.expect("put");
        }
        cluster.data[1].process.clear_log()?;
        let running = tokio::spawn(call(cluster.impatient(1, Duration::from_secs(60)), kind));
        wait::until("the failpoint or an answer", || async {
            Ok(running.is_finished() || cluster.data[1].process.output().contains("S3O_FAILPOINT reached"))
        })
        .await?;
        let reached = !running.is_finished();
        // A copy within a backend streams nothing, and before its commit a delete has no step to stop at.
        let passes =
            (kind == "copy" && point == "during_stream") || (kind == "delete" && point != "after_commit");
        ensure!(
            reached || passes,
            "{kind} never came to {point}: was s3o-dataplane built with --features failpoints?"
        );
        cluster.data[1].process.kill()?;
        let answer = running.await?;
        ensure!(answer.is_ok() != reached, "{kind}: {answer:?}");
        acknowledged.push((kind, answer.is_ok()));
        cluster.data[1].process.start()?;
        wait::ready(cluster.data[1].http).await?;
    }
    s3o_integration_tests::settle::settle(&cluster).await?;
    for (kind, acknowledged) in acknowledged {
        let is = s3::get(&steady, BUCKET, kind).await.expect("get").map(|(_, bytes)| bytes);
        let done = acknowledged || point == "after_commit";
        ensure!(
            is == after(kind) || (!done && is == before(kind)),
            "{kind} killed {point}: neither old nor new"
        );
        // Before the backend had it, it cannot have happened.
        ensure!(
            done || point == "after_backend_put" || is == before(kind),
            "{kind} killed {point}: out of nothing"
        );
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_intent() -> Result<()> {
    kill_at("after_begin").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_during_the_stream() -> Result<()> {
    kill_at("during_stream").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_backend_has_it() -> Result<()> {
    kill_at("after_backend_put").await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_commit() -> Result<()> {
    kill_at("after_commit").await
}

#[tokio::test(flavor = "multi_thread")]
async fn control_plane_killed_at_every_step() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    s3::put(&client, BUCKET, "source", body("source", SIZE)).await.expect("put");
    for kind in KINDS {
        if let Some(bytes) = before(kind) {
            s3::put(&client, BUCKET, kind, bytes).await.expect("put");
        }
        // The backend takes the body and keeps its answer back: the write stands between Begin and Commit.
        let blobs = cluster.backends[0].blob_count();
        let gate = cluster.backends[0].hold_replies();
        let running = tokio::spawn(call(client.clone(), kind));
        if kind == "delete" {
            drop(gate);
            cluster.control[0].process.kill()?;
        } else {
            wait::until("the blob", || async { Ok(cluster.backends[0].blob_count() > blobs) }).await?;
            cluster.control[0].process.kill()?;
            drop(gate);
        }
        cluster.start_control_plane(0).await?;
        let answer = running.await?;
        let is = s3::get(&client, BUCKET, kind).await.expect("get").map(|(_, bytes)| bytes);
        match answer {
            Ok(()) => ensure!(is == after(kind), "{kind} was acknowledged and is not there"),
            Err(failure) => {
                ensure!(failure.is_unknown(), "{kind}: {failure:?}");
                ensure!(is == after(kind) || is == before(kind), "{kind}: neither old nor new");
            }
        }
    }
    cluster.finish().await
}
