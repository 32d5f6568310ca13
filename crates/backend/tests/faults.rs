//! Each fault of a backend ends in the right kind of error and the right certainty, and what was cut
//! is never stored.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::header::{CONTENT_TYPE, HeaderValue};
use s3o_backend::BackendErrorKind as Kind;
use s3o_backend::{
    BackendClient, BackendError, ByteRange, Certainty, Deleted, HttpPool, MarkerCheck, PutDone, Timeouts,
    UploadWatch, verify_put, write_marker_if_absent,
};
use s3o_blob::{AlgorithmSet, BodyFault, BodyHasher, Expected, Guard};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{BackendId, EtagProof};

/// For what never comes. What must come has the usual ones: the machine may have other things to do.
const SHORT: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    idle: Duration::from_millis(400),
    source: Duration::from_millis(600),
    response: Duration::from_millis(500),
};

async fn start() -> (FaultyBackend, BackendClient) {
    let server = FaultyBackend::start().await.unwrap();
    let client = client(&server, Timeouts::default());
    (server, client)
}

fn client(server: &FaultyBackend, timeouts: Timeouts) -> BackendClient {
    BackendClient::new(server.spec(1, "b1"), HttpPool::new(timeouts))
}

fn body(size: usize) -> Bytes {
    (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>().into()
}

fn chunked(
    bytes: &Bytes,
    chunk: usize,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin + 'static + use<> {
    let bytes = bytes.clone();
    let starts: Vec<_> = (0..bytes.len()).step_by(chunk).collect();
    stream::iter(starts).map(move |start| Ok(bytes.slice(start..bytes.len().min(start + chunk))))
}

async fn put(client: &BackendClient, key: &str, bytes: &Bytes) -> Result<PutDone, BackendError> {
    client.put(key, bytes.len() as u64, vec![], chunked(bytes, 64 * 1024)).await
}

async fn get(client: &BackendClient, key: &str, range: Option<ByteRange>) -> Result<Bytes, BackendError> {
    let got = client.get(key, range, None).await?;
    let bytes: BytesMut = got.body.try_collect().await?;
    assert_eq!(bytes.len() as u64, got.content_length);
    Ok(bytes.freeze())
}

#[tokio::test]
async fn a_healthy_backend_does_what_it_is_told() {
    let (server, client) = start().await;
    let bytes = body(300_000);
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("text/plain"))];
    let put = client.put("a/b c+%~é", 300_000, headers, chunked(&bytes, 1000)).await.unwrap();
    let digests = BodyHasher::digest(&bytes, AlgorithmSet::NONE);
    assert_eq!(put.etag, digests.etag());
    verify_put(&client, "a/b c+%~é", &put, &digests, EtagProof::Md5).await.unwrap();
    verify_put(&client, "a/b c+%~é", &put, &digests, EtagProof::Opaque).await.unwrap();
    assert_eq!(server.keys(), ["a/b c+%~é"]);
    assert_eq!(get(&client, "a/b c+%~é", None).await.unwrap(), bytes);
    let range = ByteRange { first: 299_990, last: 400_000 };
    assert_eq!(get(&client, "a/b c+%~é", Some(range)).await.unwrap(), bytes.slice(299_990..));
    let got =
        client.get("a/b c+%~é", Some(ByteRange { first: 1, last: 1 }), put.etag.as_ref()).await.unwrap();
    assert_eq!((got.content_length, got.size), (1, 300_000));
    let head = client.head("a/b c+%~é").await.unwrap();
    assert_eq!((head.size, head.headers[CONTENT_TYPE].as_bytes()), (300_000, &b"text/plain"[..]));
    assert!(head.last_modified.is_some());
    assert_eq!(client.delete("a/b c+%~é", None).await.unwrap(), Deleted::Gone);
    assert_eq!(client.head("a/b c+%~é").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(get(&client, "a/b c+%~é", None).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn copy_list_and_empty_bodies() {
    let (server, client) = start().await;
    for key in ["p/1", "p/2", "p/3", "q/1"] {
        client.put(key, 0, vec![], stream::empty::<Result<Bytes, std::io::Error>>()).await.unwrap();
    }
    let page = client.list("p/", None, 2).await.unwrap();
    assert_eq!((page.entries.len(), page.truncated), (2, true));
    let page = client.list("p/", Some("p/2"), 2).await.unwrap();
    assert_eq!((page.entries[0].key.as_str(), page.entries.len(), page.truncated), ("p/3", 1, false));
    put(&client, "src +é", &body(9)).await.unwrap();
    let headers =
        vec![(http::HeaderName::from_static("x-amz-meta-s3o"), HeaderValue::from_static("1 k=blob s=9"))];
    let copied = client.copy("src +é", "dst", 9, headers.clone()).await.unwrap();
    assert_eq!(copied.etag, BodyHasher::digest(&body(9), AlgorithmSet::NONE).etag());
    assert_eq!(server.blob("dst").unwrap().headers["x-amz-meta-s3o"], "1 k=blob s=9");
    let error = client.copy("none", "dst2", 9, vec![]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::NotFound, Certainty::Cut));
    let error = client.copy("src", "dst2", 6 << 30, vec![]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Rejected, Certainty::NotSent));
}

