//! `s3o backend probe` on a whole system: what it finds, what it leaves there, and what it stores.

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};
use s3o_proto::v1::{ProbeBackendReply, ProbeBackendRequest};
use s3o_testkit::s3server::{Fault, Operation, Rule};

async fn probe(cluster: &Cluster, name: &str, store: bool) -> Result<ProbeBackendReply> {
    let request = ProbeBackendRequest { name: name.to_owned(), store };
    Ok(cluster.admin(0).await?.probe_backend(request).await?.into_inner())
}

async fn stored_proof(cluster: &Cluster) -> Result<String> {
    Ok(cluster.sql().await?.query_one("SELECT etag_proof FROM backends", &[]).await?.get(0))
}

fn complaints(reply: &ProbeBackendReply) -> Vec<(&str, &str)> {
    let bad = reply.findings.iter().filter(|finding| finding.verdict != "ok");
    bad.map(|finding| (finding.name.as_str(), finding.verdict.as_str())).collect()
}

fn probe_keys(cluster: &Cluster) -> Vec<String> {
    let keys = cluster.backends[0].server.keys();
    keys.into_iter().filter(|key| key.starts_with(".s3o/probe")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_backend_needs_nothing_and_keeps_nothing() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    s3::put(&cluster.s3(0), BUCKET, "k", body("k", 1000)).await.expect("put");
    let reply = probe(&cluster, "b0", false).await?;
    ensure!(complaints(&reply).is_empty(), "{reply:?}");
    ensure!(reply.findings.len() > 10 && reply.requests > 20 && reply.etag == "md5_trailer", "{reply:?}");
    ensure!(reply.left.is_empty() && probe_keys(&cluster).is_empty(), "{reply:?}");
    ensure!(!reply.stored && reply.not_stored.is_empty(), "{reply:?}");
    let unknown = probe(&cluster, "nobody", false).await.expect_err("there is none");
    ensure!(unknown.to_string().contains("nobody"), "{unknown}");
    let got = s3::get(&cluster.s3(0), BUCKET, "k").await.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    ensure!(got.is_some_and(|(_, bytes)| bytes == body("k", 1000)));
    cluster.finish().await
}

/// Writes go on by what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn what_its_etags_prove_is_stored_when_asked() -> Result<()> {
    let cluster = Cluster::start(Options { backends: 1, ..Options::default() }).await?;
    ensure!(stored_proof(&cluster).await? == "md5_trailer");
    let server = &cluster.backends[0].server;
    server.inject(Rule::new(Fault::OpaqueEtag).on(Operation::Put));
    let reply = probe(&cluster, "b0", false).await?;
    ensure!(complaints(&reply).contains(&("etag", "needs")) && reply.etag == "opaque", "{reply:?}");
    ensure!(stored_proof(&cluster).await? == "md5_trailer", "nothing was to be stored");
    let reply = probe(&cluster, "b0", true).await?;
    ensure!(reply.stored && reply.not_stored.is_empty(), "{reply:?}");
    ensure!(stored_proof(&cluster).await? == "opaque");
    s3::put(&cluster.s3(0), BUCKET, "k", body("k", 100_000)).await.expect("put");
    server.heal();
    let reply = probe(&cluster, "b0", true).await?;
    ensure!(reply.stored && reply.etag == "md5_trailer", "{reply:?}");
    ensure!(stored_proof(&cluster).await? == "md5_trailer" && probe_keys(&cluster).is_empty());
    s3::put(&cluster.s3(0), BUCKET, "k2", body("k2", 100_000)).await.expect("put");
    cluster.finish().await
}
