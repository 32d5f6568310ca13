//! Reconcile and import on a whole system: what is lost is found and made again, what nothing names goes, what others
//! wrote becomes objects; and no live blob is ever deleted, whatever clients do meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::config::{BUCKET, OTHER};
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{REPLICATOR, run_worker, run_worker_on, settle};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_proto::v1::{ImportRequest, ListRunsRequest, ReconcileRequest, RunProgress};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};

const SIZE: usize = 20_000;

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

/// How a run over a backend ended.
async fn reconcile(cluster: &Cluster, backend: &str, accept_losses: bool) -> Result<RunProgress> {
    let request = ReconcileRequest { backend: backend.to_owned(), dry_run: false, accept_losses };
    let mut progress = cluster.admin(0).await?.reconcile(request).await?.into_inner();
    let mut last = None;
    while let Some(run) = progress.message().await? {
        last = Some(run);
    }
    last.context("no report")
}

async fn import(cluster: &Cluster, prefix: &str, dry_run: bool) -> Result<RunProgress> {
    let (backend, bucket) = ("b0".to_owned(), BUCKET.to_owned());
    let request = ImportRequest { backend, bucket, prefix: prefix.to_owned(), dry_run };
    let mut progress = cluster.admin(0).await?.import(request).await?.into_inner();
    let mut last = None;
    while let Some(run) = progress.message().await? {
        last = Some(run);
    }
    last.context("no report")
}

fn counts<const N: usize>(run: &RunProgress, names: [&str; N]) -> [u64; N] {
    names.map(|name| run.counts.get(name).copied().unwrap_or_default())
}