#[tokio::test]
async fn keys_that_xml_cannot_say_are_listed() {
    let (_server, client) = start().await;
    let keys = ["p/a b+c%41é", "p/\u{fffe}", "p/\u{ffff}&", "p/\u{1f600}+"];
    for key in keys {
        client.put(key, 0, vec![], stream::empty::<Result<Bytes, std::io::Error>>()).await.unwrap();
    }
    let page = client.list("p/", None, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), keys);
    let behind = client.list("p/", Some(keys[1]), 10).await.unwrap();
    assert_eq!((behind.entries.len(), behind.entries[0].key.as_str()), (2, keys[2]));
    // What was asked for is said, too.
    let behind = client.list("p/", Some(keys[2]), 10).await.unwrap();
    assert_eq!((behind.entries.len(), behind.entries[0].key.as_str()), (1, keys[3]));
    assert!(client.list("p/\u{fffe}none", None, 10).await.unwrap().entries.is_empty());
    let one = client.list("p/", None, 1).await.unwrap();
    assert_eq!((one.entries[0].key.as_str(), one.truncated), (keys[0], true));
}

#[tokio::test]
async fn a_failed_put_says_whether_it_may_land() {
    let (server, patient) = start().await;
    let hasty = client(&server, SHORT);
    let ms = Duration::from_millis;
    // Fault; kind; certainty; whether the blob is there afterwards.
    let table = [
        (Fault::Status(500), Kind::Server, Certainty::Unknown, false),
        (Fault::Status(503), Kind::Throttled, Certainty::Unknown, false),
        (Fault::Status(403), Kind::Denied, Certainty::Cut, false),
        (Fault::ResetReceiving { after: 100_000 }, Kind::Connection, Certainty::Cut, false),
        (Fault::LostReply, Kind::Connection, Certainty::Unknown, true),
        (Fault::HangReply, Kind::Timeout, Certainty::Unknown, true),
        (Fault::Late(ms(3000)), Kind::Connection, Certainty::Unknown, false),
        (Fault::Hang, Kind::Timeout, Certainty::Cut, false),
        (Fault::StallReceiving { after: 100_000 }, Kind::Timeout, Certainty::Cut, false),
    ];
    // Larger than what socket buffers swallow, so that a cut comes before the last byte.
    let bytes = body(48 << 20);
    for (n, (fault, kind, certainty, stored)) in table.into_iter().enumerate() {
        let key = format!("k{n}");
        server.inject(Rule::new(fault.clone()).key_contains(&key).times(1));
        let client = if kind == Kind::Timeout { &hasty } else { &patient };
        let error = put(client, &key, &bytes).await.unwrap_err();
        assert_eq!((error.kind, error.certainty), (kind, certainty), "{fault:?}: {error}");
        assert!(error.counts_against_health(), "{fault:?}");
        if stored {
            lands(&server, &key).await;
        }
        assert_eq!(server.blob(&key).is_some(), stored, "{fault:?}");
    }
    lands(&server, "k6").await;
}

async fn lands(server: &FaultyBackend, key: &str) {
    let landed = async {
        while server.blob(key).is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), landed).await.expect("the PUT lands");
}

