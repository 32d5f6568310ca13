//! The configuration that the control plane sent, as requests use it, and its copy on disk.
//!
//! Invariants: a snapshot is replaced as a whole and never changed; the file is written beside the old
//! one, mode 0600, and renamed, so that a crash leaves one or the other.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use prost::Message as _;
use s3o_proto::v1;
use s3o_types::{
    BackendId, BackendSpec, BucketId, BucketLock, CorsRule, Credentials, DegradedReads, LifecycleRule, Place,
    Quirks, Right, Rights, Scope, Secret, Timestamp,
};

/// A virtual bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub id: BucketId,
    pub name: String,
    pub created: Timestamp,
    /// Bytes; `u64::MAX` where the bucket sets no limit.
    pub max_object_size: u64,
    /// Which web pages may use it.
    pub cors: Arc<[CorsRule]>,
    /// By which rules its objects expire: to be shown, and told of each of them (`x-amz-expiration`).
    pub lifecycle: Arc<[LifecycleRule]>,
    /// Its Object Lock: to be shown, and to refuse early what needs it.
    pub lock: Option<BucketLock>,
    /// What readers get while the database cannot be asked.
    pub degraded_reads: DegradedReads,
}

/// What an access key may do.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub secret: Secret,
    /// Whether it may make buckets of its own.
    pub create_buckets: bool,
    /// What it may do and where, by bucket. No entry: nothing.
    pub grants: HashMap<BucketId, Vec<Scope>>,
}

impl Key {
    /// Whether it may do that to a key of the bucket.
    pub(crate) fn may(&self, bucket: BucketId, right: Right, key: &str) -> bool {
        self.scopes(bucket).iter().any(|scope| scope.allows(right, key))
    }

    /// Whether there is any key of the bucket to which it may do that.
    pub(crate) fn may_somewhere(&self, bucket: BucketId, right: Right) -> bool {
        self.scopes(bucket).iter().any(|scope| scope.rights.contains(right))
    }

    /// All that it may do there.
    pub(crate) fn scopes(&self, bucket: BucketId) -> &[Scope] {
        self.grants.get(&bucket).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Everything a request needs to know.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// 0: nothing has come yet.
    pub generation: i64,
    pub buckets: HashMap<String, Bucket>,
    pub keys: HashMap<String, Key>,
    pub backends: Vec<BackendSpec>,
    /// Those that are being emptied, and since when this process has known.
    pub draining: HashMap<BackendId, Instant>,
    /// Whether these are all that there are, and none is of a kind that this release cannot speak to.
    pub is_complete: bool,
}

/// Delete markers are on no backend: what was ever versioned, or may have been, is only read where it is remembered.
fn degraded_reads(degraded_reads: v1::DegradedReads, versioning: v1::Versioning) -> DegradedReads {
    match (degraded_reads, versioning) {
        (v1::DegradedReads::Refused, _) => DegradedReads::Refused,
        (v1::DegradedReads::Unspecified | v1::DegradedReads::Allowed, v1::Versioning::Off) => {
            DegradedReads::Allowed
        }
        _ => DegradedReads::Cache,
    }
}

fn grants_of(grants: Vec<v1::Grant>, scopes: Vec<v1::ScopedGrant>) -> HashMap<BucketId, Vec<Scope>> {
    let whole = grants.into_iter().map(|v1::Grant { bucket, write }| {
        let rights = if write { Rights::ALL } else { Rights::READ };
        (bucket, Scope { prefix: String::new(), rights })
    });
    let scoped = scopes.into_iter().map(|v1::ScopedGrant { bucket, prefix, rights }| {
        (bucket, Scope { prefix, rights: Rights::from_bits(rights) })
    });
    let mut all: HashMap<BucketId, Vec<Scope>> = HashMap::new();
    for (bucket, scope) in whole.chain(scoped).filter(|(_, scope)| scope.rights != Rights::NONE) {
        all.entry(BucketId(bucket)).or_default().push(scope);
    }
    all
}

impl Snapshot {
    /// From the wire. What cannot be understood is left out with a log line: one wrong row must not
    /// keep the others from being served.
    pub(crate) fn from_wire(configuration: v1::Configuration) -> Self {
        let v1::Configuration { generation, cluster: _, backends, buckets, credentials } = configuration;
        let buckets = buckets.into_iter().map(|bucket| {
            // A word of a later release forbids more than this one knows.
            let words = (v1::DegradedReads::try_from(bucket.degraded_reads), bucket.versioning());
            let degraded_reads = match words {
                (Ok(word), versioning) => degraded_reads(word, versioning),
                (Err(_), _) => DegradedReads::Refused,
            };
            let v1::Bucket {
                id,
                name,
                created_us,
                max_object_size,
                cors,
                versioning: _,
                degraded_reads: _,
                lifecycle,
                lock,
            } = bucket;
            let max_object_size = if max_object_size == 0 { u64::MAX } else { max_object_size };
            let cors = cors.into_iter().map(s3o_wire::cors::from_wire).collect();
            let lifecycle = lifecycle.into_iter().map(s3o_wire::lifecycle::from_wire).collect();
            let created = Timestamp(created_us);
            let id = BucketId(id);
            let lock = lock.map(s3o_wire::lock::known_bucket_from_wire);
            let bucket = Bucket {
                id,
                name: name.clone(),
                created,
                max_object_size,
                cors,
                lifecycle,
                lock,
                degraded_reads,
            };
            (name, bucket)
        });
        let keys = credentials.into_iter().map(|credential| {
            let v1::Credential { access_key_id, secret_access_key, grants, scopes, create_buckets } =
                credential;
            let (secret, grants) = (Secret::new(secret_access_key), grants_of(grants, scopes));
            let key = Key { secret, create_buckets, grants };
            (access_key_id, key)
        });
        let is_removed = |backend: &v1::Backend| backend.state() == v1::BackendState::Removed;
        let there = backends.iter().filter(|backend| !is_removed(backend)).count();
        let is_draining = |backend: &&v1::Backend| backend.state() == v1::BackendState::Draining;
        let draining = backends.iter().filter(is_draining).map(|backend| BackendId(backend.id));
        let draining = draining.map(|id| (id, Instant::now())).collect();
        let backends: Vec<_> = backends.into_iter().filter_map(backend).collect();
        let is_complete = backends.len() == there;
        Self { generation, buckets: buckets.collect(), keys: keys.collect(), backends, draining, is_complete }
    }

