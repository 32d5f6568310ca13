//! Multipart uploads while things fail: processes die at each step of a part, backends answer nothing, clients race,
//! and nothing is lost or left over.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::join_all;
use s3o_integration_tests::backend::Backend;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, Failure, body, md5};
use s3o_integration_tests::settle::{self, run_worker};
use s3o_integration_tests::{Cluster, Options, wait};

use crate::copies::drain_under_a_write;

/// An upload whose part is under way when its data plane dies: the part is sent again through another one, and the
/// object is what the client sent last.
async fn killed_at(point: &'static str) -> Result<()> {
    let options = Options { data_planes: 2, failpoint: Some(point), ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    let steady = cluster.s3(0);
    let upload = Upload::open(&steady, "k").await.expect("open");
    let bodies = [body("one", 600_000), body("two", 600_000)];
    let first = upload.put(&steady, 1, bodies[0].clone()).await.expect("part");
    let dying = cluster.impatient(1, Duration::from_secs(60));
    let (late, bytes) = (upload.clone(), bodies[1].clone());
    let running = tokio::spawn(async move { late.put(&dying, 2, bytes).await });
    wait::until("the failpoint", || async {
        Ok(cluster.data[1].process.output().contains("S3O_FAILPOINT reached") || running.is_finished())
    })
    .await?;
    ensure!(!running.is_finished(), "the part never came to {point}");
    cluster.data[1].process.kill()?;
    ensure!(running.await?.is_err(), "a dead data plane answers nothing");
    let again = upload.put(&steady, 2, bodies[1].clone()).await.expect("part");
    // The first attempt is settled before and after the end of the upload.
    settle::settle(&cluster).await?;
    upload.complete(&steady, &[(1, first), (2, again)]).await.expect("complete");
    let (_, bytes) = s3::get(&steady, BUCKET, "k").await.expect("get").expect("it exists");
    ensure!(bytes == bodies.concat(), "killed {point}: the object is another one");
    cluster.restart_data_plane(1).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_dies_after_begin_of_a_part() -> Result<()> {
    killed_at("after_begin").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_dies_while_a_part_streams() -> Result<()> {
    killed_at("during_stream").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_dies_after_the_backend_has_the_part() -> Result<()> {
    killed_at("after_backend_put").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_dies_after_the_part_is_committed() -> Result<()> {
    killed_at("after_commit").await
}

/// The drain begins after the part's target was chosen and before a byte of it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_whose_target_is_being_drained_goes_elsewhere() -> Result<()> {
    let options = Options { failpoint: Some("after_begin"), ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let client = cluster.s3(0);
    let upload = Upload::open(&client, "k").await.expect("open");
    let sent = body("one", 600_000);
    let (late, bytes) = (upload.clone(), sent.clone());
    let running = tokio::spawn(async move { late.put(&client, 1, bytes).await });
    drain_under_a_write(&cluster).await?;
    let part = running.await?.expect("part");
    let blobs: Vec<usize> = cluster.backends.iter().map(Backend::blob_count).collect();
    ensure!(blobs == [0, 1], "{blobs:?}");
    let (_, metrics) = wait::http_get(cluster.data[0].http, "/metrics").await?;
    ensure!(metrics.contains("s3o_drain_race_aborted_total 1"), "{metrics}");
    let client = cluster.s3(0);
    upload.complete(&client, &[(1, part)]).await.expect("complete");
    let (_, bytes) = s3::get(&client, BUCKET, "k").await.expect("get").expect("it exists");
    ensure!(bytes == sent, "the object is another one");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn completes_race_and_one_wins() -> Result<()> {
    let cluster = Cluster::start(Options { data_planes: 2, control_planes: 2, ..Options::default() }).await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    // The same Complete many times: one is done, and all are told so.
    let upload = Upload::open(&clients[0], "same").await.expect("open");
    let part = upload.put(&clients[0], 1, body("same", 5000)).await.expect("part");
    let parts = [(1, part)];
    let races = (0..20).map(|n| upload.complete(&clients[n % 2], &parts));
    let etags = join_all(races).await;
    ensure!(etags.iter().all(|etag| etag == &etags[0] && etag.is_ok()), "{etags:?}");
    let changes = "SELECT count(*) FROM changes WHERE key = 'same' AND outcome = 1";
    let commits: i64 = cluster.sql().await?.query_one(changes, &[]).await?.get(0);
    ensure!(commits == 1, "{commits} commits");

    // Many uploads of one key that must not exist: exactly one comes to be.
    let mut uploads = Vec::new();
    for n in 0..40 {
        let upload = Upload::open(&clients[n % 2], "contested").await.expect("open");
        let part = upload.put(&clients[n % 2], 1, body(&format!("contested {n}"), 3000)).await.expect("part");
        uploads.push((upload, [(1, part)]));
    }
    let races = uploads
        .iter()
        .enumerate()
        .map(|(n, (upload, parts))| upload.completing(&clients[n % 2], parts).if_none_match("*").send());
    let results: Vec<u16> = join_all(races)
        .await
        .into_iter()
        .map(|result| result.map_or_else(|error| Failure::of(&error).status(), |_| 200))
        .collect();
    let won = results.iter().filter(|status| **status == 200).count();
    ensure!(won == 1 && results.iter().all(|status| matches!(status, 200 | 409 | 412)), "{results:?}");
    for (upload, _) in &uploads {
        // The losers are still open, the winner is not.
        let _ = upload.abort(&clients[0]).await;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_part_sent_many_times_at_once_is_one_of_them() -> Result<()> {
    let cluster = Cluster::start(Options { data_planes: 2, routing: "spread", ..Options::default() }).await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    let upload = Upload::open(&clients[0], "k").await.expect("open");
    let bodies: Vec<Bytes> = (0..16).map(|n| body(&format!("attempt {n}"), 40_000)).collect();
    let puts = bodies.iter().enumerate().map(|(n, bytes)| upload.put(&clients[n % 2], 1, bytes.clone()));
    for put in join_all(puts).await {
        put.expect("every attempt is stored");
    }
    let stored = upload.parts(&clients[0]).await.expect("list");
    let [(1, etag)] = stored.as_slice() else { anyhow::bail!("{stored:?}") };
    upload.complete(&clients[1], &stored).await.expect("complete");
    let (_, bytes) = s3::get(&clients[0], BUCKET, "k").await.expect("get").expect("it exists");
    ensure!(md5(&bytes) == *etag && bodies.contains(&bytes), "a mixture");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_after_anothers_put_or_delete_wins_or_fails_by_its_condition() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    let open = |key: &'static str| {
        let client = client.clone();
        async move {
            let upload = Upload::open(&client, key).await.expect("open");
            let part = upload.put(&client, 1, body(key, 100)).await.expect("part");
            (upload, [(1, part)])
        }
    };
    let old = s3::put(&client, BUCKET, "k", body("old", 10)).await.expect("put");
    let (plain, parts) = open("k").await;
    let (conditional, conditional_parts) = open("k").await;
    s3::put(&client, BUCKET, "k", body("between", 10)).await.expect("put");
    let stale = conditional.completing(&client, &conditional_parts).if_match(format!("\"{old}\""));
    let stale = stale.send().await.expect_err("another PUT came between");
    assert_eq!(Failure::of(&stale), Failure::Answer { status: 412, code: "PreconditionFailed".into() });
    plain.complete(&client, &parts).await.expect("the last commit wins");
    let (_, bytes) = s3::get(&client, BUCKET, "k").await.expect("get").expect("it exists");
    assert_eq!(bytes, body("k", 100));
    s3::delete(&client, BUCKET, "k").await.expect("delete");
    let gone = conditional.completing(&client, &conditional_parts).if_match("\"x\"").send().await;
    assert_eq!(Failure::of(&gone.expect_err("the key is gone")).status(), 404);
    conditional.complete(&client, &conditional_parts).await.expect("it was open all the time");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_is_replaced_or_the_part_can_be_sent_again() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 2, ..Options::default() }).await?;
    let client = cluster.s3(0);
    let upload = Upload::open(&client, "k").await.expect("open");
    let bodies = [body("one", 100_000), body("two", 20 << 20), body("three", 9)];
    let mut parts = vec![(1, upload.put(&client, 1, bodies[0].clone()).await.expect("part"))];
    cluster.backends[0].refuse_puts();
    // Small enough to be kept: it goes to the other backend. Too large: the client hears that it may try again.
    let small = upload.put(&client, 3, bodies[2].clone()).await.expect("part");
    let large = upload.put(&client, 2, bodies[1].clone()).await;
    cluster.backends[0].heal();
    let large = match large {
        Ok(etag) => etag,
        Err(failure) => {
            assert_eq!(failure.status(), 503, "{failure:?}");
            upload.put(&client, 2, bodies[1].clone()).await.expect("part")
        }
    };
    parts.extend([(2, large), (3, small)]);
    upload.complete(&client, &parts).await.expect("complete");
    // The breaker of the one that failed closes again.
    wait::until("a read", || async { Ok(s3::get(&client, BUCKET, "k").await.is_ok()) }).await?;
    // Its parts lie on two backends, and a copy that breaks off is taken up where it broke off.
    cluster.backends.iter().for_each(|backend| backend.cut_next_get(1000));
    let (_, bytes) = s3::get(&client, BUCKET, "k").await.expect("get").expect("it exists");
    ensure!(bytes == bodies.concat(), "the object is another one");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_fill_what_no_single_backend_has_room_for() -> Result<()> {
    let quota_bytes = Some(1_000_000);
    let cluster = Cluster::start(Options { backends: 3, quota_bytes, ..Options::default() }).await?;
    let client = cluster.s3(0);
    let whole = s3::put(&client, BUCKET, "whole", body("whole", 2_000_000)).await;
    assert_eq!(whole.expect_err("no backend has the room").status(), 507);
    let upload = Upload::open(&client, "k").await.expect("open");
    let bodies: Vec<Bytes> = (0..6).map(|n| body(&n.to_string(), 400_000)).collect();
    let mut parts = Vec::new();
    for (n, bytes) in (1..).zip(&bodies) {
        parts.push((n, upload.put(&client, n, bytes.clone()).await.expect("part")));
    }
    let full = upload.put(&client, 7, body("7", 400_000)).await;
    assert_eq!(full.expect_err("open parts count").status(), 507);
    upload.complete(&client, &parts).await.expect("complete");
    let (_, bytes) = s3::get(&client, BUCKET, "k").await.expect("get").expect("it exists");
    ensure!(bytes == bodies.concat(), "the object is another one");
    ensure!(cluster.backends.iter().all(|backend| backend.blob_count() == 2), "they are not spread");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_finishes_is_given_up_after_a_day() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    let upload = Upload::open(&client, "k").await.expect("open");
    upload.put(&client, 1, body("one", 5000)).await.expect("part");
    let counts = run_worker(&cluster, "stale_multipart").await?;
    ensure!(!counts.contains_key("aborted"), "{counts:?}");
    let sql = cluster.sql().await?;
    sql.batch_execute("UPDATE uploads SET initiated = now() - interval '25 hours'").await?;
    let counts = run_worker(&cluster, "stale_multipart").await?;
    ensure!(counts.get("aborted") == Some(&1), "{counts:?}");
    let late = upload.put(&client, 2, body("two", 10)).await.expect_err("it is gone");
    assert_eq!(late, Failure::Answer { status: 404, code: "NoSuchUpload".into() });
    sql.batch_execute("UPDATE uploads SET closed = now() - interval '25 hours'").await?;
    let counts = run_worker(&cluster, "stale_multipart").await?;
    ensure!(counts.get("pruned") == Some(&1), "{counts:?}");
    let left = "SELECT (SELECT count(*) FROM uploads) + (SELECT count(*) FROM part_attempts)";
    ensure!(sql.query_one(left, &[]).await?.get::<_, i64>(0) == 0, "something is remembered for ever");
    cluster.finish().await
}

/// S3's greatest number of parts: the answer to a GET comes in pieces, the end of the version too.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_parts() -> Result<()> {
    const PARTS: i32 = 10_000;
    let cluster = Cluster::start(Options { routing: "spread", ..Options::default() }).await?;
    let client = cluster.s3(0);
    let upload = Upload::open(&client, "many").await.expect("open");
    let part = |n: i32| body(&n.to_string(), 1024 + usize::try_from(n % 7).unwrap_or_default());
    let mut parts = Vec::new();
    for chunk in (1..=PARTS).collect::<Vec<_>>().chunks(64) {
        let puts = chunk.iter().map(|n| upload.put(&client, *n, part(*n)));
        for (n, etag) in chunk.iter().zip(join_all(puts).await) {
            parts.push((*n, etag.expect("part")));
        }
    }
    let etag = upload.complete(&client, &parts).await.expect("complete");
    ensure!(etag.ends_with("-10000"), "{etag}");
    let whole: Vec<u8> = (1..=PARTS).flat_map(part).collect();
    let (_, bytes) = s3::get(&client, BUCKET, "many").await.expect("get").expect("it exists");
    ensure!(bytes == whole, "the object is another one");
    // A reader in the middle of the version goes on while it is replaced and taken apart.
    let object = client.get_object().bucket(BUCKET).key("many").send().await?;
    s3::put(&client, BUCKET, "many", body("new", 5)).await.expect("put");
    let queued = "SELECT count(*) FROM cleanup_queue";
    let queued: i64 = cluster.sql().await?.query_one(queued, &[]).await?.get(0);
    ensure!(queued == 1, "{queued} rows for one version");
    ensure!(object.body.collect().await?.into_bytes() == whole, "the old version changed under its reader");
    cluster.finish().await
}