#[tokio::test]
async fn a_dead_backend_got_nothing() {
    let (server, client) = start().await;
    server.kill().await;
    let watch = UploadWatch::new();
    let error = client.put_watched("k", 5, vec![], chunked(&body(5), 5), None, &watch).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Connection, Certainty::NotSent), "{error}");
    assert!(!watch.touched());
    assert_eq!(client.head("k").await.unwrap_err().kind, Kind::Connection);
    server.restart().await.unwrap();
    put(&client, "k", &body(5)).await.unwrap();
    // Idle connections to the old process are dead: a restart must not fail the next request.
    server.kill().await;
    server.restart().await.unwrap();
    assert_eq!(get(&client, "k", None).await.unwrap(), body(5));
}

#[tokio::test]
async fn a_guarded_bad_body_is_never_stored() {
    let (server, client) = start().await;
    let bytes = body(200_000);
    let wrong_md5 = || Expected { md5: Some([7; 16]), ..Expected::of_size(200_000) };
    let table = [
        (bytes.clone(), wrong_md5()),
        (bytes.slice(1..), Expected::of_size(200_000)),
        (bytes.clone(), Expected::of_size(199_999)),
    ];
    for (sent, expected) in table {
        let size = expected.size;
        let (guard, verdict) = Guard::new(chunked(&sent, 8192), expected);
        let error = client.put("bad", size, vec![], guard).await.unwrap_err();
        assert_eq!((error.kind, error.certainty), (Kind::Body, Certainty::Cut), "{error}");
        assert!(!error.counts_against_health() && verdict.fault().is_some());
    }
    // One chunk only: nothing but headers may leave.
    let (guard, verdict) =
        Guard::new(chunked(&body(10), 10), Expected { md5: Some([7; 16]), ..Expected::of_size(10) });
    assert_eq!(client.put("bad", 10, vec![], guard).await.unwrap_err().certainty, Certainty::Cut);
    assert!(matches!(verdict.fault(), Some(BodyFault::BadMd5)));
    // Nothing at all: the request must not leave.
    let before = server.count(Operation::Put);
    let (guard, _) =
        Guard::new(chunked(&body(0), 10), Expected { md5: Some([7; 16]), ..Expected::of_size(0) });
    assert_eq!(client.put("bad", 0, vec![], guard).await.unwrap_err().certainty, Certainty::NotSent);
    assert_eq!(server.count(Operation::Put), before);
    assert!(server.keys().is_empty());
    let (guard, verdict) = Guard::new(chunked(&bytes, 8192), Expected::of_size(200_000));
    let put = client.put("good", 200_000, vec![], guard).await.unwrap();
    assert_eq!(put.etag, verdict.digests().and_then(s3o_blob::BodyDigests::etag));
}

#[tokio::test]
async fn a_stalled_or_abandoned_source_is_cut() {
    let (server, patient) = start().await;
    let client = client(&server, SHORT);
    let stalls = || chunked(&body(100), 10).take(5).chain(stream::pending());
    let error = client.put("stall", 100, vec![], stalls()).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Body, Certainty::Cut), "{error}");
    let watch = UploadWatch::new();
    let handed = async {
        while watch.handed() < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = patient.put_watched("gone", 100, vec![], stalls(), None, &watch) => panic!("{ended:?}"),
        () = handed => {}
    }
    assert_eq!((watch.certainty(), watch.handed()), (Certainty::Cut, 50));
    assert!(server.keys().is_empty());
}

#[tokio::test]
async fn a_source_that_is_held_stands_still_by_nobodys_fault() {
    let server = FaultyBackend::start().await.unwrap();
    let client = client(&server, SHORT);
    let (bytes, watch) = (body(100), UploadWatch::new());
    let holds = watch.clone();
    let held = stream::once(async move {
        holds.held(true);
        tokio::time::sleep(SHORT.source * 3).await;
        holds.held(false);
    });
    let held = held.filter_map(|()| std::future::ready(None));
    let source = chunked(&bytes, 10).take(5).chain(held).chain(chunked(&bytes, 10).skip(5));
    client.put_watched("held", 100, vec![], source, None, &watch).await.unwrap();
    assert_eq!(server.blob("held").unwrap().bytes, bytes);
    // When it is over, the clocks run again.
    let watch = UploadWatch::new();
    let over = watch.clone();
    let held = stream::once(async move {
        over.held(true);
        over.held(false);
    });
    let stalls = chunked(&bytes, 10).take(5).chain(held.filter_map(|()| std::future::ready(None)));
    let error = client.put_watched("stall", 100, vec![], stalls.chain(stream::pending()), None, &watch).await;
    assert_eq!(error.unwrap_err().kind, Kind::Body);
}

