//! Backends that are given up: one that is gone for good is forgotten, one that is still there is emptied; what has a good
//! copy elsewhere is kept, and the rest goes only by leave.

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{CLEANUP, COPY_SCAN, REPLICATOR, run_worker, settle};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_proto::v1;
use s3o_testkit::s3server::{Fault, Rule};
use tonic::Code;

const REMOVAL: &str = "removal";
const SIZE: usize = 100_000;

async fn put(cluster: &Cluster, key: &str) {
    s3::put(&cluster.s3(0), BUCKET, key, body(key, SIZE)).await.expect("put");
}

async fn is_whole(cluster: &Cluster, key: &str) -> Result<bool> {
    let got = s3::get(&cluster.s3(0), BUCKET, key).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    Ok(got.is_some_and(|(_, bytes)| bytes == body(key, SIZE)))
}

async fn drain(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.admin(0).await?.drain_backend(v1::DrainBackendRequest { name: name.to_owned() }).await?;
    Ok(())
}

async fn preview(cluster: &Cluster, mode: &str, accept_losses: bool) -> Result<v1::RemovalPreview> {
    let request = v1::PreviewRemovalRequest { name: "b0".to_owned(), mode: mode.to_owned(), accept_losses };
    Ok(cluster.admin(0).await?.preview_removal(request).await?.into_inner())
}

async fn remove(cluster: &Cluster, confirmation: String) -> Result<()> {
    let request = v1::RemoveBackendRequest { name: "b0".to_owned(), confirmation };
    cluster.admin(0).await?.remove_backend(request).await?;
    Ok(())
}

async fn is_empty(cluster: &Cluster) -> Result<bool> {
    let mut admin = cluster.admin(0).await?;
    let drains = admin.list_drains(v1::ListDrainsRequest {}).await?.into_inner().drains;
    let drain = drains.into_iter().find(|drain| drain.name == "b0").context("no drain")?;
    Ok(drain.objects == 0 && drain.bytes == 0 && drain.other_bytes == 0 && drain.done)
}

