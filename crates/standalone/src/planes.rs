//! The configuration of both planes, as the files that they would be given.
//!
//! Invariant: standalone has no back door. What it wants of a plane is in that plane's configuration
//! format and passes its validation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use s3o_runtime::config::{Validate, parse};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::declared::Declared;
use crate::state::State;
use crate::{QUOTA_BYTES, StandaloneOptions};

/// A folder backend that listens.
pub(crate) struct RunningFolder {
    pub(crate) name: String,
    pub(crate) bucket: String,
    pub(crate) address: SocketAddr,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// What the control plane is told.
pub(crate) fn control_plane(
    options: &StandaloneOptions,
    declared: &Declared,
    state: &State,
    folders: &[RunningFolder],
    database: &str,
    token: &str,
) -> Value {
    let mut config = json!({
        "instance": "standalone",
        "grpc": {"listen": options.grpc_listen, "dataplane_token": token, "admin_token": state.admin_token},
        "http": {"listen": options.http_listen, "admin_token": state.admin_token},
        "database": {"url": database},
        "routing": declared.routing.clone().unwrap_or_else(|| json!({"strategy": "spread"})),
        "backends": declared.backends,
        "buckets": declared.buckets,
        "credentials": declared.credentials,
        "log": {"filter": options.log_filter, "format": "text"},
    });
    if declared.backends.is_empty() {
        config["backends"] = folders.iter().map(folder).collect();
    }
    if declared.buckets.is_empty() {
        config["buckets"] = json!([{"name": state.bucket}]);
        config["credentials"] = json!([{
            "access_key_id": state.access_key_id,
            "secret_access_key": state.secret_access_key,
            "grants": [{"bucket": state.bucket, "access": "read_write"}],
        }]);
    }
    for (name, section) in [
        ("cleanup", &declared.cleanup),
        ("pending_reaper", &declared.pending_reaper),
        ("multipart", &declared.multipart),
        ("replication", &declared.replication),
        ("rebalance", &declared.rebalance),
        ("integrity", &declared.integrity),
        ("reconcile", &declared.reconcile),
        ("lifecycle", &declared.lifecycle),
    ] {
        if let Some(section) = section {
            config[name] = section.clone();
        }
    }
    config
}

fn folder(folder: &RunningFolder) -> Value {
    json!({
        "name": folder.name,
        "endpoint": format!("http://{}", folder.address),
        "region": "us-east-1",
        "bucket": folder.bucket,
        "credentials": {"static": {
            "access_key_id": folder.access_key_id,
            "secret_access_key": folder.secret_access_key,
        }},
        "quota_bytes": QUOTA_BYTES,
    })
}

/// What the data plane is told.
pub(crate) fn data_plane(options: &StandaloneOptions, grpc: SocketAddr, token: &str, data: &Path) -> Value {
    json!({
        "name": "standalone",
        "s3": {"listen": options.s3_listen},
        "http": {"listen": "127.0.0.1:0"},
        "control_planes": [format!("http://{}", reachable(grpc))],
        "token": token,
        "snapshot_path": data.join("dataplane-snapshot.pb"),
        "log": {"filter": options.log_filter, "format": "text"},
    })
}

/// The address at which this machine reaches a listener: one that listens everywhere is on loopback too.
pub(crate) fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Reads a configuration as from a file called `name`.
pub(crate) fn read<T: DeserializeOwned + Validate>(config: &Value, name: &Path) -> anyhow::Result<T> {
    // JSON is YAML. A dollar sign is itself: the environment has been put in already.
    let text = config.to_string().replace('$', "$$");
    Ok(parse(&text, name, &|_| None)?)
}
