//! The listener: actix-web on a thread of its own, inside a process that runs on tokio.
//!
//! Invariants: any number of servers start and stop in one process; one that ends unasked ends its
//! service; the shutdown waits for the thread, and the thread for the requests it still answers, no
//! longer than `drain`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::rt::System;
use actix_web::{App, web};
use s3o_proto::v1::admin_client::AdminClient;
use s3o_runtime::metrics::prometheus_client::metrics::counter::Counter;
use s3o_runtime::metrics::prometheus_client::metrics::family::Family;
use s3o_runtime::{Metrics, Shutdown};
use s3o_types::Secret;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tracing::error;

use crate::probes::Readiness;
use crate::{edge, routes};

/// How to listen.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Port 0 takes any free one.
    pub listen: SocketAddr,
    /// What `X-Admin-Token` must be. Without it `/admin/api` is closed.
    pub admin_token: Option<Secret>,
    /// Threads that answer.
    pub threads: usize,
    /// How long requests may go on after the soft stage began; whole seconds.
    pub drain: Duration,
}

impl HttpOptions {
    /// The defaults for an address.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, admin_token: None, threads: 1, drain: Duration::from_secs(5) }
    }
}

/// What is served.
#[derive(Clone)]
pub struct HttpDeps {
    /// Behind `/metrics`.
    pub metrics: Metrics,
    /// Behind `/health/ready`.
    pub readiness: Readiness,
    /// Whether the database has answered lately, for `/health`. Must not block.
    pub database_reachable: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Behind `/admin/api`: the service in this process, reached without its token.
    pub admin: AdminClient<Channel>,
}

impl fmt::Debug for HttpDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDeps").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

/// A server that runs until its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Where it listens.
    pub addr: SocketAddr,
}

/// What all threads share.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) deps: HttpDeps,
    pub(crate) admin_token: Option<Secret>,
    pub(crate) panics: Family<[(&'static str, String); 1], Counter>,
}

/// The control plane's HTTP server.
#[derive(Debug)]
pub struct HttpServer;

impl HttpServer {
    /// Binds and serves until the soft stage of `shutdown`. For probes that are to see 503 while the
    /// rest drains, hand in a shutdown that begins after the rest's.
    ///
    /// Fails when the address cannot be taken or no thread can be started.
    pub async fn start(options: HttpOptions, deps: HttpDeps, shutdown: Shutdown) -> io::Result<Bound> {
        let listener = TcpListener::bind(options.listen)?;
        let addr = listener.local_addr()?;
        let panics = Family::default();
        let help = "Handler panics caught by the recovery middleware";
        deps.metrics.register("http_panic_recovered", help, panics.clone());
        let state = State { deps, admin_token: options.admin_token.clone(), panics };
        let (started, start) = oneshot::channel();
        let (held, stop) = (shutdown.hold(), shutdown.clone());
        thread::Builder::new().name("s3o-http".to_owned()).spawn(move || {
            let _held = held;
            System::new().block_on(serve(listener, &options, state, started));
            if !stop.is_stopping() {
                error!("the HTTP listener ended");
                stop.begin();
            }
        })?;
        let handle = start.await.map_err(|_| io::Error::other("the HTTP thread ended at its start"))??;
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            let server = StopOnDrop(handle);
            stop.stopping().await;
            server.0.stop(true).await;
        });
        Ok(Bound { addr })
    }
}

/// Stops what still runs when the task that watches over it is cut by the hard stage.
struct StopOnDrop(ServerHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // The command is sent by the call; nobody is left to wait for its end.
        drop(self.0.stop(false));
    }
}

async fn serve(
    listener: TcpListener,
    options: &HttpOptions,
    state: State,
    started: oneshot::Sender<io::Result<ServerHandle>>,
) {
    let app = move || {
        App::new()
            .app_data(web::Data::new(state.clone()))
            .configure(routes::add)
            .default_service(web::to(routes::not_found))
            .wrap(from_fn(edge::guard))
    };
    let server = actix_web::HttpServer::new(app)
        .workers(options.threads.max(1))
        .disable_signals()
        .shutdown_timeout(options.drain.as_secs())
        .listen(listener);
    let server = match server {
        Ok(server) => server.run(),
        Err(error) => {
            // Nobody waits any more: then nobody needs the reason.
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok(server.handle())).is_ok()
        && let Err(error) = server.await
    {
        error!(%error, "the HTTP server failed");
    }
}
