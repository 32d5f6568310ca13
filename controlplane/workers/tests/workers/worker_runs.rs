//! What all workers share: ticks are recorded, panics survived, names known; and the gauges.

use s3o_core::ports::WorkerControl as _;
use s3o_core::session::BackendUsage;
use s3o_core::usage::Usage;
use s3o_testkit::s3server::FaultyBackend;
use s3o_types::BackendId;

use crate::fakes::{Fixture, State, mark, row, spec};

#[tokio::test]
async fn a_panic_is_a_failed_tick_and_the_next_one_comes() {
    let fixture = Fixture::start(Vec::new(), State { rotation_panics: true, ..State::default() });
    let error = fixture.workers.run("change_log").await.unwrap_err().unwrap();
    assert!(error.contains("panicked: planted"), "{error}");
    let text = fixture.metrics.encode();
    assert!(text.contains("s3o_worker_ticks_total{service=\"change_log\",result=\"error\"}"), "{text}");
    assert!(!text.contains("s3o_worker_consecutive_failures{service=\"change_log\"} 0"), "{text}");
    fixture.state().rotation_panics = false;
    assert_eq!(fixture.run("change_log").await["made"], 3);
    let text = fixture.metrics.encode();
    assert!(text.contains("s3o_worker_consecutive_failures{service=\"change_log\"} 0"), "{text}");
    assert!(text.contains("s3o_worker_last_success_timestamp_seconds{service=\"change_log\"}"), "{text}");
    let ticks = fixture.state().ticks.clone();
    let of_it: Vec<bool> =
        ticks.iter().filter(|(name, _)| name == "change_log").map(|(_, result)| result.is_ok()).collect();
    assert!(of_it.contains(&false) && of_it.last() == Some(&true), "{ticks:?}");
    fixture.end().await;
}

#[tokio::test]
async fn every_name_runs_and_no_other() {
    let fixture = Fixture::start(Vec::new(), State::default());
    for name in fixture.workers.names() {
        fixture.run(name).await;
    }
    assert_eq!(fixture.workers.run("nobody").await, Err(None));
    fixture.end().await;
}

#[tokio::test]
async fn gauges_show_what_the_tables_say() {
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    let bytes = Usage { used: 100, reserved: 20, orphaned: 30, objects: 4 };
    let month = BackendUsage {
        requests: [("a".to_owned(), 2), ("b".to_owned(), 3)].into(),
        ingress_bytes: 7,
        egress_bytes: 8,
    };
    let active = vec![(BackendId(1), 2), (BackendId(9), 5)];
    let state = State { usage: vec![(BackendId(1), bytes, month)], active, ..State::default() };
    let fixture = Fixture::start(vec![row(spec(&server, 1), true)], state);
    fixture.run("gauges").await;
    let text = fixture.metrics.encode();
    for line in [
        "s3o_quota_bytes_used{backend=\"b1\"} 100",
        "s3o_quota_bytes_limit{backend=\"b1\"} 1000",
        "s3o_quota_orphan_bytes{backend=\"b1\"} 30",
        "s3o_quota_bytes_available{backend=\"b1\"} 850",
        "s3o_objects_count{backend=\"b1\"} 4",
        "s3o_active_multipart_uploads{backend=\"b1\"} 2",
        "s3o_usage_api_requests{backend=\"b1\"} 5",
        "s3o_usage_egress_bytes{backend=\"b1\"} 8",
        "s3o_usage_ingress_bytes{backend=\"b1\"} 7",
        "s3o_cleanup_queue_depth 3",
        "s3o_cleanup_dlq_depth 2",
        "s3o_pending_intents_depth 1",
        "s3o_recovery_mode 0",
        "s3o_journal_lag_seconds 0",
        "s3o_circuit_breaker_state{name=\"b1\"} 0",
        "s3o_circuit_breaker_state{name=\"database\"} 0",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    fixture.change(|config| config.backends.clear());
    fixture.run("gauges").await;
    assert!(!fixture.metrics.encode().contains("s3o_quota_bytes_used{"), "a removed backend has no series");
    fixture.end().await;
}

#[tokio::test]
async fn the_recovery_mode_and_what_the_journal_lacks_are_seen_whoever_ships() {
    let fixture = Fixture::start(Vec::new(), State::default());
    {
        let mut held = fixture.journal.lock();
        held.recovery = Some("another timeline".to_owned());
        held.lag_us = 901_999_999;
    }
    fixture.run("gauges").await;
    let text = fixture.metrics.encode();
    for line in ["s3o_recovery_mode 1", "s3o_journal_lag_seconds 901"] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    fixture.journal.lock().recovery = None;
    fixture.run("gauges").await;
    assert!(fixture.metrics.encode().contains("s3o_recovery_mode 0"), "it is seen to be off again");
    fixture.end().await;
}

#[tokio::test]
async fn who_goes_by_what_the_database_may_have_lost_waits_for_the_recovery() {
    let fixture = Fixture::start(Vec::new(), State::default());
    fixture.journal.lock().recovery = Some("another timeline".to_owned());
    let (mut waiting, held) = (Vec::new(), [("held".to_owned(), 1)].into());
    for name in fixture.workers.names() {
        if fixture.run(name).await == held {
            waiting.push(name);
        }
    }
    assert_eq!(waiting, ["reconciler", "stale_multipart", "lifecycle", "removal", "journal"]);
    fixture.end().await;
}
