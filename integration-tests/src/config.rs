//! The files that the processes are given. JSON, which is YAML.
//!
//! Invariant: everything that would make a test slow or depend on the hour is set here: short graces,
//! workers that run only when they are asked to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The token between the planes.
pub const TOKEN: &str = "test-token";
/// May read and write both buckets.
pub const KEY: (&str, &str) = ("AKIATESTWRITER", "test-writer-secret");
/// May read the first bucket.
pub const READER: (&str, &str) = ("AKIATESTREADER", "test-reader-secret");
/// May do single things under prefixes of the first bucket.
pub const SCOPED: (&str, &str) = ("AKIATESTSCOPED", "test-scoped-secret");
/// May make buckets, and configure both.
pub const MAKER: (&str, &str) = ("AKIATESTMAKER", "test-maker-secret");
/// The pages that may use [`OTHER`].
pub const CORS_ORIGIN: &str = "https://app.example.com";
/// The bucket of most tests.
pub const BUCKET: &str = "data";
/// Another one, with a size limit.
pub const OTHER: &str = "other";
/// A bucket whose versioning tests may set.
pub const VERSIONED: &str = "versioned";
/// Largest object of [`OTHER`], in bytes.
pub const OTHER_MAX: u64 = 1 << 20;

/// The smallest part but the last of a multipart upload, in bytes: S3's would make every test heavy.
pub const MIN_PART: u64 = 1024;

/// A backend as the control plane is told of it.
#[derive(Debug, Clone)]
pub struct BackendEntry {
    /// Its name.
    pub name: String,
    /// `http://address`.
    pub endpoint: String,
    /// The real bucket.
    pub bucket: String,
    /// Access key and secret.
    pub keys: (String, String),
    /// Bytes that may be stored.
    pub quota_bytes: Option<u64>,
}

/// What differs between clusters.
#[derive(Debug, Clone)]
pub struct Times {
    /// Seconds that displaced blobs wait.
    pub read_grace_s: u64,
    /// Seconds until the second DELETE of an uncertain key.
    pub late_put_window_s: u64,
    /// Seconds between the ticks of the reaper and of cleanup; a test that decides itself when they run
    /// sets an hour.
    pub worker_interval_s: u64,
}

/// TLS of a cluster's listeners; what is `None` is plain.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// `s3.tls` of data planes.
    pub s3: Option<Value>,
    /// `grpc.tls` of control planes.
    pub grpc: Option<Value>,
    /// How data planes, and the test's own admin client, dial a control plane that has `grpc`.
    pub dial: Dial,
}

/// `tls` of a data plane.
#[derive(Debug, Clone, Default)]
pub struct Dial {
    /// The authority of the control plane's certificate.
    pub ca: PathBuf,
    /// Certificate and key to show.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// The name in the control plane's certificate.
    pub domain: String,
}

impl Dial {
    /// The section.
    pub fn section(&self) -> Value {
        let mut section = json!({"ca": self.ca, "domain": self.domain});
        if let Some((cert, key)) = &self.pair {
            section["cert"] = json!(cert);
            section["key"] = json!(key);
        }
        section
    }
}

impl Tls {
    /// Puts its sections into a control plane's file.
    pub fn add_to_control_plane(&self, file: &mut Value) {
        if let Some(grpc) = &self.grpc {
            file["grpc"]["tls"] = grpc.clone();
        }
    }

    /// Puts its sections into a data plane's file.
    pub fn add_to_data_plane(&self, file: &mut Value) {
        if let Some(s3) = &self.s3 {
            file["s3"]["tls"] = s3.clone();
        }
        if self.grpc.is_none() {
            return;
        }
        file["tls"] = self.dial.section();
        for address in file["control_planes"].as_array_mut().into_iter().flatten() {
            *address = json!(address.as_str().unwrap_or_default().replacen("http:", "https:", 1));
        }
    }
}

