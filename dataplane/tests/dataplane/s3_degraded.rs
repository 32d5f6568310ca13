//! Reads while nothing can be decided: from what the data plane remembers, or from the backends; and back again.

use crate::world::{SHORT, World};
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use s3o_proto::v1;
use s3o_testkit::s3server::{Fault, Operation, Rule};
use s3o_types::{BlobName, Extent, StorageKey, VersionId};

/// Nothing is remembered: all is asked of the backends.
const FORGETFUL: &str = "degraded: {cache_size: 0, parallel: 1}\n";

async fn started(more: &str) -> World {
    started_with(more, v1::DegradedReads::Allowed).await
}

async fn started_with(more: &str, degraded_reads: v1::DegradedReads) -> World {
    World::start(2, SHORT, more, |model| model.degraded_reads = degraded_reads.into()).await
}

impl World {
    async fn send(&self, key: &str) -> Result<GetObjectOutput, SdkError<GetObjectError>> {
        self.client.get_object().bucket("photos").key(key).send().await
    }

    /// The bytes, or the code, and whether the answer says that it is degraded.
    async fn read(&self, key: &str) -> Result<Vec<u8>, String> {
        match self.send(key).await {
            Ok(got) => Ok(got.body.collect().await.unwrap().to_vec()),
            Err(error) => {
                let degraded = error.raw_response().and_then(|answer| answer.headers().get("x-s3o-degraded"));
                assert_eq!(degraded, Some("true"), "{error:?}");
                Err(error.code().unwrap_or("none").to_owned())
            }
        }
    }

    async fn recovery(&self) {
        self.fake.with(|model| model.is_away = false);
        self.until("/health", "\"database_breaker\":\"closed\"", true).await;
    }

    fn lists(&self) -> u64 {
        self.backends.iter().map(|backend| backend.count(Operation::List)).sum()
    }
}

