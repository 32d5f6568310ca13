//! `pending_reaper`: what the ledger is told of an expired intent, and when it is told nothing.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use s3o_backend::{BackendClient, HttpPool};
use s3o_blob::{SelfDescription, to_blob_headers};
use s3o_core::call::{Found, Resolution};
use s3o_core::intent::{Intent, Target, WriteKind};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{
    BackendId, BackendSpec, BlobName, BucketId, Conditions, EtagProof, ObjectAttributes, Op, Place, Seq,
    Timestamp, VersionId,
};
use uuid::Uuid;

use crate::fakes::{Fixture, State, hasty, mark, row, spec};

fn intent(n: u64, backends: &[i32]) -> Intent {
    let version = VersionId::mint(n, 7);
    let key = format!("key{n}");
    let target =
        |id: &i32| Target::new((BackendId(*id), Place::FIRST), "bucket", &key, BlobName::first(version));
    Intent {
        op: Op { id: Uuid::now_v7(), item: 0 },
        session: Uuid::now_v7(),
        bucket: BucketId(1),
        version,
        size: 5,
        kind: WriteKind::Put,
        upload: None,
        conditions: Conditions::default(),
        targets: backends.iter().map(target).collect(),
        required_copies: 1,
        log_floor: Seq(0),
        begun: Timestamp(0),
        claimed_by: None,
        key,
    }
}

fn attributes() -> ObjectAttributes {
    let mut attributes = ObjectAttributes::default();
    attributes.headers.content_type = Some("text/plain".to_owned());
    attributes.metadata.insert("colour".to_owned(), "red".to_owned());
    attributes
}

/// Writes the intent's blob as a data plane would.
async fn write(server: &FaultyBackend, intent: &Intent, description: &SelfDescription) {
    let client = BackendClient::new(server.spec(1, "b1"), HttpPool::default());
    let headers = to_blob_headers("bucket", &intent.key, &attributes(), description).unwrap();
    client.put_bytes(&intent.targets[0].storage_key, headers, Bytes::from_static(b"12345")).await.unwrap();
}

async fn reap(spec: BackendSpec, intents: Vec<Intent>, resolution: Option<Resolution>) -> Fixture {
    let state = State { intents, resolution, ..State::default() };
    let fixture = Fixture::start(vec![row(spec, true)], state);
    fixture.run("pending_reaper").await;
    fixture
}

async fn marked() -> FaultyBackend {
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    server
}

fn resolved_metric(fixture: &Fixture, status: &str, n: u32) {
    let line = format!("s3o_pending_intents_resolved_total{{status=\"{status}\"}} {n}");
    let text = fixture.metrics.encode();
    assert!(text.contains(&line), "{line} in\n{text}");
}

#[tokio::test]
async fn a_whole_blob_is_told_with_all_that_its_headers_prove() {
    let server = marked().await;
    let intent = intent(1, &[1]);
    write(&server, &intent, &SelfDescription::plain(5)).await;
    let fixture = reap(spec(&server, 1), vec![intent.clone()], Some(Resolution::Promoted)).await;
    let resolved = fixture.state().resolved.clone();
    assert_eq!(resolved.len(), 1);
    assert_eq!(Some(resolved[0].owner), resolved[0].intent.claimed_by);
    let (target, found) = &resolved[0].found[0];
    assert_eq!(*target, intent.targets[0].id());
    let Found::Blob { stored_size: 5, size: 5, etag: Some(etag), attributes: Some(found), .. } = found else {
        panic!("{found:?}");
    };
    assert_eq!(etag.as_str(), "827ccb0eea8a706c4c34a16891f84e7b");
    assert_eq!(*found, attributes());
    assert!(fixture.state().released.is_empty());
    resolved_metric(&fixture, "promoted", 1);
    fixture.end().await;
}

#[tokio::test]
async fn what_is_not_proven_is_left_out() {
    let server = marked().await;
    let (opaque, partial, sealed, alien) =
        (intent(1, &[1]), intent(2, &[1]), intent(3, &[1]), intent(4, &[1]));
    write(&server, &opaque, &SelfDescription::plain(5)).await;
    write(&server, &partial, &SelfDescription { incomplete: true, ..SelfDescription::plain(5) }).await;
    let mut encrypted = SelfDescription::plain(5);
    encrypted.encoding.cipher = "aes".to_owned();
    write(&server, &sealed, &encrypted).await;
    server.plant(&alien.targets[0].storage_key, "12345");
    let mut unproven = spec(&server, 1);
    unproven.quirks.etag = EtagProof::Opaque;
    let fixture = reap(unproven, vec![opaque], Some(Resolution::Dropped)).await;
    let found = fixture.state().resolved[0].found[0].1.clone();
    assert!(matches!(found, Found::Blob { etag: None, attributes: Some(_), .. }), "{found:?}");
    fixture.end().await;
    let fixture = reap(spec(&server, 1), vec![partial, sealed, alien], Some(Resolution::Superseded)).await;
    let mut resolved = fixture.state().resolved.clone();
    resolved.sort_by_key(|resolve| resolve.intent.version);
    let found: Vec<_> = resolved.into_iter().map(|resolve| resolve.found[0].1.clone()).collect();
    assert!(matches!(found[0], Found::Blob { etag: Some(_), attributes: None, .. }), "{found:?}");
    assert!(matches!(found[1], Found::Blob { etag: None, .. }), "{found:?}");
    assert!(matches!(found[2], Found::Blob { etag: None, attributes: None, .. }), "{found:?}");
    // Superseded ones count as dropped.
    resolved_metric(&fixture, "dropped", 3);
    fixture.end().await;
}

