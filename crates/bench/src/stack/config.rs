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
}

/// `s3o-controlplane --config`.
pub(super) fn control_plane(
    name: &str,
    grpc: SocketAddr,
    http: SocketAddr,
    database: &str,
    backend: SocketAddr,
    options: &ControlOptions,
) -> Value {
    let mut file = json!({
        "instance": name,
        "grpc": {"listen": grpc, "dataplane_token": TOKEN, "admin_token": TOKEN},
        "http": {"listen": http, "admin_token": TOKEN},
        "database": {"url": database},
        "backends": [{
            "name": "null",
            "endpoint": format!("http://{backend}"),
            "bucket": "bench-ours",
            "credentials": {"static": {"access_key_id": KEY.0, "secret_access_key": KEY.1}},
        }],
        "buckets": [{"name": BUCKET}],
        "credentials": [{
            "access_key_id": KEY.0,
            "secret_access_key": KEY.1,
            "grants": [{"bucket": BUCKET, "access": "read_write"}],
        }],
        "cleanup": {"read_grace": "1d"},
    });
    for (field, value) in &options.database {
        file["database"][*field] = value.clone();
    }
    file
}

/// `s3o-dataplane --config`.
pub(super) fn data_plane(
    name: &str,
    s3: SocketAddr,
    http: SocketAddr,
    control: &[SocketAddr],
    snapshot: &Path,
) -> Value {
    json!({
        "name": name,
        "s3": {"listen": s3},
        "http": {"listen": http},
        "control_planes": control.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>(),
        "token": TOKEN,
        "snapshot_path": snapshot,
    })
}
