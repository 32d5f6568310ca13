//! A server on a free port, and what stands behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use s3o_http::{Bound, HttpDeps, HttpOptions, HttpServer, Readiness};
use s3o_runtime::{Metrics, Shutdown};
use s3o_types::Secret;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::known_admin::admin;

pub(crate) const TOKEN: &str = "X-Admin-Token: the-token\r\n";
pub(crate) const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// What the database closure does: 0 says yes, 1 no, 2 panics.
pub(crate) struct Fixture {
    pub(crate) addr: SocketAddr,
    pub(crate) readiness: Readiness,
    pub(crate) database: Arc<AtomicU8>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with_token(Some(Secret::new("the-token"))).await
    }

    pub(crate) async fn with_token(admin_token: Option<Secret>) -> Self {
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
    pub(crate) async fn send(&self, line: &str, headers: &str) -> (u16, String, String) {
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

    pub(crate) async fn json(&self, line: &str, headers: &str) -> (u16, Value) {
        let (status, head, body) = self.send(line, headers).await;
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(head.contains("x-amz-request-id: "), "{head}");
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) async fn end(self) {
        assert!(self.shutdown.finish(Duration::from_secs(30)).await, "everything ends by itself");
        assert!(TcpStream::connect(self.addr).await.is_err(), "nobody listens any more");
    }
}

pub(crate) fn error_of(answer: &Value) -> &str {
    answer["error"].as_str().unwrap()
}
