//! Monthly limits: what was used is known a little later than it is used, and then no more is placed.

use anyhow::{Result, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options, wait};
use serde_json::json;

/// Bytes a month, and those of an object: two of them are too many. What a new backend is probed with, some 1 MiB,
/// counts too.
const LIMIT: u64 = 9_000_000;
const SIZE: usize = 5_000_000;

/// Bytes that each backend is known to have been sent this month.
async fn ingress(cluster: &Cluster) -> Result<Vec<i64>> {
    let sql = "SELECT COALESCE(sum(u.ingress_bytes), 0)::bigint FROM backends b
               LEFT JOIN monthly_usage u ON u.backend = b.id GROUP BY b.id ORDER BY b.position";
    let rows = cluster.sql().await?.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn until_known(cluster: &Cluster, backend: usize) -> Result<()> {
    let least = i64::try_from(SIZE)?;
    wait::until("what was sent is known", || async { Ok(ingress(cluster).await?[backend] >= least) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_used_up_takes_no_more_until_the_limit_is_raised() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let limit = |bytes: u64| {
        cluster.reload(|config| {
            for backend in config["backends"].as_array_mut().expect("a list") {
                backend["limits"] = json!({"ingress_bytes": bytes});
            }
        })
    };
    limit(LIMIT)?;
    wait::until("both are limited", || async {
        let sql = "SELECT count(*) FROM backends WHERE usage_limits IS NOT NULL";
        Ok(cluster.sql().await?.query_one(sql, &[]).await?.get::<_, i64>(0) == 2)
    })
    .await?;

    let client = cluster.s3(0);
    for (n, key) in ["first", "second"].into_iter().enumerate() {
        s3::put(&client, BUCKET, key, body(key, SIZE)).await.expect("a month has room");
        ensure!(cluster.backends[n].blob_count() == 1, "{key} is on backend {n}");
        until_known(&cluster, n).await?;
    }
    // Refused before the body, and the refusal names the limit.
    let raw = cluster.raw(0);
    let request = Request::new("PUT", "/data/third").header("expect", "100-continue").body(vec![7; SIZE]);
    let wire = raw.wire(&request);
    let mut connection = raw.connect().await?;
    connection.write(&wire.head).await?;
    let answer = connection.read().await?;
    ensure!((answer.status, answer.code().as_str()) == (507, "InsufficientStorage"), "{}", answer.text());
    ensure!(answer.text().contains("ingress_bytes"), "{}", answer.text());
    let (_, metrics) = wait::http_get(cluster.control[0].http, "/metrics").await?;
    let counted = "s3o_usage_limit_rejections_total{operation=\"put\",limit_type=\"ingress_bytes\"} 1";
    ensure!(metrics.contains(counted), "{metrics}");
    // What is there is read, and what is small enough is taken.
    let (_, got) = s3::get(&client, BUCKET, "first").await.expect("get").expect("it exists");
    ensure!(got == body("first", SIZE), "other bytes");
    s3::put(&client, BUCKET, "small", body("small", 10)).await.expect("so much is left");

    limit(1 << 30)?;
    wait::until("the limit is raised", || async {
        Ok(s3::put(&client, BUCKET, "third", body("third", SIZE)).await.is_ok())
    })
    .await?;
    cluster.finish().await
}
