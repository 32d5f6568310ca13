//! Pages are queued until none is due; drains are counted; empty backends go.

use std::time::Duration;

use s3o_core::object::CopyState;
use s3o_core::replication::{CopyTask, Drain, ReplicationResult};
use s3o_core::worker::Counts;
use s3o_testkit::s3server::{Fault, FaultyBackend, Rule};
use s3o_types::{BackendId, BackendState, Gen};

use crate::copies::{CopiesState, item, page, storage_key};
use crate::fakes::{Fixture, State, mark, row, spec};

fn drain(done: bool) -> Drain {
    Drain {
        backend: BackendId(1),
        name: "b1".to_owned(),
        asked: true,
        objects: 0,
        bytes: 0,
        other_bytes: 0,
        waiting: 0,
        done,
        removal: None,
    }
}

#[tokio::test]
async fn a_tick_takes_all_pages_that_are_due() {
    let fixture = Fixture::start(Vec::new(), State::default());
    for worker in ["replicator", "over_replication", "copy_scan"] {
        fixture.run(worker).await;
    }
    let page =
        |looked, queued| Counts::from([("looked_at".to_owned(), looked), ("queued".to_owned(), queued)]);
    {
        let mut state = fixture.state();
        state.copies.scans = vec![page(1000, 3), page(1000, 0), page(7, 7)];
        state.copies.drains = vec![drain(false), drain(true)];
        state.copies.retired = 1;
        state.copies.looked = 0;
    }
    let counts = fixture.run("copy_scan").await;
    assert_eq!((counts["looked_at"], counts["queued"], counts["retired"]), (2007, 10, 1));
    assert!(fixture.state().copies.scans.is_empty());
    assert_eq!(
        fixture.state().copies.looked,
        4,
        "a backend may be lost, or be back, while a long scan goes on"
    );
    assert!(fixture.metrics.encode().contains("s3o_drain_active 1"));
    fixture.end().await;
}

/// Until the scan is told of just these.
async fn until_unhealthy(fixture: &Fixture, wanted: &[BackendId]) {
    for _ in 0..3000 {
        fixture.run("copy_scan").await;
        let seen = fixture.state().copies.scanned_for.last().cloned();
        if seen.is_some_and(|seen| seen == wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: unhealthy {wanted:?}");
}

/// Queues the version for a task, has its worker tend it, and says what came of it.
async fn tended(fixture: &Fixture, task: CopyTask, worker: &str) -> ReplicationResult {
    fixture.state().copies.queue.push(item(task));
    fixture.run(worker).await;
    fixture.state().copies.finished.last().expect("finished").1.clone()
}

#[tokio::test]
async fn a_lost_backend_is_replaced_and_what_is_too_much_goes_when_it_is_back() {
    let mut servers = Vec::new();
    for id in 1..=3 {
        let server = FaultyBackend::start().await.unwrap();
        mark(&server, id);
        servers.push(server);
    }
    servers[1].inject(Rule::new(Fault::Status(500)));
    let rows = servers.iter().zip(1..).map(|(server, id)| row(spec(server, id), true)).collect();
    let fixture = Fixture::start_with(rows, State::default(), |deps| {
        deps.backends.breaker.open_for = Duration::from_millis(100);
        deps.backends.breaker.open_at_most = Duration::from_millis(100);
        deps.settings.unhealthy_threshold = Duration::ZERO;
    });
    fixture.run("replicator").await;
    fixture.run("over_replication").await;
    let (first, active) = (storage_key(Gen::ZERO), BackendState::Active);
    servers[0].plant(&first, "twice");
    servers[1].plant(&first, "twice");
    until_unhealthy(&fixture, &[BackendId(2)]).await;

    let page = page(b"twice", 2, &[(1, active), (2, active)]);
    fixture.state().copies.versions = CopiesState::waiting(CopyTask::Add, page, &[]).versions;
    fixture.state().copies.targets = vec![BackendId(3)];
    assert_eq!(tended(&fixture, CopyTask::Add, "replicator").await, ReplicationResult::Done);
    assert!(fixture.metrics.encode().contains("s3o_replication_health_copies_total 1"));
    let all = [1, 2, 3].map(|id| (id, CopyState::Verified));
    assert_eq!(fixture.state().copies.backends(), all);
    // While it is away, what it holds is one copy more that may come back.
    assert_eq!(tended(&fixture, CopyTask::Trim, "over_replication").await, ReplicationResult::Done);
    assert!(fixture.state().copies.changed.is_empty(), "nothing goes");

    servers[1].heal();
    until_unhealthy(&fixture, &[]).await;
    let too_many = ReplicationResult::HandedOver(CopyTask::Trim);
    assert_eq!(tended(&fixture, CopyTask::Add, "replicator").await, too_many);
    assert_eq!(tended(&fixture, CopyTask::Trim, "over_replication").await, ReplicationResult::Done);
    assert_eq!(fixture.state().copies.changed.len(), 1, "one was too many");
    assert_eq!(fixture.state().copies.backends().len(), 2);
    fixture.end().await;
}
