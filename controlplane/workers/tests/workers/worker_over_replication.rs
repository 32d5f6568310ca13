//! Copies that are too many go, one by one, by the ledger's leave.

use s3o_core::object::CopyState;
use s3o_core::replication::{CopyTask, ReplicationResult};
use s3o_types::{BackendId, BackendState, ErrorCode};

use crate::copies::{CopiesState, page};
use crate::fakes::{Fixture, State};

const ACTIVE: BackendState = BackendState::Active;
const DRAINING: BackendState = BackendState::Draining;

async fn with(copies: CopiesState) -> Fixture {
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.run("over_replication").await;
    fixture.state().copies = copies;
    fixture
}

#[tokio::test]
async fn the_drained_goes_before_the_others() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, DRAINING), (3, ACTIVE)]);
    let fixture = with(CopiesState::waiting(CopyTask::Trim, page, &[])).await;
    let counts = fixture.run("over_replication").await;
    assert_eq!(counts["removed"], 2);
    let mut state = fixture.state();
    let gone: Vec<BackendId> = state.copies.changed.iter().map(|change| change.backend).collect();
    assert_eq!(gone.first(), Some(&BackendId(2)));
    assert_eq!(state.copies.backends().len(), 1);
    assert_eq!(state.copies.finished[0].1, ReplicationResult::Done);
    drop(state);
    assert!(fixture.metrics.encode().contains("s3o_over_replication_removed_total 2"));
    fixture.end().await;
}

#[tokio::test]
async fn one_that_counts_otherwise_by_now_is_looked_at_again() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, ACTIVE)]);
    let mut copies = CopiesState::waiting(CopyTask::Trim, page, &[]);
    copies.refuse_changes = Some(ErrorCode::PreconditionFailed);
    let fixture = with(copies).await;
    fixture.run("over_replication").await;
    let mut state = fixture.state();
    assert_eq!(state.copies.finished[0].1, ReplicationResult::HandedOver(CopyTask::Add));
    assert_eq!(state.copies.backends(), [(1, CopyState::Verified), (2, CopyState::Verified)]);
    drop(state);
    fixture.end().await;
}

#[tokio::test]
async fn what_lacks_copies_is_handed_back() {
    let page = page(b"x", 2, &[(1, ACTIVE), (2, DRAINING)]);
    let fixture = with(CopiesState::waiting(CopyTask::Trim, page, &[])).await;
    fixture.run("over_replication").await;
    let state = fixture.state();
    assert_eq!(state.copies.finished[0].1, ReplicationResult::HandedOver(CopyTask::Add));
    assert!(state.copies.changed.is_empty());
    drop(state);
    fixture.end().await;
}

#[tokio::test]
async fn a_database_that_is_away_fails_only_the_version() {
    let page = page(b"x", 1, &[(1, ACTIVE), (2, ACTIVE)]);
    let mut copies = CopiesState::waiting(CopyTask::Trim, page, &[]);
    copies.refuse_changes = Some(ErrorCode::ServiceUnavailable);
    let fixture = with(copies).await;
    let counts = fixture.run("over_replication").await;
    assert_eq!((counts["removed"], counts["failed"]), (0, 1));
    fixture.end().await;
}
