//! What a 200 means for a copy and for a multipart upload: with the proxy and any one backend gone right after it, the object
//! is there. That of a PUT is in `copies.rs`.

use anyhow::{Result, ensure};
use aws_sdk_s3::Client;
use bytes::Bytes;
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};
use s3o_testkit::s3server::{Fault, Rule};

const SIZE: usize = 300_000;
/// Objects of a kind.
const OBJECTS: usize = 3;

/// Objects as they were acknowledged.
type Written = Vec<(String, Bytes)>;

async fn copies(client: &Client) -> Written {
    let source = body("source", SIZE);
    s3::put(client, BUCKET, "source", source.clone()).await.expect("put");
    let mut written = Vec::new();
    for n in 0..OBJECTS {
        let key = format!("copy{n}");
        s3::copy(client, BUCKET, "source", &key).await.expect("copy");
        written.push((key, source.clone()));
    }
    written
}

async fn uploads(client: &Client) -> Written {
    let mut written = Vec::new();
    for n in 0..OBJECTS {
        let key = format!("parts{n}");
        let upload = Upload::open(client, &key).await.expect("open");
        let parts: Vec<Bytes> = (0..3).map(|part| body(&format!("{key} {part}"), SIZE)).collect();
        let mut listed = Vec::new();
        for (number, part) in (1..).zip(&parts) {
            listed.push((number, upload.put(client, number, part.clone()).await.expect("part")));
        }
        upload.complete(client, &listed).await.expect("complete");
        written.push((key, Bytes::from(parts.concat())));
    }
    written
}

/// The data plane is killed, then each backend fails once; the other data plane reads everything.
async fn ensure_survival(
    cluster: &mut Cluster,
    written: &[(String, Bytes)],
    (ack, wanted): (&str, i64),
) -> Result<()> {
    cluster.data[0].process.kill()?;
    let copies = "SELECT min(n) FROM (SELECT count(*) AS n FROM copies GROUP BY version, extent) AS c";
    let fewest: i64 = cluster.sql().await?.query_one(copies, &[]).await?.get(0);
    ensure!(fewest >= wanted, "{ack}: {fewest} copies of an extent");
    for lost in 0..3 {
        cluster.backends[lost].server.inject(Rule::new(Fault::Status(503)));
        for (key, bytes) in written {
            let got = s3::get(&cluster.s3(1), BUCKET, key).await.expect("get");
            ensure!(got.is_some_and(|(_, read)| read == *bytes), "{ack}: {key} without {lost}");
        }
        cluster.backends[lost].heal();
    }
    cluster.restart_data_plane(0).await
}

async fn start(ack: &'static str) -> Result<Cluster> {
    Cluster::start(Options { backends: 3, copies: 3, ack, data_planes: 2, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_acknowledged_survives_the_proxy_and_a_backend() -> Result<()> {
    for level in [("all", 3), ("quorum", 2)] {
        let mut cluster = start(level.0).await?;
        let written = copies(&cluster.s3(0)).await;
        ensure_survival(&mut cluster, &written, level).await?;
        cluster.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_upload_survives_the_proxy_and_a_backend() -> Result<()> {
    for level in [("all", 3), ("quorum", 2)] {
        let mut cluster = start(level.0).await?;
        let written = uploads(&cluster.s3(0)).await;
        ensure_survival(&mut cluster, &written, level).await?;
        cluster.finish().await?;
    }
    Ok(())
}
