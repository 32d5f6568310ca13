//! `PutObject`: what is stored is what was sent, with everything that was said about it, or nothing.

use anyhow::Result;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use s3o_integration_tests::config::{BUCKET, OTHER, OTHER_MAX};
use s3o_integration_tests::raw::{Payload, Request};
use s3o_integration_tests::s3::{self, Failure, body, md5};
use s3o_integration_tests::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_comes_back() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.s3(0);
    for size in [0, 1, 4096, 65_537, 1 << 20, (9 << 20) + 3] {
        let key = format!("size/{size}");
        let bytes = body(&key, size);
        assert_eq!(s3::put(&client, BUCKET, &key, bytes.clone()).await.expect("put"), md5(&bytes));
        let (etag, got) = s3::get(&client, BUCKET, &key).await.expect("get").expect("it exists");
        assert!(etag == md5(&bytes) && got == bytes, "{size} bytes");
    }
    let odd = [
        "a b+c%d&e=f?g#h",
        "ü/日本/🎉",
        "//x",
        "a/../b",
        ".",
        "trailing/",
        "tab\tkey",
        "~",
        "x~01234567890123456789012345678901",
    ];
    let long = "k".repeat(1024);
    for key in odd.into_iter().chain([long.as_str()]) {
        let bytes = body(key, 100);
        let put = s3::put(&client, BUCKET, key, bytes.clone()).await;
        assert!(put.is_ok(), "{key:?}: {put:?}");
        let (_, got) = s3::get(&client, BUCKET, key).await.expect("get").expect("it exists");
        assert_eq!(got, bytes, "{key:?}");
    }
    let too_long = s3::put(&client, BUCKET, &"k".repeat(1025), body("x", 1)).await;
    assert_eq!(too_long, Err(Failure::Answer { status: 400, code: "KeyTooLongError".into() }));
    metadata(&client).await;
    conditions(&client).await;
    limits(&client).await;
    cluster.finish().await
}

async fn metadata(client: &aws_sdk_s3::Client) {
    let put = client.put_object().bucket(BUCKET).key("meta").body(ByteStream::from_static(b"x"));
    let put =
        put.content_type("text/x").content_language("de").cache_control("no-cache").content_encoding("gzip");
    let put = put.content_disposition("attachment").metadata("one", "1").metadata("two", "zwei");
    put.tagging("a=b&c=d").send().await.expect("put");
    let head = client.head_object().bucket(BUCKET).key("meta").send().await.expect("head");
    assert_eq!(head.content_type(), Some("text/x"));
    assert_eq!(head.content_language(), Some("de"));
    assert_eq!(head.cache_control(), Some("no-cache"));
    assert_eq!(head.content_encoding(), Some("gzip"));
    assert_eq!(head.content_disposition(), Some("attachment"));
    let metadata = head.metadata().expect("metadata");
    assert_eq!((metadata["one"].as_str(), metadata["two"].as_str(), metadata.len()), ("1", "zwei", 2));
    let get = client.get_object().bucket(BUCKET).key("meta").send().await.expect("get");
    assert_eq!(get.tag_count(), Some(2));
    // An overwrite takes nothing over.
    s3::put(client, BUCKET, "meta", body("y", 5)).await.expect("put");
    let head = client.head_object().bucket(BUCKET).key("meta").send().await.expect("head");
    assert!(head.metadata().is_none_or(std::collections::HashMap::is_empty), "{head:?}");
}

async fn conditions(client: &aws_sdk_s3::Client) {
    let put = |body: &'static [u8]| {
        client.put_object().bucket(BUCKET).key("cond").body(ByteStream::from_static(body))
    };
    let status = |done: Result<_, _>| done.map(|_| ()).map_err(|error| Failure::of(&error).status());
    assert_eq!(status(put(b"0").if_match("\"00000000000000000000000000000000\"").send().await), Err(404));
    assert_eq!(status(put(b"1").if_none_match("*").send().await), Ok(()));
    assert_eq!(status(put(b"2").if_none_match("*").send().await), Err(412));
    assert_eq!(status(put(b"3").if_match(format!("\"{}\"", md5(b"9"))).send().await), Err(412));
    assert_eq!(status(put(b"4").if_match(format!("\"{}\"", md5(b"1"))).send().await), Ok(()));
    let (_, got) = s3::get(client, BUCKET, "cond").await.expect("get").expect("it exists");
    assert_eq!(got.as_ref(), b"4");
}

