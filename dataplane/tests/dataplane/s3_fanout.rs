//! Writes that go to several backends at once: what is on each of them, and what the control plane hears.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fake::Fake;
use crate::world::{self, SHORT, bytes};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use s3o_dataplane::DataPlane;
use s3o_proto::v1;
use s3o_proto::v1::TargetEnd::{Cut, NotSent, Stored, Unknown};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::EtagProof;
use tokio::io::AsyncWriteExt as _;

/// More than the replay memory takes, and than the buffers of a connection.
const LARGE: usize = 20 << 20;
const SMALL: usize = 300_000;

struct World {
    fake: Fake,
    backends: Vec<FaultyBackend>,
    plane: DataPlane,
    client: Client,
}

impl World {
    /// So many backends; `targets` of them for each write, `required` of which must take it.
    async fn start(backends: usize, (targets, required): (usize, u32)) -> Self {
        Self::tuned(backends, (targets, required), "", &[]).await
    }

    async fn tuned(count: usize, level: (usize, u32), timeouts: &str, proofs: &[EtagProof]) -> Self {
        let timeouts = format!("{SHORT}{timeouts}");
        let world = world::World::start(count, &timeouts, "", |model| {
            model.level = Some(level);
            for (spec, proof) in model.backends.iter_mut().zip(proofs) {
                spec.quirks.etag = *proof;
            }
        });
        let world::World { fake, backends, plane, client, .. } = world.await;
        Self { fake, backends, plane, client }
    }

    /// Strikes PUTs of objects at this backend.
    fn inject(&self, backend: usize, fault: Fault) {
        self.backends[backend - 1].inject(Rule::new(fault).on(Operation::Put).key_contains("photos/"));
    }

    async fn put(&self, key: &str, body: &[u8]) -> Result<(), String> {
        let body = ByteStream::from(body.to_vec());
        let sent = self.client.put_object().bucket("photos").key(key).body(body).send().await;
        sent.map(|_| ()).map_err(|error| error.code().unwrap_or("none").to_owned())
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let got = self.client.get_object().bucket("photos").key(key).send().await.unwrap();
        got.body.collect().await.unwrap().to_vec()
    }

    /// The last Commit: the backends of its copies, and the ends of the others.
    fn committed(&self) -> (Vec<i32>, BTreeMap<i32, v1::TargetEnd>) {
        let commit = self.fake.with(|model| model.commits.last().cloned().unwrap());
        let mut copies: Vec<_> = commit.copies.iter().map(|copy| copy.backend).collect();
        copies.sort_unstable();
        let named = copies.len() + commit.failed.len();
        assert_eq!(commit.intent.unwrap().targets.len(), named, "each target is one or the other");
        (copies, commit.failed.iter().map(|failed| (failed.backend, failed.end())).collect())
    }

