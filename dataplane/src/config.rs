//! What a data plane is told by its file: where it listens, where the control plane is, its limits.
//! Buckets, keys and backends are not in here: they come by the Session stream.
//!
//! Invariant: a configuration that passes validation starts, or fails for a reason outside of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use s3o_runtime::{ByteSize, HumanDuration, LogConfig, Problems, TlsFiles, Validate};
use s3o_types::{DigestKind, Secret};
use s3s::region::Region;
use serde::{Deserialize, Serialize};

use crate::control::Address;
use crate::host::is_domain;

/// The whole file. See `config/dataplane.example.yaml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPlaneConfig {
    /// What the control plane and the logs call this process.
    #[serde(default = "default_name")]
    pub name: String,
    /// The S3 listener.
    #[serde(default)]
    pub s3: S3Config,
    /// The listener for health and metrics.
    #[serde(default)]
    pub http: HttpConfig,
    /// Addresses of the control plane, `http://` or `https://`, host and port. Each name is resolved
    /// again and again, and every address behind it is used.
    pub control_planes: Vec<String>,
    /// The token that the control plane asks for.
    #[serde(default)]
    pub token: Secret,
    /// TLS towards the control plane, for `https://` addresses.
    #[serde(default)]
    pub tls: ClientTlsConfig,
    /// Where the last configuration is kept, to start while the control plane is away. Written with
    /// mode 0600: it holds secrets. Absent: not kept.
    #[serde(default)]
    pub snapshot_path: Option<PathBuf>,
    /// What is refused before it can hurt.
    #[serde(default)]
    pub limits: Limits,
    /// What is kept to check bytes against, and whether readers' bytes are.
    #[serde(default)]
    pub integrity: IntegrityConfig,
    /// How long to wait for whom.
    #[serde(default)]
    pub timeouts: TimeoutConfig,
    /// Reads while the metadata service is away.
    #[serde(default)]
    pub degraded: DegradedConfig,
    /// A second copy for reads whose first one is slow.
    #[serde(default)]
    pub hedged_reads: HedgedReads,
    /// Logging.
    #[serde(default)]
    pub log: LogConfig,
}

/// The S3 listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate and key: both or neither. Read again when the files change.
    pub tls: Option<TlsFiles>,
    /// Base domains of virtual-host style: `s3.example.com` makes `bucket.s3.example.com` work. All
    /// other hosts are path style.
    pub domains: Vec<String>,
    /// Names that a reverse proxy in front of us may say in `X-Forwarded-Host`, where it puts another host into the
    /// request than the client signed: exact with the port, or `*.` and a domain.
    pub external_hosts: Vec<String>,
    /// When set, signatures must name this region.
    pub region: Option<String>,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9000)),
            tls: None,
            domains: Vec::new(),
            external_hosts: Vec::new(),
            region: None,
        }
    }
}

/// The listener for health and metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 9001)) }
    }
}

/// TLS towards the control plane.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTlsConfig {
    /// PEM file with the authority that signed the control plane's certificate.
    pub ca: Option<PathBuf>,
    /// Our certificate, where the control plane asks for one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name in the control plane's certificate, when it is not the one dialled.
    pub domain: Option<String>,
}

/// What is refused before it can hurt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open client connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests at a time; more get 503 `SlowDown`.
    pub max_in_flight: usize,
    /// Bytes kept to send small bodies again when a backend fails, over all requests.
    pub replay_pool: ByteSize,
    /// The largest body that is kept for that.
    pub replay_max: ByteSize,
    /// The smallest part of a multipart upload but the last. S3 says 5 MiB.
    pub min_part: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_in_flight: 1024,
            replay_pool: ByteSize(64 << 20),
            replay_max: ByteSize(8 << 20),
            min_part: ByteSize(5 << 20),
        }
    }
}

/// What bytes are checked against.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntegrityConfig {
    /// What is kept of the bytes that are written: `crc64nvme`, or `sha256` at several times the cost.
    pub digest: DigestKind,
    /// Whether whole objects and parts are compared with it while they are read: what is wrong never reaches a client
    /// whole.
    pub verify_on_read: bool,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        Self { digest: DigestKind::default(), verify_on_read: true }
    }
}

/// Reads while the metadata service is away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DegradedConfig {
    /// Bytes in which it is remembered where objects were last; 0 for none.
    pub cache_size: ByteSize,
    /// How long such a location is used without a look at the backends.
    pub cache_ttl: HumanDuration,
    /// Backends that a read asks at a time; 1: one after the other.
    pub parallel: usize,
}

impl Default for DegradedConfig {
    fn default() -> Self {
        Self { cache_size: ByteSize(64 << 20), cache_ttl: HumanDuration::from_secs(3600), parallel: 4 }
    }
}

/// A second copy for reads whose first one is slow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HedgedReads {
    /// Whether a copy whose first byte takes longer than the backend's 95th percentile gets a rival.
    pub enabled: bool,
    /// At most so many of a hundred reads have one.
    pub max_percent: u8,
}

impl Default for HedgedReads {
    fn default() -> Self {
        Self { enabled: false, max_percent: 5 }
    }
}

