//! Bytes that go wrong on a backend: found by readers and by the scrubber, never given out whole, made again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, Failure, body};
use s3o_integration_tests::settle::{REPLICATOR, SCRUBBER, run_worker, settle};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_proto::v1;

const SIZE: usize = 300_000;

async fn start(copies: usize) -> Result<Cluster> {
    let options = Options { backends: 2, copies, ack: "all", ..Options::default() };
    Cluster::start(options).await
}

async fn put(cluster: &Cluster, key: &str) {
    s3::put(&cluster.s3(0), BUCKET, key, body(key, SIZE)).await.expect("put");
}

async fn is_whole(cluster: &Cluster, key: &str) -> Result<bool> {
    let got = s3::get(&cluster.s3(0), BUCKET, key).await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    Ok(got.is_some_and(|(_, bytes)| bytes == body(key, SIZE)))
}

fn blobs_of(cluster: &Cluster, backend: usize, key: &str) -> Vec<String> {
    let of_key = format!("{BUCKET}/{key}~");
    cluster.backends[backend].server.keys().into_iter().filter(|stored| stored.starts_with(&of_key)).collect()
}

/// Flips a bit of each of a key's blobs on a backend.
fn corrupt(cluster: &Cluster, backend: usize, key: &str) {
    for stored in blobs_of(cluster, backend, key) {
        assert!(cluster.backends[backend].server.corrupt(&stored));
    }
}

/// What the copies of an object are, by backend, as `s3o admin scrub` shows them.
async fn scrub(cluster: &Cluster, key: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut admin = cluster.admin(0).await?;
    let (bucket, key) = (BUCKET.to_owned(), key.to_owned());
    let request = v1::ScrubObjectRequest { bucket, key, version_id: String::new() };
    let mut copies = admin.scrub_object(request).await?.into_inner();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(copy) = copies.message().await? {
        found.entry(copy.backend).or_default().push(copy.verdict);
    }
    Ok(found)
}

fn verdicts(found: &BTreeMap<String, Vec<String>>) -> Vec<&str> {
    found.values().flatten().map(String::as_str).collect()
}

