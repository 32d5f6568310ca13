//! Backends, buckets and keys come and change without a restart anywhere.

use std::time::Duration;

use anyhow::{Result, ensure};
use s3o_integration_tests::backend::Backend;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_a_key_and_a_backend_are_added() -> Result<()> {
    // One backend with hardly any room.
    let options = Options { backends: 1, quota_bytes: Some(5000), control_planes: 2, ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    let full = s3::put(&cluster.s3(0), "data", "big", body("big", 6000)).await.expect_err("no room");
    ensure!(full.status() == 507, "{full:?}");

    cluster.backends.push(Backend::start("b1").await?);
    cluster.reload(|config| {
        config["backends"][1]["quota_bytes"] = json!(1 << 30);
        config["buckets"].as_array_mut().expect("a list").push(json!({"name": "added"}));
        config["credentials"].as_array_mut().expect("a list").push(json!({
            "access_key_id": "AKIAADDED",
            "secret_access_key": "added-secret",
            "grants": [{"bucket": "added", "access": "read_write"}],
        }));
    })?;
    cluster.wait_attached().await?;
    let added = s3::client(cluster.data[0].s3, "AKIAADDED", "added-secret", Duration::from_secs(60));
    wait::until("the new key writes to the new bucket", || async {
        Ok(s3::put(&added, "added", "k", body("added", 6000)).await.is_ok())
    })
    .await?;
    let (_, got) = s3::get(&added, "added", "k").await.expect("get").expect("it exists");
    ensure!(got == body("added", 6000));
    ensure!(s3::put(&added, "data", "k", body("x", 1)).await.is_err_and(|failure| failure.status() == 403));
    s3::put(&cluster.s3(0), "data", "big", body("big", 6000)).await.expect("there is room now");

    // A file that is wrong changes nothing, and says why in the log.
    cluster.reload(|config| config["backends"][1]["endpoint"] = json!("not a URL"))?;
    wait::until("the log says what is wrong", || async {
        Ok(cluster.control.iter().all(|control| control.process.output().contains("backends[1].endpoint")))
    })
    .await?;
    ensure!(s3::get(&added, "added", "k").await.is_ok());
    cluster.finish().await
}
