//! The one HTTP client of the process: connections to all backends come from here.
//!
//! Invariants: idle connections are bounded per host and given up before a backend would close them;
//! nothing is buffered beyond hyper's own write buffer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

use crate::upload::UploadBody;

/// Below the keep-alive of the servers we know: nginx 75 s, AWS and MinIO 20–60 s, Node 5 s behind a
/// proxy being the exception that costs a reconnect.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);
/// Idle connections kept per backend.
const IDLE_PER_HOST: usize = 128;

/// How long a backend may stand still, by phase. There is no limit on a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection.
    pub connect: Duration,
    /// Between two chunks that the backend takes or gives.
    pub idle: Duration,
    /// Between two chunks that the source of an upload gives; its end is the client's fault.
    pub source: Duration,
    /// From the last byte of the request to the first of the answer.
    pub response: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            source: Duration::from_mins(5),
            response: Duration::from_mins(1),
        }
    }
}

pub(crate) type HyperClient = Client<HttpsConnector<HttpConnector>, UploadBody>;

/// The shared client; clones share the connections.
#[derive(Clone)]
pub struct HttpPool {
    hyper: HyperClient,
    /// The SDK's own, made when first needed.
    sdk: Arc<OnceLock<SharedHttpClient>>,
    timeouts: Timeouts,
}

impl HttpPool {
    /// A pool. Without root certificates on the machine it still reaches plain HTTP endpoints.
    pub fn new(timeouts: Timeouts) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeouts.connect));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls_config())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let hyper = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .set_host(false)
            .build(https);
        Self { hyper, sdk: Arc::default(), timeouts }
    }

    pub(crate) fn hyper(&self) -> &HyperClient {
        &self.hyper
    }

    pub(crate) fn sdk(&self) -> SharedHttpClient {
        let make = || {
            aws_smithy_http_client::Builder::new()
                .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
                .pool_idle_timeout(IDLE_CONNECTION)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .build_https()
        };
        self.sdk.get_or_init(make).clone()
    }

    /// The limits all clients of this pool keep.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }
}

impl Default for HttpPool {
    fn default() -> Self {
        Self::new(Timeouts::default())
    }
}

fn tls_config() -> ClientConfig {
    use hyper_rustls::ConfigBuilderExt as _;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = |provider: &Arc<rustls::crypto::CryptoProvider>| {
        ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("aws-lc-rs has both versions")
    };
    match versions(&provider).with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no root certificates found: backends over https cannot be reached");
            versions(&provider).with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        }
    }
}