async fn states(cluster: &Cluster) -> Result<Vec<String>> {
    let sql = cluster.sql().await?;
    let rows = sql.query("SELECT state FROM copies ORDER BY backend, extent", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Every write says what its bytes are, by the client's own hand or by a backend's.
#[tokio::test(flavor = "multi_thread")]
async fn every_copy_has_a_digest() -> Result<()> {
    let cluster = start(2).await?;
    put(&cluster, "k").await;
    let client = cluster.s3(0);
    client.copy_object().bucket(BUCKET).key("copy").copy_source(format!("{BUCKET}/k")).send().await?;
    let upload = Upload::open(&client, "big").await.expect("open");
    let part = upload.put(&client, 1, body("part", 5000)).await.expect("part");
    upload.complete(&client, &[(1, part)]).await.expect("complete");
    let sql = cluster.sql().await?;
    let row =
        sql.query_one("SELECT count(*), count(digest), count(DISTINCT digest) FROM copies", &[]).await?;
    let counts: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    ensure!(counts == (6, 6, 2), "copies, digests, different ones: {counts:?}");
    cluster.finish().await
}

/// A reader meets it, gets the right bytes or none, and needs nobody to tell of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_finds_wrong_is_made_again() -> Result<()> {
    let cluster = start(2).await?;
    for n in 0..4 {
        let key = format!("k{n}");
        put(&cluster, &key).await;
        corrupt(&cluster, n % 2, &key);
    }
    wait::until("a reader has met a wrong copy, and a worker was told", || async {
        for n in 0..4 {
            let key = format!("k{n}");
            // A large one may be cut: it is never wrong and whole.
            if let Ok(got) = s3::get(&cluster.s3(0), BUCKET, &key).await {
                ensure!(got.context("it is there")?.1 == body(&key, SIZE), "{key} was given out wrong");
            }
        }
        let sql = cluster.sql().await?;
        let waiting = "SELECT count(*) FROM replication_queue WHERE task = 'verify'";
        Ok(sql.query_one(waiting, &[]).await?.get::<_, i64>(0) >= 2)
    })
    .await?;
    let counts = run_worker(&cluster, SCRUBBER).await?;
    ensure!(counts.get("corrupt") >= Some(&2), "{counts:?}");
    ensure!(states(&cluster).await?.iter().filter(|state| *state == "quarantined").count() >= 2);
    settle(&cluster).await?;
    let sql = cluster.sql().await?;
    let bad = sql.query_one("SELECT count(*) FROM copies WHERE state <> 'verified'", &[]).await?;
    ensure!(bad.get::<_, i64>(0) == 0, "repaired");
    for n in 0..4 {
        // Those that no reader has met.
        scrub(&cluster, &format!("k{n}")).await?;
    }
    settle(&cluster).await?;
    for n in 0..4 {
        let key = format!("k{n}");
        let found = scrub(&cluster, &key).await?;
        ensure!(verdicts(&found) == ["good", "good"] && found.len() == 2, "{key}: {found:?}");
        ensure!(is_whole(&cluster, &key).await?, "{key}");
    }
    cluster.finish().await
}

/// A part of it cannot be compared with anything, all of them together can: a copy in parts is what was written, or is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_by_ranges_is_not_made_of_wrong_bytes() -> Result<()> {
    let cluster = start(1).await?;
    let client = cluster.s3(0);
    // One blob, and one in two parts whose bounds are not those of the copies.
    put(&cluster, "whole").await;
    let parts = Upload::open(&client, "parts").await.expect("open");
    let bytes = body("whole", SIZE);
    let (first, second) = (
        parts.put(&client, 1, bytes.slice(..150_000)).await,
        parts.put(&client, 2, bytes.slice(150_000..)).await,
    );
    parts
        .complete(&client, &[(1, first.expect("part")), (2, second.expect("part"))])
        .await
        .expect("complete");
    for source in ["whole", "parts"] {
        ensure!(copy_by_ranges(&cluster, source, "copy").await? == Ok(()), "{source}");
        let got = s3::get(&client, BUCKET, "copy").await.expect("get").context("it is there")?;
        ensure!(got.1 == bytes, "{source}");
        s3::delete(&client, BUCKET, "copy").await.expect("delete");
        for backend in 0..2 {
            corrupt(&cluster, backend, source);
        }
        let refused = copy_by_ranges(&cluster, source, "copy").await?;
        ensure!(refused == Err("InvalidPart".to_owned()), "{source}: {refused:?}");
        ensure!(s3::get(&client, BUCKET, "copy").await.expect("get").is_none(), "{source}");
        let sql = cluster.sql().await?;
        let told = "SELECT count(*) FROM replication_queue WHERE task = 'verify' AND key = $1";
        wait::until("a worker was told", || async {
            Ok(sql.query_one(told, &[&source]).await?.get::<_, i64>(0) == 1)
        })
        .await?;
    }
    cluster.finish().await
}

/// Copies a source as clients copy large ones. How its Complete ended: with which code.
async fn copy_by_ranges(
    cluster: &Cluster,
    source: &str,
    key: &str,
) -> Result<std::result::Result<(), String>> {
    let client = cluster.s3(0);
    let upload = Upload::open(&client, key).await.expect("open");
    let mut parts = Vec::new();
    for (number, range) in [(1, (0, 99_999)), (2, (100_000, 199_999)), (3, (200_000, SIZE - 1))] {
        let copied =
            client.upload_part_copy().bucket(BUCKET).key(key).upload_id(&upload.id).part_number(number);
        let copied = copied.copy_source(format!("{BUCKET}/{source}"));
        let copied = copied.copy_source_range(format!("bytes={}-{}", range.0, range.1)).send().await?;
        let etag = copied.copy_part_result().and_then(|result| result.e_tag()).context("an ETag")?;
        parts.push((number, etag.to_owned()));
    }
    Ok(match upload.complete(&client, &parts).await {
        Ok(_) => Ok(()),
        Err(Failure::Answer { code, .. }) => Err(code),
        Err(Failure::Silence(why)) => anyhow::bail!("no answer: {why}"),
    })
}

