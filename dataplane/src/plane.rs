//! The running data plane: what requests share, and the wiring.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use s3o_backend::{BackendSet, BreakerConfig, HttpPool, Meters, Timeouts};
use s3o_proto::v1;
use s3o_runtime::{LogHandle, Reload, Shutdown, TlsServer};
use s3o_types::BackendId;
use s3s::S3Request;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::region::Region;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::access::{Grants, Tenant};
use crate::auth::Secrets;
use crate::config::DataPlaneConfig;
use crate::control::{Caller, Control, Dialer, SessionContext, UsageLedger, run_session};
use crate::degraded;
use crate::degraded::cache::Locations;
use crate::health;
use crate::host::Domains;
use crate::http::document;
use crate::http::request::RequestInfo;
use crate::http::server::{Serving, serve};
use crate::http::service::Service;
use crate::http::settled::SignatureCheck;
use crate::metrics::DataPlaneMetrics;
use crate::newest::Newest;
use crate::ops::Operations;
use crate::pipeline::hedge::HedgeBudget;
use crate::pipeline::replay::ReplayPool;
use crate::pipeline::suspects::Suspects;
use crate::snapshot::Snapshot;

/// How often backends that are down are tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The largest chunk of a signed `aws-chunked` body: its signature stands before it and holds for all of
/// it, so it is collected before a byte goes on. SDKs send 64 or 128 KiB; S3 itself names no limit.
const MAX_SIGNED_CHUNK: usize = 1024 * 1024;
/// Connections that wait for accept.
const BACKLOG: u32 = 1024;
/// Connections to health and metrics.
const MAX_HEALTH_CONNECTIONS: usize = 256;

/// What all requests share.
pub(crate) struct Plane {
    pub config: DataPlaneConfig,
    pub control: Control,
    pub snapshot: ArcSwap<Snapshot>,
    /// Held while the snapshot is replaced, so that it never goes back.
    configuring: Mutex<()>,
    /// For those that cannot wait until the session brings the newest.
    pub newest: Newest,
    /// The generation in use, for those that wait for the next.
    pub configured: watch::Sender<i64>,
    pub backends: Arc<BackendSet>,
    pub metrics: Arc<DataPlaneMetrics>,
    pub replay: ReplayPool,
    /// Copies that gave wrong bytes.
    pub suspects: Suspects,
    /// Backends whose month is used up, as the control plane has told: read last.
    pub spent: ArcSwap<Vec<BackendId>>,
    /// Where objects were, for reads without the database.
    pub locations: Locations,
    /// How many second copies may be asked.
    pub hedges: HedgeBudget,
    pub shutdown: Shutdown,
    draining: AtomicBool,
    in_flight: AtomicU32,
}

impl Plane {
    /// Whether to be sent requests.
    pub(crate) fn is_ready(&self) -> bool {
        let configured = self.snapshot.load().generation > 0;
        configured && !self.draining.load(Ordering::Relaxed) && !self.shutdown.is_stopping()
    }

    /// Whether what is read whole is compared with what was written.
    pub(crate) const fn verifies_reads(&self) -> bool {
        self.config.integrity.verify_on_read
    }

    pub(crate) fn request_started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// On whose behalf the calls of this request are made; mints its operation id.
    pub(crate) fn caller<T>(&self, request: &S3Request<T>) -> Caller {
        let info = request.extensions.get::<Arc<RequestInfo>>().map(AsRef::as_ref);
        let tenant = request.extensions.get::<Tenant>();
        self.caller_for(info, tenant.map(|tenant| tenant.access_key.as_str()).unwrap_or_default())
    }

    /// The same before the request is known to be allowed.
    pub(crate) fn caller_for(&self, info: Option<&RequestInfo>, access_key: &str) -> Caller {
        Caller {
            control: self.control.clone(),
            op: Uuid::now_v7(),
            request_id: info.map(|info| info.id.clone()).unwrap_or_default(),
            traceparent: info.map(|info| info.traceparent.clone()).unwrap_or_default(),
            access_key: access_key.to_owned(),
            source: info.map(|info| info.source.ip().to_string()).unwrap_or_default(),
            call_patience: self.config.timeouts.call.get(),
            commit_patience: self.config.timeouts.commit.get(),
        }
    }

    /// Uses a configuration that came, and keeps it, unless it is no newer than the one in use.
    pub(crate) fn configure(self: &Arc<Self>, configuration: v1::Configuration) {
        let _one_at_a_time = self.configuring.lock().unwrap_or_else(PoisonError::into_inner);
        if configuration.generation <= self.snapshot.load().generation {
            return;
        }
        if let Some(path) = self.config.snapshot_path.clone() {
            keep(path, configuration.clone(), &self.shutdown);
        }
        self.apply(configuration);
    }

    fn apply(&self, configuration: v1::Configuration) {
        let snapshot = Snapshot::from_wire(configuration).follow(&self.snapshot.load());
        let (generation, backends, buckets) =
            (snapshot.generation, snapshot.backends.len(), snapshot.buckets.len());
        tracing::info!(generation, backends, buckets, "configuration in use");
        self.backends.rebuild(snapshot.backends.clone());
        self.snapshot.store(Arc::new(snapshot));
        self.configured.send_replace(generation);
    }
}

