//! `CopyObject`: bytes and what is said about them, within a bucket, across buckets, onto itself.

use std::time::Duration;

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{MetadataDirective, TaggingDirective};
use s3o_integration_tests::config::{BUCKET, OTHER, READER};
use s3o_integration_tests::multipart::Upload;
use s3o_integration_tests::s3::{self, Failure, body, md5};
use s3o_integration_tests::{Cluster, Options};
use s3o_testkit::s3server::{Fault, Operation, Rule};

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_whole_and_say_what_was_asked() -> Result<()> {
    let cluster = Cluster::start(Options { routing: "spread", ..Options::default() }).await?;
    let client = cluster.s3(0);
    for size in [0, 10, 2 << 20] {
        let bytes = body("copy", size);
        let from = format!("ü from/{size}");
        s3::put(&client, BUCKET, &from, bytes.clone()).await.expect("put");
        let source = format!("/{BUCKET}/%C3%BC%20from/{size}");
        let copy =
            client.copy_object().bucket(BUCKET).key(format!("to/{size}")).copy_source(source).send().await;
        let copy = copy.expect("copy");
        let etag = s3::unquoted(copy.copy_object_result().and_then(|result| result.e_tag()));
        assert_eq!(etag, md5(&bytes));
        let (_, got) =
            s3::get(&client, BUCKET, &format!("to/{size}")).await.expect("get").expect("it exists");
        assert_eq!(got, bytes);
    }
    across_buckets(&client).await;
    directives(&client).await?;
    conditions(&client).await;
    rights(&cluster).await;
    cluster.finish().await
}

async fn across_buckets(client: &Client) {
    let copy = client.copy_object().bucket(OTHER).key("crossed").copy_source(format!("{BUCKET}/to/10"));
    copy.send().await.expect("copy");
    let (_, got) = s3::get(client, OTHER, "crossed").await.expect("get").expect("it exists");
    assert_eq!(got, body("copy", 10));
    let over = client.copy_object().bucket(OTHER).key("big").copy_source(format!("{BUCKET}/to/{}", 2 << 20));
    assert_eq!(Failure::of(&over.send().await.expect_err("too large")).status(), 400);
    let none = client.copy_object().bucket(BUCKET).key("x").copy_source(format!("{BUCKET}/none"));
    assert_eq!(
        Failure::of(&none.send().await.expect_err("no source")),
        Failure::Answer { status: 404, code: "NoSuchKey".into() }
    );
}

async fn directives(client: &Client) -> Result<()> {
    let put = client.put_object().bucket(BUCKET).key("m").body(ByteStream::from_static(b"m"));
    put.content_type("text/x").metadata("a", "1").tagging("t=1&u=2").send().await?;
    let copy = |to: &str| client.copy_object().bucket(BUCKET).key(to).copy_source(format!("{BUCKET}/m"));
    copy("m1").send().await?;
    let head = client.head_object().bucket(BUCKET).key("m1").send().await?;
    assert_eq!(
        (head.content_type(), head.metadata().expect("metadata")["a"].as_str()),
        (Some("text/x"), "1")
    );
    let tags = client.get_object().bucket(BUCKET).key("m1").send().await?.tag_count();
    assert_eq!(tags, Some(2));

    let replaced =
        copy("m2").metadata_directive(MetadataDirective::Replace).metadata("b", "2").content_type("text/y");
    replaced.tagging_directive(TaggingDirective::Replace).tagging("v=3").send().await?;
    let head = client.head_object().bucket(BUCKET).key("m2").send().await?;
    let metadata = head.metadata().expect("metadata");
    assert_eq!((head.content_type(), metadata.len(), metadata["b"].as_str()), (Some("text/y"), 1, "2"));
    assert_eq!(client.get_object().bucket(BUCKET).key("m2").send().await?.tag_count(), Some(1));

    let onto_itself = copy("m").send().await.expect_err("nothing would change");
    assert_eq!(Failure::of(&onto_itself), Failure::Answer { status: 400, code: "InvalidRequest".into() });
    copy("m").metadata_directive(MetadataDirective::Replace).metadata("c", "3").send().await?;
    let (_, got) = s3::get(client, BUCKET, "m").await.expect("get").expect("it exists");
    assert_eq!(got.as_ref(), b"m");
    Ok(())
}

async fn conditions(client: &Client) {
    let copy = || client.copy_object().bucket(BUCKET).key("c").copy_source(format!("{BUCKET}/m"));
    let etag = format!("\"{}\"", md5(b"m"));
    let status = |result: Result<_, _>| result.map_or_else(|error| Failure::of(&error).status(), |_| 200);
    assert_eq!(status(copy().copy_source_if_match("\"x\"").send().await), 412);
    assert_eq!(status(copy().copy_source_if_none_match(&etag).send().await), 412);
    assert_eq!(status(copy().copy_source_if_match(&etag).send().await), 200);
}

async fn rights(cluster: &Cluster) {
    let reader = s3::client(cluster.data[0].s3, READER.0, READER.1, std::time::Duration::from_secs(60));
    let refused = s3::copy(&reader, BUCKET, "m", "n").await.expect_err("it may only read");
    assert_eq!(refused, Failure::Answer { status: 403, code: "AccessDenied".into() });
    let foreign =
        reader.copy_object().bucket(BUCKET).key("n").copy_source(format!("{OTHER}/crossed")).send().await;
    assert_eq!(Failure::of(&foreign.expect_err("no rights at all")).status(), 403);
}

/// A client that hears nothing for 15 s would give up.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_takes_long_shows_that_it_lives() -> Result<()> {
    let cluster = Cluster::start(Options { routing: "spread", ..Options::default() }).await?;
    let plain = cluster.s3(0);
    let impatient = TimeoutConfig::builder().read_timeout(Duration::from_secs(15)).build();
    let config = plain.config().to_builder().timeout_config(impatient).retry_config(RetryConfig::disabled());
    let client = Client::from_conf(config.build());
    let bytes = body("long", 2 << 20);
    s3::put(&client, BUCKET, "source", bytes.clone()).await.expect("put");
    for backend in &cluster.backends {
        // Nothing is copied within it, and the stream is held up.
        backend.server.inject(Rule::new(Fault::Status(403)).on(Operation::Copy));
        let pause = Fault::PauseReceiving { after: 100_000, pause: Duration::from_secs(18) };
        backend.server.inject(Rule::new(pause).on(Operation::Put).key_contains("long"));
    }
    let copy = client.copy_object().bucket(BUCKET).key("long").copy_source(format!("{BUCKET}/source"));
    let upload = Upload::open(&client, "long-part").await.expect("open");
    let part = client.upload_part_copy().bucket(BUCKET).key("long-part").upload_id(&upload.id).part_number(1);
    let part = part.copy_source(format!("{BUCKET}/source"));
    let (copied, part) = tokio::join!(copy.send(), part.send());
    let etag = s3::unquoted(copied?.copy_object_result().and_then(|result| result.e_tag()));
    assert_eq!(etag, md5(&bytes));
    let part = s3::unquoted(part?.copy_part_result().and_then(|result| result.e_tag()));
    upload.complete(&client, &[(1, part)]).await.expect("complete");
    for key in ["long", "long-part"] {
        assert!(s3::get(&client, BUCKET, key).await.expect("get").expect("it exists").1 == bytes, "{key}");
    }
    cluster.finish().await
}
