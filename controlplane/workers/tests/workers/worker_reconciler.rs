//! `reconciler`: what is believed of a backend's listing, what is marked, attached, queued and imported.

use std::time::Duration;

use http::HeaderMap;
use s3o_core::call::CopyChange;
use s3o_core::config::{BucketConfig, BucketState};
use s3o_core::object::CopyState;
use s3o_core::reconcile::{GoneBucket, KnownCopy, Run, RunKind, RunPhase, RunState, StrayKind};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{
    AckLevel, BlobName, BucketId, BucketName, ErrorCode, Gen, StorageKey, Timestamp, VersionId, Versioning,
};

use crate::fakes::{Fixture, State, mark, row, spec};
use crate::reconcile::{ReconcileState, run};

fn bucket(id: i32, name: &str) -> BucketConfig {
    BucketConfig {
        id: BucketId(id),
        name: name.parse::<BucketName>().unwrap(),
        state: BucketState::Active,
        ack: AckLevel::One,
        replication_factor: 1,
        max_object_size: None,
        created: Timestamp(0),
        cors: vec![],
        lifecycle: vec![],
        versioning: Versioning::Off,
        lock: None,
        degraded_reads: s3o_types::DegradedReads::default(),
    }
}

pub(crate) async fn marked() -> FaultyBackend {
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    server
}

/// A system of one backend and the buckets `docs` and `photos`, before any run.
pub(crate) async fn system(server: &FaultyBackend, rows: Vec<KnownCopy>) -> Fixture {
    let mut state = State::holding(1);
    state.reconcile.rows = rows;
    let fixture = Fixture::start(vec![row(spec(server, 1), true)], state);
    fixture.change(|config| config.buckets = vec![bucket(1, "photos"), bucket(2, "docs")]);
    // First ticks find nothing to do, but ask the backend for its marker.
    for worker in ["reconciler", "replicator", "over_replication", "copy_scan"] {
        fixture.run(worker).await;
    }
    fixture
}

pub(crate) async fn run_it(fixture: &Fixture, run: Run) -> Run {
    fixture.state().reconcile.run = Some(run);
    fixture.run("reconciler").await;
    fixture.state().reconcile.run.clone().unwrap()
}

fn reconcile() -> Run {
    run(RunKind::Reconcile)
}

/// A row with its blob.
pub(crate) fn stored(server: &FaultyBackend, n: u64, key: &str) -> KnownCopy {
    let row = ReconcileState::row(n, key, 5);
    server.plant(&row.storage_key, "12345");
    row
}

#[tokio::test]
async fn a_whole_backend_is_left_as_it_is() {
    let server = marked().await;
    let keys = ["a", "a.txt", "a~b", "dir/x", "dir/", "x//y", "z"];
    let rows: Vec<KnownCopy> = keys.iter().zip(1..).map(|(key, n)| stored(&server, n, key)).collect();
    let fixture = system(&server, rows).await;
    let before = server.count(Operation::Head);
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.state, ended.error), (RunState::Done, None));
    assert_eq!((ended.tally.rows, ended.tally.listed, ended.tally.own_bytes), (7, 7, 35));
    let fields = ended.tally.fields();
    let rest = fields.iter().filter(|(name, _)| !["rows", "listed", "own_bytes"].contains(name));
    assert!(rest.clone().all(|(_, n)| *n == 0), "{fields:?}");
    assert_eq!(server.count(Operation::Head), before, "nothing needed a second look");
    fixture.end().await;
}

