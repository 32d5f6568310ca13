//! Several control planes: one is killed under load, and nothing acknowledged is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};

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