fn keep(path: PathBuf, configuration: v1::Configuration, shutdown: &Shutdown) {
    shutdown.spawn(async move {
        let stored = tokio::task::spawn_blocking(move || Snapshot::store(&path, &configuration)).await;
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the configuration could not be kept on disk"),
            Err(error) => tracing::error!(%error, "the configuration could not be kept on disk"),
        }
    });
}

/// A data plane that runs.
pub struct DataPlane {
    plane: Arc<Plane>,
    s3_addr: SocketAddr,
    http_addr: SocketAddr,
}

impl DataPlane {
    /// Opens the listeners, connects to the control plane and serves, all in tasks of `shutdown`.
    /// Returns as soon as the listeners are open: see [`Self::ready`]. Fails when a listener, a
    /// certificate or an address cannot be used.
    pub async fn start(config: DataPlaneConfig, shutdown: Shutdown) -> anyhow::Result<Self> {
        Self::start_with_reload(config, shutdown, &Reload::new()).await
    }

    /// The same; certificates are also read again when `reload` asks.
    pub async fn start_with_reload(
        config: DataPlaneConfig,
        shutdown: Shutdown,
        reload: &Reload,
    ) -> anyhow::Result<Self> {
        let log = s3o_runtime::telemetry::init(&config.log)?;
        let s3_listener = bind(config.s3.listen, "s3.listen")?;
        let http_listener = bind(config.http.listen, "http.listen")?;
        let tls =
            config.s3.tls.clone().map(|files| TlsServer::load(files, &["h2", "http/1.1"])).transpose()?;
        if let Some(tls) = &tls {
            tls.watch(&shutdown, reload);
        }
        let control = Control::new(Uuid::new_v4());
        let dialer = Dialer::new(&config, control.clone()).await?;
        let usage = Arc::new(UsageLedger::default());
        let plane = plane(config, control, &usage, shutdown);
        plane.load_snapshot();
        let this = Self { s3_addr: s3_listener.local_addr()?, http_addr: http_listener.local_addr()?, plane };
        let idle = this.when_idle();
        this.spawn_control(dialer, usage, log, idle.clone());
        this.spawn_listeners(s3_listener, http_listener, tls, idle)?;
        tracing::info!(s3 = %this.s3_addr, http = %this.http_addr, "data plane listens");
        Ok(this)
    }

    /// Where S3 is served.
    pub fn s3_addr(&self) -> SocketAddr {
        self.s3_addr
    }

