//! Everything that can be wrong with a file that parsed.

use std::collections::{HashMap, HashSet};

use s3o_runtime::{ByteSize, HumanDuration, Problems, Validate};
use s3o_types::storage_key::MAX_KEY_BYTES;
use s3o_types::{BucketName, Secret, lifecycle_problem};

use super::declared::DeclaredVersioning;
use super::{
    Access, AccessRight, BackendCredentials, BackendSection, BucketSection, ControlPlaneConfig,
    CredentialSection, DatabaseSection, LimitsSection, ReplicationSection, StaticKeys,
};

/// Tables hold byte counts as signed 64 bits.
const MOST_BYTES: u64 = i64::MAX as u64;

impl Validate for ControlPlaneConfig {
    fn validate(&self, problems: &mut Problems) {
        if self.instance.is_empty() {
            problems.at("instance", "must not be empty");
        }
        problems.field("database", |p| database(p, &self.database));
        problems.field("grpc", |p| {
            secret(p, "dataplane_token", &self.grpc.dataplane_token);
            optional_secret(p, "admin_token", self.grpc.admin_token.as_ref());
            if let Some(tls) = &self.grpc.tls {
                p.field("tls", |p| tls.validate(p));
            }
        });
        problems.field("http", |p| {
            optional_secret(p, "admin_token", self.http.admin_token.as_ref());
            if self.http.listen == self.grpc.listen && self.http.listen.port() != 0 {
                p.at("listen", "is also grpc.listen");
            }
        });
        problems.field("cleanup", |p| every(p, self.cleanup.interval, self.cleanup.concurrency));
        problems.field("pending_reaper", |p| {
            every(p, self.pending_reaper.interval, self.pending_reaper.concurrency);
        });
        problems.field("multipart", |p| {
            if self.multipart.stale_after.micros() == 0 {
                p.at("stale_after", "must be longer than 0: uploads would be given up as they are opened");
            }
        });
        problems.field("replication", |p| {
            every(p, self.replication.interval, self.replication.concurrency);
            let ReplicationSection { trim_interval, scan_interval, .. } = self.replication;
            for (field, interval) in [("trim_interval", trim_interval), ("scan_interval", scan_interval)] {
                if interval.micros() == 0 {
                    p.at(field, "must be longer than 0");
                }
            }
        });
        problems.field("rebalance", |p| {
            every(p, self.rebalance.interval, self.rebalance.concurrency);
            if self.rebalance.threshold_percent > 100 {
                p.at("threshold_percent", "must be within 0 to 100");
            }
        });
        problems.field("integrity", |p| {
            if self.integrity.interval.micros() == 0 {
                p.at("interval", "must be longer than 0");
            }
        });
        problems.field("reconcile", |p| {
            let section = self.reconcile;
            for (field, interval) in
                [("interval", section.interval), ("check_interval", section.check_interval)]
            {
                if interval.micros() == 0 {
                    p.at(field, "must be longer than 0");
                }
            }
        });
        problems.field("journal", |p| {
            let section = self.journal;
            for (field, interval) in
                [("interval", section.interval), ("snapshot_interval", section.snapshot_interval)]
            {
                if interval.micros() == 0 {
                    p.at(field, "must be longer than 0");
                }
            }
            if section.copies == 0 {
                p.at("copies", "must be 1 or more");
            }
        });
        problems.field("lifecycle", |p| {
            if self.lifecycle.interval.micros() == 0 {
                p.at("interval", "must be longer than 0");
            }
            if !(1..=MOST_ROWS).contains(&self.lifecycle.batch) {
                p.at("batch", format!("must be from 1 to {MOST_ROWS}"));
            }
        });
        problems.field("log", |p| self.log.validate(p));
        backends(problems, &self.backends);
        buckets(problems, &self.buckets, self.backends.len());
        credentials(problems, &self.credentials, &self.buckets);
    }
}

/// Rows that are looked at at once: a larger page holds its statement for too long.
const MOST_ROWS: u32 = 10_000;

/// A lane has a row of `backend_usage` for each backend, and there are 63 of them.
const MOST_LANES: u16 = 62;