/// How long to wait for whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// For a request's headers.
    pub header: HumanDuration,
    /// For the outcome of Begin, Retarget, Locate, Delete and a listing.
    pub call: HumanDuration,
    /// For the outcome of Commit and Abort, and for the next extents of a read that has begun: a database failover fits in.
    pub commit: HumanDuration,
    /// For a connection to a backend.
    pub backend_connect: HumanDuration,
    /// For the next chunk that a backend takes or gives.
    pub backend_idle: HumanDuration,
    /// For the next chunk of a client's body, and for the client to take the next part of an answer.
    pub client_idle: HumanDuration,
    /// For a backend's answer after the whole body; a read that has another copy left waits less.
    pub backend_response: HumanDuration,
    /// For running requests at shutdown; after that they are cut.
    pub shutdown: HumanDuration,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            header: HumanDuration::from_secs(30),
            call: HumanDuration::from_secs(10),
            commit: HumanDuration::from_secs(45),
            backend_connect: HumanDuration::from_secs(5),
            backend_idle: HumanDuration::from_secs(30),
            client_idle: HumanDuration::from_secs(300),
            backend_response: HumanDuration::from_secs(60),
            shutdown: HumanDuration::from_secs(60),
        }
    }
}

fn default_name() -> String {
    std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "dataplane".to_owned())
}

impl Validate for DataPlaneConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.at("name", "must not be empty");
        }
        problems.field("s3", |problems| self.s3.validate(problems));
        if self.control_planes.is_empty() {
            problems.at("control_planes", "at least one address is needed");
        }
        problems.each("control_planes", &self.control_planes, |problems, address| {
            if let Err(error) = Address::parse(address) {
                problems.push(error);
            }
        });
        if !self.token.expose().chars().all(|c| c.is_ascii_graphic()) {
            problems.at("token", "may only have visible ASCII characters");
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            problems.at("tls", "cert and key belong together");
        }
        problems.field("limits", |problems| self.limits.validate(problems));
        problems.field("timeouts", |problems| self.timeouts.validate(problems));
        problems.field("degraded", |problems| self.degraded.validate(problems));
        if !(1..=100).contains(&self.hedged_reads.max_percent) {
            problems.at("hedged_reads.max_percent", "must be 1 to 100");
        }
        problems.field("log", |problems| self.log.validate(problems));
    }
}

impl Validate for S3Config {
    fn validate(&self, problems: &mut Problems) {
        if let Some(tls) = &self.tls {
            problems.field("tls", |problems| tls.validate(problems));
        }
        problems.each("domains", &self.domains, |problems, domain| {
            if !is_domain(domain) {
                problems.push(format!("`{domain}` is not a host name"));
            }
        });
        problems.each("external_hosts", &self.external_hosts, |problems, name| {
            let host = name.strip_prefix("*.").unwrap_or(name);
            if host.is_empty() || host.contains('*') || host.parse::<http::uri::Authority>().is_err() {
                problems.push(format!("`{name}` is neither a host nor `*.` and a domain"));
            }
        });
        if let Some(region) = &self.region
            && Region::new(region.clone().into()).is_err()
        {
            problems.at("region", format!("`{region}` is not a region"));
        }
    }
}

impl Validate for Limits {
    fn validate(&self, problems: &mut Problems) {
        for (name, value) in
            [("max_connections", self.max_connections), ("max_in_flight", self.max_in_flight)]
        {
            if value == 0 {
                problems.at(name, "must be at least 1");
            }
        }
        if self.replay_max > self.replay_pool {
            problems.at("replay_max", "must not be more than replay_pool");
        }
        if self.replay_pool.0 > 1 << 30 {
            problems.at("replay_pool", "must not be more than 1GiB");
        }
    }
}

impl Validate for DegradedConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.cache_size.0 > 16 << 30 {
            problems.at("cache_size", "must not be more than 16GiB");
        }
        if self.parallel == 0 {
            problems.at("parallel", "must be at least 1");
        }
    }
}

impl Validate for TimeoutConfig {
    fn validate(&self, problems: &mut Problems) {
        for (name, value) in [
            ("header", self.header),
            ("call", self.call),
            ("commit", self.commit),
            ("backend_connect", self.backend_connect),
            ("backend_idle", self.backend_idle),
            ("client_idle", self.client_idle),
            ("backend_response", self.backend_response),
            ("shutdown", self.shutdown),
        ] {
            if value.get().is_zero() {
                problems.at(name, "must be more than 0");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DataPlaneConfig, s3o_runtime::ConfigError> {
        s3o_runtime::config::parse(text, "dataplane.yaml", &|name| {
            (name == "S3O_TOKEN").then(|| "secret".to_owned())
        })
    }

    #[test]
    fn the_example_loads() {
        let config = read(include_str!("../../config/dataplane.example.yaml")).expect("the example is right");
        assert_eq!(config.token.expose(), "secret");
        assert_eq!(config.limits.max_in_flight, Limits::default().max_in_flight);
    }

    #[test]
    fn an_address_is_all_it_takes() {
        let config = read("control_planes: [\"http://cp:9090\"]\n").expect("defaults for the rest");
        assert_eq!(config.s3.listen.port(), 9000);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let error = read(
            "control_planes: [\"cp:9090\", \"ftp://cp:1\"]\ns3: {domains: [\"a b\"]}\ntls: {cert: /x}\n\
             limits: {max_in_flight: 0}\ntimeouts: {call: 0}\n\
             degraded: {parallel: 0}\nhedged_reads: {max_percent: 0}\n",
        )
        .expect_err("many mistakes")
        .to_string();
        for path in [
            "control_planes[0]",
            "control_planes[1]",
            "s3.domains[0]",
            "tls",
            "limits.max_in_flight",
            "timeouts.call",
            "degraded.parallel",
            "hedged_reads.max_percent",
        ] {
            assert!(error.contains(&format!("{path}: ")), "{path} in {error}");
        }
    }
}