#[tokio::test]
async fn a_broken_download_is_an_error() {
    let (server, client) = start().await;
    let hasty = self::client(&server, SHORT);
    put(&client, "k", &body(1 << 20)).await.unwrap();
    let table = [
        (Fault::ResetSending { after: 70_000 }, Kind::Connection),
        (Fault::StallSending { after: 70_000 }, Kind::Timeout),
        (Fault::Hang, Kind::Timeout),
        (Fault::Status(503), Kind::Throttled),
        (Fault::Status(404), Kind::NotFound),
    ];
    for (fault, kind) in table {
        server.inject(Rule::new(fault.clone()).on(Operation::Get).times(1));
        let client = if kind == Kind::Timeout { &hasty } else { &client };
        assert_eq!(get(client, "k", None).await.unwrap_err().kind, kind, "{fault:?}");
    }
    server.inject(Rule::new(Fault::Truncated { keep: 5 }).on(Operation::Get).times(1));
    let error = get(&client, "k", Some(ByteRange { first: 0, last: 9 })).await.unwrap_err();
    assert_eq!(error.kind, Kind::Server, "a range that is not the one asked for: {error}");
    assert_eq!(get(&client, "k", None).await.unwrap(), body(1 << 20));
}

#[tokio::test]
async fn a_put_is_verified_by_what_the_backend_holds() {
    let (server, client) = start().await;
    let bytes = body(50_000);
    let digests = BodyHasher::digest(&bytes, AlgorithmSet::NONE);
    // Fault; what is known of the ETags; whether the PUT passes.
    let table = [
        (Fault::WrongEtag, EtagProof::Md5, false),
        (Fault::OpaqueEtag, EtagProof::Md5, true),
        (Fault::WrongEtag, EtagProof::Opaque, true),
        (Fault::BitFlip, EtagProof::Opaque, false),
        (Fault::BitFlip, EtagProof::Unknown, false),
    ];
    for (fault, proof, passes) in table {
        server.inject(Rule::new(fault.clone()).on(Operation::Put).times(1));
        let done = put(&client, "k", &bytes).await.unwrap();
        let verified = verify_put(&client, "k", &done, &digests, proof).await;
        assert_eq!(verified.is_ok(), passes, "{fault:?} {proof:?}");
        assert!(verified.is_ok() || verified.is_err_and(|error| error.kind == Kind::Mismatch && error.certainty == Certainty::Unknown));
    }
}

#[tokio::test]
async fn the_marker_says_whose_a_backend_is() {
    let (server, client) = start().await;
    let check = |cluster: &'static str, id| write_marker_if_absent(&client, cluster, BackendId(id));
    assert_eq!(check("c1", 1).await.unwrap(), MarkerCheck::Created(EtagProof::Md5));
    assert_eq!(check("c1", 1).await.unwrap(), MarkerCheck::Ours(EtagProof::Md5));
    let foreign = MarkerCheck::Foreign { cluster_id: "c1".to_owned(), backend_id: Some(BackendId(1)) };
    assert_eq!(check("c2", 1).await.unwrap(), foreign);
    assert_eq!(check("c1", 2).await.unwrap(), foreign);
    server.inject(Rule::new(Fault::OpaqueEtag));
    assert_eq!(check("c1", 1).await.unwrap(), MarkerCheck::Ours(EtagProof::Opaque));
    server.heal();
    server.plant(".s3o/backend", "not json");
    assert_eq!(
        check("c1", 1).await.unwrap(),
        MarkerCheck::Foreign { cluster_id: String::new(), backend_id: None }
    );
    server.inject(Rule::new(Fault::Status(500)));
    assert!(check("c1", 1).await.is_err());
}
