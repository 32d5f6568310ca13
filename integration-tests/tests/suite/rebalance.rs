//! Copies are moved between backends while clients read and write.

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::backend::Backend;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{REPLICATOR, run_worker, settle};
use s3o_integration_tests::{Cluster, Options};
use s3o_proto::v1;

const SIZE: usize = 100_000;

fn blobs(cluster: &Cluster) -> Vec<usize> {
    cluster.backends.iter().map(Backend::blob_count).collect()
}

async fn put(cluster: &Cluster, key: &str) {
    s3::put(&cluster.s3(0), BUCKET, key, body(key, SIZE)).await.expect("put");
}

async fn run(cluster: &Cluster, request: v1::RebalanceRequest) -> Result<(v1::RebalanceProgress, usize)> {
    let mut admin = cluster.admin(0).await?;
    let mut run = admin.rebalance(request).await?.into_inner();
    let (mut last, mut copies) = (None, 0);
    while let Some(progress) = run.message().await? {
        copies += usize::from(progress.copy.is_some());
        last = Some(progress);
    }
    Ok((last.context("the whole")?, copies))
}

fn spread(dry_run: bool) -> v1::RebalanceRequest {
    let (strategy, threshold_percent) = ("spread".to_owned(), Some(0));
    v1::RebalanceRequest { dry_run, strategy, threshold_percent, batch: None }
}

async fn all_whole(cluster: &Cluster, keys: usize) -> Result<()> {
    for n in 0..keys {
        let key = format!("k{n}");
        let got = s3::get(&cluster.s3(0), BUCKET, &key).await;
        let got = got.map_err(|failure| anyhow::anyhow!("{failure:?}"))?.context("it is there")?;
        ensure!(got.1 == body(&key, SIZE), "{key}");
    }
    Ok(())
}

/// What was packed is spread over all; clients notice nothing, nothing is lost, every byte is accounted for.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_packed_is_spread() -> Result<()> {
    let quota_bytes = Some(10_000_000);
    let cluster = Cluster::start(Options { backends: 3, quota_bytes, ..Options::default() }).await?;
    for n in 0..12 {
        put(&cluster, &format!("k{n}")).await;
    }
    ensure!(blobs(&cluster) == [12, 0, 0], "{:?}", blobs(&cluster));
    let (would, copies) = run(&cluster, spread(true)).await?;
    ensure!((would.moved, copies) == (8, 8) && would.failed == 0, "{would:?}");
    ensure!(blobs(&cluster) == [12, 0, 0], "a dry run moves nothing");
    let (ran, overwritten) = tokio::join!(run(&cluster, spread(false)), async {
        for n in 0..3 {
            put(&cluster, &format!("k{n}")).await;
            s3::delete(&cluster.s3(0), BUCKET, &format!("k{}", 11 - n)).await.expect("delete");
        }
    });
    let ((), (ran, _)) = (overwritten, ran?);
    ensure!(ran.moved >= 4, "{ran:?}");
    all_whole(&cluster, 9).await?;
    settle(&cluster).await?;
    ensure!(blobs(&cluster).iter().sum::<usize>() == 9, "{:?}", blobs(&cluster));
    ensure!(blobs(&cluster)[1..].iter().all(|count| *count > 0), "{:?}", blobs(&cluster));
    cluster.finish().await
}

/// Copies of one object never meet on one backend, and each has as many as before.
#[tokio::test(flavor = "multi_thread")]
async fn copies_stay_apart() -> Result<()> {
    let quota_bytes = Some(10_000_000);
    let cluster =
        Cluster::start(Options { backends: 3, copies: 2, quota_bytes, ..Options::default() }).await?;
    for n in 0..9 {
        put(&cluster, &format!("k{n}")).await;
    }
    run_worker(&cluster, REPLICATOR).await?;
    ensure!(blobs(&cluster) == [9, 9, 0], "{:?}", blobs(&cluster));
    let (ran, _) = run(&cluster, spread(false)).await?;
    ensure!((ran.moved, ran.failed) == (6, 0), "{ran:?}");
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [6, 6, 6], "{:?}", blobs(&cluster));
    let sql = cluster.sql().await?;
    let counts = "SELECT min(n), max(n) FROM (SELECT count(*) AS n FROM copies GROUP BY version) AS c";
    let row = sql.query_one(counts, &[]).await?;
    ensure!((row.get::<_, i64>(0), row.get::<_, i64>(1)) == (2, 2));
    all_whole(&cluster, 9).await?;
    // And back, as far as they may not meet.
    let request =
        v1::RebalanceRequest { strategy: "pack".to_owned(), threshold_percent: Some(0), ..spread(false) };
    let (ran, _) = run(&cluster, request).await?;
    ensure!(ran.failed == 0, "{ran:?}");
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [9, 9, 0], "{:?}", blobs(&cluster));
    all_whole(&cluster, 9).await?;
    cluster.finish().await
}