/// Runs what has to do with it until nothing of it is left.
async fn emptied(cluster: &Cluster) -> Result<()> {
    wait::until("nothing is left of the backend", || async {
        run_worker(cluster, REMOVAL).await?;
        let sql = cluster.sql().await?;
        sql.batch_execute(
            "UPDATE copy_scans SET not_before = now() WHERE NOT finished;
             UPDATE cleanup_queue SET not_before = now()",
        )
        .await?;
        run_worker(cluster, CLEANUP).await?;
        run_worker(cluster, COPY_SCAN).await?;
        is_empty(cluster).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_gone_for_good_is_forgotten() -> Result<()> {
    let options = Options { backends: 3, copies: 2, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    for n in 0..6 {
        put(&cluster, &format!("k{n}")).await;
    }
    settle(&cluster).await?;
    // These are on the first backend only; one of them is an upload that nobody finished.
    let only = cluster.s3(0);
    for n in 0..3 {
        put(&cluster, &format!("only{n}")).await;
    }
    let upload = only.create_multipart_upload().bucket(BUCKET).key("upload").send().await?;
    let upload = upload.upload_id().context("an id")?.to_owned();
    let part = only.upload_part().bucket(BUCKET).key("upload").upload_id(&upload).part_number(1);
    part.body(body("part", SIZE).into()).send().await?;
    put(&cluster, "overwritten").await;
    put(&cluster, "overwritten").await;
    let kept = cluster.backends[0].blob_count();
    cluster.backends[0].server.kill().await;

    let early = preview(&cluster, "forget", true).await.expect_err("it takes objects still");
    let early = early.downcast_ref::<tonic::Status>().context("a status")?.code();
    ensure!(early == Code::FailedPrecondition, "{early:?}");
    drain(&cluster, "b0").await?;
    let seen = preview(&cluster, "forget", true).await?;
    ensure!((seen.objects, seen.last_copies, seen.uploads) == (10, 4, 1), "{seen:?}");

    // Only what has a good copy elsewhere goes without leave.
    let careful = preview(&cluster, "forget", false).await?;
    remove(&cluster, careful.confirmation).await?;
    let counts = run_worker(&cluster, REMOVAL).await?;
    ensure!((counts.get("let_go"), counts.get("kept")) == (Some(&6), Some(&4)), "{counts:?}");
    remove(&cluster, seen.confirmation).await?;
    let counts = run_worker(&cluster, REMOVAL).await?;
    ensure!((counts.get("lost"), counts.get("aborted")) == (Some(&4), Some(&1)), "{counts:?}");
    emptied(&cluster).await?;
    settle(&cluster).await?;
    for n in 0..6 {
        ensure!(is_whole(&cluster, &format!("k{n}")).await?, "k{n}");
    }
    for lost in ["only0", "only1", "only2", "overwritten"] {
        let got = s3::get(&cluster.s3(0), BUCKET, lost).await.expect("an answer");
        ensure!(got.is_none(), "{lost} is there");
    }
    let sql = cluster.sql().await?;
    let short: i64 = sql
        .query_one(
            "SELECT count(*) FROM (SELECT FROM copies GROUP BY version HAVING count(*) <> 2) AS s",
            &[],
        )
        .await?
        .get(0);
    ensure!(short == 0, "{short} versions have not two copies");
    cluster.backends[0].server.restart().await?;
    ensure!(cluster.backends[0].blob_count() == kept, "nothing is asked of a backend that is forgotten");
    // Taken back, it is compared with the tables: what was forgotten is found, and goes.
    let undrain = v1::UndrainBackendRequest { name: "b0".to_owned() };
    cluster.admin(0).await?.undrain_backend(undrain).await?;
    swept(&cluster).await?;
    cluster.finish().await
}

/// Until reconcile has found what was forgotten: copies of what is still there are copies again, the rest is deleted.
async fn swept(cluster: &Cluster) -> Result<()> {
    wait::until("the end of the run that undrain asked for", || async {
        run_worker(cluster, "reconciler").await?;
        let runs = cluster.admin(0).await?.list_runs(v1::ListRunsRequest {}).await?.into_inner().runs;
        let run = runs.into_iter().find(|run| run.backend == "b0").context("no run")?;
        ensure!(run.state != "failed", "{run:?}");
        Ok(run.state == "done")
    })
    .await?;
    let sql = cluster.sql().await?;
    sql.batch_execute("UPDATE cleanup_queue SET not_before = now()").await?;
    settle(cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_backend_is_empty_and_everything_is_elsewhere() -> Result<()> {
    let options = Options { backends: 3, copies: 2, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    for n in 0..8 {
        put(&cluster, &format!("k{n}")).await;
    }
    settle(&cluster).await?;
    put(&cluster, "only").await;
    drain(&cluster, "b0").await?;
    let seen = preview(&cluster, "purge", false).await?;
    ensure!((seen.objects, seen.last_copies) == (9, 1), "{seen:?}");
    // Another confirmation than the one that was given.
    let forged = seen.confirmation.replace("none", "9999");
    let refused = remove(&cluster, forged).await.expect_err("it was changed");
    ensure!(refused.to_string().contains("confirmation"), "{refused:#}");
    remove(&cluster, seen.confirmation.clone()).await?;
    let counts = run_worker(&cluster, REMOVAL).await?;
    ensure!((counts.get("let_go"), counts.get("kept")) == (Some(&8), Some(&1)), "{counts:?}");
    // The last copy goes when the drain has made another.
    wait::until("a copy of it elsewhere", || async {
        run_worker(&cluster, COPY_SCAN).await?;
        run_worker(&cluster, REPLICATOR).await?;
        Ok(!run_worker(&cluster, REMOVAL).await?.contains_key("kept"))
    })
    .await?;
    emptied(&cluster).await?;
    ensure!(cluster.backends[0].blob_count() == 0, "{:?}", cluster.backends[0].stored()?);
    settle(&cluster).await?;
    for key in (0..8).map(|n| format!("k{n}")).chain(["only".to_owned()]) {
        ensure!(is_whole(&cluster, &key).await?, "{key}");
    }
    // Taken back, it is a backend like any other.
    let undrain = v1::UndrainBackendRequest { name: "b0".to_owned() };
    cluster.admin(0).await?.undrain_backend(undrain).await?;
    put(&cluster, "after").await;
    ensure!(cluster.backends[0].blob_count() == 1, "it takes objects again");
    run_worker(&cluster, REMOVAL).await?;
    ensure!(cluster.backends[0].blob_count() == 1, "it is not given up any more");
    cluster.finish().await
}

/// What could not be deleted was a dead letter; giving the backend up tries again, or forgets it.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_do_not_hold_it_up() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 2, ..Options::default() }).await?;
    for mode in ["purge", "forget"] {
        for key in ["a", "b"] {
            put(&cluster, key).await;
            s3::delete(&cluster.s3(0), BUCKET, key).await.expect("delete");
        }
        cluster.backends[0]
            .server
            .inject(Rule::new(Fault::Status(500)).on(s3o_testkit::s3server::Operation::Delete));
        let sql = cluster.sql().await?;
        wait::until("dead letters", || async {
            sql.batch_execute("UPDATE cleanup_queue SET attempts = 9, not_before = now()").await?;
            run_worker(&cluster, CLEANUP).await?;
            let dead = sql.query_one("SELECT count(*) FROM cleanup_dlq", &[]).await?;
            Ok(dead.get::<_, i64>(0) == 2)
        })
        .await?;
        cluster.backends[0].heal();
        drain(&cluster, "b0").await?;
        let seen = preview(&cluster, mode, false).await?;
        remove(&cluster, seen.confirmation).await?;
        emptied(&cluster).await?;
        let blobs = cluster.backends[0].blob_count();
        ensure!(blobs == if mode == "purge" { 0 } else { 2 }, "{mode}: {blobs}");
        let undrain = v1::UndrainBackendRequest { name: "b0".to_owned() };
        cluster.admin(0).await?.undrain_backend(undrain).await?;
    }
    swept(&cluster).await?;
    cluster.finish().await
}
