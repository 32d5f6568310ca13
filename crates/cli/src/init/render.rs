//! The files as text.
//!
//! Invariant: every value from outside is a quoted YAML scalar in which `$` is itself.

use std::fmt::Write as _;

use anyhow::Context as _;
use rand::TryRng as _;
use rand::rngs::SysRng;

use super::answers::Complete;

/// What is made up.
pub(super) struct Secrets {
    token: String,
    admin_token: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Secrets {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            token: random_hex(24)?,
            admin_token: random_hex(24)?,
            access_key_id: format!("S3O{}", &random_hex(9)?.to_uppercase()[..17]),
            secret_access_key: random_hex(20)?,
        })
    }
}

fn random_hex(bytes: usize) -> anyhow::Result<String> {
    let mut out = vec![0; bytes];
    SysRng.try_fill_bytes(&mut out).context("the operating system gives no random bytes")?;
    Ok(hex::encode(out))
}

/// A double-quoted scalar.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '$' => out.push_str("$$"),
            c if c.is_control() => _ = write!(out, "\\U{:08x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `controlplane.yaml`.
pub(super) fn control_plane(answers: &Complete, secrets: &Secrets) -> String {
    let Secrets { token, admin_token, access_key_id, secret_access_key } = secrets;
    let mut out = format!(
        r"# A control plane's configuration, written by `s3o init`. Every field: docs/configuration.md.
# `${{NAME}}` and `${{NAME:-default}}` are taken from the environment; `$$` is a dollar sign.

# PostgreSQL 15 or newer. Not through a pooler that pools transactions.
database:
  url: {url}

# What data planes and `s3o status` reach.
grpc:
  listen: 0.0.0.0:9090
  # The same as `token` in a data plane's file.
  dataplane_token: {token}
  # For `s3o status`, in S3O_ADMIN_TOKEN.
  admin_token: {admin_token}

# /health, /health/ready and /metrics.
http:
  listen: 0.0.0.0:9091

routing:
  # pack: each backend until it is full, in this file's order. spread: the least full one.
  strategy: pack

# Where objects are stored.
backends:
",
        url = quoted(&answers.database_url),
    );
    for backend in &answers.backends {
        let [id, secret] = backend.variables();
        let (name, endpoint) = (quoted(&backend.name), quoted(&backend.endpoint));
        let (region, bucket) = (quoted(&backend.region), quoted(&backend.bucket));
        let _ = write!(
            out,
            "  - name: {name}\n    endpoint: {endpoint}\n    region: {region}\n    bucket: {bucket}\n    \
             credentials:\n      static:\n        access_key_id: ${{{id}}}\n        secret_access_key: ${{{secret}}}\n"
        );
        match &backend.quota {
            Some(quota) => _ = writeln!(out, "    # Never exceeded.\n    quota_bytes: {}", quoted(quota)),
            None => out.push_str("    # quota_bytes: 100GiB\n"),
        }
        out.push_str("    # For a calendar month: limits: {api_requests: 1000000, egress_bytes: 1TiB, ingress_bytes: 1TiB}\n");
    }
    out.push_str("\n# What clients see as buckets.\nbuckets:\n");
    for bucket in &answers.buckets {
        let _ = writeln!(out, "  - name: {}", quoted(bucket.as_str()));
    }
    let _ = write!(
        out,
        "\n# Who may use them: access is read or read_write.\ncredentials:\n  - access_key_id: {access_key_id}\n    \
         secret_access_key: {secret_access_key}\n    grants:\n"
    );
    for bucket in &answers.buckets {
        let _ = writeln!(out, "      - {{bucket: {}, access: read_write}}", quoted(bucket.as_str()));
    }
    out
}

/// `dataplane.yaml`.
pub(super) fn data_plane(answers: &Complete, secrets: &Secrets) -> String {
    format!(
        r"# A data plane's configuration, written by `s3o init`. Every field: docs/configuration.md.
# Buckets, keys and backends are not in here: they come from the control plane.

# Where clients speak S3.
s3:
  listen: 0.0.0.0:9000
  # Virtual-host style: `bucket.s3.example.com`.
  # domains: [s3.example.com]
  # tls: {{cert: /etc/s3o/tls.crt, key: /etc/s3o/tls.key}}

# /health, /health/ready and /metrics.
http:
  listen: 0.0.0.0:9001

# Every address behind a name is used.
control_planes:
  - {control_plane}

# The same as `grpc.dataplane_token` in the control plane's file.
token: {token}

# The last configuration, to start while the control plane is away. It holds secrets (mode 0600).
# snapshot_path: /var/lib/s3o/dataplane-snapshot.pb
",
        control_plane = quoted(&answers.control_plane),
        token = secrets.token,
    )
}
