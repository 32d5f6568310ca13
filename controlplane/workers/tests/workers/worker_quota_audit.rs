//! `quota_audit`: what was wrong is shown, and counted once.

use s3o_core::usage::{Usage, UsageDrift};
use s3o_testkit::s3server::FaultyBackend;
use s3o_types::BackendId;

use crate::fakes::{Fixture, State, mark, row, spec};

#[tokio::test]
async fn drift_is_a_metric_by_backend() {
    let server = FaultyBackend::start().await.unwrap();
    mark(&server, 1);
    let mut state = State::holding(1);
    let actual = Usage { used: 10, orphaned: 4, ..Usage::default() };
    let counted = Usage { used: 13, orphaned: 2, ..Usage::default() };
    state.reconcile.drifts = vec![UsageDrift { backend: BackendId(1), counted, actual }];
    let fixture = Fixture::start(vec![row(spec(&server, 1), true)], state);
    let counts = fixture.run("quota_audit").await;
    assert_eq!(counts["repaired"], 1);
    assert!(fixture.metrics.encode().contains("s3o_quota_drift_bytes{backend=\"b1\"} 5"));
    fixture.state().reconcile.drifts = vec![UsageDrift { backend: BackendId(1), counted: actual, actual }];
    let counts = fixture.run("quota_audit").await;
    assert_eq!(counts["repaired"], 0);
    assert!(fixture.metrics.encode().contains("s3o_quota_drift_bytes{backend=\"b1\"} 0"));
    // Another replica is at it: what was seen last stands.
    fixture.state().reconcile.drifts = Vec::new();
    fixture.run("quota_audit").await;
    assert!(fixture.metrics.encode().contains("s3o_quota_drift_bytes{backend=\"b1\"} 0"));
    fixture.end().await;
}
