//! What the Admin service says, as REST.

use serde_json::json;

use crate::fixture::{Fixture, TOKEN, error_of};

#[tokio::test(flavor = "multi_thread")]
async fn admin_answers_what_the_service_says() {
    let server = Fixture::start().await;
    let (status, workers) = server.json("GET /admin/api/workers", TOKEN).await;
    assert_eq!(status, 200);
    let expected = json!({"workers": [
        {"name": "cleanup_queue", "instance": "cp-1", "last_success": "2026-05-12T18:42:01Z",
         "consecutive_failures": 0},
        {"name": "marker", "instance": "cp-1", "last_failure": "2026-05-12T18:45:14Z",
         "last_error": "connection refused", "consecutive_failures": 3},
    ]});
    assert_eq!(workers, expected);
    let (status, found) = server.json("GET /admin/api/status", TOKEN).await;
    assert_eq!(status, 200);
    assert_eq!((&found["generation"], &found["intents"]), (&json!(3), &json!(2)));
    assert_eq!(found["backends"][0]["used_bytes"], json!(7));
    let ran = server.json("POST /admin/api/workers/cleanup_queue/run", TOKEN).await;
    assert_eq!(ran, (200, json!({"success": 4, "retry": 1})));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_are_begun_shown_and_taken_back() {
    let server = Fixture::start().await;
    let drain = json!({"name": "b1", "asked": true, "objects": 3, "bytes": 30, "other_bytes": 7, "waiting": 2, "done": false});
    let begun = server.json("POST /admin/api/backends/b1/drain", TOKEN).await;
    assert_eq!(begun, (202, drain.clone()));
    assert_eq!(server.json("GET /admin/api/drains", TOKEN).await, (200, json!({"drains": [drain]})));
    let (status, _, body) = server.send("DELETE /admin/api/backends/b1/drain", TOKEN).await;
    assert_eq!((status, body.as_str()), (204, ""));
    for line in ["POST /admin/api/backends/b2/drain", "DELETE /admin/api/backends/b2/drain"] {
        let (status, answer) = server.json(line, TOKEN).await;
        assert_eq!(status, 404, "{line}");
        assert!(error_of(&answer).contains("b2"), "{answer}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_what_a_backend_needs() {
    let server = Fixture::start().await;
    let expected = |stored: bool| {
        json!({
            "findings": [
                {"name": "range", "verdict": "ok", "detail": "so"},
                {"name": "checksum", "verdict": "needs", "detail": "so", "setting": "checksum: none"},
            ],
            "etag": "md5", "requests": 40, "left": [], "stored": stored,
        })
    };
    let line = "POST /admin/api/backends/b1/probe";
    assert_eq!(server.json(line, TOKEN).await, (200, expected(false)));
    assert_eq!(server.json(&format!("{line}?store=true"), TOKEN).await, (200, expected(true)));
    assert_eq!(server.json("POST /admin/api/backends/b2/probe", TOKEN).await.0, 404);
    assert_eq!(server.json("GET /admin/api/backends/b1/probe", TOKEN).await.0, 405);
    let (status, _, _) = server.send(&format!("{line}?save=true"), TOKEN).await;
    assert_eq!(status, 400);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_moved_are_lines_too() {
    let server = Fixture::start().await;
    let line = "POST /admin/api/rebalance?dry_run=true&strategy=pack&threshold_percent=5";
    let (status, _, body) = server.send(line, TOKEN).await;
    let lines: Vec<serde_json::Value> = body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((status, lines.len()), (200, 2), "{body}");
    assert_eq!((&lines[0]["copy"]["key"], &lines[0]["moved"]), (&json!("k"), &json!(1)));
    assert!(lines[1].get("copy").is_none());
    let (status, _) = server.json("POST /admin/api/rebalance", TOKEN).await;
    assert_eq!(status, 400);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_read_are_lines_as_they_are_found() {
    let server = Fixture::start().await;
    let (status, head, body) = server.send("POST /admin/api/scrub?bucket=photos&key=a%2Fb", TOKEN).await;
    assert_eq!(status, 200);
    assert!(head.to_lowercase().contains("application/x-ndjson"), "{head}");
    let lines: Vec<serde_json::Value> = body
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{body}");
    assert_eq!((&lines[0]["backend"], &lines[0]["storage_key"]), (&json!("b1"), &json!("a/b")));
    assert_eq!(
        (&lines[1]["verdict"], &lines[2]["error"]),
        (&json!("corrupt"), &json!("the process was stopping"))
    );
    let (status, _) = server.json("POST /admin/api/scrub?bucket=other&key=k", TOKEN).await;
    assert_eq!(status, 404);
    let (status, _, _) = server.send("POST /admin/api/scrub?bucket=photos", TOKEN).await;
    assert_eq!(status, 400);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_given_up_with_the_confirmation_of_its_preview() {
    let server = Fixture::start().await;
    let line = "GET /admin/api/backends/b1/removal?mode=purge&accept_losses=true";
    let (status, preview) = server.json(line, TOKEN).await;
    assert_eq!((status, &preview["objects"], &preview["confirm_within_s"]), (200, &json!(3), &json!(60)));
    let confirmation = preview["confirmation"].as_str().unwrap();
    let confirmed = format!("{TOKEN}X-S3O-Confirmation: {confirmation}\r\n");
    let (status, removing) = server.json("DELETE /admin/api/backends/b1", &confirmed).await;
    assert_eq!((status, &removing["removal"], &removing["objects"]), (202, &json!("purge"), &json!(3)));
    for (line, status) in [
        ("DELETE /admin/api/backends/b1", 400),
        ("GET /admin/api/backends/b1/removal", 400),
        ("GET /admin/api/backends/b2/removal?mode=purge", 404),
    ] {
        assert_eq!(server.json(line, TOKEN).await.0, status, "{line}");
    }
    let other = format!("{TOKEN}X-S3O-Confirmation: x\r\n");
    assert_eq!(server.json("DELETE /admin/api/backends/b1", &other).await.0, 409);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_answers_when_all_runs_have_ended() {
    let server = Fixture::start().await;
    let one = json!({"status": "ok", "imported": 3, "removed": 57, "backends_scanned": 1});
    let all = json!({"status": "ok", "imported": 6, "removed": 114, "backends_scanned": 2});
    assert_eq!(server.json("POST /admin/api/reconcile?backend=b1", TOKEN).await, (200, one));
    assert_eq!(server.json("POST /admin/api/reconcile", TOKEN).await, (200, all));
    let (status, answer) = server.json("POST /admin/api/reconcile?backend=broken", TOKEN).await;
    assert!(status >= 400 && error_of(&answer).contains("no marker"), "{status} {answer}");
    assert_eq!(server.json("POST /admin/api/reconcile?backend=ending", TOKEN).await.0, 503);
    assert_eq!(server.json("POST /admin/api/reconcile?backend=nobody", TOKEN).await.0, 404);
    assert!(server.json("POST /admin/api/reconcile?backends=b1", TOKEN).await.0 >= 400);
    let synced = json!({"status": "ok", "imported": 2, "skipped": 4});
    let line = "POST /admin/api/sync?backend=b1&bucket=photos&prefix=a/&dry_run=true";
    assert_eq!(server.json(line, TOKEN).await, (200, synced));
    let lines = format!("{TOKEN}Accept: application/json, application/x-ndjson;q=0.9\r\n");
    let (status, head, body) = server.send("POST /admin/api/reconcile", &lines).await;
    assert!(status == 200 && head.contains("application/x-ndjson"), "{head}");
    assert!(body.contains("\"state\":\"done\""), "{body}");
    let (status, runs) = server.json("GET /admin/api/reconcile", TOKEN).await;
    assert_eq!((status, &runs["runs"][0]["counts"]["marked"]), (200, &json!(57)));
    server.end().await;
}
