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

/// Two data planes, each with a control plane of its own, so that both decide.
async fn two_sides() -> Result<Cluster> {
    let options = Options { control_planes: 2, data_planes: 2, ..Options::default() };
    let cluster = Cluster::start(options).await?;
    for (data, control) in [(0, 1), (1, 0)] {
        cluster.data[data].links[control].set(s3o_integration_tests::Mode::Refuse);
        cluster.data[data].links[control].cut();
    }
    Ok(cluster)
}

/// One winner; the others hear that the condition did not hold.
fn one_wins(answers: &[Result<(), u16>], heard: &[u16]) -> Result<()> {
    let winners = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure!(winners == 1, "{winners} winners");
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        ensure!(heard.contains(status), "a loser heard {status}");
    }
    Ok(())
}

async fn copies_of(cluster: &Cluster, key: &str) -> Result<i64> {
    let count = "SELECT count(*) FROM copies WHERE key = $1";
    Ok(cluster.sql().await?.query_one(count, &[&key]).await?.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creators_wins() -> Result<()> {
    let cluster = two_sides().await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    for (round, racers) in [(0, WRITERS), (1, 20), (2, 20)] {
        let key = format!("lock/{round}");
        let creations = (0..racers).map(|n| {
            let put = clients[n % 2].put_object().bucket(BUCKET).key(&key).if_none_match("*");
            let bytes = body(&format!("{round} {n}"), 5000);
            async move {
                let put = put.body(bytes.into()).send().await;
                put.map(|_| ()).map_err(|error| s3::Failure::of(&error).status())
            }
        });
        let answers = futures::future::join_all(creations).await;
        one_wins(&answers, &[409, 412])?;
        let winner = answers.iter().position(Result::is_ok).context("a winner")?;
        let (etag, bytes) = s3::get(&clients[0], BUCKET, &key).await.expect("get").expect("it exists");
        ensure!(
            etag == md5(&body(&format!("{round} {winner}"), 5000)) && md5(&bytes) == etag,
            "not the winner's"
        );
        ensure!(copies_of(&cluster, &key).await? == 1, "a loser's blob counts");
    }
    // Nothing of the losers remains on a backend: the audit sees to it.
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_swaps_and_deletes_wins() -> Result<()> {
    let cluster = two_sides().await?;
    let clients = [cluster.s3(0), cluster.s3(1)];
    let first = s3::put(&clients[0], BUCKET, "swap", body("first", 10)).await.expect("put");
    let status = |error: s3::Failure| error.status();
    let swaps = (0..50).map(|n| {
        let put = clients[n % 2].put_object().bucket(BUCKET).key("swap").if_match(format!("\"{first}\""));
        let bytes = body(&format!("swap {n}"), 3000);
        async move { put.body(bytes.into()).send().await.map(|_| ()).map_err(|e| status(s3::Failure::of(&e))) }
    });
    one_wins(&futures::future::join_all(swaps).await, &[409, 412])?;
    // Copies are writes: of those onto a key that must not be there one counts.
    let copies = (0..50).map(|n| {
        let copy = clients[n % 2].copy_object().bucket(BUCKET).key("copied").if_none_match("*");
        let copy = copy.copy_source(format!("{BUCKET}/swap"));
        async move { copy.send().await.map(|_| ()).map_err(|e| status(s3::Failure::of(&e))) }
    });
    one_wins(&futures::future::join_all(copies).await, &[409, 412])?;
    let (current, _) = s3::head(&clients[0], BUCKET, "swap").await.expect("head").expect("it exists");
    let deletes = (0..50).map(|n| {
        let delete =
            clients[n % 2].delete_object().bucket(BUCKET).key("swap").if_match(format!("\"{current}\""));
        async move { delete.send().await.map(|_| ()).map_err(|e| status(s3::Failure::of(&e))) }
    });
    // If-Match on a key that is gone is NoSuchKey.
    one_wins(&futures::future::join_all(deletes).await, &[404, 409])?;
    cluster.finish().await
}