/// Storage keys of objects on a backend.
fn blobs(cluster: &Cluster, backend: usize) -> Vec<String> {
    let keys = cluster.backends[backend].server.keys();
    keys.into_iter().filter(|key| !key.starts_with(".s3o/") || key.starts_with(".s3o/long/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_blobs_are_found_and_made_again() -> Result<()> {
    let cluster = start(2, 3).await?;
    let mut keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    keys.extend(["k1.txt", "k1~x", "dir/", "a//b"].map(str::to_owned));
    for key in &keys {
        put(&cluster, key).await;
    }
    run_worker(&cluster, REPLICATOR).await?;
    let stored = blobs(&cluster, 0);
    ensure!(stored.len() == keys.len(), "{stored:?}");
    for lost in stored.iter().step_by(5) {
        cluster.backends[0].server.remove(lost);
    }
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(run.state == "done", "{run:?}");
    ensure!(
        counts(&run, ["marked", "lost", "orphaned", "left_alone", "ambiguous"]) == [5, 0, 0, 0, 0],
        "{run:?}"
    );
    ensure!(counts(&run, ["drift_bytes", "unknown_bytes"]) == [5 * SIZE as u64, 0], "{run:?}");
    settle(&cluster).await?;
    for key in &keys {
        ensure!(is_whole(&cluster, key).await?, "{key}");
    }
    for backend in ["b0", "b1", "b2"] {
        let run = reconcile(&cluster, backend, false).await?;
        ensure!(counts(&run, ["marked", "lost", "attached", "orphaned"]) == [0; 4], "{run:?}");
        ensure!(counts(&run, ["drift_bytes", "unknown_bytes"]) == [0; 2], "{run:?}");
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_copy_s_row_stays_and_reads_again_when_the_blob_is_back() -> Result<()> {
    let cluster = start(1, 1).await?;
    put(&cluster, "k").await;
    let key = blobs(&cluster, 0).remove(0);
    let blob = cluster.backends[0].server.blob(&key).context("a blob")?;
    cluster.backends[0].server.remove(&key);
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(counts(&run, ["marked", "lost"]) == [0, 1], "{run:?}");
    until_lost(&cluster, 1).await?;
    let failure = s3::get(&cluster.s3(0), BUCKET, "k").await.expect_err("its bytes are gone");
    ensure!(failure.status() == 503, "never NoSuchKey: {failure:?}");
    ensure!(s3::head(&cluster.s3(0), BUCKET, "k").await.expect("head").is_some());
    cluster.backends[0].server.plant_with(&key, blob.bytes, &blob.headers);
    ensure!(is_whole(&cluster, "k").await?);
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(counts(&run, ["marked", "lost", "attached", "orphaned"]) == [0; 4], "{run:?}");
    until_lost(&cluster, 0).await?;
    cluster.finish().await
}

/// A run is done a moment before its worker counts.
async fn until_lost(cluster: &Cluster, objects: usize) -> Result<()> {
    wait::until("the number of lost objects", || async {
        let (_, metrics) = wait::http_get(cluster.control[0].http, "/metrics").await?;
        Ok(metrics.contains(&format!("s3o_objects_lost {objects}\n")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_goes_and_what_is_under_way_stays() -> Result<()> {
    let cluster = start(1, 1).await?;
    put(&cluster, "old").await;
    let key = blobs(&cluster, 0).remove(0);
    let blob = cluster.backends[0].server.blob(&key).context("a blob")?;
    s3::delete(&cluster.s3(0), BUCKET, "old").await.expect("delete");
    // It waits for readers: the queue names it.
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(counts(&run, ["orphaned", "attached", "left_alone"]) == [0; 3], "{run:?}");
    settle(&cluster).await?;
    ensure!(blobs(&cluster, 0).is_empty());
    // As a PUT that arrives long after its DELETE.
    cluster.backends[0].server.plant_with(&key, blob.bytes, &blob.headers);
    // A write whose bytes are there, and of which nobody has heard yet.
    let hang = Rule::new(Fault::HangReply).on(Operation::Put).key_contains("/slow~").times(1);
    cluster.backends[0].server.inject(hang);
    let client = cluster.s3(0);
    let slow = tokio::spawn(async move { s3::put(&client, BUCKET, "slow", body("slow", SIZE)).await });
    wait::until("a blob whose answer is missing", || async { Ok(blobs(&cluster, 0).len() == 2) }).await?;
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(counts(&run, ["orphaned", "attached", "left_alone"]) == [1, 0, 0], "{run:?}");
    ensure!(blobs(&cluster, 0).len() == 2, "it waits for its deletion");
    let _ = slow.await?;
    settle(&cluster).await?;
    ensure!(!blobs(&cluster, 0).contains(&key));
    cluster.finish().await
}

/// Clients write, overwrite and delete while runs follow one another, and the replicator copies.
#[tokio::test(flavor = "multi_thread")]
async fn no_live_blob_is_deleted_under_load() -> Result<()> {
    let cluster = start(2, 2).await?;
    let stop = AtomicBool::new(false);
    let writers = (0..4).map(|writer| {
        let (cluster, stop) = (&cluster, &stop);
        async move {
            let client = cluster.s3(0);
            let mut live: HashMap<String, String> = HashMap::new();
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let key = format!("w{writer}/k{}", n % 7);
                if n % 5 == 4 {
                    s3::delete(&client, BUCKET, &key).await.expect("delete");
                    live.remove(&key);
                } else {
                    let name = format!("{key} {n}");
                    s3::put(&client, BUCKET, &key, body(&name, 3000)).await.expect("put");
                    live.insert(key, name);
                }
                n += 1;
            }
            live
        }
    });
    let runs = async {
        let mut failed = None;
        for _ in 0..5 {
            run_worker(&cluster, REPLICATOR).await?;
            for backend in ["b0", "b1"] {
                let run = reconcile(&cluster, backend, false).await?;
                // What was written or deleted meanwhile is no drift.
                let wrong = counts(&run, ["marked", "lost", "orphaned", "drift_bytes"]);
                if run.state != "done" || wrong != [0; 4] {
                    failed = Some(run);
                }
            }
        }
        anyhow::Ok(failed)
    };
    let ended = async {
        let failed = runs.await;
        // However they ended: the writers would go on for ever.
        stop.store(true, Ordering::Relaxed);
        failed
    };
    let (live, failed) = futures::future::join(futures::future::join_all(writers), ended).await;
    ensure!(failed.as_ref().is_ok_and(Option::is_none), "{failed:?}");
    settle(&cluster).await?;
    for (key, name) in live.into_iter().flatten() {
        let got = s3::get(&cluster.s3(0), BUCKET, &key).await.expect("get").context("it is there")?.1;
        ensure!(got == body(&name, 3000), "{key}");
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_becomes_objects() -> Result<()> {
    let cluster = start(1, 1).await?;
    let server = &cluster.backends[0].server;
    put(&cluster, "taken").await;
    // As a client of the backend itself.
    let direct = s3::client(server.address(), "test", "test-secret", Duration::from_secs(60));
    let cat = direct.put_object().bucket(FaultyBackend::BUCKET).key("album/cat.jpg");
    let cat = cat.content_type("image/jpeg").metadata("who", "me").body(body("cat", SIZE).into());
    cat.send().await?;
    for key in ["album/dog.jpg", "data/cow.jpg", "taken", &format!("{OTHER}/theirs")] {
        server.plant(key, body(key, SIZE));
    }
    let dry = import(&cluster, "", true).await?;
    ensure!(counts(&dry, ["imported", "skipped"]) == [3, 2], "{dry:?}");
    ensure!(
        s3::list(&cluster.s3(0), BUCKET, "").await.expect("list").len() == 1,
        "a dry run changes nothing"
    );
    let by_prefix = import(&cluster, "album/c", false).await?;
    ensure!(counts(&by_prefix, ["imported", "skipped"]) == [1, 0], "{by_prefix:?}");
    let all = import(&cluster, "", false).await?;
    ensure!(counts(&all, ["imported", "skipped"]) == [2, 3], "{all:?}");
    let again = import(&cluster, "", false).await?;
    ensure!(counts(&again, ["imported", "skipped"]) == [0, 5], "{again:?}");
    let client = cluster.s3(0);
    let cat = client.get_object().bucket(BUCKET).key("album/cat.jpg").send().await?;
    ensure!(cat.content_type() == Some("image/jpeg"), "{cat:?}");
    ensure!(cat.metadata().and_then(|all| all.get("who")).map(String::as_str) == Some("me"));
    ensure!(cat.body.collect().await?.into_bytes() == body("cat", SIZE));
    ensure!(is_whole(&cluster, "taken").await?, "what the key had stays");
    let cow = s3::get(&client, BUCKET, "cow.jpg").await.expect("get").context("it is there")?.1;
    ensure!(cow == body("data/cow.jpg", SIZE));
    // Whoever overwrites or deletes the object, deletes the blob.
    put(&cluster, "album/cat.jpg").await;
    s3::delete(&client, BUCKET, "cow.jpg").await.expect("delete");
    settle(&cluster).await?;
    ensure!(server.blob("album/cat.jpg").is_none() && server.blob("data/cow.jpg").is_none());
    ensure!(server.blob("taken").is_some(), "what was not imported is nobody's");
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(counts(&run, ["marked", "lost", "orphaned", "unmanaged"]) == [0, 0, 0, 2], "{run:?}");
    // Somebody else writes there: the reader's If-Match shows it, and the run too.
    server.plant("album/dog.jpg", body("wolf", SIZE));
    ensure!(s3::get(&client, BUCKET, "album/dog.jpg").await.is_err());
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(counts(&run, ["marked", "lost"]) == [0, 1], "{run:?}");
    server.plant("album/dog.jpg", body("album/dog.jpg", SIZE));
    ensure!(is_whole(&cluster, "album/dog.jpg").await?);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_backend_loses_no_row() -> Result<()> {
    let cluster = start(2, 2).await?;
    for n in 0..10 {
        put(&cluster, &format!("k{n}")).await;
    }
    run_worker(&cluster, REPLICATOR).await?;
    let kept: Vec<_> = cluster.backends[0].server.blobs();
    cluster.backends[0].server.drop_all_blobs();
    let outcome = reconcile(&cluster, "b0", true).await;
    // Its marker is missing: refused at once, or as soon as that is seen.
    ensure!(outcome.as_ref().map_or(true, |run| run.state == "failed"), "{outcome:?}");
    let sql = cluster.sql().await?;
    let marked = "SELECT count(*) FROM copies WHERE state <> 'verified'";
    ensure!(sql.query_one(marked, &[]).await?.get::<_, i64>(0) == 0);
    for (key, blob) in kept {
        cluster.backends[0].server.plant_with(&key, blob.bytes, &blob.headers);
    }
    cluster.wait_attached().await?;
    let run = reconcile(&cluster, "b0", false).await?;
    ensure!(run.state == "done" && counts(&run, ["marked", "lost"]) == [0, 0], "{run:?}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_replica_that_began_it() -> Result<()> {
    let options = Options { backends: 1, control_planes: 2, ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    for n in 0..5 {
        put(&cluster, &format!("k{n}")).await;
    }
    // It stands still in the listing, until the process is killed.
    cluster.backends[0].server.inject(Rule::new(Fault::Hang).on(Operation::List).times(1));
    let request = ReconcileRequest { backend: "b0".to_owned(), ..ReconcileRequest::default() };
    let progress = cluster.admin(0).await?.reconcile(request).await?;
    let before = cluster.backends[0].server.count(Operation::List);
    wait::until("the listing has begun", || async {
        Ok(before > 0 || cluster.backends[0].server.count(Operation::List) > 0)
    })
    .await?;
    cluster.control[0].process.kill()?;
    drop(progress);
    cluster.sql().await?.execute("UPDATE sessions SET deadline = now() - interval '1 hour'", &[]).await?;
    wait::until("the other replica has ended it", || async {
        run_worker_on(&cluster, 1, "reconciler").await?;
        let runs = cluster.admin(1).await?.list_runs(ListRunsRequest {}).await?.into_inner().runs;
        Ok(runs.iter().any(|run| run.state == "done" && run.counts["rows"] == 5))
    })
    .await?;
    cluster.start_control_plane(0).await?;
    cluster.finish().await
}
