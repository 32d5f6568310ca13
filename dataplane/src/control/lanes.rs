//! Finds the addresses of the control plane and keeps a stream to each.
//!
//! Invariant: every address behind the configured names has one lane, tried again for ever; one that
//! is gone from the names gets no new calls and ends when it is idle.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use s3o_proto::{AUTHORIZATION, MAX_MESSAGE_BYTES};
use s3o_runtime::Shutdown;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::lane::{Client, Lane};
use super::{Address, Control};
use crate::config::DataPlaneConfig;

/// How often names are resolved again. DNS entries of services live a few seconds.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// The pause before a stream is opened again, doubled up to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A peer that answers no ping for this long is gone. With it a call is sent again well within its
/// patience.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Puts the shared token on every call.
#[derive(Clone)]
pub(super) struct Token(Option<AsciiMetadataValue>);

#[cfg(test)]
impl Token {
    pub(super) fn none() -> Self {
        Self(None)
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert(AUTHORIZATION, token.clone());
        }
        Ok(request)
    }
}

/// Opens channels.
pub(crate) struct Dialer {
    addresses: Vec<Address>,
    tls: Option<ClientTlsConfig>,
    domain: Option<String>,
    token: Token,
    control: Control,
}

impl Dialer {
    /// Reads certificates and checks addresses.
    pub(crate) async fn new(config: &DataPlaneConfig, control: Control) -> anyhow::Result<Self> {
        let addresses =
            config.control_planes.iter().map(|text| Address::parse(text).map_err(anyhow::Error::msg));
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let tls =
            if addresses.iter().any(|address| address.tls) { Some(client_tls(config).await?) } else { None };
        let token = match config.token.expose() {
            "" => None,
            token => Some(format!("Bearer {token}").parse().context("token: not a header value")?),
        };
        Ok(Self { addresses, tls, domain: config.tls.domain.clone(), token: Token(token), control })
    }

    /// Runs until `stop`; the lanes run under `shutdown`.
    pub(crate) async fn run(self, stop: CancellationToken, shutdown: Shutdown) {
        let mut running: HashMap<SocketAddr, (Arc<Lane>, CancellationToken)> = HashMap::new();
        let mut last = HashMap::new();
        while !stop.is_cancelled() {
            let found = self.resolve(&mut last).await;
            for (socket, address) in &found {
                if running.contains_key(socket) {
                    continue;
                }
                match self.dial(*socket, address) {
                    Ok(client) => {
                        let lane = Arc::new(Lane::new(*socket, client));
                        let stop_lane = stop.child_token();
                        shutdown.spawn(keep_open(Arc::clone(&lane), self.control.clone(), stop_lane.clone()));
                        running.insert(*socket, (lane, stop_lane));
                    }
                    Err(error) => tracing::error!(%socket, %error, "cannot dial the control plane"),
                }
            }
            retire_missing(&mut running, &found);
            let lanes = running.values().map(|(lane, _)| Arc::clone(lane)).collect();
            self.control.0.lanes.send_replace(Arc::new(lanes));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RESOLVE_EVERY) => {}
            }
        }
    }

    /// All addresses behind all names. A name that cannot be resolved now has those of the `last` time.
    async fn resolve(
        &self,
        last: &mut HashMap<(String, u16), Vec<SocketAddr>>,
    ) -> HashMap<SocketAddr, Address> {
        let mut found = HashMap::new();
        for address in &self.addresses {
            match tokio::net::lookup_host((address.host.as_str(), address.port)).await {
                Ok(sockets) => {
                    last.insert((address.host.clone(), address.port), sockets.collect());
                }
                Err(error) => tracing::warn!(host = address.host, %error, "cannot resolve the control plane"),
            }
            let sockets = last.get(&(address.host.clone(), address.port)).into_iter().flatten();
            found.extend(sockets.map(|socket| (*socket, address.clone())));
        }
        found
    }

    fn dial(&self, socket: SocketAddr, address: &Address) -> anyhow::Result<Client> {
        let scheme = if address.tls { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{socket}"))?
            .origin(address.url().parse()?)
            .connect_timeout(KEEP_ALIVE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if let (true, Some(tls)) = (address.tls, &self.tls) {
            let domain = self.domain.clone().unwrap_or_else(|| address.host.clone());
            endpoint = endpoint.tls_config(tls.clone().domain_name(domain))?;
        }
        let client = Client::new(InterceptedService::new(endpoint.connect_lazy(), self.token.clone()));
        Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

async fn client_tls(config: &DataPlaneConfig) -> anyhow::Result<ClientTlsConfig> {
    let mut tls = ClientTlsConfig::new();
    if let Some(ca) = &config.tls.ca {
        let pem = tokio::fs::read(ca).await.with_context(|| format!("tls.ca: {}", ca.display()))?;
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) {
        let cert_pem =
            tokio::fs::read(cert).await.with_context(|| format!("tls.cert: {}", cert.display()))?;
        let key_pem = tokio::fs::read(key).await.with_context(|| format!("tls.key: {}", key.display()))?;
        tls = tls.identity(Identity::from_pem(cert_pem, key_pem));
    }
    Ok(tls)
}

/// Lanes whose address is gone end once idle. While nothing at all can be resolved all stay: a broken
/// name server must not cut working connections.
fn retire_missing(
    running: &mut HashMap<SocketAddr, (Arc<Lane>, CancellationToken)>,
    found: &HashMap<SocketAddr, Address>,
) {
    if found.is_empty() {
        return;
    }
    let current: HashSet<_> = found.keys().collect();
    running.retain(|socket, (lane, stop)| {
        lane.set_retired(!current.contains(socket));
        if current.contains(socket) {
            return true;
        }
        if lane.is_idle() {
            stop.cancel();
        }
        !lane.is_idle()
    });
}

async fn keep_open(lane: Arc<Lane>, control: Control, stop: CancellationToken) {
    let mut pause = RECONNECT.0;
    loop {
        let started = tokio::time::Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = lane.run_once(&control) => ended,
        };
        if started.elapsed() > RECONNECT.1 {
            pause = RECONNECT.0;
        }
        match ended {
            Ok(()) => tracing::info!(address = %lane.address, "the control plane ended the stream"),
            Err(status) => tracing::warn!(address = %lane.address, %status, "no stream to the control plane"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())) => {}
        }
        pause = (pause * 2).min(RECONNECT.1);
    }
}