    /// Where health and metrics are served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Returns when the data plane has a configuration and would answer requests.
    pub async fn ready(&self) {
        while !self.plane.is_ready() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How long running requests get at shutdown.
    pub fn grace(config: &DataPlaneConfig) -> Duration {
        config.timeouts.shutdown.get()
    }

    /// Cancelled when a shutdown has begun and nothing is under way any more. Until then the lease is
    /// renewed, so that running writes still commit, and health says "not ready".
    fn when_idle(&self) -> CancellationToken {
        let (plane, idle) = (Arc::clone(&self.plane), CancellationToken::new());
        let token = idle.clone();
        self.plane.shutdown.spawn(async move {
            plane.shutdown.stopping().await;
            plane.draining.store(true, Ordering::Relaxed);
            // Twice: a connection may be between accept and its first request.
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                while plane.in_flight.load(Ordering::Relaxed) > 0 || plane.control.open_ops().any() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            token.cancel();
        });
        idle
    }

    fn spawn_control(
        &self,
        dialer: Dialer,
        usage: Arc<UsageLedger>,
        log: LogHandle,
        idle: CancellationToken,
    ) {
        let plane = &self.plane;
        let streams = CancellationToken::new();
        let session = run_session(session(plane, usage, log), idle);
        let end_streams = streams.clone().drop_guard();
        plane.shutdown.spawn(async move {
            session.await;
            drop(end_streams);
        });
        plane.shutdown.spawn(dialer.run(streams, plane.shutdown.clone()));
        plane.shutdown.spawn(degraded::watch(Arc::clone(plane)));
        let probing = Arc::clone(plane);
        plane.shutdown.spawn(async move {
            while !probing.shutdown.is_stopping() {
                let round = async {
                    probing.backends.probe_due().await;
                    tokio::time::sleep(PROBE_EVERY).await;
                };
                tokio::select! {
                    () = probing.shutdown.stopping() => {}
                    () = round => {}
                }
            }
        });
    }

    fn spawn_listeners(
        &self,
        s3: TcpListener,
        http: TcpListener,
        tls: Option<TlsServer>,
        idle: CancellationToken,
    ) -> anyhow::Result<()> {
        let plane = &self.plane;
        let (header_timeout, shutdown) = (plane.config.timeouts.header.get(), plane.shutdown.clone());
        let (max_connections, write_idle) =
            (plane.config.limits.max_connections, plane.config.timeouts.client_idle.get());
        let stop = shutdown.soft_token();
        let serving =
            Serving { tls, max_connections, header_timeout, write_idle, shutdown: shutdown.clone(), stop };
        let service = Arc::new(Service::new(Arc::clone(plane), s3_service(plane)?));
        shutdown.spawn(serve(s3, serving, move |request, peer| Arc::clone(&service).call(request, peer)));
        let max_connections = MAX_HEALTH_CONNECTIONS;
        let serving = Serving {
            tls: None,
            max_connections,
            header_timeout,
            write_idle,
            shutdown: shutdown.clone(),
            stop: idle,
        };
        let plane = Arc::clone(plane);
        shutdown.spawn(serve(http, serving, move |request, _| {
            let plane = Arc::clone(&plane);
            async move { health::answer(&plane, &request) }
        }));
        Ok(())
    }
}

impl Plane {
    /// Starts with what was kept, if there is something: the control plane may be away.
    fn load_snapshot(self: &Arc<Self>) {
        let Some(path) = &self.config.snapshot_path else { return };
        match Snapshot::load(path) {
            Ok(Some(configuration)) => {
                tracing::info!(path = %path.display(), "starting with the last configuration");
                self.apply(configuration);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the kept configuration is not used"),
        }
    }
}

/// Accepted connections inherit the keep-alive.
fn bind(address: SocketAddr, what: &'static str) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("{what}: cannot listen on {address}"))
}

fn plane(
    config: DataPlaneConfig,
    control: Control,
    usage: &Arc<UsageLedger>,
    shutdown: Shutdown,
) -> Arc<Plane> {
    let metrics = DataPlaneMetrics::new(s3o_runtime::Metrics::new());
    let timeouts = Timeouts {
        connect: config.timeouts.backend_connect.get(),
        idle: config.timeouts.backend_idle.get(),
        source: config.timeouts.client_idle.get(),
        response: config.timeouts.backend_response.get(),
    };
    let meters = Meters { metrics: Arc::clone(&metrics) as _, usage: Arc::clone(usage) as _ };
    let backends = Arc::new(BackendSet::new(HttpPool::new(timeouts), meters, BreakerConfig::default()));
    let replay = ReplayPool::new(config.limits.replay_pool.0, config.limits.replay_max.0);
    let locations = Locations::new(config.degraded.cache_size.0, config.degraded.cache_ttl.get());
    let hedges = HedgeBudget::new(config.hedged_reads.enabled.then_some(config.hedged_reads.max_percent));
    let (draining, in_flight) = (AtomicBool::new(false), AtomicU32::new(0));
    let snapshot = ArcSwap::from_pointee(Snapshot::default());
    let configured = watch::Sender::new(0);
    Arc::new(Plane {
        config,
        control,
        snapshot,
        configuring: Mutex::default(),
        newest: Newest::default(),
        configured,
        backends,
        metrics,
        replay,
        suspects: Suspects::default(),
        spent: ArcSwap::default(),
        locations,
        hedges,
        shutdown,
        draining,
        in_flight,
    })
}

fn session(plane: &Arc<Plane>, usage: Arc<UsageLedger>, log: LogHandle) -> SessionContext {
    let (generation, in_flight, configure) = (Arc::clone(plane), Arc::clone(plane), Arc::clone(plane));
    let (spent, drain) = (Arc::clone(plane), Arc::clone(plane));
    SessionContext {
        name: plane.config.name.clone(),
        control: plane.control.clone(),
        usage,
        backends: Arc::clone(&plane.backends),
        log,
        generation: Box::new(move || generation.snapshot.load().generation),
        in_flight: Box::new(move || in_flight.in_flight.load(Ordering::Relaxed)),
        configure: Box::new(move |configuration| configure.configure(configuration)),
        spent: Box::new(move |backends| spent.spent.store(Arc::new(backends))),
        drain: Box::new(move || {
            tracing::info!("drained by the control plane");
            drain.draining.store(true, Ordering::Relaxed);
        }),
    }
}

fn s3_service(plane: &Arc<Plane>) -> anyhow::Result<S3Service> {
    let mut builder = S3ServiceBuilder::new(Operations(Arc::clone(plane)));
    builder.set_auth(Secrets(Arc::clone(plane)));
    builder.set_access(Grants(Arc::clone(plane)));
    builder.set_route(SignatureCheck);
    builder.set_host(Domains::new(&plane.config.s3.domains));
    let mut config = S3Config::default();
    config.sig_v4_allowed_services = vec!["s3".to_owned()];
    // Forms are ours: of what it takes for one it holds nothing.
    config.allow_post_signature = false;
    config.form_max_field_size = 0;
    config.form_max_fields_size = 0;
    config.form_max_parts = 0;
    // Operations are what method and sub-resource say: `x-id` would overrule what was looked at before.
    config.operation_id_routing = false;
    // Our route reads no body itself: it hands it on.
    config.custom_route_max_body_size = None;
    config.xml_max_body_size = document::MAX_BYTES;
    config.aws_chunked_stream_max_chunk_size = MAX_SIGNED_CHUNK;
    if let Some(region) = &plane.config.s3.region {
        config.expected_region = Some(Region::new(region.clone().into()).context("s3.region")?);
    }
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    Ok(builder.build())
}
