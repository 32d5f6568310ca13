//! The database's server is lost, and a standby that lacks the last commits takes its place.
//!
//! Invariant: what the standby lacks was never sent to it: it was cut off before. Control planes and data planes go on, as
//! behind an address that moves.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::backend::Backend;
use s3o_integration_tests::config::{BUCKET, VERSIONED};
use s3o_integration_tests::database::Database;
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{CLEANUP, JOURNAL, REAPER, expire_leases, run_worker, settle};
use s3o_integration_tests::{Cluster, Options, wait};

use crate::disaster::{SIZE, everything, fill, put, recover, recovery, start, start_with, tidy};

/// Waits until a question is answered with yes by a standby.
async fn standby_says(standby: &Database, question: &str) -> Result<()> {
    let sql = standby.connect().await?;
    wait::until(question, || async { Ok(sql.query_one(question, &[]).await?.get::<_, bool>(0)) }).await
}

/// Whether a key has these bytes.
async fn is_whole(cluster: &Cluster, key: &str, name: &str) -> Result<()> {
    let got = s3::get(&cluster.s3(0), BUCKET, key).await.expect("get");
    let (_, bytes) = got.with_context(|| format!("{key} is not there"))?;
    ensure!(bytes == body(name, SIZE), "{key} is not what was acknowledged");
    Ok(())
}

/// Whatever is on the backends, by backend and storage key.
fn stored(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let of = |backend: &Backend| {
        let name = backend.name.clone();
        backend.server.keys().into_iter().map(move |key| (name.clone(), key))
    };
    cluster.backends.iter().flat_map(of).collect()
}

/// The standby takes over, and the control plane finds that it is another database.
async fn fail_over(cluster: &mut Cluster, standby: Database) -> Result<()> {
    cluster.fail_over(standby).await?;
    wait::ready(cluster.control[0].http).await?;
    let failed_over: &Cluster = cluster;
    wait::until("the recovery mode", || async { Ok(!recovery(failed_over).await?.is_empty()) }).await?;
    let why = recovery(failed_over).await?;
    ensure!(why.contains("the database is not the one it was"), "{why}");
    Ok(())
}

/// What the journal has and the standby has not: a write, an overwrite, a deletion, a version, an object of parts.
async fn lose(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    put(cluster, BUCKET, "new", "new").await;
    put(cluster, BUCKET, "plain/2", "third 2").await;
    s3::delete(&client, BUCKET, "plain/3").await.expect("delete");
    put(cluster, VERSIONED, "v", "version 3").await;
    let upload = Upload::open(&client, "more parts").await.expect("an upload");
    let mut parts = Vec::new();
    for (number, size) in [(1, 2000), (2, 300)] {
        let etag = upload.put(&client, number, body(&format!("more {number}"), size)).await.expect("a part");
        parts.push((number, etag));
    }
    upload.complete(&client, &parts).await.expect("complete");
    Ok(())
}