#[tokio::test]
async fn what_is_gone_or_wrong_is_marked_also_under_hashed_keys() {
    let server = marked().await;
    let fine = stored(&server, 1, "fine");
    let (gone, short) = (ReconcileState::row(2, "gone", 5), ReconcileState::row(3, "short", 9));
    server.plant(&short.storage_key, "12345");
    let hashed = ReconcileState::row(4, "hashed//gone", 5);
    assert!(hashed.storage_key.starts_with(".s3o/long/"));
    let known = KnownCopy { state: CopyState::Missing, ..ReconcileState::row(5, "known", 5) };
    let fixture = system(&server, vec![fine, gone.clone(), short.clone(), hashed.clone(), known]).await;
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.state, ended.tally.marked), (RunState::Done, 3), "{ended:?}");
    let marks: Vec<_> =
        fixture.state().reconcile.marked.iter().map(|mark| (mark.of.key.clone(), mark.change)).collect();
    let mark = |row: &KnownCopy, state| (row.key.clone(), CopyChange::Mark(state));
    let (missing, wrong) = (CopyState::Missing, CopyState::Quarantined);
    assert_eq!(marks, [mark(&gone, missing), mark(&short, wrong), mark(&hashed, missing)]);
    fixture.end().await;
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let server = marked().await;
    let orphan = ReconcileState::row(9, "orphan", 5);
    server.plant(&orphan.storage_key, "12345");
    let fixture = system(&server, vec![ReconcileState::row(1, "gone", 5)]).await;
    let mut dry = reconcile();
    dry.ask.dry_run = true;
    let ended = run_it(&fixture, dry).await;
    assert_eq!((ended.tally.marked, ended.tally.orphaned), (1, 1));
    {
        let state = fixture.state();
        assert!(state.reconcile.marked.is_empty() && state.reconcile.settled.is_empty());
    }
    fixture.end().await;
}

#[tokio::test]
async fn the_last_copy_is_told_of_and_forgotten_when_it_is_back() {
    let server = marked().await;
    let gone = ReconcileState::row(1, "gone", 5);
    let fixture = system(&server, vec![gone.clone()]).await;
    fixture.state().reconcile.refuse_marks = Some(ErrorCode::PreconditionFailed);
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.state, ended.tally.lost, ended.tally.marked), (RunState::Done, 1, 0));
    assert_eq!(fixture.state().reconcile.lost[0].blob, gone.blob);
    assert!(fixture.metrics.encode().contains("s3o_objects_lost 1"));
    server.plant(&gone.storage_key, "12345");
    run_it(&fixture, reconcile()).await;
    assert_eq!(fixture.state().reconcile.lost, []);
    assert!(fixture.metrics.encode().contains("s3o_objects_lost 0"));
    // A version that was deleted since its row was read is none of a run's.
    server.remove(&gone.storage_key);
    fixture.state().reconcile.refuse_marks = Some(ErrorCode::NoSuchKey);
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.tally.lost, ended.tally.marked, ended.tally.ambiguous), (0, 0, 0));
    fixture.end().await;
}

#[tokio::test]
async fn more_than_one_percent_stops_the_run_unless_it_is_accepted() {
    let server = marked().await;
    let mut rows: Vec<KnownCopy> =
        (1..=40).map(|n| ReconcileState::row(n, &format!("gone{n:03}"), 5)).collect();
    rows.extend((100..160).map(|n| stored(&server, n, &format!("there{n}"))));
    let fixture = system(&server, rows).await;
    let expected = Run { expected: 1200, ..reconcile() };
    let ended = run_it(&fixture, expected.clone()).await;
    assert_eq!((ended.state, ended.tally.marked), (RunState::Failed, 12));
    assert!(ended.error.as_ref().is_some_and(|why| why.contains("1 %")), "{:?}", ended.error);
    assert_eq!(fixture.state().reconcile.marked.len(), 12);
    let mut accepted = expected;
    accepted.ask.accept_losses = true;
    let ended = run_it(&fixture, accepted).await;
    assert_eq!((ended.state, ended.tally.marked), (RunState::Done, 40));
    fixture.end().await;
}