    /// Backends that an earlier one had as drained have been so since then.
    pub(crate) fn follow(mut self, earlier: &Self) -> Self {
        for (id, since) in &mut self.draining {
            *since = earlier.draining.get(id).copied().unwrap_or(*since);
        }
        self
    }

    /// Whether a backend began to be emptied after that moment. What was placed there later, the control plane has
    /// placed knowing better than this snapshot.
    pub(crate) fn drains_since(&self, backend: BackendId, moment: Instant) -> bool {
        self.draining.get(&backend).is_some_and(|since| *since >= moment)
    }

    /// The last one kept on disk; `None` when there is none.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Option<v1::Configuration>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let configuration = v1::Configuration::decode(bytes.as_slice());
        Ok(Some(configuration.with_context(|| format!("{} is no snapshot", path.display()))?))
    }

    /// Keeps a configuration on disk, unless a newer one of the same cluster is there already.
    pub(crate) fn store(path: &Path, configuration: &v1::Configuration) -> anyhow::Result<()> {
        static WRITER: Mutex<()> = Mutex::new(());
        let _one_at_a_time = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be read is replaced.
        let kept = Self::load(path).ok().flatten();
        if kept.is_some_and(|kept| {
            kept.cluster == configuration.cluster && kept.generation > configuration.generation
        }) {
            return Ok(());
        }
        let mut name = path.file_name().context("snapshot_path names no file")?.to_owned();
        name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
        let beside = path.with_file_name(name);
        let written = Self::write(&beside, path, configuration);
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    fn write(beside: &Path, path: &Path, configuration: &v1::Configuration) -> anyhow::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        file.write_all(&configuration.encode_to_vec())?;
        file.sync_all()?;
        std::fs::rename(beside, path)?;
        Ok(())
    }
}