/// DESIGN §6: larger transactions hold locks for too long.
const MOST_ITEMS: u16 = 256;

fn database(problems: &mut Problems, section: &DatabaseSection) {
    let url = section.url.expose();
    for (field, value, most) in [
        ("lanes", section.lanes, MOST_LANES),
        ("begin_lanes", section.begin_lanes, MOST_LANES),
        ("batch_items", section.batch_items, MOST_ITEMS),
    ] {
        if !(1..=most).contains(&value) {
            problems.at(field, format!("must be from 1 to {most}"));
        }
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        problems.at("url", "must begin with postgres://");
    } else if let Err(why) = s3o_store::check_url(url) {
        problems.at("url", why);
    }
}

fn secret(problems: &mut Problems, name: &str, value: &Secret) {
    if value.expose().is_empty() {
        problems.at(name, "must not be empty");
    } else if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.at(name, "may have visible ASCII characters only: it travels in a header");
    }
}

fn optional_secret(problems: &mut Problems, name: &str, value: Option<&Secret>) {
    if let Some(value) = value {
        secret(problems, name, value);
    }
}

fn every(problems: &mut Problems, interval: HumanDuration, concurrency: u16) {
    if interval.get().is_zero() {
        problems.at("interval", "must not be 0");
    }
    if concurrency == 0 {
        problems.at("concurrency", "must not be 0");
    }
}

fn size(problems: &mut Problems, name: &str, size: Option<ByteSize>) {
    match size {
        Some(ByteSize(0)) => problems.at(name, "must not be 0; leave it out for no limit"),
        Some(ByteSize(n)) if n > MOST_BYTES => problems.at(name, "is more than can be counted (8 EiB)"),
        _ => {}
    }
}

/// Says that `what` was used before, and remembers it.
fn once<T: std::hash::Hash + Eq>(
    problems: &mut Problems,
    seen: &mut HashMap<T, usize>,
    (list, index, name): (&str, usize, &str),
    what: T,
) {
    if let Some(first) = seen.get(&what) {
        problems.at(name, format!("is also that of {list}[{first}]"));
    } else {
        seen.insert(what, index);
    }
}

fn backends(problems: &mut Problems, backends: &[BackendSection]) {
    let (mut names, mut places, mut index) = (HashMap::new(), HashMap::new(), 0);
    problems.each("backends", backends, |p, backend| {
        if !is_name(&backend.name) {
            p.at("name", "must have 1 to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`");
        }
        once(p, &mut names, ("backends", index, "name"), backend.name.clone());
        match place(&backend.endpoint) {
            Ok(host) => {
                once(p, &mut places, ("backends", index, "bucket"), (host, backend.bucket.clone()));
            }
            Err(why) => p.at("endpoint", why),
        }
        for (name, value) in [("bucket", &backend.bucket), ("region", &backend.region)] {
            if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '/') {
                p.at(name, "must not be empty and has neither blanks nor slashes");
            }
        }
        if let BackendCredentials::Static(keys) = &backend.credentials {
            p.field("credentials.static", |p| static_keys(p, keys));
        }
        size(p, "quota_bytes", backend.quota_bytes);
        size(p, "max_object_size", backend.max_object_size);
        p.field("limits", |p| limits(p, backend.limits));
        for (i, header) in backend.strip_headers.iter().enumerate() {
            if http::HeaderName::try_from(header).is_err() {
                p.at(&format!("strip_headers[{i}]"), format!("`{header}` is not a header's name"));
            }
        }
        index += 1;
    });
}

/// 0 would forbid everything: who wants that takes the backend out of the file.
fn limits(problems: &mut Problems, limits: LimitsSection) {
    let LimitsSection { api_requests, egress_bytes, ingress_bytes } = limits;
    match api_requests {
        Some(0) => problems.at("api_requests", "must not be 0; leave it out for no limit"),
        Some(n) if n > MOST_BYTES => problems.at("api_requests", "is more than can be counted"),
        _ => {}
    }
    size(problems, "egress_bytes", egress_bytes);
    size(problems, "ingress_bytes", ingress_bytes);
}