fn is_degraded(error: &SdkError<impl std::fmt::Debug>) -> bool {
    error.raw_response().is_some_and(|answer| answer.headers().get("x-s3o-degraded").is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_served_and_nothing_else_is_asked() {
    let world = started("").await;
    world.put("k", b"old").await;
    world.put("k", b"0123456789").await;
    let tagged = world.client.put_object().bucket("photos").key("tagged").tagging("a=b");
    tagged.metadata("colour", "grün").body(ByteStream::from_static(b"x")).send().await.unwrap();
    world.outage().await;
    assert_eq!(world.read("k").await, Ok(b"0123456789".to_vec()));
    let get = || world.client.get_object().bucket("photos").key("k");
    let part = get().range("bytes=2-4").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 2-4/10"));
    assert_eq!(part.body.collect().await.unwrap().to_vec(), b"234");
    let etag = "\"781e5e245d69b566979b86e28d23f2c7\"";
    let unchanged = get().if_none_match(etag).send().await.unwrap_err();
    assert_eq!(unchanged.raw_response().map(|answer| answer.status().as_u16()), Some(304));
    assert!(is_degraded(&unchanged));
    assert!(get().if_match("\"x\"").send().await.is_err());
    let head = world.client.head_object().bucket("photos").key("k").part_number(1).send().await.unwrap();
    assert_eq!((head.content_length(), head.e_tag()), (Some(10), Some(etag)));
    // What the blob's headers do not say is remembered.
    let tagged = world.send("tagged").await.unwrap();
    assert_eq!(tagged.tag_count(), Some(1));
    assert_eq!(world.lists(), 0);
    let metrics = world.http("/metrics").await;
    assert!(metrics.contains("s3o_degraded_cache_hits_total 6"), "{metrics}");
    assert!(metrics.contains("s3o_circuit_breaker_state{name=\"database\"} "), "{metrics}");
    let opened = "s3o_circuit_breaker_transitions_total{name=\"database\",from=\"closed\",to=\"open\"} 1";
    assert!(metrics.contains(opened), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_by_default_is_remembered_of_a_write() {
    let by_default = v1::DefaultRetention {
        mode: v1::RetentionMode::Governance.into(),
        period: Some(v1::default_retention::Period::Days(1)),
    };
    let world = World::start(2, SHORT, "", |model| {
        model.degraded_reads = v1::DegradedReads::Allowed.into();
        model.lock = Some(v1::BucketLock { default_retention: Some(by_default) });
    })
    .await;
    world.put("k", b"0123456789").await;
    world.outage().await;
    let head = world.client.head_object().bucket("photos").key("k").send().await.unwrap();
    assert_eq!(head.object_lock_mode().map(|mode| mode.as_str()), Some("GOVERNANCE"));
    let until = head.object_lock_retain_until_date().map(|until| until.secs());
    let day = until.unwrap() - head.last_modified().unwrap().secs();
    assert!((24 * 3600..=24 * 3600 + 1).contains(&day), "a day after the write, to the next second: {day}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_are_asked_for_what_is_not_remembered() {
    let world = started(FORGETFUL).await;
    world.put("k", b"old").await;
    world.put("k", b"0123456789").await;
    world.put("k~x", b"another key").await;
    world.put("a//b", b"hashed").await;
    let put = world.client.put_object().bucket("photos").key("meta").content_type("text/plain");
    put.metadata("colour", "grün").body(ByteStream::from_static(b"m")).send().await.unwrap();
    let tagged = world.client.put_object().bucket("photos").key("tagged").tagging("a=b");
    tagged.body(ByteStream::from_static(b"x")).send().await.unwrap();
    world.outage().await;
    assert_eq!(world.read("k").await, Ok(b"0123456789".to_vec()), "the latest of two blobs");
    assert_eq!(world.read("a//b").await, Ok(b"hashed".to_vec()));
    let got = world.send("meta").await.unwrap();
    assert_eq!(got.content_type(), Some("text/plain"));
    assert!(got.metadata().unwrap().contains_key("colour"));
    let etag = Some("\"6f8f57715090da2632453988d9a1501b\"");
    assert_eq!(got.e_tag(), etag);
    let head = world.client.head_object().bucket("photos").key("meta").send().await.unwrap();
    assert_eq!((head.content_length(), head.e_tag()), (Some(1), etag));
    let range = world.client.get_object().bucket("photos").key("k").range("bytes=-3").send().await.unwrap();
    assert_eq!(range.body.collect().await.unwrap().to_vec(), b"789");
    assert_eq!(
        world.read("tagged").await,
        Err("ServiceUnavailable".to_owned()),
        "its tags are not on the blob"
    );
    assert_eq!(world.read("none").await, Err("NoSuchKey".to_owned()));
    let metrics = world.http("/metrics").await;
    assert!(metrics.contains("s3o_degraded_reads_total{operation=\"HeadObject\"} 1"), "{metrics}");
    assert!(metrics.contains("s3o_degraded_cache_hits_total 0"), "{metrics}");
}

/// Nothing is known of a digest; the ETag is the MD5 of what was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_rotted_is_never_given_whole() {
    let world = started(FORGETFUL).await;
    world.fake.with(|model| model.level = Some((2, 2)));
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for key in ["one", "other", "both"] {
        world.put(key, b"0123456789").await;
    }
    world.put("large", &large).await;
    let corrupt = |backend: usize, key: &str| {
        let stored = world.backends[backend].keys().into_iter().find(|stored| stored.contains(key));
        assert!(world.backends[backend].corrupt(&stored.unwrap()));
    };
    for (backend, key) in [(0, "one"), (1, "other"), (0, "both"), (1, "both"), (0, "large"), (1, "large")] {
        corrupt(backend, key);
    }
    world.outage().await;
    // Whichever copy is read first: of one chunk nothing has left, and the other copy is read.
    for key in ["one", "other"] {
        for _ in 0..4 {
            assert_eq!(world.read(key).await, Ok(b"0123456789".to_vec()), "{key}");
        }
    }
    for key in ["both", "large"] {
        let got = world.send(key).await;
        let whole = match got {
            Ok(got) => got.body.collect().await.is_ok(),
            Err(_) => false,
        };
        assert!(!whole, "{key}");
    }
    // A piece of it cannot be compared.
    let range =
        world.client.get_object().bucket("photos").key("both").range("bytes=0-1").send().await.unwrap();
    assert_eq!(range.body.collect().await.unwrap().to_vec().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_not_told() {
    let world = started(FORGETFUL).await;
    world.put("k", b"hello").await;
    world.outage().await;
    // A later version of which only a part is there: its upload may be complete, or not.
    let later = VersionId::mint(1000, 7);
    let part = BlobName { extent: Extent::new(1).unwrap(), ..BlobName::first(later) };
    let part = StorageKey::format("photos", "k", part);
    world.backends[0].plant(&part, b"he".to_vec());
    assert_eq!(world.read("k").await, Err("ServiceUnavailable".to_owned()));
    world.backends[0].remove(&part);
    assert_eq!(world.read("k").await, Ok(b"hello".to_vec()));
    // A later version that does not describe itself.
    let foreign = StorageKey::format("photos", "k", BlobName::first(later));
    world.backends[1].plant(&foreign, b"x".to_vec());
    assert_eq!(world.read("k").await, Err("ServiceUnavailable".to_owned()));
    world.backends[1].remove(&foreign);
    // Something that was imported, perhaps.
    for name in ["photos/plain", "plain"] {
        world.backends[1].plant(name, b"x".to_vec());
        assert_eq!(world.read("plain").await, Err("ServiceUnavailable".to_owned()), "{name}");
        world.backends[1].remove(name);
    }
    assert_eq!(world.read("plain").await, Err("NoSuchKey".to_owned()));
    // A backend that does not answer may have what the other has not.
    world.backends[1].inject(Rule::new(Fault::Status(500)).on(Operation::List));
    assert_eq!(world.read("plain").await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.read("k").await, Ok(b"hello".to_vec()));
    let head = world.client.head_object().bucket("photos").key("plain").send().await.unwrap_err();
    assert_eq!(head.raw_response().map(|answer| answer.status().as_u16()), Some(503));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_process_deleted_does_not_come_back() {
    let world = started("").await;
    world.put("k", b"hello").await;
    world.put("again", b"first").await;
    for key in ["k", "again"] {
        world.client.delete_object().bucket("photos").key(key).send().await.unwrap();
    }
    world.put("again", b"second").await;
    world.outage().await;
    // Its blob is there still, and may be what somebody else has written since.
    assert_eq!(world.read("k").await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.read("again").await, Ok(b"second".to_vec()));
    for backend in &world.backends {
        for key in backend.keys().iter().filter(|key| key.starts_with("photos/k~")) {
            backend.remove(key);
        }
    }
    assert_eq!(world.read("k").await, Err("NoSuchKey".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_whose_blobs_are_gone_is_looked_for_and_never_older() {
    let world = started("").await;
    world.put("k", b"one").await;
    let first = world.backends[0].keys().into_iter().find(|key| key.starts_with("photos/k~")).unwrap();
    let kept = world.backends[0].blob(&first).unwrap();
    world.put("k", b"two").await;
    let second = world.backends[0].keys().into_iter().rfind(|key| key.starts_with("photos/k~")).unwrap();
    world.outage().await;
    // Moved to another backend behind our back.
    world.backends[1].copy_from(&world.backends[0]);
    world.backends[1].remove(&first);
    world.backends[0].remove(&second);
    assert_eq!(world.read("k").await, Ok(b"two".to_vec()));
    // Gone for good: what is left is not what it was, and that there is none cannot be said.
    world.backends[1].remove(&second);
    assert_eq!(kept.bytes, "one");
    assert_eq!(world.read("k").await, Err("ServiceUnavailable".to_owned()));
    world.backends[0].remove(&first);
    assert_eq!(
        world.read("k").await,
        Err("NoSuchKey".to_owned()),
        "nothing is anywhere: it was deleted since"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_else_is_refused_at_once_and_comes_back() {
    let world = started("").await;
    world.put("k", b"hello").await;
    world.outage().await;
    let begins = world.fake.with(|model| model.begins.len());
    let put = world.client.put_object().bucket("photos").key("w").body(ByteStream::from_static(b"x")).send();
    let error = put.await.unwrap_err();
    assert_eq!(error.code(), Some("ServiceUnavailable"));
    let answer = error.raw_response().unwrap();
    assert!(answer.headers().get("retry-after").is_some());
    assert_eq!(world.fake.with(|model| model.begins.len()), begins, "it was not even asked");
    let list = world.client.list_objects_v2().bucket("photos").send().await.unwrap_err();
    assert_eq!(list.code(), Some("ServiceUnavailable"));
    assert!(world.client.delete_object().bucket("photos").key("k").send().await.is_err());
    assert!(world.client.get_object_tagging().bucket("photos").key("k").send().await.is_err());
    assert!(world.client.head_bucket().bucket("photos").send().await.is_ok(), "the configuration is here");
    let error = world.client.get_object().bucket("secret").key("k").send().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"));
    let metrics = world.http("/metrics").await;
    for operation in ["PutObject", "DeleteObject"] {
        let line = format!("s3o_degraded_write_rejections_total{{operation=\"{operation}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("rejections_total{operation=\"ListObjectsV2\"}"), "{metrics}");
    world.recovery().await;
    world.put("w", b"x").await;
    let got = world.send("k").await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
    assert_eq!(world.lists(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_decides() {
    let world = started_with("", v1::DegradedReads::Refused).await;
    world.put("k", b"hello").await;
    world.outage().await;
    assert_eq!(world.read("k").await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.lists(), 0);

    let world = started_with("", v1::DegradedReads::Cache).await;
    world.put("k", b"hello").await;
    world.outage().await;
    assert_eq!(world.read("k").await, Ok(b"hello".to_vec()));
    assert_eq!(world.read("none").await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.lists(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_copy_gets_a_rival() {
    let world = started("hedged_reads: {enabled: true, max_percent: 100}\n").await;
    // What is usual must be known first, of each backend.
    for key in ["on one", "on the other"] {
        world.put(key, b"hello").await;
        for _ in 0..40 {
            let got = world.send(key).await.unwrap();
            assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
        }
        world.fake.with(|model| model.backends.reverse());
    }
    world.fake.with(|model| model.level = Some((2, 2)));
    world.put("k", b"hello").await;
    // One of them hangs, the other answers. Which is asked first changes with what they took before.
    let mut metrics = String::new();
    for backend in world.backends.iter().cycle().take(20) {
        backend.inject(Rule::new(Fault::Hang).on(Operation::Get).times(1));
        let got = world.send("k").await.unwrap();
        assert_eq!(got.body.collect().await.unwrap().to_vec(), b"hello");
        backend.heal();
        metrics = world.http("/metrics").await;
        if metrics.contains("s3o_hedged_reads_total{outcome=\"second\"}") {
            break;
        }
    }
    assert!(metrics.contains("s3o_hedged_reads_total{outcome=\"second\"}"), "{metrics}");
    assert!(
        metrics.contains("operation=\"GetObject\",backend=\"b1\",status=\"given_up\"")
            || metrics.contains("operation=\"GetObject\",backend=\"b2\",status=\"given_up\""),
        "{metrics}"
    );
}