/// What clients do in the recovery mode stays; no worker deletes or ships anything.
async fn go_on(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    wait::until("the data plane writes again", || async {
        Ok(s3::put(&client, BUCKET, "again", body("again", SIZE)).await.is_ok())
    })
    .await?;
    s3::delete(&client, BUCKET, "plain/4").await.expect("delete");
    // Longer than `read_grace`.
    tokio::time::sleep(Duration::from_secs(2)).await;
    run_worker(cluster, REAPER).await?;
    let counts = run_worker(cluster, CLEANUP).await?;
    ensure!(counts.is_empty(), "{counts:?}");
    // What is on the backends is ahead of this database.
    let shipped = run_worker(cluster, JOURNAL).await.unwrap_or_default();
    ensure!(!shipped.contains_key("segments"), "{shipped:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_without_the_last_commits_takes_over() -> Result<()> {
    let mut cluster = start().await?;
    fill(&cluster).await?;
    settle(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    let standby = cluster.start_standby().await?;
    put(&cluster, BUCKET, "streamed", "streamed").await;
    standby_says(&standby, "SELECT EXISTS (SELECT FROM objects WHERE key = 'streamed')").await?;
    standby.cut_off().await?;
    lose(&cluster).await?;
    let shipped = run_worker(&cluster, JOURNAL).await?;
    ensure!(shipped.get("segments") == Some(&1), "{shipped:?}");
    let before = everything(&cluster).await?;
    // Of after the last segment.
    put(&cluster, BUCKET, "late", "late").await;
    put(&cluster, BUCKET, "plain/6", "late 6").await;
    let there = stored(&cluster);
    fail_over(&mut cluster, standby).await?;
    go_on(&cluster).await?;
    let left = stored(&cluster);
    let deleted: Vec<_> = there.difference(&left).collect();
    ensure!(deleted.is_empty(), "{deleted:#?}");

    let recovered = recover(&cluster).await?;
    ensure!(recovered.lost.is_empty() && recovered.unknown.is_empty(), "{recovered:?}");
    ensure!(recovered.unreadable.is_empty() && recovered.missing_segments.is_empty(), "{recovered:?}");
    ensure!(recovery(&cluster).await?.is_empty());
    for (key, name) in [
        ("streamed", "streamed"),
        ("new", "new"),
        ("plain/2", "third 2"),
        ("late", "late"),
        ("plain/6", "late 6"),
        ("again", "again"),
    ] {
        is_whole(&cluster, key, name).await?;
    }
    for key in ["plain/3", "plain/4"] {
        let got = s3::get(&cluster.s3(0), BUCKET, key).await.expect("get");
        ensure!(got.is_none(), "{key} was deleted");
    }
    let after = everything(&cluster).await?;
    let others = ["plain/4", "plain/6", "late", "again"];
    let is_same = |line: &&String| !others.iter().any(|key| line.contains(key));
    let lost: Vec<_> = before.iter().filter(is_same).filter(|line| !after.contains(line)).collect();
    let new: Vec<_> = after.iter().filter(is_same).filter(|line| !before.contains(line)).collect();
    ensure!(lost.is_empty() && new.is_empty(), "lost: {lost:#?}\nnew: {new:#?}");
    tidy(&cluster).await?;
    run_worker(&cluster, JOURNAL).await?;
    cluster.finish().await
}

/// The standby knows that they were begun, and not that they were committed: the reaper must not take them for given up.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_were_under_way_when_the_standby_was_cut_off_stay() -> Result<()> {
    let options = Options { data_planes: 2, failpoint: Some("after_backend_put"), ..Options::default() };
    let mut cluster = start_with(options).await?;
    put(&cluster, BUCKET, "before", "before").await;
    run_worker(&cluster, JOURNAL).await?;
    let standby = cluster.start_standby().await?;
    let client = cluster.s3(1);
    let plain = client.put_object().bucket(BUCKET).key("plain").body(body("plain", SIZE).into());
    let plain = tokio::spawn(plain.send());
    let conditional = client.put_object().bucket(BUCKET).key("conditional").if_none_match("*");
    let conditional = tokio::spawn(conditional.body(body("conditional", SIZE).into()).send());
    wait::until("both to stand before their commits", || async {
        Ok(cluster.data[1].process.output().matches("S3O_FAILPOINT reached").count() == 2)
    })
    .await?;
    standby_says(&standby, "SELECT count(*) = 2 FROM intents").await?;
    standby.cut_off().await?;
    cluster.release_failpoint()?;
    plain.await??;
    conditional.await??;
    // The journal has neither.
    cluster.data[1].process.kill()?;
    fail_over(&mut cluster, standby).await?;
    expire_leases(&cluster).await?;
    for worker in [REAPER, CLEANUP] {
        run_worker(&cluster, worker).await?;
    }
    let recovered = recover(&cluster).await?;
    ensure!(recovered.lost.is_empty(), "{recovered:?}");
    ensure!(recovery(&cluster).await?.is_empty());
    tidy(&cluster).await?;
    for key in ["before", "plain", "conditional"] {
        is_whole(&cluster, key, key).await?;
    }
    cluster.finish().await
}
