//! A data plane between a real S3 client, a control plane in memory and backends that fail on purpose.

use crate::fake::{BEGIN, COMMIT, Fake};
use crate::world::{self, SHORT, bytes};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, MetadataDirective, ObjectIdentifier};
use s3o_dataplane::DataPlane;
use s3o_proto::v1;
use s3o_runtime::Shutdown;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{ErrorCode, Place};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct World {
    fake: Fake,
    backends: Vec<FaultyBackend>,
    plane: DataPlane,
    client: Client,
    shutdown: Shutdown,
}

impl World {
    async fn start() -> Self {
        let world::World { fake, backends, plane, client, shutdown } =
            world::World::start(2, SHORT, "", |_| {}).await;
        Self { fake, backends, plane, client, shutdown }
    }

    async fn put(&self, key: &str, body: &[u8]) -> Result<(), String> {
        let body = ByteStream::from(body.to_vec());
        let sent = self.client.put_object().bucket("photos").key(key).body(body).send().await;
        sent.map(|_| ()).map_err(|error| error.code().unwrap_or("none").to_owned())
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, String> {
        let got = self.client.get_object().bucket("photos").key(key).send().await;
        let got = got.map_err(|error| error.code().unwrap_or("none").to_owned())?;
        Ok(got.body.collect().await.map_err(|error| error.to_string())?.to_vec())
    }

    /// The client's error does not wait for the Abort.
    async fn settled(&self) {
        while self.fake.with(|model| !model.intents.is_empty()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Blobs of objects, markers left out.
    fn blobs(&self) -> usize {
        let keys = self.backends.iter().flat_map(FaultyBackend::keys);
        keys.filter(|key| !key.starts_with(".s3o/")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_back_as_they_went() {
    let world = World::start().await;
    let put = world
        .client
        .put_object()
        .bucket("photos")
        .key("a/b c+ü")
        .body(ByteStream::from_static(b"0123456789"));
    let put = put.metadata("colour", "grün").content_type("text/plain").tagging("k=v").send().await.unwrap();
    assert_eq!(put.e_tag(), Some("\"781e5e245d69b566979b86e28d23f2c7\""));
    let get = || world.client.get_object().bucket("photos").key("a/b c+ü");
    let whole = get().send().await.unwrap();
    assert_eq!(whole.content_type(), Some("text/plain"));
    assert_eq!(whole.tag_count(), Some(1));
    assert!(whole.metadata().unwrap().contains_key("colour"));
    assert_eq!(whole.body.collect().await.unwrap().to_vec(), b"0123456789");
    for (range, part) in [("bytes=2-4", "234"), ("bytes=7-", "789"), ("bytes=-2", "89"), ("bytes=8-99", "89")]
    {
        let got = get().range(range).send().await.unwrap();
        assert_eq!(got.body.collect().await.unwrap().to_vec(), part.as_bytes(), "{range}");
    }
    let error = get().range("bytes=10-").send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidRange"));
    assert!(get().if_match("\"x\"").send().await.is_err());
    let head = world.client.head_object().bucket("photos").key("a/b c+ü").send().await.unwrap();
    assert_eq!(head.content_length(), Some(10));
    let calls: u64 = world.backends.iter().map(|backend| backend.count(Operation::Head)).sum();
    assert_eq!(calls, 0, "HEAD is the database's alone");
    assert_eq!(world.get("nothing").await, Err("NoSuchKey".to_owned()));
    world.put("empty", b"").await.unwrap();
    assert_eq!(world.get("empty").await, Ok(Vec::new()));
    let large = bytes(20 << 20);
    world.put("large", &large).await.unwrap();
    assert!(world.get("large").await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_hold() {
    let world = World::start().await;
    for (bucket, code, create) in [
        ("secret", "AccessDenied", Err(Some("AccessDenied".to_owned()))),
        ("no-such-bucket", "NoSuchBucket", Err(Some("AccessDenied".to_owned()))),
        ("photos", "NoSuchKey", Ok(Some("/photos".to_owned()))),
    ] {
        let error = world.client.get_object().bucket(bucket).key("k").send().await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{bucket}");
        let created = world.client.create_bucket().bucket(bucket).send().await;
        let location = created.map(|created| created.location);
        let location = location.map_err(|error| error.code().map(ToOwned::to_owned));
        assert_eq!(location, create, "{bucket}");
    }
    let listed = world.client.list_buckets().send().await.unwrap();
    let names: Vec<_> = listed.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["photos"]);
    let error = world.client.delete_bucket_cors().bucket("photos").send().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"), "to write objects is not to configure");
    let put = world.client.put_bucket_policy().bucket("photos").policy("{}");
    assert_eq!(put.send().await.unwrap_err().code(), Some("NotImplemented"), "it is no XML, nor wants to be");
    let versioning = world.client.get_bucket_versioning().bucket("photos").send().await.unwrap();
    assert!(versioning.status().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_deletes() {
    let world = World::start().await;
    for key in ["a", "d/1", "d/2", "e"] {
        world.put(key, b"x").await.unwrap();
    }
    let list = || world.client.list_objects_v2().bucket("photos").delimiter("/").max_keys(2);
    let first = list().send().await.unwrap();
    assert_eq!((first.key_count(), first.is_truncated()), (Some(2), Some(true)));
    assert_eq!(first.common_prefixes()[0].prefix(), Some("d/"));
    let second = list().continuation_token(first.next_continuation_token().unwrap()).send().await.unwrap();
    assert_eq!(second.contents()[0].key(), Some("e"));
    assert!(list().continuation_token("rubbish").send().await.is_err());
    let objects = ["a", "d/1", "missing"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.to_vec())).build().unwrap();
    let deleted = world.client.delete_objects().bucket("photos").delete(delete).send().await.unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (3, 0));
    world.client.delete_object().bucket("photos").key("e").send().await.unwrap();
    assert_eq!(world.fake.with(|model| model.objects.len()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_keep_etag_and_bytes() {
    let world = World::start().await;
    world.put("source", b"hello").await.unwrap();
    let copy = |from: &str, to: &str| {
        world.client.copy_object().bucket("photos").key(to).copy_source(format!("photos/{from}"))
    };
    copy("source", "near").send().await.unwrap();
    assert_eq!(world.backends[0].count(Operation::Copy), 1, "one backend copies by itself");
    assert_eq!(world.get("near").await.unwrap(), b"hello");
    let error = copy("source", "source").send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidRequest"));
    let replaced = copy("source", "source").metadata_directive(MetadataDirective::Replace).metadata("a", "b");
    replaced.send().await.unwrap();
    // The backend cannot copy: streamed to another one.
    world.backends[0].inject(Rule::new(Fault::Status(500)).on(Operation::Copy));
    copy("source", "far").send().await.unwrap();
    assert_eq!(world.get("far").await.unwrap(), b"hello");
    let etags =
        world.fake.with(|model| (model.objects["source"].etag.clone(), model.objects["far"].etag.clone()));
    assert_eq!(etags.0, etags.1);
    assert!(copy("source", "x").copy_source_if_match("\"no\"").send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_is_replaced() {
    let world = World::start().await;
    for (i, fault) in [
        Fault::StatusEarly(503),
        Fault::Status(500),
        Fault::ResetReceiving { after: 10 },
        Fault::LostReply,
        Fault::WrongEtag,
    ]
    .into_iter()
    .enumerate()
    {
        world.backends[0]
            .inject(Rule::new(fault.clone()).on(Operation::Put).times(1).key_contains("photos/"));
        let key = format!("k{i}");
        world.put(&key, &bytes(100_000)).await.unwrap_or_else(|code| panic!("{fault:?}: {code}"));
        assert!(world.get(&key).await.unwrap() == bytes(100_000));
        let commit = world.fake.with(|model| model.commits.last().cloned().unwrap());
        assert_eq!(commit.failed.len(), 1, "{fault:?}");
        assert_eq!(commit.copies[0].backend, 2);
        world.backends[0].heal();
    }
    let last = world.fake.with(|model| model.commits.last().cloned().unwrap());
    assert_eq!(last.failed[0].end(), v1::TargetEnd::Stored, "a wrong ETag is of a blob that is there");
}

/// The backend was moved, and this data plane may not know it yet.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_place_that_the_target_does_not_name() {
    let world = World::start().await;
    let moved = |n| world.fake.with(|model| model.backends[0].place = Place::from_number(n));
    // Begin knows the new place, the configuration does not come: another backend takes the object.
    moved(2);
    world.put("held", &bytes(1000)).await.unwrap();
    let commit = world.fake.with(|model| model.commits.last().cloned().unwrap());
    assert_eq!(commit.failed[0].end(), v1::TargetEnd::NotSent);
    assert_eq!(commit.intent.unwrap().targets.iter().map(|t| t.place).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((world.backends[0].count(Operation::Put), commit.copies[0].backend), (0, 2));
    // It comes while the write waits for it.
    let write = world.put("waits", b"w");
    let configure = async {
        while world.fake.with(|model| model.begins.len() < 2) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.fake.reconfigure();
    };
    let (written, ()) = tokio::join!(write, configure);
    written.unwrap();
    let commit = world.fake.with(|model| model.commits.last().cloned().unwrap());
    assert_eq!((commit.copies[0].backend, commit.failed.len()), (1, 0));
    // A target of the past, by a control plane that was behind, is not waited for.
    moved(1);
    world.put("past", b"p").await.unwrap();
    let commit = world.fake.with(|model| model.commits.last().cloned().unwrap());
    assert_eq!((commit.copies[0].backend, commit.failed[0].end()), (2, v1::TargetEnd::NotSent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_was_sent_cannot_be_sent_again() {
    let world = World::start().await;
    world.backends[0].inject(Rule::new(Fault::ResetReceiving { after: 1 << 20 }).on(Operation::Put));
    assert_eq!(world.put("large", &bytes(12 << 20)).await, Err("ServiceUnavailable".to_owned()));
    world.backends[0].heal();
    world.settled().await;
    let (aborts, open) = world.fake.with(|model| (model.aborts.clone(), model.intents.len()));
    assert_eq!((aborts.len(), open), (1, 0));
    assert_eq!(aborts[0].targets[0].end(), v1::TargetEnd::Cut);
    assert_eq!(world.blobs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_asked_for_again() {
    let world = World::start().await;
    world.fake.with(|model| model.lose.extend([(BEGIN, 1), (COMMIT, 1)]));
    world.put("k", b"hello").await.unwrap();
    let (begins, commits, open) =
        world.fake.with(|model| (model.begins.len(), model.commits.len(), model.intents.len()));
    assert_eq!((begins, commits, open), (1, 1, 0), "each was done once");
    assert_eq!(world.get("k").await.unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_is_neither_aborted_nor_acknowledged() {
    let world = World::start().await;
    world.fake.with(|model| model.lose.insert(COMMIT, usize::MAX));
    assert_eq!(world.put("k", b"hello").await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.fake.with(|model| model.aborts.len()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_breaks_goes_on_where_it_was() {
    let world = World::start().await;
    let body = bytes(3 << 20);
    world.put("k", &body).await.unwrap();
    // A second copy on the second backend.
    let key = world.fake.with(|model| {
        let extent = &mut model.objects.get_mut("k").unwrap().extents[0];
        let mut copy = extent.copies[0].clone();
        copy.backend = 2;
        extent.copies.push(copy);
        extent.copies[0].storage_key.clone()
    });
    world.backends[1].plant(&key, body.clone());
    for fault in [
        Fault::ResetSending { after: 1 << 20 },
        Fault::Status(500),
        Fault::Status(404),
        Fault::Truncated { keep: 100 },
    ] {
        world.backends[0].inject(Rule::new(fault.clone()).on(Operation::Get));
        assert!(world.get("k").await.as_ref() == Ok(&body), "{fault:?}");
        world.backends[0].heal();
    }
    // All copies gone, and no newer version: not NoSuchKey.
    for backend in &world.backends {
        backend.drop_all_blobs();
    }
    assert_eq!(world.get("k").await, Err("ServiceUnavailable".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_before_the_body_is_read() {
    let world = World::start().await;
    world.fake.with(|model| model.refuse_begin = Some(ErrorCode::InsufficientStorage));
    let put = world.client.put_object().bucket("photos").key("k").body(ByteStream::from(bytes(8 << 20)));
    let error = put.send().await.unwrap_err();
    assert_eq!(error.code(), Some("InsufficientStorage"));
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 507);
    assert_eq!(world.blobs(), 0);
    world.put("k", b"x").await.unwrap();
    let again =
        world.client.put_object().bucket("photos").key("k").if_none_match("*").send().await.unwrap_err();
    assert_eq!(again.code(), Some("PreconditionFailed"));
    let wrong = world.client.put_object().bucket("photos").key("w").content_md5("1B2M2Y8AsgTpgAmY7PhCfg==");
    let error = wrong.body(ByteStream::from_static(b"not empty")).send().await.unwrap_err();
    assert_eq!(error.code(), Some("BadDigest"));
    let wrong = world.client.put_object().bucket("photos").key("w").checksum_crc32("AAAAAA==");
    let error = wrong.body(ByteStream::from_static(b"not empty")).send().await.unwrap_err();
    assert_eq!(error.code(), Some("BadDigest"));
    world.settled().await;
    assert_eq!(world.fake.with(|model| (model.aborts.len(), model.intents.len())), (2, 0));
    assert_eq!(world.blobs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_gets_an_answer_with_a_request_id() {
    let world = World::start().await;
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n",
        "GET /photos/k HTTP/1.1\r\nhost: x\r\nauthorization: rubbish\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n",
        "PUT /%ff%fe HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\nabc",
        "POST /photos HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 0\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n",
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.plane.s3_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("<RequestId>mine-1</RequestId>"), "{request}\n{answer}");
        assert!(answer.contains("x-amz-request-id: mine-1"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_body_leaves_nothing() {
    let world = World::start().await;
    let presigning =
        aws_sdk_s3::presigning::PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
    let url = world.client.put_object().bucket("photos").key("cut").presigned(presigning).await.unwrap();
    let uri: http::Uri = url.uri().parse().unwrap();
    let mut stream = tokio::net::TcpStream::connect(world.plane.s3_addr()).await.unwrap();
    let mut head = format!(
        "PUT {} HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\n",
        uri.path_and_query().unwrap(),
        world.plane.s3_addr()
    );
    for (name, value) in url.headers() {
        if name != "host" && name != "content-length" {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.write_all(&[7; 500_000]).await.unwrap();
    stream.flush().await.unwrap();
    while world.fake.with(|model| model.begins.is_empty()) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(stream);
    while world.fake.with(|model| model.aborts.is_empty()) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(world.blobs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn features_and_shutdown() {
    let world = World::start().await;
    world.put("k", b"x").await.unwrap();
    assert!(world.shutdown.clone().finish(std::time::Duration::from_secs(20)).await, "nothing had to be cut");
    assert!(world.fake.with(|model| !model.usage.is_empty()), "the last usage is reported");
    let world = World::start().await;
    world.fake.with(|model| model.required_features = vec!["of-the-future".to_owned()]);
    let _ = world.put("k", b"x").await;
    assert_eq!(world.put("k", b"x").await, Err("ServiceUnavailable".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_is_aborted_with_what_is_stored() {
    let world = World::start().await;
    for (code, name) in
        [(ErrorCode::InvalidArgument, "InvalidArgument"), (ErrorCode::InternalError, "InternalError")]
    {
        world.fake.with(|model| model.refuse_commit = Some(code));
        assert_eq!(world.put("k", b"x").await, Err(name.to_owned()));
        while world.fake.with(|model| !model.intents.is_empty()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    let aborts = world.fake.with(|model| model.aborts.clone());
    assert!(aborts.iter().all(|abort| abort.targets[0].end() == v1::TargetEnd::Stored), "{aborts:?}");
    // Busy: the commit is asked again and counts.
    world.fake.with(|model| model.refuse_commit = Some(ErrorCode::ServiceUnavailable));
    assert_eq!(world.put("k", b"x").await, Ok(()));
    assert_eq!(world.fake.with(|model| model.aborts.len()), 2);
}
