//! A checksum behind the body: what it proves, and what it does not.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_ENCODING, HeaderValue};
use s3o_backend::{
    BackendClient, BackendError, BackendErrorKind, Certainty, HttpPool, PutDone, Timeouts, UploadWatch,
    probe_puts, verify_put,
};
use s3o_blob::{BodyDigests, Expected, Guard};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::EtagProof;

async fn start() -> (FaultyBackend, BackendClient) {
    let server = FaultyBackend::start().await.unwrap();
    let client = BackendClient::new(server.spec(1, "b1"), HttpPool::new(Timeouts::default()));
    (server, client)
}

/// Two and a half chunks of the encoding.
fn body() -> Bytes {
    (0..2_621_440_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into()
}

async fn put(
    client: &BackendClient,
    sent: Bytes,
    promised: usize,
) -> (Result<PutDone, BackendError>, Option<BodyDigests>) {
    let size = promised as u64;
    let chunks: Vec<_> =
        sent.chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
    let (mut guard, verdict) = Guard::new(stream::iter(chunks), Expected::of_size(size));
    assert!(guard.skip_md5(true));
    let digests = verdict.clone();
    let trailer = Box::new(move || digests.digests().and_then(|digests| digests.hop.clone()));
    let headers = vec![(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
    let done = client.put_watched("k", size, headers, guard, Some(trailer), &UploadWatch::new()).await;
    (done, verdict.digests().cloned())
}

#[tokio::test]
async fn an_honest_backend_is_found_out_and_used() {
    let (server, client) = start().await;
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Md5Trailer);
    assert!(server.keys().is_empty(), "the probe is taken away");
    let (done, digests) = put(&client, body(), body().len()).await;
    let (done, digests) = (done.unwrap(), digests.unwrap());
    let stored = server.blob("k").unwrap();
    assert!(stored.bytes == body() && stored.headers[CONTENT_ENCODING] == "gzip");
    assert_eq!(digests.md5, None);
    let reads = server.count(Operation::Get);
    let etag = verify_put(&client, "k", &done, &digests, EtagProof::Md5Trailer).await.unwrap();
    assert_eq!((etag.as_str(), server.count(Operation::Get)), (stored.etag.as_str(), reads));
    // Trusted less, it is read back, and the MD5 is known all the same.
    for proof in [EtagProof::Md5, EtagProof::Opaque, EtagProof::Unknown] {
        assert_eq!(verify_put(&client, "k", &done, &digests, proof).await.unwrap(), etag);
    }
    assert_eq!(server.count(Operation::Get), reads + 3);
}

#[tokio::test]
async fn what_is_not_said_is_read_back_and_what_is_wrong_is_refused() {
    let (server, client) = start().await;
    let verify = async |done: &PutDone, digests: &BodyDigests| {
        verify_put(&client, "k", done, digests, EtagProof::Md5Trailer).await.map_err(|error| error.kind)
    };
    let (done, digests) = put(&client, body(), body().len()).await;
    let (done, digests) = (done.unwrap(), digests.unwrap());
    let silent = PutDone { crc64nvme: None, ..done.clone() };
    assert!(verify(&silent, &digests).await.is_ok());
    assert_eq!(server.count(Operation::Get), 1);
    server.inject(Rule::new(Fault::BitFlip).on(Operation::Get).times(1));
    assert_eq!(verify(&silent, &digests).await, Err(BackendErrorKind::Mismatch));
    server.inject(Rule::new(Fault::WrongChecksum).on(Operation::Put).times(1));
    let (done, digests) = put(&client, body(), body().len()).await;
    assert_eq!(verify(&done.unwrap(), &digests.unwrap()).await, Err(BackendErrorKind::Mismatch));
}

#[tokio::test]
async fn a_body_that_is_not_as_promised_is_never_stored() {
    let (server, client) = start().await;
    let size = body().len();
    for promised in [size - 1, size + 1] {
        let error = put(&client, body(), promised).await.0.unwrap_err();
        assert_eq!((error.kind, error.certainty), (BackendErrorKind::Body, Certainty::Cut), "{error}");
    }
    assert!(server.keys().is_empty());
}

#[tokio::test]
async fn a_backend_that_fails_the_probe_is_not_trusted() {
    // It answers another checksum than it was sent.
    let (server, client) = start().await;
    server.inject(Rule::new(Fault::WrongChecksum).on(Operation::Put));
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Md5);
    server.heal();
    // It refuses the whole thing.
    server.inject(Rule::new(Fault::Status(400)).on(Operation::Put));
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Md5);
    server.heal();
    // It answers an ETag that is no MD5, or gives other bytes back.
    server.inject(Rule::new(Fault::OpaqueEtag).on(Operation::Put));
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Opaque);
    server.heal();
    server.inject(Rule::new(Fault::BitFlip).on(Operation::Get));
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Md5);
    server.heal();
    // It compares nothing, though it says the right thing back.
    server.inject(Rule::new(Fault::IgnoresTrailer).on(Operation::Put));
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Md5);
    assert!(server.keys().is_empty(), "the probe is taken away");
    server.heal();
    // It denies us: nothing is known.
    server.inject(Rule::new(Fault::Status(403)).on(Operation::Put).times(1));
    assert!(probe_puts(&client).await.is_err());
    // It fails: nothing is known.
    server.inject(Rule::new(Fault::Status(503)).on(Operation::Put).times(1));
    assert!(probe_puts(&client).await.is_err());
    assert_eq!(probe_puts(&client).await.unwrap(), EtagProof::Md5Trailer);
}
