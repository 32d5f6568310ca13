//! Copies are moved: made first, dropped then; and left where they are when either is not possible.

use std::sync::{Arc, Mutex};

use s3o_core::call::CopyChange;
use s3o_core::config::Routing;
use s3o_core::ports::Rebalancing as _;
use s3o_core::rebalance::{Move, RebalanceTotals, RebalanceWish};
use s3o_core::session::BackendUsage;
use s3o_core::usage::Usage;
use s3o_testkit::s3server::{Fault, FaultyBackend, Operation, Rule};
use s3o_types::{BackendId, BackendState, ErrorCode, Gen};

use crate::copies::{CopiesState, page, storage_key};
use crate::fakes::{Fixture, State, mark, row, spec};

const ACTIVE: BackendState = BackendState::Active;
const BYTES: &[u8] = b"bytes that are to be elsewhere";
const WISH: RebalanceWish =
    RebalanceWish { strategy: Routing::Spread, threshold_percent: 10, batch: 10, dry_run: false };

/// One object on the first of two backends, which is nearly full.
async fn fixture() -> (Fixture, [FaultyBackend; 2]) {
    let servers = [FaultyBackend::start().await.unwrap(), FaultyBackend::start().await.unwrap()];
    let rows = servers.iter().zip(1..).map(|(server, id)| {
        mark(server, id);
        row(spec(server, id), true)
    });
    let fixture = Fixture::start(rows.collect(), State::default());
    fixture.run("replicator").await;
    servers[0].plant(&storage_key(Gen::ZERO), BYTES);
    let usage = |used| Usage { used, objects: 1, ..Usage::default() };
    let mut state = fixture.state();
    state.usage = vec![(BackendId(1), usage(900), BackendUsage::default())];
    let copies = page(BYTES, 1, &[(1, ACTIVE)]);
    state.copies = CopiesState {
        queue: vec![],
        ..CopiesState::waiting(s3o_core::replication::CopyTask::Add, copies, &[2])
    };
    drop(state);
    (fixture, servers)
}

async fn run(fixture: &Fixture, wish: RebalanceWish) -> (Result<RebalanceTotals, String>, Vec<Move>) {
    let told: Arc<Mutex<Vec<Move>>> = Arc::default();
    let tell = told.clone();
    let ran = fixture.workers.rebalance(wish, Box::new(move |copy, _| tell.lock().unwrap().push(copy))).await;
    (ran, Arc::try_unwrap(told).unwrap().into_inner().unwrap())
}

fn where_it_is(fixture: &Fixture) -> Vec<i32> {
    fixture.state().copies.rows().iter().map(|(copy, _)| copy.backend.0).collect()
}

