//! `DeleteObject` and `DeleteObjects`.

use anyhow::Result;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::raw::{Payload, Request};
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
    in_chunks(&cluster).await?;
    cluster.finish().await
}

/// A document that comes as newer SDKs send bodies: its checksum stands in the trailer, signed or not.
async fn in_chunks(cluster: &Cluster) -> Result<()> {
    let (raw, client) = (cluster.raw(0), cluster.s3(0));
    let document = "<Delete><Object><Key>chunk<![CDATA[ed]]></Key></Object></Delete>";
    s3::put(&client, BUCKET, "chunked", body("chunked", 10)).await.expect("put");
    let trailer = |value: &str| vec![("x-amz-checksum-sha256".to_owned(), value.to_owned())];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document.as_bytes());
    let right = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    let wrong = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [0; 32]);
    for (trailers, code) in [(trailer(&wrong), "BadDigest"), (trailer("x"), "")] {
        for payload in [
            Payload::Chunks { size: 8192, trailers: trailers.clone() },
            Payload::UnsignedChunks { size: 8192, trailers: trailers.clone() },
        ] {
            let answer =
                raw.send(&Request::new("POST", "/data?delete").body(document).payload(payload)).await?;
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert!(answer.text().contains(code), "{}", answer.text());
        }
    }
    assert!(s3::get(&client, BUCKET, "chunked").await.expect("get").is_some(), "nothing was deleted");
    for payload in [
        Payload::UnsignedChunks { size: 8192, trailers: trailer(&right) },
        Payload::Chunks { size: 8192, trailers: trailer(&right) },
    ] {
        let answer = raw.send(&Request::new("POST", "/data?delete").body(document).payload(payload)).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("<Key>chunked</Key>"), "{}", answer.text());
        assert_eq!(s3::get(&client, BUCKET, "chunked").await, Ok(None));
    }
    Ok(())
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
