//! Several control planes: one is killed under load, and nothing acknowledged is lost. And the connections to one, when
//! they have grown old.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_is_killed_under_load() -> Result<()> {
    let mut cluster = Cluster::start(Options { control_planes: 2, ..Options::default() }).await?;
    let stop = AtomicBool::new(false);
    let client = cluster.s3(0);
    let write = async {
        let (mut acknowledged, mut n) = (Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            let keys: Vec<String> = (n..n + 8).map(|n| format!("load/{n}")).collect();
            let puts = keys.iter().map(|key| s3::put(&client, BUCKET, key, body(key, 3000)));
            let answers = futures::future::join_all(puts).await;
            acknowledged.extend(
                keys.into_iter().zip(answers).filter(|(_, answer)| answer.is_ok()).map(|(key, _)| key),
            );
            n += 8;
        }
        acknowledged
    };
    let kill = async {
        for index in [0, 1, 0] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.control[index].process.kill()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.start_control_plane(index).await?;
        }
        stop.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (acknowledged, killed) = tokio::join!(write, kill);
    killed?;
    ensure!(acknowledged.len() > 20, "only {} writes went through", acknowledged.len());
    for key in &acknowledged {
        let got = s3::get(&client, BUCKET, key).await.expect("get");
        ensure!(
            got.is_some_and(|(_, bytes)| bytes == body(key, 3000)),
            "{key} was acknowledged and is not whole"
        );
    }
    cluster.finish().await
}

/// A server without one may lose commits when it fails over: the log says so at each start.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_synchronous_standby_is_warned_about() -> Result<()> {
    const WARNING: &str = "the database has no synchronous standby";
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    wait::until("the warning", || async { Ok(cluster.control[0].process.output().contains(WARNING)) })
        .await?;
    cluster.finish().await
}

/// Streams move to new connections, and no client notices.
#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_left_unnoticed() -> Result<()> {
    let mut options = Options::default();
    options.sections.insert("grpc".to_owned(), json!({"max_connection_age": "2s"}));
    let cluster = Cluster::start(options).await?;
    let client = cluster.s3(0);
    let connected = || cluster.control[0].process.output().matches("data plane connected").count();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let writers = (0..4).map(|writer| {
        let (client, connected) = (&client, &connected);
        async move {
            let mut n = 0;
            // Each connection lasts about 2 s: the fifth session is on the fifth.
            while connected() < 5 {
                ensure!(tokio::time::Instant::now() < deadline, "{} sessions", connected());
                let key = format!("w{writer}/{n}");
                s3::put(client, BUCKET, &key, body(&key, 3000))
                    .await
                    .map_err(|error| anyhow::anyhow!("{key}: {error:?}, after {} sessions", connected()))?;
                n += 1;
            }
            anyhow::Ok(n)
        }
    });
    let written = futures::future::try_join_all(writers).await?;
    ensure!(written.iter().all(|n| *n > 4), "{written:?}");
    cluster.finish().await
}
