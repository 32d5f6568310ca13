//! Health, metrics, and what all endpoints do alike: errors, ids, the token, panics, the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use s3o_http::{HttpDeps, HttpOptions, HttpServer, Readiness};
use s3o_runtime::{Metrics, Shutdown};
use s3o_types::Secret;
use serde_json::json;

use crate::fixture::{Fixture, TOKEN, error_of};
use crate::known_admin::admin;

#[tokio::test(flavor = "multi_thread")]
async fn health_is_always_200_and_ready_follows_the_flag() {
    let server = Fixture::start().await;
    assert_eq!(server.json("GET /health", "").await, (200, json!({"status": "ok"})));
    server.database.store(1, Ordering::Relaxed);
    assert_eq!(server.json("GET /health", "").await, (200, json!({"status": "degraded"})));
    assert_eq!(server.json("GET /health/ready", "").await, (503, json!({"status": "not ready"})));
    server.readiness.set(true);
    assert_eq!(server.json("GET /health/ready", "").await, (200, json!({"status": "ready"})));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_the_registry() {
    let server = Fixture::start().await;
    let (status, head, body) = server.send("GET /metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    assert!(body.contains("s3o_build_info{") && body.contains("# EOF"), "{body}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_json_with_the_request_id() {
    let server = Fixture::start().await;
    let id = format!("{TOKEN}X-Request-Id: abc-123\r\n");
    let table = [
        ("POST /admin/api/workers/nobody/run", 404, "no worker `nobody`"),
        ("POST /admin/api/workers/away/run", 503, "no worker pool here"),
        ("GET /admin/api/workers/nobody/run", 405, "not allowed"),
        ("GET /admin/api/nothing", 404, "nothing here"),
        ("GET /nothing", 404, "nothing here"),
        ("POST /health", 405, "not allowed"),
    ];
    for (line, status, text) in table {
        let (found, answer) = server.json(line, &id).await;
        let error = error_of(&answer);
        assert_eq!(found, status, "{line}: {error}");
        assert!(error.contains(text) && error.ends_with("Request ID: abc-123"), "{line}: {error}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_come_in_and_go_out() {
    let server = Fixture::start().await;
    let (_, head, _) = server.send("GET /health", "X-Request-Id: mine-7\r\n").await;
    assert!(head.contains("x-amz-request-id: mine-7\r\n"), "{head}");
    for unfit in ["a b".to_owned(), "x".repeat(129)] {
        let (_, head, _) = server.send("GET /health", &format!("X-Request-Id: {unfit}\r\n")).await;
        assert!(head.contains("x-amz-request-id: ") && !head.contains(&unfit), "{head}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_reached() {
    let server = Fixture::start().await;
    for headers in ["", "X-Admin-Token: wrong\r\n", "X-Admin-Token: the-tokem\r\n", "X-Admin-Token:\r\n"] {
        for line in [
            "GET /admin/api/workers",
            "GET /admin/api/status",
            "POST /admin/api/workers/cleanup_queue/run",
            "GET /admin/api/nothing",
        ] {
            let (status, answer) = server.json(line, headers).await;
            assert_eq!(status, 401, "{line} {headers}");
            assert!(error_of(&answer).contains("Request ID: "), "{answer}");
        }
    }
    server.end().await;
    for closed in [None, Some(Secret::new(""))] {
        let server = Fixture::with_token(closed).await;
        let (status, _) = server.json("GET /admin/api/workers", "X-Admin-Token:\r\n").await;
        assert_eq!(status, 403);
        server.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_answered_counted_and_survived() {
    let server = Fixture::start().await;
    server.database.store(2, Ordering::Relaxed);
    for _ in 0..2 {
        let (status, answer) = server.json("GET /health", "X-Request-Id: p-1\r\n").await;
        let error = error_of(&answer);
        assert_eq!(status, 500);
        assert!(error.ends_with("Request ID: p-1") && !error.contains("secret"), "{error}");
    }
    server.database.store(0, Ordering::Relaxed);
    assert_eq!(server.json("GET /health", "").await.0, 200);
    let text = server.metrics.encode();
    assert!(text.contains("s3o_http_panic_recovered_total{route=\"/health\"} 2"), "{text}");
    assert!(text.contains("s3o_audit_events_total{event=\"http.PanicRecovered\"}"), "{text}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_run_side_by_side_and_one_after_the_other() {
    for _ in 0..3 {
        let (one, two) = (Fixture::start().await, Fixture::start().await);
        assert_eq!(one.json("GET /health", "").await.0, 200);
        one.end().await;
        assert_eq!(two.json("GET /health", "").await.0, 200);
        two.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_is_an_error() {
    let server = Fixture::start().await;
    let deps = HttpDeps {
        metrics: Metrics::new(),
        readiness: Readiness::default(),
        database_reachable: Arc::new(|| true),
        admin: admin(&server.shutdown).await,
    };
    let taken = HttpServer::start(HttpOptions::new(server.addr), deps, Shutdown::new()).await;
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    server.end().await;
}
