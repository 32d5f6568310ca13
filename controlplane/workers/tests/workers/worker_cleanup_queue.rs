//! `cleanup_queue`: what is deleted, and what is believed to be gone.

use std::time::Duration;

use s3o_core::cleanup::{CleanupEntry, CleanupItem, CleanupResult, Reason};
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{BackendId, BlobName, VersionId};

use crate::fakes::{Fixture, State, mark, row, spec};

fn item(id: i64, backend: i32, key: &str) -> CleanupItem {
    CleanupItem {
        id,
        entry: CleanupEntry {
            backend: BackendId(backend),
            storage_key: key.to_owned(),
            blob: BlobName::first(VersionId::mint(1, 2)),
            backend_version: None,
            size: 5,
            reason: Reason::Aborted,
            uncertain: false,
        },
        attempts: 0,
        second_pass: false,
        recovered: false,
    }
}

async fn marked() -> FaultyBackend {
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    server
}

async fn run(
    server: &FaultyBackend,
    attached: bool,
    cleanup: Vec<CleanupItem>,
) -> (Fixture, Vec<CleanupResult>) {
    let state = State { cleanup, ..State::holding(1) };
    let fixture = Fixture::start(vec![row(spec(server, 1), attached)], state);
    fixture.run("cleanup_queue").await;
    let mut finished = fixture.state().finished.clone();
    finished.sort_by_key(|(item, _)| item.id);
    (fixture, finished.into_iter().map(|(_, result)| result).collect())
}

fn put_off_with(result: &CleanupResult, what: &str) -> bool {
    matches!(result, CleanupResult::Deferred(why) if why.contains(what))
}

fn failed_with(result: &CleanupResult, part: &str) -> bool {
    matches!(result, CleanupResult::Failed(why) if why.contains(part))
}

#[tokio::test]
async fn everything_due_is_deleted_batch_after_batch() {
    let server = marked().await;
    let items: Vec<_> = (0..600).map(|n| item(n, 1, &format!("k{n}"))).collect();
    items.iter().for_each(|item| server.plant(&item.entry.storage_key, "12345"));
    let (fixture, results) = run(&server, true, items).await;
    assert_eq!(results.len(), 600);
    assert!(results.iter().all(|result| *result == CleanupResult::Deleted));
    assert_eq!(server.keys(), [".s3o/backend"]);
    let text = fixture.metrics.encode();
    assert!(text.contains("s3o_cleanup_queue_processed_total{status=\"success\"} 600"), "{text}");
    fixture.end().await;
}

#[tokio::test]
async fn absent_failed_exhausted_and_recovered_rows_are_told_apart() {
    let server = marked().await;
    server.inject(Rule::new(Fault::Status(404)).on(Operation::Delete).key_contains("absent"));
    server.inject(Rule::new(Fault::Status(500)).on(Operation::Delete).key_contains("bad"));
    let last = CleanupItem { attempts: 9, recovered: true, ..item(3, 1, "bad-last") };
    let (fixture, results) = run(&server, true, vec![item(1, 1, "absent"), item(2, 1, "bad"), last]).await;
    assert_eq!(results[0], CleanupResult::Absent);
    assert!(failed_with(&results[1], "b1") && failed_with(&results[2], "b1"), "{results:?}");
    let text = fixture.metrics.encode();
    for line in [
        "s3o_cleanup_queue_processed_total{status=\"success_absent\"} 1",
        "s3o_cleanup_queue_processed_total{status=\"retry\"} 1",
        "s3o_cleanup_dlq_enqueued_total{backend=\"b1\"} 1",
        "s3o_cleanup_queue_stale_claims_recovered_total{backend=\"b1\"} 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn nothing_is_deleted_where_the_marker_is_missing_another_s_or_unread() {
    let server = FaultyBackend::start().await.unwrap();
    server.plant("k", "12345");
    let (missing, results) = run(&server, true, vec![item(1, 1, "k")]).await;
    assert!(put_off_with(&results[0], "marker is missing"), "{results:?}");
    missing.end().await;
    assert_eq!(server.keys(), ["k"]);
    let server = FaultyBackend::start().await.unwrap();
    server.plant("k", "12345");
    mark(&server, 2);
    let (foreign, results) = run(&server, true, vec![item(1, 1, "k")]).await;
    assert!(put_off_with(&results[0], "marker"), "{results:?}");
    foreign.end().await;
    mark(&server, 1);
    server.inject(Rule::new(Fault::Status(500)).on(Operation::Get));
    let (unread, results) = run(&server, true, vec![item(1, 1, "k")]).await;
    assert!(put_off_with(&results[0], "b1"), "{results:?}");
    unread.end().await;
    server.heal();
    let (unattached, results) = run(&server, false, vec![item(1, 1, "k")]).await;
    assert!(put_off_with(&results[0], "not attached"), "{results:?}");
    unattached.end().await;
    // Deletes that there are were the probe's, of its own blob.
    assert!(server.blob("k").is_some());
}

#[tokio::test]
async fn what_vanishes_with_the_marker_is_not_believed_to_be_gone() {
    let server = marked().await;
    server.inject(Rule::new(Fault::Latency(Duration::from_secs(2))).on(Operation::Delete));
    let state = State { cleanup: vec![item(1, 1, "k")], ..State::holding(1) };
    let fixture = Fixture::start(vec![row(spec(&server, 1), true)], state);
    // While the DELETE is under way, the folder is unmounted.
    while server.count(Operation::Delete) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.drop_all_blobs();
    fixture.run("cleanup_queue").await;
    let finished = fixture.state().finished.clone();
    assert!(put_off_with(&finished[0].1, "not believed"), "{finished:?}");
    fixture.end().await;
}

#[tokio::test]
async fn a_backend_that_is_down_is_not_hammered_and_others_go_on() {
    let (bad, good) = (marked().await, FaultyBackend::start().await.unwrap());
    mark(&good, 2);
    bad.inject(Rule::new(Fault::Status(500)).on(Operation::Delete));
    let mut cleanup: Vec<_> = (0..200).map(|n| item(n, 1, "k")).collect();
    cleanup.push(item(999, 2, "k"));
    let rows = vec![row(spec(&bad, 1), true), row(spec(&good, 2), true)];
    let fixture = Fixture::start(rows, State { cleanup, ..State::default() });
    fixture.run("cleanup_queue").await;
    let finished = fixture.state().finished.clone();
    assert_eq!(finished.len(), 201);
    assert_eq!(finished.iter().filter(|(_, result)| *result == CleanupResult::Deleted).count(), 1);
    assert!(bad.count(Operation::Delete) < 60, "{}", bad.count(Operation::Delete));
    fixture.end().await;
}
