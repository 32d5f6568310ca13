//! What a rebuild makes of writes that are on both sides of the journal's last segment, and what it says of those of which it
//! cannot know.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use bytes::Bytes;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::rebuild::rebuild;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::settle::{JOURNAL, run_worker};
use s3o_integration_tests::{Cluster, Options, wait};

use crate::disaster::{SIZE, put, recover, recovery, start_with, tidy};

/// Parts of an object, by number and bytes.
const PARTS: [(i32, usize); 2] = [(1, 4000), (2, 500)];

fn part(key: &str, (number, size): (i32, usize)) -> Bytes {
    body(&format!("{key} {number}"), size)
}

/// An upload with all its parts, open still.
async fn upload(client: &Client, key: &str) -> (Upload, Vec<(i32, String)>) {
    let upload = Upload::open(client, key).await.expect("an upload");
    let mut parts = Vec::new();
    for piece in PARTS {
        parts.push((piece.0, upload.put(client, piece.0, part(key, piece)).await.expect("a part")));
    }
    (upload, parts)
}

async fn got(cluster: &Cluster, key: &str) -> Option<Bytes> {
    s3::get(&cluster.s3(0), BUCKET, key).await.expect("get").map(|(_, bytes)| bytes)
}

/// What is on the backends besides what is ours alone.
fn blobs(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for backend in &cluster.backends {
        let keys = backend.server.keys().into_iter().filter(|key| !key.starts_with(".s3o/"));
        all.extend(keys.map(|key| (backend.name.clone(), key)));
    }
    all
}

/// Of before the last segment, across it, and of after it.
async fn write_across_the_last_segment(cluster: &Cluster) -> Result<()> {
    let client = cluster.s3(0);
    let (whole, parts) = upload(&client, "whole-upload").await;
    whole.complete(&client, &parts).await.expect("complete");
    put(cluster, BUCKET, "before", "before").await;
    run_worker(cluster, JOURNAL).await?;
    let (late, late_parts) = upload(&client, "late-upload").await;
    upload(&client, "open-upload").await;
    // Finding: an upload that was opened long before the last segment, and completed after it, is told of by nobody.
    let mark = "INSERT INTO version_marks (at, sequence)
                SELECT now() - interval '1 hour', last_value FROM version_seq";
    cluster.sql().await?.batch_execute(mark).await?;
    // The other data plane stands between the backend's answer and the commit.
    let slow = cluster.s3(1);
    let across = tokio::spawn(async move { s3::put(&slow, BUCKET, "across", body("across", SIZE)).await });
    wait::until("it stands before its commit", || async {
        Ok(cluster.data[1].process.output().contains("S3O_FAILPOINT reached"))
    })
    .await?;
    put(cluster, BUCKET, "within", "within").await;
    let shipped = run_worker(cluster, JOURNAL).await?;
    ensure!(shipped.get("segments") == Some(&1), "{shipped:?}");
    cluster.release_failpoint()?;
    across.await?.expect("put");
    late.complete(&client, &late_parts).await.expect("complete");
    put(cluster, BUCKET, "late", "late").await;
    // Its tags are in no header of its blob.
    let tagged = client.put_object().bucket(BUCKET).key("late-tagged").tagging("color=red");
    tagged.body(body("late-tagged", SIZE).into()).send().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_across_the_last_segment_comes_back_or_is_told() -> Result<()> {
    let options = Options { data_planes: 2, failpoint: Some("after_backend_put"), ..Options::default() };
    let mut cluster = start_with(options).await?;
    write_across_the_last_segment(&cluster).await?;
    let there = blobs(&cluster);
    cluster.control[0].process.kill()?;
    cluster.replace_database().await?;
    let report = rebuild(&cluster.control[0].config).await?;
    ensure!(report.contains("by their blobs alone: 2 objects"), "{report}");
    ensure!(report.contains("versions whose blobs do not say what they are: 3"), "{report}");
    ensure!(report.contains("of which bytes are on no backend: 0"), "{report}");
    for key in ["late-upload", "open-upload", "late-tagged"] {
        ensure!(report.contains(&format!("unknown: {BUCKET}/{key}")), "{key}: {report}");
    }
    cluster.start_control_plane(0).await?;
    cluster.wait_attached().await?;
    let client = cluster.s3(0);
    wait::until("the data plane writes again", || async {
        Ok(s3::put(&client, BUCKET, "again", body("again", SIZE)).await.is_ok())
    })
    .await?;
    for key in ["before", "within", "across", "late"] {
        ensure!(got(&cluster, key).await == Some(body(key, SIZE)), "{key}");
    }
    let whole: Vec<u8> = PARTS.iter().flat_map(|piece| part("whole-upload", *piece)).collect();
    ensure!(got(&cluster, "whole-upload").await == Some(whole.into()), "it was completed in time");
    for key in ["late-upload", "open-upload", "late-tagged"] {
        ensure!(got(&cluster, key).await.is_none(), "{key}: nobody knows what it was");
    }
    // Until somebody has read the report, what is not known is kept.
    let left = blobs(&cluster);
    let deleted: Vec<_> = there.difference(&left).collect();
    ensure!(deleted.is_empty(), "{deleted:#?}");
    let recovered = recover(&cluster).await?;
    ensure!(recovered.unknown_versions == 3 && recovered.lost.is_empty(), "{recovered:?}");
    ensure!(recovery(&cluster).await?.is_empty());
    tidy(&cluster).await?;
    let named = |(_, key): &&(String, String)| key.contains("-upload") || key.contains("late-tagged");
    let left = blobs(&cluster);
    ensure!(left.iter().filter(named).all(|(_, key)| key.contains("whole-upload")), "{left:#?}");
    cluster.finish().await
}