/// Nobody reads it: the scrubber's round does.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_finds_what_nobody_reads() -> Result<()> {
    let cluster = start(2).await?;
    for n in 0..6 {
        put(&cluster, &format!("k{n}")).await;
    }
    corrupt(&cluster, 0, "k1");
    let stored = blobs_of(&cluster, 1, "k4");
    ensure!(cluster.backends[1].server.remove(&stored[0]));
    wait::until("both are found", || async {
        let sql = cluster.sql().await?;
        sql.batch_execute("UPDATE scrub_cursors SET refilled = now() - interval '1 hour', pass_ended = NULL")
            .await?;
        run_worker(&cluster, SCRUBBER).await?;
        let bad = states(&cluster).await?;
        Ok(["quarantined", "missing"].iter().all(|state| bad.iter().any(|found| found == state)))
    })
    .await?;
    settle(&cluster).await?;
    for n in 0..6 {
        let found = scrub(&cluster, &format!("k{n}")).await?;
        ensure!(verdicts(&found) == ["good", "good"], "k{n}: {found:?}");
    }
    cluster.finish().await
}

/// It is the operator's to restore; until then nobody gets it, and nothing of it is thrown away.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_copy_is_kept_and_not_given_out() -> Result<()> {
    let cluster = start(1).await?;
    put(&cluster, "k").await;
    let (holder, stored) = (0..2)
        .find_map(|backend| Some((backend, blobs_of(&cluster, backend, "k").pop()?)))
        .context("somewhere")?;
    let before = cluster.backends[holder].server.blob(&stored).context("a blob")?.bytes;
    corrupt(&cluster, holder, "k");
    ensure!(s3::get(&cluster.s3(0), BUCKET, "k").await.is_err(), "its bytes are wrong");
    let found = scrub(&cluster, "k").await?;
    ensure!(verdicts(&found) == ["corrupt"], "{found:?}");
    settle(&cluster).await?;
    ensure!(states(&cluster).await? == ["verified"], "the last one that may be good");
    ensure!(cluster.backends[holder].server.blob(&stored).is_some());
    cluster.backends[holder].server.plant(&stored, before);
    ensure!(verdicts(&scrub(&cluster, "k").await?) == ["good"]);
    ensure!(is_whole(&cluster, "k").await?);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_wrong_is_made_again_by_itself() -> Result<()> {
    let cluster = start(2).await?;
    let client = cluster.s3(0);
    let parts: Vec<_> = (0..4).map(|n| body(&format!("part{n}"), 90_000 + n)).collect();
    let upload = Upload::open(&client, "big").await.expect("open");
    let mut listed = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        listed.push((number, upload.put(&client, number, part.clone()).await.expect("part")));
    }
    upload.complete(&client, &listed).await.expect("complete");
    let stored = blobs_of(&cluster, 0, "big");
    ensure!(cluster.backends[0].server.corrupt(&stored[2]));
    for _ in 0..4 {
        if let Ok(got) = s3::get(&client, BUCKET, "big").await {
            ensure!(got.context("it is there")?.1.as_ref() == parts.concat().as_slice(), "other bytes");
        }
    }
    let found = scrub(&cluster, "big").await?;
    ensure!(verdicts(&found).iter().filter(|verdict| **verdict == "corrupt").count() == 1, "{found:?}");
    run_worker(&cluster, REPLICATOR).await?;
    settle(&cluster).await?;
    let found = scrub(&cluster, "big").await?;
    ensure!(verdicts(&found) == ["good"; 8], "{found:?}");
    let got = s3::get(&client, BUCKET, "big").await.expect("get").context("it is there")?.1;
    ensure!(got.as_ref() == parts.concat().as_slice(), "other bytes");
    cluster.finish().await
}
