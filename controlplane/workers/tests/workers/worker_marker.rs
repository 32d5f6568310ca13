//! `marker`: whose a backend is decides whether it is used.

use std::collections::BTreeSet;
use std::time::Duration;

use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::EtagProof;

use crate::fakes::{Fixture, State, hasty, mark, row, spec};

/// Each once: how often a worker looks is its own affair.
fn attached_ids(state: &State) -> BTreeSet<i32> {
    state.attached.iter().map(|seen| seen.place.backend.0).collect()
}

fn detached_ids(state: &State) -> BTreeSet<i32> {
    state.detached.iter().map(|seen| seen.backend.0).collect()
}

#[tokio::test]
async fn a_new_backend_gets_its_marker_and_is_attached_with_its_proof() {
    let server = FaultyBackend::start().await.unwrap();
    let fixture = Fixture::start(vec![row(spec(&server, 1), false)], State::default());
    fixture.until("attached", |state| !state.attached.is_empty()).await;
    assert_eq!(fixture.state().attached[0].etag, EtagProof::Md5Trailer);
    assert_eq!(server.keys(), [".s3o/backend"]);
    assert!(fixture.state().detached.is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn two_entries_on_one_bucket_are_found_out() {
    let server = FaultyBackend::start().await.unwrap();
    let rows = vec![row(spec(&server, 1), false), row(spec(&server, 2), false)];
    let fixture = Fixture::start(rows, State::default());
    let both = |state: &State| !state.detached.is_empty() && !state.attached.is_empty();
    fixture.until("one is attached, one detached", both).await;
    let (detached, attached) = {
        let state = fixture.state();
        (state.detached[0].backend.0, attached_ids(&state))
    };
    assert!(attached.iter().all(|id| *id != detached) && !attached.is_empty(), "{attached:?} {detached}");
    fixture.end().await;
}

#[tokio::test]
async fn another_clusters_marker_is_left_alone() {
    let server = FaultyBackend::start().await.unwrap();
    let theirs = "{\"cluster_id\":\"theirs\",\"backend_id\":1}";
    server.plant(".s3o/backend", theirs);
    let fixture = Fixture::start(vec![row(spec(&server, 1), true)], State::default());
    fixture.until("detached", |state| detached_ids(state) == BTreeSet::from([1])).await;
    assert_eq!(server.blob(".s3o/backend").unwrap().bytes, theirs);
    assert!(fixture.state().attached.is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn a_marker_that_vanished_from_a_backend_with_blobs_is_not_made_anew() {
    let server = FaultyBackend::start().await.unwrap();
    let fixture = Fixture::start(vec![row(spec(&server, 1), true)], State::holding(1));
    fixture.until("detached", |state| detached_ids(state) == BTreeSet::from([1])).await;
    assert!(server.keys().is_empty());
    mark(&server, 1);
    fixture.until("attached again", |state| !state.attached.is_empty()).await;
    fixture.end().await;
}

#[tokio::test]
async fn an_unreachable_backend_is_not_detached_and_holds_nobody_up() {
    let (dead, alive) = (FaultyBackend::start().await.unwrap(), FaultyBackend::start().await.unwrap());
    mark(&dead, 1);
    dead.inject(Rule::new(Fault::Status(500)));
    let rows = vec![row(spec(&dead, 1), true), row(spec(&alive, 2), false)];
    let fixture = Fixture::start(rows, State::default());
    fixture.until("the other is attached", |state| attached_ids(state) == BTreeSet::from([2])).await;
    fixture.run("marker").await;
    assert!(fixture.state().detached.is_empty());
    dead.heal();
    fixture.until("it is attached when it answers", |state| attached_ids(state).contains(&1)).await;
    fixture.end().await;
}

#[tokio::test]
async fn a_new_generation_wakes_it() {
    let server = FaultyBackend::start().await.unwrap();
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.run("marker").await;
    fixture.change(|config| config.backends.push(row(spec(&server, 1), false)));
    fixture.until("attached", |state| attached_ids(state) == BTreeSet::from([1])).await;
    fixture.end().await;
}

/// Nothing else asks it: a control plane without work would see it as up for ever.
#[tokio::test]
async fn a_backend_that_does_not_show_its_marker_in_time_is_down() {
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    let fixture = Fixture::start_with(vec![row(spec(&server, 1), false)], State::default(), |deps| {
        hasty(deps);
        // One failure is enough, and nobody probes it.
        deps.backends.breaker.threshold = 1;
        deps.backends.breaker.open_for = Duration::from_hours(1);
        deps.backends.breaker.open_at_most = Duration::from_hours(1);
    });
    // Whoever asks it for something else has done so, and does not soon again.
    for worker in ["replicator", "over_replication", "copy_scan", "marker"] {
        fixture.run(worker).await;
    }
    server.inject(Rule::new(Fault::Hang).on(Operation::Get));
    fixture.run("marker").await;
    fixture.until_metric("s3o_circuit_breaker_state{name=\"b1\"} 1").await;
    fixture.end().await;
}