fn static_keys(problems: &mut Problems, keys: &StaticKeys) {
    access_key(problems, &keys.access_key_id);
    secret(problems, "secret_access_key", &keys.secret_access_key);
    optional_secret(problems, "session_token", keys.session_token.as_ref());
}

fn access_key(problems: &mut Problems, id: &str) {
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b',' | b'=')) {
        problems.at("access_key_id", "must have visible ASCII characters, without `/`, `,` and `=`");
    }
}

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Scheme, host and port in one spelling, to see whether two endpoints are one.
fn place(endpoint: &str) -> Result<(String, u16), String> {
    let wrong = |why: &str| format!("`{endpoint}` is not an endpoint: {why}");
    let uri: http::Uri = endpoint.parse().map_err(|_| wrong("write https://host or http://host:port"))?;
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(wrong("it must begin with http:// or https://")),
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("credentials go into `credentials`"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it has no path; the bucket goes into `bucket`"));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("the host is missing"))?;
    Ok((host.to_lowercase(), uri.port_u16().unwrap_or(default_port)))
}

fn buckets(problems: &mut Problems, buckets: &[BucketSection], backends: usize) {
    let (mut names, mut index) = (HashMap::new(), 0);
    problems.each("buckets", buckets, |p, bucket| {
        if let Err(why) = bucket.name.parse::<BucketName>() {
            p.at("name", why);
        }
        once(p, &mut names, ("buckets", index, "name"), bucket.name.clone());
        match usize::from(bucket.replication_factor) {
            0 => p.at("replication_factor", "must be at least 1"),
            n if n > backends.max(1) => {
                let why = format!("{n} copies need {n} backends, and this file has {backends}");
                p.at("replication_factor", why);
            }
            _ => {}
        }
        size(p, "max_object_size", bucket.max_object_size);
        if bucket.object_lock.is_some() && bucket.versioning == Some(DeclaredVersioning::Suspended) {
            p.at(
                "versioning",
                "a bucket with `object_lock` keeps versions: leave this out, or write `enabled`",
            );
        }
        p.each("cors", &bucket.cors, |p, rule| {
            for (field, why) in rule.problems() {
                p.at(field, why);
            }
        });
        p.each("lifecycle", &bucket.lifecycle, |p, rule| {
            for (field, why) in rule.problems() {
                p.at(field, why);
            }
        });
        if let Some(why) = lifecycle_problem(&bucket.lifecycle) {
            p.at("lifecycle", why);
        }
        index += 1;
    });
}

fn credentials(problems: &mut Problems, credentials: &[CredentialSection], buckets: &[BucketSection]) {
    let known: HashSet<&str> = buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    let (mut ids, mut index) = (HashMap::new(), 0);
    problems.each("credentials", credentials, |p, credential| {
        access_key(p, &credential.access_key_id);
        once(p, &mut ids, ("credentials", index, "access_key_id"), credential.access_key_id.clone());
        secret(p, "secret_access_key", &credential.secret_access_key);
        let (mut granted, mut n) = (HashMap::new(), 0);
        p.each("grants", &credential.grants, |p, grant| {
            if !known.contains(grant.bucket.as_str()) {
                p.at("bucket", format!("there is no bucket `{}` in this file", grant.bucket));
            }
            // The same bucket may be granted again under another prefix.
            let place = format!("{}\0{}", grant.bucket, grant.prefix);
            once(p, &mut granted, ("grants", n, "bucket"), place);
            if grant.access == Access::Rights(Vec::new()) {
                p.at("access", "names no right; leave the grant out");
            }
            if !grant.prefix.is_empty()
                && matches!(&grant.access, Access::Rights(rights) if rights.contains(&AccessRight::Configure))
            {
                p.at("access", "`configure` is a right to the whole bucket; grant it without a prefix");
            }
            if grant.prefix.len() > MAX_KEY_BYTES || grant.prefix.contains('\0') {
                p.at("prefix", "no key begins with it: keys have up to 1024 bytes, and no U+0000");
            }
            n += 1;
        });
        index += 1;
    });
}
