//! The files that the services are given. JSON, which is YAML.
//!
//! Invariant: what is not set here is as in production: log level, limits, timeouts, PostgreSQL. Only
//! the cleanup of displaced blobs is put off beyond the run, so that every round does the same work.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

/// The token between the planes.
pub(crate) const TOKEN: &str = "bench-token";
/// May read and write the bucket.
pub(crate) const KEY: (&str, &str) = ("AKIABENCH", "bench-secret");
/// The virtual bucket.
pub(crate) const BUCKET: &str = "bench";

/// How a control plane differs from the default.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlOptions {
    /// Added to `database`.
    pub(crate) database: Vec<(&'static str, Value)>,
    /// Besides the usual bucket, one of [`COPIES`] copies for each of these ack levels.
    pub(crate) acks: Vec<AckLevel>,
}

/// How a data plane differs from the default.
#[derive(Debug, Clone, Default)]
pub(crate) struct DataOptions {
    /// `limits.min_part`, in bytes.
    pub(crate) min_part: Option<u64>,
}

/// What PUT waits for in a bucket of several copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AckLevel {
    One,
    Quorum,
    All,
}

impl AckLevel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
        }
    }

    /// The bucket with it.
    pub(crate) fn bucket(self) -> String {
        format!("{BUCKET}-{}", self.as_str())
    }
}

/// Copies in the buckets of ack levels, and then there are as many backends: buckets of the same null backend.
const COPIES: usize = 3;

/// `s3o-controlplane --config`.
pub(super) fn control_plane(
    name: &str,
    grpc: SocketAddr,
    http: SocketAddr,
    database: &str,
    backend: SocketAddr,
    options: &ControlOptions,
) -> Value {
    let backends = if options.acks.is_empty() { 1 } else { COPIES };
    let backends: Vec<Value> = (0..backends).map(|index| null_backend(index, backend)).collect();
    let bucket =
        |ack: &AckLevel| json!({"name": ack.bucket(), "ack": ack.as_str(), "replication_factor": COPIES});
    let buckets: Vec<Value> =
        std::iter::once(json!({"name": BUCKET})).chain(options.acks.iter().map(bucket)).collect();
    let grant = |bucket: &Value| json!({"bucket": bucket["name"], "access": "read_write"});
    let grants: Vec<Value> = buckets.iter().map(grant).collect();
    let mut file = json!({
        "instance": name,
        "grpc": {"listen": grpc, "dataplane_token": TOKEN, "admin_token": TOKEN},
        "http": {"listen": http, "admin_token": TOKEN},
        "database": {"url": database},
        "backends": backends,
        "buckets": buckets,
        "credentials": [{
            "access_key_id": KEY.0,
            "secret_access_key": KEY.1,
            "grants": grants,
        }],
        "cleanup": {"read_grace": "1d"},
    });
    for (field, value) in &options.database {
        file["database"][*field] = value.clone();
    }
    file
}

fn null_backend(index: usize, address: SocketAddr) -> Value {
    json!({
        "name": format!("null-{index}"),
        "endpoint": format!("http://{address}"),
        "bucket": format!("bench-ours-{index}"),
        "credentials": {"static": {"access_key_id": KEY.0, "secret_access_key": KEY.1}},
    })
}

/// `s3o-dataplane --config`.
pub(super) fn data_plane(
    name: &str,
    s3: SocketAddr,
    http: SocketAddr,
    control: &[SocketAddr],
    snapshot: &Path,
    options: &DataOptions,
) -> Value {
    let mut file = json!({
        "name": name,
        "s3": {"listen": s3},
        "http": {"listen": http},
        "control_planes": control.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>(),
        "token": TOKEN,
        "snapshot_path": snapshot,
    });
    if let Some(bytes) = options.min_part {
        file["limits"] = json!({"min_part": bytes});
    }
    file
}