/// `s3o-controlplane --config`.
pub fn control_plane(
    name: &str,
    grpc: SocketAddr,
    http: SocketAddr,
    database: &str,
    backends: &[BackendEntry],
    routing: &str,
    times: &Times,
) -> Value {
    let backends: Vec<Value> = backends.iter().map(backend).collect();
    json!({
        "instance": name,
        "grpc": {"listen": grpc, "dataplane_token": TOKEN, "admin_token": TOKEN},
        "http": {"listen": http, "admin_token": TOKEN},
        "database": {"url": database},
        "routing": {"strategy": routing},
        "backends": backends,
        "buckets": [
            {"name": BUCKET},
            {"name": OTHER, "max_object_size": OTHER_MAX, "cors": [{
                "allowed_origins": [CORS_ORIGIN],
                "allowed_methods": ["GET", "PUT"],
                "allowed_headers": ["content-type", "x-amz-*"],
                "expose_headers": ["ETag"],
                "max_age_seconds": 600,
            }]},
            {"name": VERSIONED},
        ],
        "credentials": [
            {
                "access_key_id": KEY.0,
                "secret_access_key": KEY.1,
                "grants": [
                    {"bucket": BUCKET, "access": "read_write"},
                    {"bucket": OTHER, "access": "read_write"},
                    {"bucket": VERSIONED, "access": ["read", "write", "list", "delete", "configure"]},
                ],
            },
            {
                "access_key_id": READER.0,
                "secret_access_key": READER.1,
                "grants": [{"bucket": BUCKET, "access": "read"}],
            },
            {
                "access_key_id": SCOPED.0,
                "secret_access_key": SCOPED.1,
                "grants": [
                    {"bucket": BUCKET, "access": ["read", "list"], "prefix": "team/"},
                    {"bucket": BUCKET, "access": ["read"], "prefix": "blind/"},
                    {"bucket": BUCKET, "access": ["write"], "prefix": "drop/"},
                    {"bucket": BUCKET, "access": ["delete"], "prefix": "bin/"},
                ],
            },
            {
                "access_key_id": MAKER.0,
                "secret_access_key": MAKER.1,
                "create_buckets": true,
                "grants": [
                    {"bucket": BUCKET, "access": ["configure"]},
                    {"bucket": OTHER, "access": ["configure"]},
                ],
            },
        ],
        "cleanup": {
            "read_grace": format!("{}s", times.read_grace_s),
            "late_put_window": format!("{}s", times.late_put_window_s),
            "interval": format!("{}s", times.worker_interval_s),
        },
        "pending_reaper": {"interval": format!("{}s", times.worker_interval_s)},
        "integrity": {"interval": format!("{}s", times.worker_interval_s)},
        "replication": {
            "interval": format!("{}s", times.worker_interval_s),
            "trim_interval": format!("{}s", times.worker_interval_s),
            "scan_interval": format!("{}s", times.worker_interval_s),
        },
        "reconcile": {"check_interval": format!("{}s", times.worker_interval_s), "orphan_after": "0s"},
        // It writes to the backends by itself, which the tests of other things count.
        "journal": {"enabled": false, "interval": format!("{}s", times.worker_interval_s)},
        "shutdown_grace": "20s",
        "log": {"filter": "info", "format": "json"},
    })
}

fn backend(entry: &BackendEntry) -> Value {
    let mut value = json!({
        "name": entry.name,
        "endpoint": entry.endpoint,
        "region": "us-east-1",
        "bucket": entry.bucket,
        "credentials": {"static": {"access_key_id": entry.keys.0, "secret_access_key": entry.keys.1}},
    });
    if let Some(quota) = entry.quota_bytes {
        value["quota_bytes"] = json!(quota);
    }
    value
}

/// `s3o-dataplane --config`.
pub fn data_plane(
    name: &str,
    s3: SocketAddr,
    http: SocketAddr,
    control: &[SocketAddr],
    snapshot: &Path,
) -> Value {
    json!({
        "name": name,
        "s3": {"listen": s3, "domains": ["s3.test"], "external_hosts": ["*.public.test"]},
        "http": {"listen": http},
        "control_planes": control.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>(),
        "token": TOKEN,
        "snapshot_path": snapshot,
        "limits": {"min_part": MIN_PART},
        "timeouts": {"backend_response": "20s", "shutdown": "20s"},
        "log": {"filter": "info", "format": "json"},
    })
}
