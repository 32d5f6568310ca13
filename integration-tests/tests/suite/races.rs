//! Many writers of one key, through two data planes and two control planes whose clocks differ by a
//! minute: readers see whole versions only, and the write with the greatest `seq` remains.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body, md5};
use s3o_integration_tests::{Cluster, Options};

const WRITERS: usize = 200;

fn skew() -> Option<&'static str> {
    let there = Command::new("faketime")
        .args(["-f", "+60s", "true"])
        .output()
        .is_ok_and(|done| done.status.success());
    if !there {
        eprintln!(
            "NOT SKEWED: `faketime` is not installed (apt-get install faketime); both clocks are the same"
        );
    }
    there.then_some("+60s")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_writers_of_one_key() -> Result<()> {
    let options = Options { control_planes: 2, data_planes: 2, skew: skew(), ..Options::default() };
    let cluster = Cluster::start(options).await?;
    // Each data plane speaks to one control plane only, so that both decide.
    cluster.data[0].links[1].set(s3o_integration_tests::Mode::Refuse);
    cluster.data[0].links[1].cut();
    cluster.data[1].links[0].set(s3o_integration_tests::Mode::Refuse);
    cluster.data[1].links[0].cut();
    let sizes = [10_000, 70_000, 30_000];
    let bodies: BTreeMap<String, usize> =
        (0..WRITERS).map(|n| (md5(&body(&format!("writer {n}"), sizes[n % 3])), n)).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let clients = [cluster.s3(0), cluster.s3(1)];

    let write = async {
        let writes =
            (0..WRITERS).map(|n| {
                let client = &clients[n % 2];
                async move {
                    (n, s3::put(client, BUCKET, "hot", body(&format!("writer {n}"), sizes[n % 3])).await)
                }
            });
        let answers = futures::future::join_all(writes).await;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        answers
    };
    let read = async {
        let mut seen = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            for client in &clients {
                if let Ok(Some((etag, bytes))) = s3::get(client, BUCKET, "hot").await {
                    assert!(
                        md5(&bytes) == etag && bodies.contains_key(&etag),
                        "a version that nobody wrote: {etag}"
                    );
                    seen += 1;
                }
            }
        }
        seen
    };
    let (answers, seen) = tokio::join!(write, read);
    let failed: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_err()).collect();
    // Nothing was broken here: busy is no excuse.
    ensure!(failed.is_empty(), "{} of {WRITERS} failed: {:?}", failed.len(), failed.first());
    ensure!(seen > 0, "the readers read nothing");

    let sql = cluster.sql().await?;
    let last =
        "SELECT object->>'etag', n FROM changes WHERE key = 'hot' AND outcome = 1 ORDER BY n DESC LIMIT 1";
    let row = sql.query_one(last, &[]).await.context("the last commit")?;
    let (etag, bytes) = s3::get(&clients[0], BUCKET, "hot").await.expect("get").expect("it exists");
    ensure!(
        row.get::<_, Option<String>>(0).is_none_or(|last| last == etag),
        "the last commit is not what is read"
    );
    ensure!(md5(&bytes) == etag, "torn");
    let seq: i64 = sql.query_one("SELECT seq FROM objects WHERE key = 'hot'", &[]).await?.get(0);
    ensure!(seq == row.get::<_, i64>(1), "the greatest seq does not remain");
    let commits: i64 =
        sql.query_one("SELECT count(*) FROM changes WHERE key = 'hot' AND outcome = 1", &[]).await?.get(0);
    ensure!(commits == i64::try_from(WRITERS)?, "{commits} commits of {WRITERS} writes");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_wins() -> Result<()> {
    let cluster = Cluster::start(Options { data_planes: 2, ..Options::default() }).await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    for round in 0..5 {
        let key = format!("lock/{round}");
        let creations =
            (0..20).map(|n| {
                let put = clients[n % 2].put_object().bucket(BUCKET).key(&key).if_none_match("*");
                let bytes = body(&format!("{round} {n}"), 5000);
                async move {
                    put.body(bytes.into()).send().await.map_err(|error| s3::Failure::of(&error).status())
                }
            });
        let answers = futures::future::join_all(creations).await;
        let winners = answers.iter().filter(|answer| answer.is_ok()).count();
        ensure!(winners == 1, "{winners} winners");
        let others = answers.iter().filter_map(|answer| answer.as_ref().err());
        for status in others {
            ensure!([409, 412].contains(status), "a loser heard {status}");
        }
    }
    cluster.finish().await
}
