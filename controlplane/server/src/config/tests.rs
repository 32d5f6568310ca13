//! The example loads, and every mistake is named with its path.

use s3o_core::config::Routing;
use s3o_types::Credentials;

use super::*;

fn read(text: &str) -> Result<ControlPlaneConfig, s3o_runtime::ConfigError> {
    s3o_runtime::config::parse(text, "c.yaml", &|name| {
        Some(format!("value-of-{name}")).filter(|_| !name.starts_with("NO"))
    })
}

const EXAMPLE: &str = include_str!("../../../../config/controlplane.example.yaml");

#[test]
fn the_example_loads_and_declares() {
    let config = read(&EXAMPLE.replace("${S3O_DATABASE_URL:-", "${NOTHING:-")).unwrap();
    let declared = config.declared().unwrap();
    assert_eq!((declared.routing, declared.backends.len()), (Routing::Pack, 2));
    assert!(matches!(declared.backends[1].credentials, Credentials::AwsDefaultChain));
    assert!(declared.credentials.iter().flat_map(|key| &key.grants).any(|(_, write)| !write));
    assert_eq!(config.cleanup.times(), s3o_core::cleanup::CleanupTimes::default());
}

/// What is commented out in the example shows defaults and alternatives; it must be valid as well.
#[test]
fn the_example_says_the_defaults() {
    let bare = "database: {url: postgres://x}\ngrpc: {dataplane_token: t}\n";
    let (bare, example) =
        (read(bare).unwrap(), read(&EXAMPLE.replace("${S3O_DATABASE_URL:-", "${NOTHING:-")).unwrap());
    assert_eq!(example.cleanup, bare.cleanup);
    assert_eq!(example.pending_reaper, bare.pending_reaper);
    assert_eq!(example.multipart, bare.multipart);
    assert_eq!(example.grpc.listen, bare.grpc.listen);
    assert_eq!(example.grpc.max_connection_age, bare.grpc.max_connection_age);
    assert_eq!(example.http.listen, bare.http.listen);
    assert_eq!(example.log, bare.log);
    assert_eq!(example.shutdown_grace, bare.shutdown_grace);
}

#[test]
fn every_mistake_is_named() {
    let text = r"
database: {url: mysql://x}
grpc: {listen: 127.0.0.1:1, dataplane_token: 'a b', admin_token: ''}
http: {listen: 127.0.0.1:1, admin_token: ''}
cleanup: {interval: 0, concurrency: 0}
pending_reaper: {interval: 0}
multipart: {stale_after: 0}
replication: {interval: 0, concurrency: 0, trim_interval: 0, scan_interval: 0}
rebalance: {interval: 0, concurrency: 0, threshold_percent: 101}
integrity: {interval: 0}
reconcile: {interval: 0, check_interval: 0}
journal: {interval: 0, snapshot_interval: 0, copies: 0}
log: {filter: 'a=b=c'}
backends:
  - &b {name: a, endpoint: 'http://H:80', bucket: x, credentials: aws_default_chain}
  - {name: a, endpoint: 'http://h/', bucket: x, credentials: aws_default_chain, quota_bytes: 0}
  - {name: 'c d', endpoint: ftp://h, bucket: '', credentials: aws_default_chain, max_object_size: 0}
  - name: e
    endpoint: https://h/path
    bucket: y
    credentials: {static: {access_key_id: '', secret_access_key: ''}}
    strip_headers: [ok, 'n o']
    limits: {api_requests: 0, egress_bytes: 0, ingress_bytes: 1TiB}
buckets:
  - {name: photos}
  - {name: photos, ack: quorum, replication_factor: 5}
  - {name: A_B, replication_factor: 0, max_object_size: 0}
credentials:
  - {access_key_id: k, secret_access_key: s, grants: [{bucket: photos, access: read}, {bucket: photos, access: read_write}]}
  - {access_key_id: k, secret_access_key: '', grants: [{bucket: nope, access: read}, {bucket: photos, prefix: a/, access: [configure]}]}
";
    let error = read(text).unwrap_err();
    let paths: Vec<&str> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "database.url",
            "grpc.dataplane_token",
            "grpc.admin_token",
            "http.admin_token",
            "http.listen",
            "cleanup.interval",
            "cleanup.concurrency",
            "pending_reaper.interval",
            "multipart.stale_after",
            "replication.interval",
            "replication.concurrency",
            "replication.trim_interval",
            "replication.scan_interval",
            "rebalance.interval",
            "rebalance.concurrency",
            "rebalance.threshold_percent",
            "integrity.interval",
            "reconcile.interval",
            "reconcile.check_interval",
            "journal.interval",
            "journal.snapshot_interval",
            "journal.copies",
            "log.filter",
            "backends[1].name",
            "backends[1].bucket",
            "backends[1].quota_bytes",
            "backends[2].name",
            "backends[2].endpoint",
            "backends[2].bucket",
            "backends[2].max_object_size",
            "backends[3].endpoint",
            "backends[3].credentials.static.access_key_id",
            "backends[3].credentials.static.secret_access_key",
            "backends[3].limits.api_requests",
            "backends[3].limits.egress_bytes",
            "backends[3].strip_headers[1]",
            "buckets[1].name",
            "buckets[1].replication_factor",
            "buckets[2].name",
            "buckets[2].replication_factor",
            "buckets[2].max_object_size",
            "credentials[0].grants[1].bucket",
            "credentials[1].access_key_id",
            "credentials[1].secret_access_key",
            "credentials[1].grants[0].bucket",
            "credentials[1].grants[1].access",
        ]
    );
    let text = error.to_string();
    assert!(text.contains("c.yaml:16: backends[1].quota_bytes: must not be 0"), "{text}");
    assert!(text.contains("5 copies need 5 backends, and this file has 4"), "{text}");
}

#[test]
fn the_hash_is_of_what_is_declared() {
    let base = "database: {url: postgres://x}\ngrpc: {dataplane_token: t}\nbuckets: [{name: photos}]\n";
    let hash = |text: &str| read(text).unwrap().declared_hash().unwrap();
    assert_eq!(hash(base), hash(&format!("{base}log: {{filter: debug}}\n# a comment\n")));
    assert_ne!(hash(base), hash(&base.replace("photos", "videos")));
    let keys =
        |secret: &str| format!("{base}credentials: [{{access_key_id: k, secret_access_key: {secret}}}]\n");
    assert_ne!(hash(&keys("one")), hash(&keys("two")), "a rotated secret is applied");
}