async fn limits(client: &aws_sdk_s3::Client) {
    let max = usize::try_from(OTHER_MAX).expect("small");
    assert!(s3::put(client, OTHER, "max", body("m", max)).await.is_ok());
    let over = s3::put(client, OTHER, "over", body("m", max + 1)).await;
    assert_eq!(over, Err(Failure::Answer { status: 400, code: "EntityTooLarge".into() }));
    let nowhere = s3::put(client, "nowhere", "k", body("m", 1)).await;
    assert_eq!(nowhere, Err(Failure::Answer { status: 404, code: "NoSuchBucket".into() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_is_never_stored() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    let bytes = body("bad", 200_000).to_vec();
    let trailer = |value: &str| vec![("x-amz-checksum-crc32c".to_owned(), value.to_owned())];
    let put = || Request::new("PUT", "/data/bad").body(bytes.clone());
    let requests = [
        ("wrong hash", put().payload(Payload::Claimed("0".repeat(64))), "XAmzContentSHA256Mismatch"),
        ("wrong Content-MD5", put().header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), "BadDigest"),
        ("Content-MD5 that is none", put().header("content-md5", "no"), "InvalidDigest"),
        ("wrong checksum header", put().header("x-amz-checksum-crc32", "AAAAAA=="), "BadDigest"),
        (
            "wrong unsigned trailer",
            put().payload(Payload::UnsignedChunks { size: 65_536, trailers: trailer("AAAAAA==") }),
            "BadDigest",
        ),
        (
            "wrong signed trailer",
            put().payload(Payload::Chunks { size: 65_536, trailers: trailer("AAAAAA==") }),
            "BadDigest",
        ),
    ];
    for (name, request, code) in requests {
        let answer = raw.send(&request).await?;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{name}: {}", answer.text());
    }
    assert_eq!(s3::get(&cluster.s3(0), BUCKET, "bad").await, Ok(None));
    chunk_tampered(&cluster, &put()).await?;
    assert_eq!(s3::get(&cluster.s3(0), BUCKET, "bad").await, Ok(None));
    cluster.finish().await
}

async fn chunk_tampered(cluster: &Cluster, put: &Request) -> Result<()> {
    let raw = cluster.raw(0);
    let mut wire = raw.wire(&put.clone().payload(Payload::Chunks { size: 65_536, trailers: Vec::new() }));
    wire.body[100_000] ^= 1;
    let mut bytes = wire.head;
    bytes.append(&mut wire.body);
    let answer = raw.send_bytes(&bytes).await?;
    assert_eq!((answer.status, answer.code().as_str()), (403, "SignatureDoesNotMatch"), "{}", answer.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_send_a_body_works() -> Result<()> {
    let cluster = Cluster::start(Options::default()).await?;
    let raw = cluster.raw(0);
    let bytes = body("ways", 150_000).to_vec();
    let sum = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, crc32(&bytes).to_be_bytes());
    let trailers = vec![("x-amz-checksum-crc32".to_owned(), sum)];
    let client = s3::with_checksums(&cluster.s3(0));
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Crc64Nvme,
    ] {
        let put = client.put_object().bucket(BUCKET).key("sum").body(ByteStream::from(bytes.clone()));
        let done = put.checksum_algorithm(algorithm.clone()).send().await;
        assert!(done.is_ok(), "{algorithm}: {done:?}");
    }
    for (name, payload) in [
        ("signed", Payload::Signed),
        ("unsigned", Payload::Unsigned),
        ("chunks", Payload::Chunks { size: 65_536, trailers: Vec::new() }),
        ("one chunk", Payload::Chunks { size: 1 << 20, trailers: Vec::new() }),
        ("unsigned chunks", Payload::UnsignedChunks { size: 10_000, trailers: trailers.clone() }),
        ("signed chunks with a trailer", Payload::Chunks { size: 65_536, trailers: trailers.clone() }),
    ] {
        let answer = raw.send(&Request::new("PUT", "/data/way").body(bytes.clone()).payload(payload)).await?;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(answer.header("etag"), Some(format!("\"{}\"", md5(&bytes)).as_str()), "{name}");
        let head = client.head_object().bucket(BUCKET).key("way").send().await?;
        // `aws-chunked` was the transfer's, not the object's.
        assert!(head.content_encoding().is_none_or(str::is_empty), "{name}: {head:?}");
        let (_, got) = s3::get(&client, BUCKET, "way").await.expect("get").expect("it exists");
        assert_eq!(got, bytes, "{name}");
    }
    cluster.finish().await
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