fn backend(backend: v1::Backend) -> Option<BackendSpec> {
    let v1::Backend { id, name, endpoint, region, bucket, credentials, quirks, state, place } = backend;
    match v1::BackendState::try_from(state) {
        Ok(v1::BackendState::Removed) => return None,
        Ok(v1::BackendState::Active | v1::BackendState::Draining) => {}
        // A state of a later release: reading from it is right as long as rows name it.
        Ok(v1::BackendState::Unspecified) | Err(_) => {
            tracing::debug!(name, state, "backend in an unknown state");
        }
    }
    let Some(credentials) = credentials else {
        tracing::error!(name, "backend left out: credentials of a kind that this release does not know");
        return None;
    };
    let credentials = match credentials {
        v1::backend::Credentials::AwsDefaultChain(v1::AwsDefaultChain {}) => Credentials::AwsDefaultChain,
        v1::backend::Credentials::Static(v1::StaticCredentials {
            access_key_id,
            secret_access_key,
            session_token,
        }) => Credentials::Static {
            access_key_id,
            secret_access_key: Secret::new(secret_access_key),
            session_token: session_token.map(Secret::new),
        },
    };
    let quirks = quirks.map_or_else(Quirks::default, s3o_wire::quirks::from_wire);
    let (id, place) = (BackendId(id), Place::from_number(place));
    Some(BackendSpec { id, name, endpoint, region, bucket, place, credentials, quirks })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn configuration() -> v1::Configuration {
        v1::Configuration {
            generation: 7,
            cluster: "c".to_owned(),
            backends: vec![
                v1::Backend {
                    id: 1,
                    name: "one".to_owned(),
                    credentials: Some(v1::backend::Credentials::AwsDefaultChain(v1::AwsDefaultChain {})),
                    ..Default::default()
                },
                v1::Backend { id: 2, name: "of the future".to_owned(), ..Default::default() },
            ],
            buckets: vec![v1::Bucket { id: 3, name: "photos".to_owned(), ..Default::default() }],
            credentials: vec![v1::Credential {
                access_key_id: "AK".to_owned(),
                secret_access_key: "SK".to_owned(),
                grants: vec![v1::Grant { bucket: 3, write: true }, v1::Grant { bucket: 4, write: false }],
                scopes: vec![
                    v1::ScopedGrant { bucket: 5, prefix: "a/".into(), rights: 0b1010_0001 },
                    v1::ScopedGrant { bucket: 6, prefix: String::new(), rights: 0b100_0000 },
                    v1::ScopedGrant { bucket: 7, prefix: String::new(), rights: 0b1_0000 },
                ],
                create_buckets: true,
            }],
        }
    }

    #[test]
    fn what_readers_get_without_the_database() {
        use v1::DegradedReads as Word;
        use v1::Versioning::{Enabled, Off, Suspended, Unspecified};
        for word in [Word::Unspecified, Word::Allowed] {
            assert_eq!(degraded_reads(word, Off), DegradedReads::Allowed);
            for versioning in [Unspecified, Enabled, Suspended] {
                assert_eq!(degraded_reads(word, versioning), DegradedReads::Cache);
            }
        }
        assert_eq!(degraded_reads(Word::Cache, Off), DegradedReads::Cache);
        assert_eq!(degraded_reads(Word::Refused, Enabled), DegradedReads::Refused);
        let mut later = configuration();
        later.buckets[0].degraded_reads = 99;
        assert_eq!(Snapshot::from_wire(later).buckets["photos"].degraded_reads, DegradedReads::Refused);
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let snapshot = Snapshot::from_wire(configuration());
        assert_eq!(snapshot.backends.len(), 1);
        assert!(!snapshot.is_complete && snapshot.draining.is_empty());
        assert_eq!(snapshot.buckets["photos"].degraded_reads, DegradedReads::Cache);
        assert_eq!(snapshot.buckets["photos"].max_object_size, u64::MAX);
        let key = &snapshot.keys["AK"];
        assert!(key.may(BucketId(3), Right::Delete, "k"));
        assert!(key.may(BucketId(4), Right::List, "") && !key.may(BucketId(4), Right::Write, "k"));
        assert!(key.may(BucketId(5), Right::Read, "a/k") && !key.may(BucketId(5), Right::Read, "k"));
        assert!(key.may_somewhere(BucketId(5), Right::Read) && !key.may_somewhere(BucketId(5), Right::List));
        assert!(key.scopes(BucketId(6)).is_empty(), "a right of a later release is none here");
        assert!(key.may(BucketId(7), Right::Configure, "") && !key.may(BucketId(3), Right::Configure, ""));
        assert!(key.create_buckets);
    }

    #[test]
    fn a_drain_counts_from_when_it_was_first_heard_of() {
        let mut drained = configuration();
        drained.backends[0].state = v1::BackendState::Draining.into();
        let (before, id) = (Instant::now(), BackendId(1));
        let first = Snapshot::from_wire(drained.clone()).follow(&Snapshot::default());
        let between = Instant::now();
        assert!(first.drains_since(id, before) && !first.drains_since(BackendId(2), before));
        let second = Snapshot::from_wire(drained).follow(&first);
        assert!(second.drains_since(id, before) && !second.drains_since(id, between));
        let undrained = Snapshot::from_wire(configuration()).follow(&second);
        assert!(!undrained.drains_since(id, before));
    }

    #[test]
    fn the_file_is_private_and_comes_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("snapshot.pb");
        assert!(Snapshot::load(&path).expect("no file is no error").is_none());
        for _ in 0..2 {
            Snapshot::store(&path, &configuration()).expect("written");
        }
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(Snapshot::load(&path).expect("read"), Some(configuration()));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1);
        let older = v1::Configuration { generation: 6, ..configuration() };
        Snapshot::store(&path, &older).expect("nothing to do");
        assert_eq!(Snapshot::load(&path).expect("read"), Some(configuration()));
        std::fs::write(&path, b"\xff\xff\xff").expect("written");
        assert!(Snapshot::load(&path).is_err());
    }
}
