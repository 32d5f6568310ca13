//! Copies that are too many go, one by one, by the ledger's leave.

use s3o_core::object::CopyState;
use s3o_core::replication::{CopyTask, ReplicationResult};
use s3o_testkit::s3server::FaultyBackend;
use s3o_types::{BackendId, BackendState, ErrorCode};

use crate::copies::{CopiesState, page};
use crate::fakes::{Fixture, State, mark, row, spec};

const ACTIVE: BackendState = BackendState::Active;
const DRAINING: BackendState = BackendState::Draining;

/// With three backends that answer.
async fn with(copies: CopiesState) -> (Fixture, Vec<FaultyBackend>) {
    let mut servers = Vec::new();
    for id in 1..=3 {
        let server = FaultyBackend::start().await.unwrap();
        mark(&server, id);
        servers.push(server);
    }
    let rows = servers.iter().zip(1..).map(|(server, id)| row(spec(server, id), true));
    let fixture = Fixture::start(rows.collect(), State::default());
    fixture.run("over_replication").await;
    fixture.state().copies = copies;
    (fixture, servers)
}

#[tokio::test]
async fn nothing_goes_while_those_that_would_be_left_do_not_answer() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, ACTIVE)]);
    let (fixture, servers) = with(CopiesState::waiting(CopyTask::Trim, page.clone(), &[])).await;
    fixture.run("over_replication").await;
    assert_eq!(fixture.state().copies.backends().len(), 1, "with all of them there");
    fixture.end().await;
    drop(servers);

    // Unattached: its marker was not read, or is not ours.
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    let other = FaultyBackend::start().await.unwrap();
    let rows = vec![row(spec(&server, 1), true), row(spec(&other, 2), false)];
    let fixture = Fixture::start(rows, State::default());
    fixture.run("over_replication").await;
    fixture.state().copies = CopiesState::waiting(CopyTask::Trim, page, &[]);
    fixture.run("over_replication").await;
    let gone: Vec<BackendId> = fixture.state().copies.changed.iter().map(|change| change.backend).collect();
    assert_eq!(gone, [BackendId(2)], "the one that may not be there");
    fixture.end().await;
}

#[tokio::test]
async fn the_drained_goes_before_the_others() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, DRAINING), (3, ACTIVE)]);
    let (fixture, _servers) = with(CopiesState::waiting(CopyTask::Trim, page, &[])).await;
    let counts = fixture.run("over_replication").await;
    assert_eq!(counts["removed"], 2);
    {
        let mut state = fixture.state();
        let gone: Vec<BackendId> = state.copies.changed.iter().map(|change| change.backend).collect();
        assert_eq!(gone.first(), Some(&BackendId(2)));
        assert_eq!(state.copies.backends().len(), 1);
        assert_eq!(state.copies.finished[0].1, ReplicationResult::Done);
    }
    assert!(fixture.metrics.encode().contains("s3o_over_replication_removed_total 2"));
    fixture.end().await;
}

#[tokio::test]
async fn one_that_counts_otherwise_by_now_is_looked_at_again() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, ACTIVE)]);
    let mut copies = CopiesState::waiting(CopyTask::Trim, page, &[]);
    copies.refuse_changes = Some(ErrorCode::PreconditionFailed);
    let (fixture, _servers) = with(copies).await;
    fixture.run("over_replication").await;
    {
        let mut state = fixture.state();
        assert_eq!(state.copies.finished[0].1, ReplicationResult::HandedOver(CopyTask::Add));
        assert_eq!(state.copies.backends(), [(1, CopyState::Verified), (2, CopyState::Verified)]);
    }
    fixture.end().await;
}

#[tokio::test]
async fn what_lacks_copies_is_handed_back() {
    let page = page(b"x", 2, &[(1, ACTIVE), (2, DRAINING)]);
    let (fixture, _servers) = with(CopiesState::waiting(CopyTask::Trim, page, &[])).await;
    fixture.run("over_replication").await;
    {
        let state = fixture.state();
        assert_eq!(state.copies.finished[0].1, ReplicationResult::HandedOver(CopyTask::Add));
        assert!(state.copies.changed.is_empty());
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_database_that_is_away_fails_only_the_version() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, ACTIVE)]);
    let mut copies = CopiesState::waiting(CopyTask::Trim, page, &[]);
    copies.refuse_changes = Some(ErrorCode::ServiceUnavailable);
    let (fixture, _servers) = with(copies).await;
    let counts = fixture.run("over_replication").await;
    assert_eq!((counts["removed"], counts["failed"]), (0, 1));
    fixture.end().await;
}