    /// The one Abort: how each target ended. Nothing was committed.
    async fn aborted(&self) -> BTreeMap<i32, v1::TargetEnd> {
        while self.fake.with(|model| !model.intents.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (aborts, commits) = self.fake.with(|model| (model.aborts.clone(), model.commits.len()));
        assert_eq!((aborts.len(), commits), (1, 0));
        let abort = &aborts[0];
        assert_eq!(abort.intent.as_ref().unwrap().targets.len(), abort.targets.len());
        abort.targets.iter().map(|target| (target.backend, target.end())).collect()
    }

    /// The objects' blobs on each backend.
    fn blobs(&self) -> Vec<Vec<Vec<u8>>> {
        let objects = |backend: &FaultyBackend| {
            let blobs = backend.blobs().into_iter().filter(|(key, _)| !key.starts_with(".s3o/"));
            blobs.map(|(_, blob)| blob.bytes.to_vec()).collect()
        };
        self.backends.iter().map(objects).collect()
    }

    /// How many blobs each backend has; all of them are this body.
    fn counts(&self, body: &[u8]) -> Vec<usize> {
        let blobs = self.blobs();
        assert!(blobs.iter().flatten().all(|blob| blob == body));
        blobs.iter().map(Vec::len).collect()
    }
}

fn ends<const N: usize>(ends: [(i32, v1::TargetEnd); N]) -> BTreeMap<i32, v1::TargetEnd> {
    BTreeMap::from(ends)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_targets_hold_what_was_acknowledged() {
    for size in [0, 1, SMALL, LARGE] {
        let world = World::start(3, (3, 3)).await;
        let body = bytes(size);
        world.put("k", &body).await.unwrap();
        assert_eq!(world.committed(), (vec![1, 2, 3], ends([])));
        assert_eq!(world.counts(&body), [1, 1, 1]);
        assert!(world.get("k").await == body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_reached_is_replaced_while_the_body_waits() {
    let world = World::start(4, (3, 3)).await;
    world.backends[1].kill().await;
    let body = bytes(LARGE);
    world.put("k", &body).await.unwrap();
    let (copies, failed) = world.committed();
    assert_eq!(copies, [1, 3, 4]);
    assert!(matches!(failed[&2], NotSent | Cut), "{failed:?}");
    assert_eq!(world.counts(&body), [1, 0, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_body_is_sent_again_to_a_replacement() {
    for (fault, end, left) in [
        (Fault::StatusEarly(503), None, 0),
        (Fault::Status(500), Some(Unknown), 0),
        (Fault::ResetReceiving { after: 1000 }, None, 0),
        (Fault::LostReply, Some(Unknown), 1),
        (Fault::WrongEtag, Some(Stored), 1),
    ] {
        let world = World::start(3, (2, 2)).await;
        world.inject(2, fault.clone());
        let body = bytes(SMALL);
        world.put("k", &body).await.unwrap();
        let (copies, failed) = world.committed();
        assert_eq!((copies, failed.len()), (vec![1, 3], 1), "{fault:?}");
        assert!(end.is_none_or(|end| failed[&2] == end), "{fault:?} {failed:?}");
        assert_eq!(world.counts(&body), [1, left, 1], "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_the_level_needs_are_replaced() {
    let world = World::start(5, (3, 2)).await;
    for backend in [2, 3] {
        world.inject(backend, Fault::Status(500));
    }
    let body = bytes(SMALL);
    world.put("k", &body).await.unwrap();
    let (copies, failed) = world.committed();
    assert_eq!(copies, [1, 4]);
    assert_eq!(failed.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(world.counts(&body), [1, 0, 0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_is_left_out_where_the_others_suffice() {
    let world = World::start(4, (3, 2)).await;
    world.inject(1, Fault::ResetReceiving { after: 1 << 20 });
    let body = bytes(LARGE);
    world.put("k", &body).await.unwrap();
    assert_eq!(world.committed(), (vec![2, 3], ends([(1, Cut)])));
    assert_eq!(world.counts(&body), [0, 1, 1, 0]);
    assert_eq!(world.fake.with(|model| model.retargets), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_one_lost_fails_clean_where_all_must_have_it() {
    let world = World::start(3, (2, 2)).await;
    world.inject(1, Fault::ResetReceiving { after: 1 << 20 });
    assert_eq!(world.put("k", &bytes(LARGE)).await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.aborted().await, ends([(1, Cut), (2, Cut)]));
    assert_eq!(world.counts(&[]), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_named_when_the_rest_fails() {
    // The first has all the time that it needs.
    let world = World::tuned(2, (2, 2), ", backend_response: 4s", &[]).await;
    world.inject(2, Fault::HangReply);
    let body = bytes(SMALL);
    assert_eq!(world.put("k", &body).await, Err("ServiceUnavailable".to_owned()));
    assert_eq!(world.aborted().await, ends([(1, Stored), (2, Unknown)]));
    assert_eq!(world.counts(&body), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stalls_is_given_up_where_the_others_suffice() {
    let world = World::start(3, (3, 2)).await;
    world.inject(3, Fault::StallReceiving { after: 100_000 });
    let body = bytes(LARGE);
    world.put("k", &body).await.unwrap();
    assert_eq!(world.committed(), (vec![1, 2], ends([(3, Cut)])));
    assert_eq!(world.counts(&body), [1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_answer_is_given_up_when_the_level_is_met() {
    let world = World::start(3, (3, 2)).await;
    world.inject(1, Fault::HangReply);
    let body = bytes(SMALL);
    world.put("k", &body).await.unwrap();
    assert_eq!(world.committed(), (vec![2, 3], ends([(1, Unknown)])));
    assert_eq!(world.counts(&body), [1, 1, 1]);
    // Each time it counts against the backend: in the end writes avoid it instead of waiting for it.
    for number in 0..4 {
        world.put(&format!("again-{number}"), &body).await.unwrap();
    }
    world.put("last", &body).await.unwrap();
    let begin = world.fake.with(|model| model.begins.last().cloned().unwrap());
    assert_eq!(begin.down, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_pauses_is_waited_for_where_all_must_have_it() {
    // Clients must be quicker than the pause; the one that waits for the other is not taken for one.
    let world = World::tuned(2, (2, 2), ", client_idle: 1s", &[]).await;
    world.inject(2, Fault::PauseReceiving { after: 100_000, pause: Duration::from_secs(5) });
    let body = bytes(LARGE);
    world.put("k", &body).await.unwrap();
    assert_eq!(world.committed(), (vec![1, 2], ends([])));
    assert_eq!(world.counts(&body), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stalls_for_good_ends_the_write_where_all_must_have_it() {
    let world = World::tuned(2, (2, 2), ", client_idle: 1s, backend_idle: 2s", &[]).await;
    world.inject(1, Fault::StallReceiving { after: 100_000 });
    let failed = world.put("k", &bytes(LARGE)).await;
    assert_eq!(failed, Err("ServiceUnavailable".to_owned()), "and not as the client's fault");
    assert_eq!(world.aborted().await, ends([(1, Cut), (2, Cut)]));
    assert_eq!(world.counts(&[]), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_it_says_is_stored_nowhere() {
    for size in [SMALL, LARGE] {
        let world = World::start(3, (3, 2)).await;
        let put = world.client.put_object().bucket("photos").key("k").content_md5("1B2M2Y8AsgTpgAmY7PhCfg==");
        let error = put.body(ByteStream::from(bytes(size))).send().await.unwrap_err();
        assert_eq!(error.code(), Some("BadDigest"));
        let aborted = world.aborted().await;
        assert!(aborted.values().all(|end| matches!(end, Cut | NotSent)), "{aborted:?}");
        assert_eq!((aborted.len(), world.counts(&[])), (3, vec![0, 0, 0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_leaves_nothing() {
    let world = World::start(2, (2, 2)).await;
    let expires = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let url = world.client.put_object().bucket("photos").key("k").presigned(expires).await.unwrap();
    let uri: http::Uri = url.uri().parse().unwrap();
    let (path, host) = (uri.path_and_query().unwrap(), world.plane.s3_addr());
    let mut head = format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {LARGE}\r\n");
    for (name, value) in url.headers().filter(|(name, _)| !["host", "content-length"].contains(name)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.write_all(&bytes(LARGE / 2)).await.unwrap();
    while world.fake.with(|model| model.begins.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    assert_eq!(world.aborted().await, ends([(1, Cut), (2, Cut)]));
    assert_eq!(world.counts(&[]), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_the_client_hold_for_all() {
    use EtagProof::{Md5, Md5Trailer, Opaque};
    for proofs in [[Md5Trailer, Md5Trailer], [Md5Trailer, Md5], [Md5, Opaque], [Md5Trailer, Opaque]] {
        let world = World::tuned(2, (2, 2), "", &proofs).await;
        for (number, size) in [1000, SMALL, 12 << 20].into_iter().enumerate() {
            let body = bytes(size);
            let (key, put) = (format!("k{number}"), world.client.put_object().bucket("photos"));
            let put = put.key(&key).checksum_algorithm(ChecksumAlgorithm::Sha256);
            put.body(ByteStream::from(body.clone())).send().await.unwrap();
            assert_eq!(world.committed(), (vec![1, 2], ends([])), "{proofs:?}");
            let head = world.client.head_object().bucket("photos").key(&key);
            let head = head.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled).send().await.unwrap();
            assert!(head.checksum_sha256().is_some(), "{proofs:?}");
            let etags: Vec<_> = world.fake.with(|model| {
                let commit = model.commits.last().unwrap();
                commit.copies.iter().map(|copy| copy.backend_etag.clone()).collect()
            });
            assert_eq!(head.e_tag().unwrap().trim_matches('"'), etags[0], "{proofs:?}");
            assert!(world.get(&key).await == body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_do_not_agree_on_the_md5_are_not_both_believed() {
    let world = World::tuned(3, (2, 2), "", &[EtagProof::Md5Trailer; 3]).await;
    world.inject(2, Fault::WrongEtag);
    let body = bytes(SMALL);
    world.put("k", &body).await.unwrap();
    assert_eq!(world.committed(), (vec![1, 3], ends([(2, Stored)])));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_within_a_backend_and_one_reading_for_the_rest() {
    let world = World::start(3, (1, 1)).await;
    let body = bytes(LARGE);
    world.put("source", &body).await.unwrap();
    world.fake.with(|model| model.level = Some((3, 3)));
    let copy = |to: &str| world.client.copy_object().bucket("photos").key(to).copy_source("photos/source");
    copy("near").send().await.unwrap();
    assert_eq!(world.committed(), (vec![1, 2, 3], ends([])));
    let calls = |operation| world.backends.iter().map(|b| b.count(operation)).collect::<Vec<_>>();
    assert_eq!((calls(Operation::Copy), calls(Operation::Get)), (vec![1, 0, 0], vec![1, 0, 0]));
    assert_eq!(world.counts(&body), [2, 1, 1]);
    // It will not copy: all three by one reading.
    world.backends[0].inject(Rule::new(Fault::Status(403)).on(Operation::Copy));
    copy("far").send().await.unwrap();
    assert_eq!(world.committed(), (vec![1, 2, 3], ends([])));
    assert_eq!((calls(Operation::Copy), calls(Operation::Get)), (vec![2, 0, 0], vec![2, 0, 0]));
    assert_eq!(world.counts(&body), [3, 2, 2]);
    // One copy is enough: the others are left to replication.
    world.backends[0].heal();
    world.fake.with(|model| model.level = Some((3, 1)));
    copy("one").send().await.unwrap();
    assert_eq!(world.committed(), (vec![1], ends([(2, NotSent), (3, NotSent)])));
    assert_eq!(calls(Operation::Get), [2, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_one_backend_lost_is_read_again_for_its_replacement() {
    let world = World::start(4, (1, 1)).await;
    let body = bytes(LARGE);
    world.put("source", &body).await.unwrap();
    world.fake.with(|model| model.level = Some((3, 3)));
    world.inject(3, Fault::ResetReceiving { after: 1 << 20 });
    let copy = world.client.copy_object().bucket("photos").key("copy").copy_source("photos/source");
    copy.send().await.unwrap();
    assert_eq!(world.committed(), (vec![1, 2, 4], ends([(3, Cut)])));
    assert_eq!(world.counts(&body), [2, 1, 0, 1]);
    assert_eq!(world.backends[0].count(Operation::Get), 2);
}

/// It would undo what the client has put there since it gave up.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_client_has_gone_does_not_count() {
    let world = World::start(1, (1, 1)).await;
    world.put("source", b"hello").await.unwrap();
    world.backends[0].inject(Rule::new(Fault::Latency(Duration::from_mins(2))).on(Operation::Copy));
    let copy = world.client.copy_object().bucket("photos").key("k").copy_source("photos/source");
    let gone = tokio::spawn(copy.send());
    while world.backends[0].count(Operation::Copy) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gone.abort();
    let aborted = async {
        while world.fake.with(|model| model.aborts.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), aborted).await;
    in_time.expect("it does not wait for the backend's answer");
    let (begins, commits) = world.fake.with(|model| (model.begins.len(), model.commits.len()));
    assert_eq!((begins, commits), (2, 1), "only the source counts");
}

/// A client that asks again would have two of them read and sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_ends_with_its_client() {
    let world = World::start(1, (1, 1)).await;
    world.put("source", &[7; 300_000]).await.unwrap();
    world.backends[0].inject(Rule::new(Fault::Status(403)).on(Operation::Copy));
    world.backends[0].inject(Rule::new(Fault::StallReceiving { after: 1000 }).on(Operation::Put));
    let copy = world.client.copy_object().bucket("photos").key("k").copy_source("photos/source");
    let gone = tokio::spawn(copy.send());
    while world.backends[0].count(Operation::Put) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gone.abort();
    while world.fake.with(|model| model.aborts.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (commits, retargets) = world.fake.with(|model| (model.commits.len(), model.retargets));
    assert_eq!((commits, retargets), (1, 0), "it did not wait until the backend failed");
}
