//! Each endpoint over a real socket: answers, authentication, panics, ids, and an orderly end.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as tests do")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use s3o_http::{Bound, HttpDeps, HttpOptions, HttpServer, Readiness};
use s3o_proto::v1;
use s3o_proto::v1::admin_client::AdminClient;
use s3o_proto::v1::admin_server::{Admin, AdminServer};
use s3o_runtime::{Metrics, Shutdown};
use s3o_types::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

const TOKEN: &str = "X-Admin-Token: the-token\r\n";
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// An Admin service with known answers.
struct KnownAdmin;

#[tonic::async_trait]
impl Admin for KnownAdmin {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        let backend = v1::BackendStatus { name: "b1".to_owned(), used_bytes: 7, ..Default::default() };
        let status = v1::Status { generation: 3, backends: vec![backend], intents: 2, ..Default::default() };
        Ok(Response::new(status))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersReply>, Status> {
        let good = v1::Worker {
            name: "cleanup_queue".to_owned(),
            instance: "cp-1".to_owned(),
            last_success: Some("2026-05-12T18:42:01Z".to_owned()),
            ..Default::default()
        };
        let bad = v1::Worker {
            name: "marker".to_owned(),
            instance: "cp-1".to_owned(),
            last_failure: Some("2026-05-12T18:45:14Z".to_owned()),
            last_error: Some("connection refused".to_owned()),
            consecutive_failures: 3,
            ..Default::default()
        };
        Ok(Response::new(v1::ListWorkersReply { workers: vec![good, bad] }))
    }

    type RunWorkerStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::WorkerProgress, Status>>>;

    async fn run_worker(
        &self,
        request: Request<v1::RunWorkerRequest>,
    ) -> Result<Response<Self::RunWorkerStream>, Status> {
        match request.into_inner().name.as_str() {
            "cleanup_queue" => {
                let counts = [("success".to_owned(), 4), ("retry".to_owned(), 1)].into();
                let waits = v1::WorkerProgress { waiting: Some(5), done: None };
                let ended = v1::WorkerProgress { waiting: None, done: Some(v1::WorkerCounts { counts }) };
                Ok(Response::new(tokio_stream::iter(vec![Ok(waits), Ok(ended)])))
            }
            "away" => Err(Status::unavailable("no worker pool here")),
            name => Err(Status::not_found(format!("there is no worker `{name}`"))),
        }
    }

    type DrainBackendStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::DrainProgress, Status>>>;

    async fn drain_backend(
        &self,
        request: Request<v1::DrainBackendRequest>,
    ) -> Result<Response<Self::DrainBackendStream>, Status> {
        known(&request.into_inner().name)?;
        Ok(Response::new(tokio_stream::iter(vec![Ok(drain()), Ok(v1::DrainProgress::default())])))
    }

    async fn undrain_backend(
        &self,
        request: Request<v1::UndrainBackendRequest>,
    ) -> Result<Response<v1::UndrainBackendReply>, Status> {
        known(&request.into_inner().name)?;
        Ok(Response::new(v1::UndrainBackendReply {}))
    }

    async fn list_drains(
        &self,
        _: Request<v1::ListDrainsRequest>,
    ) -> Result<Response<v1::ListDrainsReply>, Status> {
        Ok(Response::new(v1::ListDrainsReply { drains: vec![drain()] }))
    }

    async fn preview_removal(
        &self,
        request: Request<v1::PreviewRemovalRequest>,
    ) -> Result<Response<v1::RemovalPreview>, Status> {
        let v1::PreviewRemovalRequest { name, mode, accept_losses } = request.into_inner();
        known(&name)?;
        let confirmation = format!("{name}.{mode}.{accept_losses}");
        let (objects, confirm_within_s) = (3, 60);
        Ok(Response::new(v1::RemovalPreview {
            name,
            objects,
            confirmation,
            confirm_within_s,
            ..Default::default()
        }))
    }

    type RemoveBackendStream = Self::DrainBackendStream;

    async fn remove_backend(
        &self,
        request: Request<v1::RemoveBackendRequest>,
    ) -> Result<Response<Self::RemoveBackendStream>, Status> {
        let v1::RemoveBackendRequest { name, confirmation } = request.into_inner();
        known(&name)?;
        if confirmation != "b1.purge.true" {
            return Err(Status::failed_precondition("too late"));
        }
        let removing = v1::DrainProgress { removal: "purge".to_owned(), ..drain() };
        Ok(Response::new(tokio_stream::iter(vec![Ok(removing)])))
    }

    async fn probe_backend(
        &self,
        request: Request<v1::ProbeBackendRequest>,
    ) -> Result<Response<v1::ProbeBackendReply>, Status> {
        let v1::ProbeBackendRequest { name, store } = request.into_inner();
        known(&name)?;
        let finding = |name: &str, verdict: &str, setting: &str| v1::ProbeFinding {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            detail: "so".to_owned(),
            setting: setting.to_owned(),
        };
        Ok(Response::new(v1::ProbeBackendReply {
            findings: vec![finding("range", "ok", ""), finding("checksum", "needs", "checksum: none")],
            etag: "md5".to_owned(),
            requests: 40,
            left: Vec::new(),
            stored: store,
            not_stored: String::new(),
        }))
    }

    type RebalanceStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RebalanceProgress, Status>>>;

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<Self::RebalanceStream>, Status> {
        let v1::RebalanceRequest { dry_run, strategy, threshold_percent, batch } = request.into_inner();
        let wish = (dry_run, strategy.as_str(), threshold_percent, batch);
        if wish != (true, "pack", Some(5), None) {
            return Err(Status::invalid_argument("another wish was expected"));
        }
        let copy = v1::MovedCopy { key: "k".to_owned(), size: 9, ..Default::default() };
        let first = v1::RebalanceProgress { copy: Some(copy), moved: 1, ..Default::default() };
        let last = v1::RebalanceProgress { copy: None, ..first.clone() };
        Ok(Response::new(tokio_stream::iter(vec![Ok(first), Ok(last)])))
    }

