//! Starts a control plane in this process: listeners first, then whatever the database lets start.
//!
//! Invariant: an unreachable database never ends the process: the listeners answer that they are not
//! ready, and it is tried again. What no waiting can cure ends it, with the reason.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use s3o_grpc::{GrpcConfig, GrpcServer, Tokens, Wiring, in_process_admin};
use s3o_http::{HttpDeps, HttpOptions, HttpServer, Readiness};
use s3o_runtime::{LogHandle, Metrics, Reload, Shutdown, TlsServer};
use s3o_types::Secret;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::ControlPlaneConfig;
use crate::bring_up::BringUp;

/// How far a replica has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The database was not reached yet.
    Starting,
    /// Everything runs.
    Ready,
    /// It cannot start; the text says why. The shutdown has begun.
    Failed(String),
}

/// A control plane that is to be started.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// What it is configured with.
    pub config: ControlPlaneConfig,
    /// Read again when [`Self::reload`] asks: what it declares is applied, and the log's filter. `None`:
    /// the configuration stays.
    pub file: Option<PathBuf>,
    /// Asks for that; certificates are read again too.
    pub reload: Reload,
    /// The process's log, where its filter is to follow the file.
    pub log: Option<LogHandle>,
    /// No other server takes the database over: nothing is said of standbys.
    pub database_is_private: bool,
}

/// A control plane that runs until its shutdown.
#[derive(Debug)]
pub struct Running {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    phase: watch::Receiver<Phase>,
}

impl Running {
    /// Where gRPC listens.
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where HTTP listens.
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Returns when it is ready. When it cannot be, this waits for ever and the shutdown has begun;
    /// [`Self::phase`] says why.
    pub async fn ready(&self) {
        let mut phase = self.phase.clone();
        let ready = phase.wait_for(|phase| *phase == Phase::Ready).await.is_ok();
        if !ready {
            std::future::pending::<()>().await;
        }
    }
}

impl ControlPlane {
    /// Starts with a configuration that stays, and a database that nobody else has; `reload` makes it read its certificates
    /// again.
    pub async fn start(
        config: ControlPlaneConfig,
        shutdown: Shutdown,
        reload: &Reload,
    ) -> anyhow::Result<Running> {
        let reload = reload.clone();
        Self { config, file: None, reload, log: None, database_is_private: true }.run(shutdown).await
    }

    /// Listens, and begins to bring up the rest. Returns when both listeners answer; the rest follows,
    /// see [`Running::ready`]. Everything ends with `shutdown`.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<Running> {
        let Self { config, file, reload, log, database_is_private } = self;
        let asked = reload.subscribe();
        let metrics = Metrics::new();
        let services = shutdown.child();
        // What buckets ask of data planes the wiring sees in the configuration; this release asks for nothing else.
        let wiring = Wiring::new(&config.instance, admin_secret(&config), services.clone(), Vec::new);
        let grpc_addr = listen_grpc(&config, &wiring, &services, &reload).await?;
        let (phase, seen) = watch::channel(Phase::Starting);
        let (http_addr, http) = listen_http(&config, &wiring, &metrics).await?;
        let shutdown_of_all = shutdown.clone();
        let bring_up = BringUp {
            config,
            file,
            asked,
            log,
            database_is_private,
            wiring,
            metrics,
            shutdown,
            services,
            http,
            phase,
        };
        shutdown_of_all.spawn(bring_up.run());
        Ok(Running { grpc_addr, http_addr, phase: seen })
    }
}

async fn listen_grpc(
    config: &ControlPlaneConfig,
    wiring: &Wiring,
    shutdown: &Shutdown,
    reload: &Reload,
) -> anyhow::Result<SocketAddr> {
    let section = &config.grpc;
    let tls = match &section.tls {
        None => None,
        Some(files) => {
            let tls = TlsServer::load(files.clone(), &["h2"]).context("grpc.tls")?;
            tls.watch(shutdown, reload);
            Some(tls)
        }
    };
    let tokens =
        Tokens { dataplane: Some(section.dataplane_token.clone()), admin: section.admin_token.clone() };
    let age = section.max_connection_age.get();
    let max_connection_age = Some(age).filter(|age| *age > Duration::ZERO);
    let listener = bind("grpc.listen", section.listen).await?;
    let server = GrpcServer::start(listener, GrpcConfig { tokens, tls, max_connection_age }, wiring)?;
    Ok(server.addr())
}

/// Known to all replicas, and to nobody who may not ask them for anything anyway.
fn admin_secret(config: &ControlPlaneConfig) -> Option<&Secret> {
    config.grpc.admin_token.as_ref().or(config.http.admin_token.as_ref())
}

async fn bind(field: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("{field}: {addr}"))
}

/// The HTTP listener and what it shows; it ends after everything else, so that probes see the drain.
pub(crate) struct Http {
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: Shutdown,
}

async fn listen_http(
    config: &ControlPlaneConfig,
    wiring: &Wiring,
    metrics: &Metrics,
) -> anyhow::Result<(SocketAddr, Http)> {
    let http = Http { readiness: Readiness::default(), shutdown: Shutdown::new() };
    let seen = wiring.clone();
    let deps = HttpDeps {
        metrics: metrics.clone(),
        readiness: http.readiness.clone(),
        database_reachable: Arc::new(move || seen.database_reachable()),
        admin: in_process_admin(wiring),
    };
    let listen = config.http.listen;
    let options = HttpOptions { admin_token: config.http.admin_token.clone(), ..HttpOptions::new(listen) };
    let bound = HttpServer::start(options, deps, http.shutdown.clone());
    let addr = bound.await.with_context(|| format!("http.listen: {listen}"))?.addr;
    Ok((addr, http))
}
