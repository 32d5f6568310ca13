//! Copies on several backends: made, read, found bad, made again, whatever dies meanwhile.

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::backend::Backend;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{
    COPY_SCAN, OVER_REPLICATION, REPLICATOR, run_worker, run_worker_on, settle,
};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_testkit::s3server::{Fault, Operation, Rule};

const SIZE: usize = 300_000;

async fn start(copies: usize, backends: usize) -> Result<Cluster> {
    Cluster::start(Options { backends, copies, ..Options::default() }).await
}

async fn put(cluster: &Cluster, key: &str) {
    s3::put(&cluster.s3(0), BUCKET, key, body(key, SIZE)).await.expect("put");
}

async fn is_whole(cluster: &Cluster, key: &str) -> Result<bool> {
    let got = s3::get(&cluster.s3(0), BUCKET, key).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    Ok(got.is_some_and(|(_, bytes)| bytes == body(key, SIZE)))
}

/// Blobs of objects on each backend.
fn blobs(cluster: &Cluster) -> Vec<usize> {
    cluster.backends.iter().map(Backend::blob_count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_backend_took_is_on_two_soon() -> Result<()> {
    let cluster = start(2, 3).await?;
    for n in 0..10 {
        put(&cluster, &format!("k{n}")).await;
    }
    ensure!(blobs(&cluster) == [10, 0, 0], "{:?}", blobs(&cluster));
    let counts = run_worker(&cluster, REPLICATOR).await?;
    ensure!(counts.get("done") == Some(&10), "{counts:?}");
    ensure!(blobs(&cluster) == [10, 10, 0], "{:?}", blobs(&cluster));
    // Each by itself is enough.
    for lost in 0..2 {
        cluster.backends[lost].server.inject(Rule::new(Fault::Status(503)));
        for n in 0..10 {
            ensure!(is_whole(&cluster, &format!("k{n}")).await?, "k{n} without backend {lost}");
        }
        cluster.backends[lost].heal();
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrites_and_deletes_take_all_copies_with_them() -> Result<()> {
    let cluster = start(3, 3).await?;
    for n in 0..6 {
        put(&cluster, &format!("k{n}")).await;
    }
    run_worker(&cluster, REPLICATOR).await?;
    ensure!(blobs(&cluster) == [6, 6, 6], "{:?}", blobs(&cluster));
    for n in 0..3 {
        put(&cluster, &format!("k{n}")).await;
        s3::delete(&cluster.s3(0), BUCKET, &format!("k{}", n + 3)).await.expect("delete");
    }
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [3, 3, 3], "{:?}", blobs(&cluster));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_in_parts_is_copied_part_by_part() -> Result<()> {
    let cluster = start(2, 2).await?;
    let client = cluster.s3(0);
    let parts: Vec<_> = (0..5).map(|n| body(&format!("part{n}"), 5000 + n)).collect();
    let upload = Upload::open(&client, "big").await.expect("open");
    let mut listed = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        listed.push((number, upload.put(&client, number, part.clone()).await.expect("part")));
    }
    upload.complete(&client, &listed).await.expect("complete");
    run_worker(&cluster, REPLICATOR).await?;
    ensure!(blobs(&cluster) == [5, 5], "{:?}", blobs(&cluster));
    cluster.backends[0].server.inject(Rule::new(Fault::Status(503)));
    let whole = s3::get(&client, BUCKET, "big").await.expect("get").context("it is there")?.1;
    ensure!(whole.as_ref() == parts.concat().as_slice(), "other bytes");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_dies_while_it_copies_leaves_nothing_behind() -> Result<()> {
    let mut cluster = start(2, 2).await?;
    for n in 0..4 {
        put(&cluster, &format!("k{n}")).await;
    }
    // It has sent all bytes and never hears of it.
    cluster.backends[1].server.inject(Rule::new(Fault::HangReply).on(Operation::Put).key_contains("data/"));
    let mut admin = cluster.admin(0).await?;
    let running = tokio::spawn(async move {
        let request = s3o_proto::v1::RunWorkerRequest { name: REPLICATOR.to_owned() };
        let Ok(told) = admin.run_worker(request).await else { return };
        let mut told = told.into_inner();
        while let Ok(Some(_)) = told.message().await {}
    });
    wait::until("a blob whose answer is missing", || async { Ok(blobs(&cluster)[1] > 0) }).await?;
    ensure!(cluster.intents().await? > 0);
    cluster.control[0].process.kill()?;
    let _ = running.await;
    cluster.backends[1].heal();
    cluster.start_control_plane(0).await?;
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [4, 4], "{:?}", blobs(&cluster));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_the_work_and_make_each_copy_once() -> Result<()> {
    let options = Options { backends: 2, copies: 2, control_planes: 2, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    for n in 0..40 {
        s3::put(&cluster.s3(0), BUCKET, &format!("k{n}"), body("k", 1000)).await.expect("put");
    }
    let ticks = (0..2).map(|index| run_worker_on(&cluster, index, REPLICATOR));
    let done: u64 = futures::future::try_join_all(ticks)
        .await?
        .iter()
        .map(|counts| counts.get("done").copied().unwrap_or_default())
        .sum();
    ensure!(done == 40, "{done}");
    ensure!(blobs(&cluster) == [40, 40], "{:?}", blobs(&cluster));
    cluster.finish().await
}

/// A 200 means what the level says: with the proxy and one backend gone right after it, the object is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_all_acknowledged_survives_the_proxy_and_a_backend() -> Result<()> {
    for ack in ["all", "quorum"] {
        let options = Options { backends: 3, copies: 3, ack, data_planes: 2, ..Options::default() };
        let mut cluster = Cluster::start(options).await?;
        for n in 0..6 {
            let key = format!("k{n}");
            s3::put(&cluster.s3(0), BUCKET, &key, body(&key, SIZE)).await.expect("put");
        }
        cluster.data[0].process.kill()?;
        let wanted = if ack == "all" { 3 } else { 2 };
        let copies = "SELECT min(n) FROM (SELECT count(*) AS n FROM copies GROUP BY version) AS c";
        let fewest: i64 = cluster.sql().await?.query_one(copies, &[]).await?.get(0);
        ensure!(fewest >= wanted, "{ack}: {fewest} copies");
        for lost in 0..3 {
            cluster.backends[lost].server.inject(Rule::new(Fault::Status(503)));
            for n in 0..6 {
                let key = format!("k{n}");
                let got = s3::get(&cluster.s3(1), BUCKET, &key).await.expect("get");
                ensure!(
                    got.is_some_and(|(_, bytes)| bytes == body(&key, SIZE)),
                    "{ack}: {key} without {lost}"
                );
            }
            cluster.backends[lost].heal();
        }
        cluster.restart_data_plane(0).await?;
        cluster.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_goes_on_without_a_backend_and_the_copy_is_made_later() -> Result<()> {
    let options = Options { backends: 3, copies: 3, ack: "quorum", ..Options::default() };
    let cluster = Cluster::start(options).await?;
    cluster.backends[2].refuse_puts();
    for n in 0..4 {
        put(&cluster, &format!("k{n}")).await;
    }
    ensure!(blobs(&cluster) == [4, 4, 0], "{:?}", blobs(&cluster));
    cluster.backends[2].heal();
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [4, 4, 4], "{:?}", blobs(&cluster));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_fails_clean_when_a_backend_fails_for_good() -> Result<()> {
    let options = Options { backends: 2, copies: 2, ack: "all", ..Options::default() };
    let cluster = Cluster::start(options).await?;
    cluster.backends[1]
        .server
        .inject(Rule::new(Fault::ResetReceiving { after: 1000 }).on(Operation::Put).key_contains("data/"));
    let refused = s3::put(&cluster.s3(0), BUCKET, "k", body("k", SIZE)).await.expect_err("too few backends");
    ensure!(refused.status() == 503, "{refused:?}");
    ensure!(s3::get(&cluster.s3(0), BUCKET, "k").await.expect("get").is_none());
    cluster.backends[1].heal();
    put(&cluster, "k").await;
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [1, 1], "{:?}", blobs(&cluster));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_copies_keep_the_level_too() -> Result<()> {
    let options = Options { backends: 2, copies: 2, ack: "all", ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let client = cluster.s3(0);
    let parts: Vec<_> = (0..3).map(|n| body(&format!("part{n}"), 5000 + n)).collect();
    let upload = Upload::open(&client, "big").await.expect("open");
    let mut listed = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        listed.push((number, upload.put(&client, number, part.clone()).await.expect("part")));
    }
    ensure!(blobs(&cluster) == [3, 3], "{:?}", blobs(&cluster));
    upload.complete(&client, &listed).await.expect("complete");
    put(&cluster, "k").await;
    client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k")).send().await?;
    ensure!(blobs(&cluster) == [5, 5], "{:?}", blobs(&cluster));
    for lost in 0..2 {
        cluster.backends[lost].server.inject(Rule::new(Fault::Status(503)));
        let big = s3::get(&client, BUCKET, "big").await.expect("get").context("it is there")?.1;
        ensure!(big.as_ref() == parts.concat().as_slice(), "other bytes without {lost}");
        let copy = s3::get(&client, BUCKET, "copy").await.expect("get").context("it is there")?.1;
        ensure!(copy == body("k", SIZE), "other bytes without {lost}");
        cluster.backends[lost].heal();
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_factor_is_followed_both_ways() -> Result<()> {
    let mut cluster = start(1, 3).await?;
    for n in 0..6 {
        put(&cluster, &format!("k{n}")).await;
    }
    for copies in [3, 2] {
        cluster.want_copies(copies);
        cluster.reload(|_| {})?;
        wait::until("the new factor", || async {
            let sql = cluster.sql().await?;
            let factor = "SELECT replication_factor FROM buckets WHERE name = 'data'";
            Ok(usize::try_from(sql.query_one(factor, &[]).await?.get::<_, i16>(0))? == copies)
        })
        .await?;
        run_worker(&cluster, COPY_SCAN).await?;
        settle(&cluster).await?;
        ensure!(blobs(&cluster).iter().sum::<usize>() == 6 * copies, "{copies}: {:?}", blobs(&cluster));
    }
    cluster.finish().await
}

/// While clients write: what was placed before the drain is moved, and nothing more comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_backend_is_empty_in_the_end_and_every_object_whole() -> Result<()> {
    let options = Options { backends: 3, copies: 2, data_planes: 2, routing: "spread", ..Options::default() };
    let cluster = Cluster::start(options).await?;
    for n in 0..10 {
        put(&cluster, &format!("k{n}")).await;
    }
    run_worker(&cluster, REPLICATOR).await?;
    let mut admin = cluster.admin(0).await?;
    let request = s3o_proto::v1::DrainBackendRequest { name: "b1".to_owned() };
    let (began, drain) = tokio::join!(
        admin.drain_backend(request),
        futures::future::join_all((10..30).map(|n| {
            let cluster = &cluster;
            async move {
                let key = format!("k{n}");
                s3::put(&cluster.s3(n % 2), BUCKET, &key, body(&key, SIZE)).await
            }
        }))
    );
    let mut progress = began?.into_inner();
    for stored in drain {
        stored.expect("put");
    }
    wait::until("the drained backend is empty", || async {
        run_worker(&cluster, COPY_SCAN).await?;
        let sql = cluster.sql().await?;
        sql.batch_execute("UPDATE copy_scans SET not_before = now() WHERE NOT finished").await?;
        settle(&cluster).await?;
        Ok(blobs(&cluster)[1] == 0)
    })
    .await?;
    run_worker(&cluster, COPY_SCAN).await?;
    let mut last = None;
    while let Some(report) = progress.message().await? {
        last = Some(report);
    }
    ensure!(last.as_ref().is_some_and(|report| report.done && report.objects == 0), "{last:?}");
    for n in 0..30 {
        ensure!(is_whole(&cluster, &format!("k{n}")).await?, "k{n}");
    }
    put(&cluster, "after").await;
    ensure!(blobs(&cluster)[1] == 0);
    admin.undrain_backend(s3o_proto::v1::UndrainBackendRequest { name: "b1".to_owned() }).await?;
    cluster.finish().await
}

/// The first backend begins to be drained while a write that has chosen it stands at the failpoint; then it goes on.
pub(crate) async fn drain_under_a_write(cluster: &Cluster) -> Result<()> {
    wait::until("the failpoint", || async {
        Ok(cluster.data[0].process.output().contains("S3O_FAILPOINT reached"))
    })
    .await?;
    let request = s3o_proto::v1::DrainBackendRequest { name: "b0".to_owned() };
    cluster.admin(0).await?.drain_backend(request).await?;
    cluster.wait_configured(0).await?;
    cluster.release_failpoint()
}

/// The drain begins after the target was chosen and before a byte is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_target_is_being_drained_goes_elsewhere() -> Result<()> {
    let options = Options { failpoint: Some("after_begin"), ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let client = cluster.s3(0);
    let running = tokio::spawn(async move { s3::put(&client, BUCKET, "k", body("k", SIZE)).await });
    drain_under_a_write(&cluster).await?;
    running.await?.expect("put");
    ensure!(blobs(&cluster) == [0, 1], "{:?}", blobs(&cluster));
    let (_, metrics) = wait::http_get(cluster.data[0].http, "/metrics").await?;
    ensure!(metrics.contains("s3o_drain_race_aborted_total 1"), "{metrics}");
    ensure!(is_whole(&cluster, "k").await?);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_rots_is_never_copied_and_is_replaced() -> Result<()> {
    let cluster = start(2, 3).await?;
    put(&cluster, "k").await;
    run_worker(&cluster, REPLICATOR).await?;
    // The second backend loses a bit, then the first one goes away for good and its copy with it.
    let key =
        cluster.backends[1].stored()?.into_iter().map(|(key, _)| key).find(|key| key.starts_with("data/"));
    let key = key.context("a blob")?;
    ensure!(cluster.backends[1].server.corrupt(&key));
    let sql = cluster.sql().await?;
    sql.batch_execute(
        "UPDATE buckets SET replication_factor = 3;
         INSERT INTO replication_queue (version, bucket, key, task) SELECT version, bucket, key, 'add' FROM objects",
    )
    .await?;
    cluster.backends[0].server.inject(Rule::new(Fault::Status(503)).on(Operation::Get).key_contains("data/"));
    run_worker(&cluster, REPLICATOR).await?;
    ensure!(blobs(&cluster)[2] == 0, "a bad copy was copied");
    let state: String = sql.query_one("SELECT state FROM copies WHERE backend = 2", &[]).await?.get(0);
    ensure!(state == "quarantined", "{state}");
    cluster.backends[0].heal();
    settle(&cluster).await?;
    ensure!(is_whole(&cluster, "k").await?);
    ensure!(blobs(&cluster) == [1, 1, 1], "{:?}", blobs(&cluster));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_gone_is_made_again_and_too_many_go() -> Result<()> {
    let cluster = start(3, 3).await?;
    for n in 0..5 {
        put(&cluster, &format!("k{n}")).await;
    }
    run_worker(&cluster, REPLICATOR).await?;
    // Somebody emptied the second backend, but for its marker.
    cluster.backends[1].lose_all_blobs();
    let sql = cluster.sql().await?;
    // As a reconciler finds them.
    sql.batch_execute(
        "UPDATE copies SET state = 'missing' WHERE backend = 2;
         INSERT INTO replication_queue (version, bucket, key, task) SELECT version, bucket, key, 'add' FROM objects",
    )
    .await?;
    settle(&cluster).await?;
    ensure!(blobs(&cluster) == [5, 5, 5], "{:?}", blobs(&cluster));
    sql.batch_execute(
        "UPDATE buckets SET replication_factor = 1;
         INSERT INTO replication_queue (version, bucket, key, task) SELECT version, bucket, key, 'trim' FROM objects",
    )
    .await?;
    let counts = run_worker(&cluster, OVER_REPLICATION).await?;
    ensure!(counts.get("removed") == Some(&10), "{counts:?}");
    settle(&cluster).await?;
    ensure!(blobs(&cluster).iter().sum::<usize>() == 5, "{:?}", blobs(&cluster));
    for n in 0..5 {
        ensure!(is_whole(&cluster, &format!("k{n}")).await?);
    }
    cluster.finish().await
}
