//! An endpoint that is edited while a data plane still has the older configuration: nothing is
//! acknowledged into the old place.

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::backend::Backend;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Mode, Options, wait};

const SIZE: usize = 400_000;

/// Moves the first backend: its bucket is copied, then the endpoint in YAML is edited. Gives the old place.
/// Returns when the new one can be written to.
async fn move_first(cluster: &mut Cluster) -> Result<Backend> {
    let new = cluster.backends[0].moved().await?;
    let old = std::mem::replace(&mut cluster.backends[0], new);
    cluster.reload(|_| {})?;
    wait::until("the new place is attached", || async {
        let moved = "SELECT count(*) FROM backends WHERE place = 2 AND attached";
        Ok(cluster.sql().await?.query_one(moved, &[]).await?.get::<_, i64>(0) == 1)
    })
    .await?;
    Ok(old)
}

/// A retry that is acknowledged, once the data plane has heard.
async fn put_until_stored(cluster: &Cluster, key: &str) -> Result<()> {
    wait::until("the write is stored", || async {
        Ok(s3::put(&cluster.s3(0), BUCKET, key, body(key, SIZE)).await.is_ok())
    })
    .await?;
    let stored = s3::get(&cluster.s3(0), BUCKET, key).await.expect("get").map(|(_, bytes)| bytes);
    ensure!(stored == Some(body(key, SIZE)), "{key} is not whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_went_to_the_old_place_is_not_acknowledged() -> Result<()> {
    let options =
        Options { backends: 1, data_planes: 2, failpoint: Some("after_backend_put"), ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    s3::put(&cluster.s3(0), BUCKET, "before", body("before", SIZE)).await.expect("put");
    let raw = cluster.raw(1);
    let writing = tokio::spawn(async move {
        raw.send(&Request::new("PUT", "/data/k").body(body("k", SIZE).to_vec())).await
    });
    wait::until("the blob at the old place", || async {
        Ok(cluster.data[1].process.output().contains("S3O_FAILPOINT reached"))
    })
    .await?;
    let old = move_first(&mut cluster).await?;
    ensure!(old.blob_count() == 2, "{:?}", old.stored()?);
    cluster.release_failpoint()?;
    let answer = writing.await??;
    ensure!(answer.status == 503, "acknowledged at the old place: {} {}", answer.status, answer.text());
    let missing = s3::get(&cluster.s3(0), BUCKET, "k").await.expect("get");
    ensure!(missing.is_none(), "the refused write is there");

    put_until_stored(&cluster, "k").await?;
    put_until_stored(&cluster, "before").await?;
    ensure!(old.blob_count() == 2, "written to the old place: {:?}", old.stored()?);
    let (_, metrics) = wait::http_get(cluster.control[0].http, "/metrics").await?;
    for line in [
        "s3o_cleanup_queue_enqueued_total{reason=\"refused\"} 1",
        "s3o_pending_intents_resolved_total{status=\"committed\"} ",
        "s3o_pending_intents_enqueued_total ",
    ] {
        ensure!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    cluster.finish().await
}

/// Begin is answered by a replica whose session the data plane does not have: the target is of the new
/// place, the configuration of the old.
#[tokio::test(flavor = "multi_thread")]
async fn what_begins_after_the_move_never_goes_to_the_old_place() -> Result<()> {
    let mut cluster = Cluster::start(Options { control_planes: 2, ..Options::default() }).await?;
    s3::put(&cluster.s3(0), BUCKET, "before", body("before", SIZE)).await.expect("put");
    let log = cluster.data[0].process.output();
    let with_session = (0..2).find(|index| log.contains(&format!("\"control_plane\":\"control{index}\"")));
    let with_session = with_session.context("the log does not say where the session is")?;
    cluster.data[0].links[with_session].set(Mode::HoldReplies);
    let old = move_first(&mut cluster).await?;

    // Those that meet the silent replica wait; the others are answered.
    let writes: Vec<_> = (0..6)
        .map(|n| {
            let client = cluster.s3(0);
            let key = format!("k{n}");
            tokio::spawn(async move { s3::put(&client, BUCKET, &key, body(&key, SIZE)).await.is_ok() })
        })
        .collect();
    wait::until("an answer", || async { Ok(writes.iter().any(tokio::task::JoinHandle::is_finished)) })
        .await?;
    ensure!(old.blob_count() == 1, "written to the old place: {:?}", old.stored()?);
    cluster.data[0].links[with_session].set(Mode::Pass);
    let mut acknowledged = Vec::new();
    for (n, write) in writes.into_iter().enumerate() {
        if write.await? {
            acknowledged.push(format!("k{n}"));
        }
    }
    ensure!(!acknowledged.is_empty(), "nothing was written at all");
    for key in &acknowledged {
        let stored = s3::get(&cluster.s3(0), BUCKET, key).await.expect("get").map(|(_, bytes)| bytes);
        ensure!(stored == Some(body(key, SIZE)), "{key} is not whole");
    }
    wait::until("writes go to the new place", || async {
        put_until_stored(&cluster, "after").await?;
        Ok(cluster.backends[0].stored()?.iter().any(|(key, _)| key.starts_with("data/after~")))
    })
    .await?;
    ensure!(old.blob_count() == 1, "written to the old place: {:?}", old.stored()?);
    cluster.finish().await
}

/// Taken out of YAML while it is empty, and declared again: its own marker is still good.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_backend_is_removed_and_comes_back() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let active = |wanted: i64| {
        let cluster = &cluster;
        move || async move {
            let count = "SELECT count(*) FROM backends WHERE state = 'active' AND attached";
            Ok(cluster.sql().await?.query_one(count, &[]).await?.get::<_, i64>(0) == wanted)
        }
    };
    cluster.reload(|config| {
        config["backends"].as_array_mut().expect("a list").remove(0);
    })?;
    wait::until("it is removed", active(1)).await?;
    cluster.reload(|_| {})?;
    wait::until("it is back", active(2)).await?;
    let rows: i64 = cluster.sql().await?.query_one("SELECT count(*) FROM backends", &[]).await?.get(0);
    ensure!(rows == 2, "it came back as another");
    wait::until("it is written to again", || async {
        put_until_stored(&cluster, "k").await?;
        Ok(cluster.backends[0].blob_count() > 0)
    })
    .await?;
    cluster.finish().await
}