/// An emptied folder, an edited endpoint, two entries on one bucket: nothing that they lack is believed.
#[tokio::test]
async fn nothing_is_believed_without_our_marker() {
    let server = marked().await;
    let rows = vec![ReconcileState::row(1, "gone", 5)];
    let emptied = system(&server, rows.clone()).await;
    server.drop_all_blobs();
    let ended = run_it(&emptied, reconcile()).await;
    assert_eq!(ended.state, RunState::Failed);
    assert!(ended.error.as_ref().is_some_and(|why| why.contains("marker is missing")), "{:?}", ended.error);
    assert!(emptied.state().reconcile.marked.is_empty());
    emptied.end().await;

    // The configuration names another bucket from one generation to the next.
    let server = marked().await;
    let other = FaultyBackend::start().await.unwrap();
    let edited = system(&server, rows.clone()).await;
    edited.change(|config| config.backends[0].spec.endpoint = other.endpoint());
    let ended = run_it(&edited, reconcile()).await;
    assert_eq!((ended.state, ended.tally.marked), (RunState::Failed, 0), "{ended:?}");
    assert!(edited.state().reconcile.marked.is_empty());
    edited.end().await;

    // The bucket is that of backend 2.
    let twin = FaultyBackend::start().await.unwrap();
    mark(&twin, 2);
    twin.plant(&ReconcileState::row(7, "theirs", 5).storage_key, "12345");
    let fixture = system(&twin, rows).await;
    let ended = run_it(&fixture, reconcile()).await;
    assert!(ended.error.as_ref().is_some_and(|why| why.contains("names backend 2")), "{:?}", ended.error);
    {
        let state = fixture.state();
        assert!(state.reconcile.marked.is_empty() && state.reconcile.settled.is_empty());
    }
    fixture.end().await;
}

#[tokio::test]
async fn what_vanishes_while_it_is_looked_at_is_not_believed_to_be_gone() {
    let server = marked().await;
    let gone = ReconcileState::row(1, "gone", 5);
    let fixture = system(&server, vec![gone]).await;
    server.inject(Rule::new(Fault::Latency(Duration::from_secs(1))).on(Operation::Head));
    fixture.state().reconcile.run = Some(reconcile());
    let before = server.count(Operation::Head);
    let vanish = async {
        while server.count(Operation::Head) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.drop_all_blobs();
    };
    tokio::join!(fixture.run("reconciler"), vanish);
    {
        let state = fixture.state();
        assert_eq!(state.reconcile.run.as_ref().map(|run| run.state), Some(RunState::Failed));
        assert!(state.reconcile.marked.is_empty());
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_unclear_look_marks_nothing() {
    let server = marked().await;
    let fixture = system(&server, vec![ReconcileState::row(1, "gone", 5)]).await;
    server.inject(Rule::new(Fault::Status(503)).on(Operation::Head));
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.state, ended.tally.ambiguous, ended.tally.marked), (RunState::Done, 1, 0));
    fixture.end().await;
}

#[tokio::test]
async fn blobs_without_a_row_are_settled_unless_something_may_name_them() {
    let server = marked().await;
    let blob = |n, key: &str| {
        let row = ReconcileState::row(n, key, 5);
        server.plant(&row.storage_key, "12345");
        row.storage_key
    };
    let (orphan, named, young, unborn) =
        (blob(1, "orphan"), blob(2, "named"), blob(3, "young"), blob(4, "unborn"));
    // Foreign, of no bucket, of a bucket that is not known; and ours by its prefix.
    let unknown = StorageKey::format("nowhere", "k", BlobName::first(VersionId::mint(5, 5)));
    for key in ["holiday.jpg", "photos/cat.jpg", unknown.as_str(), ".s3o/journal/1"] {
        server.plant(key, "123");
    }
    let fixture = system(&server, vec![]).await;
    let kinds = [(named, StrayKind::Named), (young, StrayKind::Young), (unborn, StrayKind::Unborn)];
    fixture.state().reconcile.kinds.extend(kinds);
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!(ended.state, RunState::Done);
    {
        let state = fixture.state();
        let settled: Vec<&str> =
            state.reconcile.settled.iter().map(|settle| settle.storage_key.as_str()).collect();
        assert_eq!(settled, [orphan.as_str()]);
        assert_eq!(state.reconcile.settled[0].stored_size, 5);
        assert_eq!(state.reconcile.settled[0].encoding, None, "it does not describe itself");
        assert_eq!((ended.tally.orphaned, ended.tally.left_alone), (1, 2));
        assert_eq!((ended.tally.unmanaged, ended.tally.unmanaged_bytes), (3, 9));
    }
    fixture.end().await;
}