#[tokio::test]
async fn a_copy_is_made_where_there_is_room_and_dropped_where_it_was() {
    let (fixture, [_one, two]) = fixture().await;
    let (ran, told) = run(&fixture, WISH).await;
    let size = BYTES.len() as u64;
    assert_eq!(told[0].result, Some(Ok(())));
    assert_eq!(ran, Ok(RebalanceTotals { planned_bytes: 450, moved: 1, moved_bytes: size, failed: 0 }));
    let copy = &told[0];
    // The configuration of these tests names no bucket.
    assert_eq!((copy.bucket.as_str(), copy.from.as_str(), copy.to.as_str()), ("bucket 1", "b1", "b2"));
    assert_eq!((copy.size, &copy.result), (size, &Some(Ok(()))));
    assert_eq!(where_it_is(&fixture), [2]);
    assert_eq!(two.blob(&storage_key(Gen::of_worker(0).unwrap())).unwrap().bytes.as_ref(), BYTES);
    let metrics = fixture.metrics.encode();
    for line in [
        "s3o_rebalance_objects_moved_total{strategy=\"spread\",status=\"success\"} 1",
        "s3o_rebalance_bytes_moved_total{strategy=\"spread\"} 30",
        "s3o_rebalance_runs_total{strategy=\"spread\",status=\"success\"} 1",
        "s3o_rebalance_pending 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    // What there is cannot be moved twice.
    assert_eq!(run(&fixture, WISH).await.0.map(|totals| totals.moved), Ok(0));
    fixture.end().await;
}

#[tokio::test]
async fn a_dry_run_says_it_and_does_nothing() {
    let (fixture, [one, two]) = fixture().await;
    let before = (one.count(Operation::Get), two.count(Operation::Put));
    let (ran, told) = run(&fixture, RebalanceWish { dry_run: true, ..WISH }).await;
    assert_eq!((ran.unwrap().api_calls(), told.len()), (3, 1));
    assert_eq!(told[0].result, None);
    assert_eq!(where_it_is(&fixture), [1]);
    assert_eq!(before, (one.count(Operation::Get), two.count(Operation::Put)));
    fixture.end().await;
}

#[tokio::test]
async fn nothing_is_moved_that_need_not_be() {
    let (fixture, _servers) = fixture().await;
    let (ran, told) = run(&fixture, RebalanceWish { threshold_percent: 60, ..WISH }).await;
    assert_eq!((ran.unwrap(), told.len()), (RebalanceTotals::default(), 0));
    let pack = RebalanceWish { strategy: Routing::Pack, ..WISH };
    assert_eq!(run(&fixture, pack).await.0, Ok(RebalanceTotals::default()), "the first one is full");
    assert!(fixture.metrics.encode().contains("s3o_rebalance_skipped_total{reason=\"balanced\"} 2"));
    // By itself only where it is wanted.
    assert!(fixture.run("rebalancer").await.is_empty());
    fixture.end().await;
}

#[tokio::test]
async fn one_run_at_a_time() {
    let (fixture, _servers) = fixture().await;
    fixture.state().copies.another_runs = true;
    let (ran, told) = run(&fixture, WISH).await;
    assert!(ran.unwrap_err().contains("goes on already") && told.is_empty());
    assert_eq!(where_it_is(&fixture), [1]);
    // To look does no harm.
    assert!(run(&fixture, RebalanceWish { dry_run: true, ..WISH }).await.0.is_ok());
    fixture.end().await;
}

#[tokio::test]
async fn what_cannot_be_copied_stays_where_it_is() {
    let (fixture, [_one, two]) = fixture().await;
    two.inject(Rule::new(Fault::Status(500)).on(Operation::Put));
    let (ran, told) = run(&fixture, WISH).await;
    assert_eq!(ran.map(|totals| (totals.moved, totals.failed)), Ok((0, 1)));
    assert!(matches!(told[0].result, Some(Err(_))));
    assert_eq!(where_it_is(&fixture), [1]);
    assert_eq!(fixture.state().copies.changed, []);
    fixture.end().await;
}

#[tokio::test]
async fn the_old_copy_goes_only_by_the_ledgers_leave() {
    let (fixture, _servers) = fixture().await;
    fixture.state().copies.refuse_changes = Some(ErrorCode::PreconditionFailed);
    let (ran, _) = run(&fixture, WISH).await;
    assert_eq!(ran.map(|totals| (totals.moved, totals.failed)), Ok((0, 1)));
    assert_eq!(where_it_is(&fixture), [1, 2], "one too many, which the cleaner sees to");
    assert_eq!(fixture.state().copies.changed[0].change, CopyChange::Drop);
    fixture.end().await;
}

/// As while the backend of another copy is down: the ledger would not let the old one go.
#[tokio::test]
async fn nothing_is_copied_for_a_move_that_could_not_end() {
    let (fixture, [_one, two]) = fixture().await;
    let copies = page(BYTES, 2, &[(1, ACTIVE)]);
    let waiting = CopiesState::waiting(s3o_core::replication::CopyTask::Add, copies, &[2]);
    fixture.state().copies = CopiesState { queue: vec![], ..waiting };
    let before = two.count(Operation::Put);
    let (ran, _) = run(&fixture, WISH).await;
    assert_eq!(ran.map(|totals| (totals.moved, totals.failed)), Ok((0, 0)));
    assert_eq!((where_it_is(&fixture), two.count(Operation::Put)), (vec![1], before));
    fixture.end().await;
}

#[tokio::test]
async fn whose_month_is_used_up_is_left_as_it_is() {
    let (fixture, _servers) = fixture().await;
    fixture.change(|config| {
        config.backends[0].limits.egress_bytes = Some(7);
        config.backends[1].limits.ingress_bytes = Some(7);
    });
    let full = BackendUsage { ingress_bytes: 7, egress_bytes: 7, ..BackendUsage::default() };
    for over in [1, 2] {
        let month = |id| if id == over { full.clone() } else { BackendUsage::default() };
        let used = fixture.state().usage[0].1;
        fixture.state().usage =
            vec![(BackendId(1), used, month(1)), (BackendId(2), Usage::default(), month(2))];
        assert_eq!(run(&fixture, WISH).await.0.map(|totals| totals.planned_bytes), Ok(0), "{over}");
    }
    fixture.state().usage[1].2 = BackendUsage::default();
    assert_eq!(run(&fixture, WISH).await.0.map(|totals| totals.moved), Ok(1), "in the next month");
    fixture.end().await;
}