    type ScrubObjectStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ScrubbedCopy, Status>>>;

    async fn scrub_object(
        &self,
        request: Request<v1::ScrubObjectRequest>,
    ) -> Result<Response<Self::ScrubObjectStream>, Status> {
        let v1::ScrubObjectRequest { bucket, key, version_id } = request.into_inner();
        if (bucket.as_str(), version_id.as_str()) != ("photos", "") {
            return Err(Status::not_found("there is no such object"));
        }
        let copy = |backend: &str, verdict: &str| v1::ScrubbedCopy {
            backend: backend.to_owned(),
            storage_key: key.clone(),
            verdict: verdict.to_owned(),
            ..Default::default()
        };
        let broken = Err(Status::unavailable("the process was stopping"));
        Ok(Response::new(tokio_stream::iter(vec![Ok(copy("b1", "good")), Ok(copy("b2", "corrupt")), broken])))
    }

    type ReconcileStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RunProgress, Status>>>;

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<Self::ReconcileStream>, Status> {
        let v1::ReconcileRequest { backend, dry_run, accept_losses: _ } = request.into_inner();
        let runs = match backend.as_str() {
            "" => vec![run("b1", "running"), run("b1", "done"), run("b2", "done")],
            "b1" => vec![v1::RunProgress { dry_run, ..run("b1", "done") }],
            "broken" => {
                vec![v1::RunProgress { error: Some("no marker".to_owned()), ..run("broken", "failed") }]
            }
            "ending" => vec![run("ending", "running")],
            name => return Err(Status::not_found(format!("there is no backend `{name}`"))),
        };
        Ok(Response::new(tokio_stream::iter(runs.into_iter().map(Ok).collect::<Vec<_>>())))
    }

    type ImportStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RunProgress, Status>>>;

    async fn import(
        &self,
        request: Request<v1::ImportRequest>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let v1::ImportRequest { backend, bucket, prefix, dry_run } = request.into_inner();
        assert_eq!((bucket.as_str(), prefix.as_str(), dry_run), ("photos", "a/", true));
        Ok(Response::new(tokio_stream::iter(vec![Ok(run(&backend, "done"))])))
    }

    async fn list_runs(
        &self,
        _: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsReply>, Status> {
        Ok(Response::new(v1::ListRunsReply { runs: vec![run("b1", "running")] }))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverReply>, Status> {
        Err(Status::failed_precondition("the recovery mode is not on"))
    }
}

fn run(backend: &str, state: &str) -> v1::RunProgress {
    let counts = [("marked", 57), ("attached", 1), ("imported", 2), ("skipped", 4)];
    v1::RunProgress {
        backend: backend.to_owned(),
        kind: "reconcile".to_owned(),
        state: state.to_owned(),
        counts: counts.map(|(name, n)| (name.to_owned(), n)).into(),
        ..Default::default()
    }
}

fn known(name: &str) -> Result<(), Status> {
    if name == "b1" { Ok(()) } else { Err(Status::not_found(format!("there is no backend `{name}`"))) }
}

fn drain() -> v1::DrainProgress {
    let (objects, bytes, other_bytes, waiting) = (3, 30, 7, 2);
    v1::DrainProgress {
        name: "b1".to_owned(),
        asked: true,
        objects,
        bytes,
        other_bytes,
        waiting,
        done: false,
        removal: String::new(),
    }
}

async fn admin(shutdown: &Shutdown) -> AdminClient<Channel> {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = shutdown.soft_token().cancelled_owned();
    let service = Server::builder().add_service(AdminServer::new(KnownAdmin));
    shutdown.spawn(service.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop));
    AdminClient::new(Channel::from_shared(format!("http://{addr}")).unwrap().connect_lazy())
}

/// What the database closure does: 0 says yes, 1 no, 2 panics.
struct Fixture {
    addr: SocketAddr,
    readiness: Readiness,
    database: Arc<AtomicU8>,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl Fixture {
    async fn start() -> Self {
        Self::with_token(Some(Secret::new("the-token"))).await
    }

    async fn with_token(admin_token: Option<Secret>) -> Self {
        let shutdown = Shutdown::new();
        let (readiness, database, metrics) =
            (Readiness::default(), Arc::new(AtomicU8::new(0)), Metrics::new());
        let asked = Arc::clone(&database);
        let deps = HttpDeps {
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            database_reachable: Arc::new(move || match asked.load(Ordering::Relaxed) {
                2 => panic!("planted, with a secret in it"),
                state => state == 0,
            }),
            admin: admin(&shutdown).await,
        };
        let options = HttpOptions { admin_token, ..HttpOptions::new(LOCAL) };
        let Bound { addr } = HttpServer::start(options, deps, shutdown.clone()).await.unwrap();
        Self { addr, readiness, database, metrics, shutdown }
    }

    /// Status, headers in lower case, body.
    async fn send(&self, line: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn json(&self, line: &str, headers: &str) -> (u16, Value) {
        let (status, head, body) = self.send(line, headers).await;
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("x-amz-request-id: "), "{head}");
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn end(self) {
        assert!(self.shutdown.finish(Duration::from_secs(30)).await, "everything ends by itself");
        assert!(TcpStream::connect(self.addr).await.is_err(), "nobody listens any more");
    }
}

fn error_of(answer: &Value) -> &str {
    answer["error"].as_str().unwrap()
}

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