#[tokio::test]
async fn a_404_by_a_backend_of_ours_is_nothing() {
    let server = marked().await;
    let fixture = reap(spec(&server, 1), vec![intent(1, &[1])], Some(Resolution::Dropped)).await;
    assert_eq!(fixture.state().resolved[0].found[0].1, Found::Nothing);
    resolved_metric(&fixture, "dropped", 1);
    fixture.end().await;
}

#[tokio::test]
async fn no_definite_answer_lets_the_claim_go() {
    for fault in [Fault::Status(500), Fault::Status(403), Fault::Hang, Fault::LostReply] {
        let server = marked().await;
        server.inject(Rule::new(fault.clone()).on(Operation::Head).key_contains("key1"));
        let (unsure, sure) = (intent(1, &[1]), intent(2, &[1]));
        let op = unsure.op;
        let state =
            State { intents: vec![unsure, sure], resolution: Some(Resolution::Dropped), ..State::default() };
        let fixture = Fixture::start_with(vec![row(spec(&server, 1), true)], state, hasty);
        fixture.run("pending_reaper").await;
        assert_eq!(fixture.state().released, [op], "{fault:?}");
        assert_eq!(fixture.state().resolved.len(), 1, "{fault:?}");
        resolved_metric(&fixture, "ambiguous", 1);
        fixture.end().await;
    }
}

#[tokio::test]
async fn one_silent_target_of_two_is_ambiguous() {
    let (server, silent) = (marked().await, FaultyBackend::start().await.unwrap());
    mark(&silent, 2);
    silent.inject(Rule::new(Fault::Status(500)).on(Operation::Head));
    let state = State {
        intents: vec![intent(1, &[1, 2])],
        resolution: Some(Resolution::Dropped),
        ..State::default()
    };
    let rows = vec![row(spec(&server, 1), true), row(spec(&silent, 2), true)];
    let fixture = Fixture::start(rows, state);
    fixture.run("pending_reaper").await;
    assert_eq!(fixture.released_and_resolved(), (1, 0));
    fixture.end().await;
}

#[tokio::test]
async fn a_404_without_our_marker_proves_nothing() {
    let foreign = FaultyBackend::start().await.unwrap();
    mark(&foreign, 9);
    let fixture = reap(spec(&foreign, 1), vec![intent(1, &[1])], Some(Resolution::Dropped)).await;
    assert_eq!(fixture.released_and_resolved(), (1, 0));
    fixture.end().await;
}

#[tokio::test]
async fn a_404_whose_marker_vanished_meanwhile_proves_nothing() {
    let server = marked().await;
    let late = Rule::new(Fault::Latency(Duration::from_secs(2))).on(Operation::Head).key_contains("~");
    server.inject(late);
    let state =
        State { intents: vec![intent(1, &[1])], resolution: Some(Resolution::Dropped), ..State::holding(1) };
    let fixture = Fixture::start(vec![row(spec(&server, 1), true)], state);
    // The marker was ours when the HEAD went out; before its answer comes, the folder is unmounted.
    while !fixture.state().intents.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Other workers ask for the marker, too: this HEAD is the one that takes its time.
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.drop_all_blobs();
    fixture.run("pending_reaper").await;
    assert_eq!(fixture.released_and_resolved(), (1, 0));
    fixture.end().await;
}

#[tokio::test]
async fn a_busy_ledger_is_asked_again_later() {
    let server = marked().await;
    let fixture = reap(spec(&server, 1), vec![intent(1, &[1])], None).await;
    assert_eq!(fixture.released_and_resolved(), (1, 1));
    fixture.end().await;
}

#[tokio::test]
async fn ambiguous_ones_do_not_hold_up_those_behind_them() {
    let server = marked().await;
    server.inject(Rule::new(Fault::Status(404)).on(Operation::Head).key_contains("key9999"));
    let bad = FaultyBackend::start().await.unwrap();
    let mut intents: Vec<_> = (0..100).map(|n| intent(n, &[2])).collect();
    intents.push(intent(9999, &[1]));
    let state = State { intents, resolution: Some(Resolution::Dropped), ..State::default() };
    let rows = vec![row(spec(&server, 1), true), row(spec(&bad, 2), false)];
    let fixture = Fixture::start(rows, state);
    fixture.run("pending_reaper").await;
    assert_eq!(fixture.released_and_resolved(), (100, 1));
    fixture.end().await;
}

/// Metadata that a header cannot hold would make the fixture lie.
#[test]
fn the_fixture_s_attributes_travel_whole() {
    let headers = to_blob_headers("bucket", "key", &attributes(), &SelfDescription::plain(5)).unwrap();
    assert!(headers.iter().any(|(_, value)| *value == HeaderValue::from_static("1 k=blob s=5")));
}
