//! `DeleteObject` and `DeleteObjects`.

use anyhow::Result;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::Request;
use s3o_integration_tests::s3::{self, body};
use s3o_integration_tests::{Cluster, Options};

fn identifiers(keys: &[String]) -> Vec<ObjectIdentifier> {
    keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().expect("a key")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_is_deleted() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    assert!(s3::delete(&client, BUCKET, "never").await.is_ok());
    s3::put(&client, BUCKET, "one", body("one", 10)).await.expect("put");
    assert!(s3::delete(&client, BUCKET, "one").await.is_ok());
    assert_eq!(s3::get(&client, BUCKET, "one").await, Ok(None));
    assert!(s3::list(&client, BUCKET, "").await.expect("list").is_empty());

    let keys: Vec<String> = (0..1000).map(|n| format!("many/{n:04} <&>\u{e9}")).collect();
    for some in keys.chunks(50).take(4) {
        futures::future::join_all(some.iter().map(|key| s3::put(&client, BUCKET, key, body(key, 20)))).await;
    }
    let delete = Delete::builder().set_objects(Some(identifiers(&keys))).build()?;
    let done = client.delete_objects().bucket(BUCKET).delete(delete).send().await?;
    assert_eq!(done.errors(), []);
    let mut deleted: Vec<&str> = done.deleted().iter().filter_map(|d| d.key()).collect();
    deleted.sort_unstable();
    assert_eq!(deleted, keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(s3::list(&client, BUCKET, "").await.expect("list").is_empty());

    let twice: Vec<String> = ["same", "same", "other"].map(ToOwned::to_owned).to_vec();
    s3::put(&client, BUCKET, "same", body("same", 10)).await.expect("put");
    let quiet = Delete::builder().set_objects(Some(identifiers(&twice))).quiet(true).build()?;
    let done = client.delete_objects().bucket(BUCKET).delete(quiet).send().await?;
    assert!(done.deleted().is_empty() && done.errors().is_empty(), "{done:?}");
    malformed(&cluster).await?;
    cluster.finish().await
}

async fn malformed(cluster: &Cluster) -> Result<()> {
    let raw = cluster.raw(0);
    let too_many = "<Object><Key>k</Key></Object>".repeat(1001);
    for (name, body) in [
        ("no XML", "hello".to_owned()),
        ("cut XML", "<Delete><Object><Key>x".to_owned()),
        ("empty", "<Delete></Delete>".to_owned()),
        ("1001 keys", format!("<Delete>{too_many}</Delete>")),
    ] {
        let md5 = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            hex::decode(s3::md5(body.as_bytes()))?,
        );
        let answer =
            raw.send(&Request::new("POST", "/data?delete").header("content-md5", &md5).body(body)).await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "MalformedXML"),
            "{name}: {}",
            answer.text()
        );
    }
    Ok(())
}