/// The backend's bytes against those that are counted: what was seen twice is drift, what may be under way is not known.
#[tokio::test]
async fn drift_is_what_a_listing_and_the_rows_differ_by() {
    let server = marked().await;
    let (fine, young) = (stored(&server, 1, "fine"), stored(&server, 2, "young"));
    stored(&server, 3, "orphan");
    let (gone, short) = (ReconcileState::row(4, "gone", 7), ReconcileState::row(5, "short", 9));
    server.plant(&short.storage_key, "12345");
    let back = KnownCopy { state: CopyState::Missing, ..stored(&server, 6, "back") };
    let fixture = system(&server, vec![fine, gone, short, back]).await;
    fixture.state().reconcile.kinds.insert(young.storage_key, StrayKind::Young);
    let ended = run_it(&fixture, reconcile()).await;
    let seen = |run: &Run| (run.tally.drift_bytes, run.tally.unknown_bytes);
    assert_eq!(seen(&ended), (5 + 7 + 4, 5), "orphan, gone and short; young: {ended:?}");
    let text = fixture.metrics.encode();
    for line in [
        "s3o_quota_listing_drift_bytes{backend=\"b1\"} 16",
        "s3o_quota_listing_unknown_bytes{backend=\"b1\"} 5",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    // Overwritten or deleted since their rows were read: what they were then is nothing that is wrong.
    fixture.state().reconcile.refuse_marks = Some(ErrorCode::NoSuchKey);
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!(seen(&ended), (5, 5 + 7 + 4), "{ended:?}");
    fixture.end().await;
}

#[tokio::test]
async fn a_missing_copy_whose_blob_is_there_again_is_given_back() {
    let server = marked().await;
    let back = KnownCopy { state: CopyState::Missing, ..stored(&server, 1, "back") };
    let bad = KnownCopy { state: CopyState::Quarantined, ..stored(&server, 2, "bad") };
    let fixture = system(&server, vec![back.clone(), bad]).await;
    run_it(&fixture, reconcile()).await;
    {
        let state = fixture.state();
        let settled: Vec<_> =
            state.reconcile.settled.iter().map(|settle| settle.storage_key.clone()).collect();
        assert_eq!(settled, [back.storage_key]);
    }
    fixture.end().await;
}

/// A blob of ours under a hashed key; its storage key.
fn hashed(server: &FaultyBackend, bucket: &str, key: &str, blob: BlobName) -> String {
    let storage_key = StorageKey::format(bucket, key, blob);
    let mut headers = HeaderMap::new();
    let description = s3o_blob::SelfDescription::plain(5);
    let attributes = s3o_types::ObjectAttributes::default();
    for (name, value) in s3o_blob::to_blob_headers(bucket, key, &attributes, &description).unwrap() {
        headers.append(name, value);
    }
    server.plant_with(&storage_key, "12345", &headers);
    storage_key
}

/// Of a bucket that was deleted; of one that this database never had it is not known whose it is.
#[tokio::test]
async fn what_is_left_of_a_bucket_that_is_gone_is_settled_too() {
    let server = marked().await;
    let blob = BlobName::first(VersionId::mint(1, 1));
    let plain = StorageKey::format("gone", "k", blob);
    server.plant(&plain, "12345");
    server.plant(&StorageKey::format("never", "k", blob), "12345");
    let long = hashed(&server, "gone", "x//y", blob);
    hashed(&server, "never", "x//y", blob);
    let fixture = system(&server, vec![]).await;
    // A name that somebody has again is not told as gone; if it was taken up since, it is the new bucket's.
    let gone = [("gone", 7), ("photos", 8)].map(|(name, id)| GoneBucket {
        name: name.to_owned(),
        id: BucketId(id),
        until: 1,
    });
    // What was written after it had gone is of a bucket that nobody knows.
    let later = BlobName::first(VersionId::mint(2, 1));
    server.plant(&StorageKey::format("gone", "later", later), "12345");
    fixture.state().reconcile.gone = gone.into();
    server.plant(&StorageKey::format("photos", "k", blob), "12345");
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.state, ended.tally.orphaned), (RunState::Done, 3), "{ended:?}");
    assert_eq!(
        (ended.tally.unmanaged, ended.tally.left_alone),
        (2, 1),
        "of what was never there nothing is done"
    );
    {
        let state = fixture.state();
        let settled: Vec<(i32, &str)> = state
            .reconcile
            .settled
            .iter()
            .map(|settle| (settle.of.bucket.0, settle.storage_key.as_str()))
            .collect();
        let photos = StorageKey::format("photos", "k", blob);
        assert_eq!(settled, [(7, plain.as_str()), (1, photos.as_str()), (7, long.as_str())]);
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_hashed_blob_says_itself_whose_it_is() {
    let server = marked().await;
    let blob = BlobName::first(VersionId::mint(1, 1));
    hashed(&server, "photos", "x//y", blob);
    let mute = StorageKey::format("photos", "y//z", blob);
    server.plant(&mute, "12345");
    let fixture = system(&server, vec![]).await;
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.tally.orphaned, ended.tally.left_alone), (1, 1));
    {
        let state = fixture.state();
        assert_eq!(
            (state.reconcile.settled[0].of.key.as_str(), state.reconcile.settled[0].of.bucket.0),
            ("x//y", 1)
        );
        assert!(state.reconcile.settled[0].encoding.is_some());
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_run_goes_on_where_it_was_and_stops_when_it_is_another_s() {
    let server = marked().await;
    let rows: Vec<KnownCopy> = (1..=20).map(|n| ReconcileState::row(n, &format!("k{n:02}"), 5)).collect();
    let fixture = system(&server, rows.clone()).await;
    let on = Run { cursor: rows[14].storage_key.clone(), ..reconcile() };
    let ended = run_it(&fixture, on).await;
    assert_eq!((ended.state, ended.tally.marked), (RunState::Done, 5));
    assert_eq!(fixture.state().reconcile.marked[0].of.key, "k16");
    let phases: Vec<RunPhase> = fixture.state().reconcile.saves.iter().map(|run| run.phase).collect();
    assert_eq!(phases.last(), Some(&RunPhase::Hashed));
    fixture.state().reconcile.taken_over = true;
    fixture.state().reconcile.saves.clear();
    fixture.state().reconcile.run = Some(reconcile());
    fixture.run("reconciler").await;
    assert!(fixture.state().reconcile.saves.is_empty(), "it is not ended by who lost it");
    fixture.end().await;
}

#[tokio::test]
async fn a_listing_that_does_not_come_ends_the_run() {
    let server = marked().await;
    let fixture = system(&server, vec![ReconcileState::row(1, "gone", 5)]).await;
    server.inject(Rule::new(Fault::Status(500)).on(Operation::List));
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.state, ended.tally.marked), (RunState::Failed, 0));
    assert!(ended.error.is_some_and(|why| why.contains("listing b1")));
    fixture.end().await;
}

/// What was imported is compared like our own, but its `ETag` counts too.
#[tokio::test]
async fn imported_copies_are_compared_by_their_own_keys() {
    let server = marked().await;
    server.plant("fine", "12345");
    server.plant("changed", "54321");
    let imported = |n, key: &str| KnownCopy {
        storage_key: key.to_owned(),
        imported: true,
        state: CopyState::Uncertain,
        backend_etag: Some(s3o_types::Etag::new("827ccb0eea8a706c4c34a16891f84e7b")),
        ..ReconcileState::row(n, key, 5)
    };
    let rows =
        vec![imported(1, "fine"), imported(2, "changed"), imported(3, "gone"), stored(&server, 4, "own")];
    let fixture = system(&server, rows).await;
    let ended = run_it(&fixture, reconcile()).await;
    assert_eq!((ended.tally.rows, ended.tally.marked, ended.tally.unmanaged), (4, 2, 0), "{ended:?}");
    let marked: Vec<_> = fixture.state().reconcile.marked.iter().map(|mark| mark.of.key.clone()).collect();
    assert_eq!(marked, ["changed", "gone"]);
    assert!(fixture.state().reconcile.marked.iter().all(|mark| mark.r#gen == Gen::ZERO));
    fixture.end().await;
}
