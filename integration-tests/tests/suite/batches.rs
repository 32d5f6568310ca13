//! Group commit: a bad item fails alone, opposite orders do not deadlock for good, and a database that
//! is killed under load loses nothing that was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body, md5};
use s3o_integration_tests::wire::{begin, commit, delete, op};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_proto::v1;
use s3o_proto::v1::outcome::Result as Outcome;

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_item_fails_alone() -> Result<()> {
    let options = Options { backends: 1, data_planes: 0, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let bucket = cluster.bucket_id().await?;
    // What no check of ours can know of: PostgreSQL itself refuses the row (class 23).
    let sql = cluster.sql().await?;
    sql.batch_execute("ALTER TABLE objects ADD CHECK (key NOT LIKE '%poison%')").await?;
    let wire = cluster.wire(0).await?;
    let keys: Vec<String> =
        (0..40).map(|n| if n == 17 { "poison".into() } else { format!("good/{n}") }).collect();
    let ops: Vec<_> = keys.iter().map(|_| op()).collect();
    let begins =
        ops.iter().zip(&keys).map(|(op, key)| (*op, begin(bucket, key, 5, v1::Conditions::default())));
    let begun = wire.batch(begins.collect()).await?;
    let mut commits = Vec::new();
    for ((op, key), outcome) in ops.iter().zip(&keys).zip(begun) {
        let Outcome::Begun(begun) = outcome else { anyhow::bail!("{key}: {outcome:?}") };
        let intent = v1::Intent {
            upload: bytes::Bytes::new(),
            bucket,
            key: key.clone(),
            version: begun.version,
            size: 5,
            conditions: Some(v1::Conditions::default()),
            targets: begun.targets,
        };
        cluster.backends[0].server.plant(&intent.targets[0].storage_key, &b"bytes"[..]);
        commits.push((*op, commit(&intent, &md5(b"bytes"))));
    }
    let outcomes = wire.batch(commits).await?;
    for (key, outcome) in keys.iter().zip(&outcomes) {
        let committed = matches!(outcome, Outcome::Committed(_));
        ensure!(committed == (key != "poison"), "{key}: {outcome:?}");
    }
    // U+0000 never gets as far as PostgreSQL.
    let nul = wire.call(op(), begin(bucket, "a\0b", 5, v1::Conditions::default())).await?;
    ensure!(matches!(&nul, Outcome::Refused(refused) if refused.code == 9), "{nul:?}");
    sql.batch_execute("ALTER TABLE objects DROP CONSTRAINT objects_key_check").await?;
    drop(wire);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn opposite_orders_do_not_deadlock_for_good() -> Result<()> {
    let options = Options { backends: 1, data_planes: 0, control_planes: 2, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let bucket = cluster.bucket_id().await?;
    let (one, two) = (cluster.wire(0).await?, cluster.wire(1).await?);
    let keys: Vec<String> = (0..60).map(|n| format!("key/{n}")).collect();
    for round in 0..5 {
        let forward = keys.iter().map(|key| (op(), delete(bucket, key))).collect();
        let backward = keys.iter().rev().map(|key| (op(), delete(bucket, key))).collect();
        let (a, b) = tokio::join!(one.batch(forward), two.batch(backward));
        for outcome in a?.into_iter().chain(b?) {
            ensure!(matches!(outcome, Outcome::Deleted(_)), "round {round}: {outcome:?}");
        }
    }
    drop((one, two));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_killed_under_load() -> Result<()> {
    let mut cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    // An upload that runs through it all.
    let raw = cluster.raw(0);
    let bytes = body("running", 500_000);
    let wire = raw.wire(&Request::new("PUT", "/data/running").body(bytes.to_vec()));
    let mut running = raw.connect().await?;
    running.write(&wire.head).await?;
    running.write(&wire.body[..100_000]).await?;
    wait::until("its intent", || async { Ok(cluster.intents().await? == 1) }).await?;
    // The intent is written asynchronously: after three times the WAL writer's delay (200 ms) it is durable.
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let stop = AtomicBool::new(false);
    let write = async {
        let (mut acknowledged, mut n) = (Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            let keys: Vec<String> = (n..n + 8).map(|n| format!("load/{n}")).collect();
            let answers = futures::future::join_all(
                keys.iter().map(|key| s3::put(&client, BUCKET, key, body(key, 3000))),
            )
            .await;
            acknowledged.extend(
                keys.into_iter().zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(key, _)| key),
            );
            n += 8;
        }
        acknowledged
    };
    let kill = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.database.kill().await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.database.restart().await?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (acknowledged, killed) = tokio::join!(write, kill);
    killed?;
    wait::until("writes go through again", || async {
        Ok(s3::put(&client, BUCKET, "after", body("after", 10)).await.is_ok())
    })
    .await?;
    running.write(&wire.body[100_000..]).await?;
    let answer = running.read().await?;
    ensure!(answer.status == 200, "the running upload: {} {}", answer.status, answer.text());
    ensure!(s3::get(&client, BUCKET, "running").await.expect("get").is_some_and(|(_, got)| got == bytes));
    ensure!(!acknowledged.is_empty(), "no write went through");
    for key in &acknowledged {
        let got = s3::get(&client, BUCKET, key).await.expect("get");
        ensure!(
            got.is_some_and(|(_, got)| got == body(key, 3000)),
            "{key} was acknowledged and is not whole"
        );
    }
    cluster.finish().await
}
