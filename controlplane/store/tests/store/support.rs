//! A database of its own for each test, on one server for each test binary, and the calls of a write.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use s3o_core::call::{
    Abort, Begin, Call, CarriedIntent, Commit, Delete, FinishedTarget, Outcome, Request, StoredCopy,
};
use s3o_core::config::{
    Declared, DeclaredBackend, DeclaredBucket, DeclaredCredential, MarkerPlace, MarkerSeen, Routing,
};
use s3o_core::intent::{Target, TargetEnd, WriteKind};
use s3o_core::ports::{Configs, Ledger, Sessions};
use s3o_core::session::Hello;
use s3o_localpg::{LocalPostgres, Options};
use s3o_store::{Store, StoreOptions};
use s3o_types::{
    AckLevel, BucketId, Checksums, Conditions, CorsRule, Credentials, DegradedReads, Encoding, Etag,
    EtagProof, ObjectAttributes, Op, Quirks, Secret, UsageLimits, VersionId,
};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

pub(crate) const KEY: &str = "AKTEST";

static SERVER: OnceCell<LocalPostgres> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

static OLD_ONES: Once = Once::new();

/// Under /tmp, by our process id.
pub(crate) fn scratch(what: &str) -> PathBuf {
    let root = std::env::temp_dir();
    OLD_ONES.call_once(|| clear(&root));
    // A process before us may have had our id.
    let own = Uuid::new_v4().as_fields().0;
    root.join(format!("s3o-store-test-{}-{what}-{own:08x}", std::process::id()))
}

/// Removes what processes that are gone have left, behind the tests: their thousands of files may take minutes. What is
/// not removed by our end is the next one's.
fn clear(root: &Path) {
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid =
            name.strip_prefix("s3o-store-test-").and_then(|rest| rest.split('-').next().map(str::to_owned));
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            std::thread::spawn(move || std::fs::remove_dir_all(entry.path()));
        }
    }
}

async fn server() -> &'static LocalPostgres {
    let start = || async {
        let options = Options { fsync: false, ..Options::new(scratch("shared")) };
        LocalPostgres::start(options).await.unwrap()
    };
    SERVER.get_or_init(start).await
}

pub(crate) async fn raw(url: &str) -> Client {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(driver);
    client
}

/// A database without tables.
pub(crate) async fn empty_database() -> String {
    let server = server().await;
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    raw(&server.url()).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    server.url_for(&name)
}

/// An empty, migrated database.
pub(crate) async fn database() -> String {
    let url = empty_database().await;
    Store::migrate(&url).await.unwrap();
    url
}

pub(crate) fn declared(quotas: &[Option<u64>]) -> Declared {
    let backend = |(n, quota): (usize, &Option<u64>)| DeclaredBackend {
        name: format!("b{n}"),
        endpoint: format!("http://127.0.0.1:{}", 9000 + n),
        region: "us-east-1".to_owned(),
        bucket: "real".to_owned(),
        credentials: Credentials::Static {
            access_key_id: "a".to_owned(),
            secret_access_key: Secret::new("s"),
            session_token: None,
        },
        quirks: Quirks::default(),
        quota_bytes: *quota,
        max_object_size: None,
        limits: UsageLimits::default(),
        priority: 0,
    };
    Declared {
        routing: Routing::Pack,
        backends: quotas.iter().enumerate().map(backend).collect(),
        buckets: vec![DeclaredBucket {
            lifecycle: vec![],
            cors: vec![CorsRule { id: "r".to_owned(), ..CorsRule::default() }],
            name: "photos".parse().unwrap(),
            ack: AckLevel::One,
            replication_factor: 1,
            max_object_size: None,
            versioning: None,
            lock: None,
            degraded_reads: DegradedReads::Allowed,
        }],
        credentials: vec![DeclaredCredential {
            scopes: vec![],
            access_key_id: KEY.to_owned(),
            secret_access_key: Secret::new("secret"),
            create_buckets: true,
            grants: vec![("photos".parse().unwrap(), true)],
        }],
    }
}

/// A store over a database with a bucket, a credential and attached backends.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) store: Store,
    pub(crate) bucket: BucketId,
    pub(crate) session: Uuid,
    pub(crate) sql: Client,
}

impl World {
    /// A worker process with a lease.
    pub(crate) async fn owner(&self) -> Uuid {
        let session = Uuid::new_v4();
        let (name, version, features) = ("workers".to_owned(), "1".to_owned(), vec![]);
        self.store.open(Hello { session, name, version, features }).await.unwrap();
        session
    }

    pub(crate) async fn new(quotas: &[Option<u64>]) -> Self {
        Self::on(database().await, quotas).await
    }

    /// Three backends, and a bucket that wants copies.
    pub(crate) async fn copied(ack: AckLevel, replication_factor: u16) -> Self {
        let world = Self::new(&[None, None, None]).await;
        world.want(ack, replication_factor).await;
        world
    }

    /// Declares the bucket otherwise.
    pub(crate) async fn want(&self, ack: AckLevel, replication_factor: u16) {
        let mut other = declared(&[None, None, None]);
        other.buckets[0].ack = ack;
        other.buckets[0].replication_factor = replication_factor;
        self.store.apply_declared(&other, &format!("{ack:?} {replication_factor}")).await.unwrap();
    }

    pub(crate) async fn on(url: String, quotas: &[Option<u64>]) -> Self {
        let store = Store::connect(StoreOptions::new(&url)).await.unwrap();
        store.apply_declared(&declared(quotas), &format!("{quotas:?}")).await.unwrap();
        let config = store.newer_than(0).await;
        for backend in &config.backends {
            let place = MarkerPlace::of(&backend.spec);
            store.attach(MarkerSeen { place, etag: EtagProof::Md5 }).await.unwrap();
        }
        let bucket = config.buckets[0].id;
        let session = Uuid::new_v4();
        let hello =
            Hello { session, name: "dp".to_owned(), version: "1".to_owned(), features: vec!["x".to_owned()] };
        store.open(hello).await.unwrap();
        let sql = raw(&url).await;
        Self { url, store, bucket, session, sql }
    }

    pub(crate) async fn another_store(&self) -> Store {
        Store::connect(StoreOptions::new(&self.url)).await.unwrap()
    }

    pub(crate) fn request(&self, op: Op, call: Call) -> Request {
        Request {
            op,
            session: self.session,
            access_key: KEY.to_owned(),
            source: "127.0.0.1".to_owned(),
            request_id: "r".to_owned(),
            bulk: false,
            call,
        }
    }

    pub(crate) fn begin(&self, op: Op, key: &str, size: u64) -> Request {
        let begin = Begin {
            bucket: self.bucket,
            key: key.to_owned(),
            size,
            conditions: Conditions::default(),
            kind: WriteKind::Put,
            part: None,
            down: vec![],
            prefer: vec![],
            lock: s3o_types::ObjectLock::default(),
        };
        self.request(op, Call::Begin(begin))
    }

    pub(crate) fn delete(&self, op: Op, key: &str) -> Request {
        let delete = Delete {
            bucket: self.bucket,
            key: key.to_owned(),
            conditions: Conditions::default(),
            version: None,
            bypass_governance: false,
        };
        self.request(op, Call::Delete(delete))
    }

    pub(crate) fn carried(&self, key: &str, size: u64, begun: &(VersionId, Vec<Target>)) -> CarriedIntent {
        CarriedIntent {
            bucket: self.bucket,
            key: key.to_owned(),
            version: begun.0,
            size,
            conditions: Conditions::default(),
            upload: None,
            replica: false,
            targets: begun.1.clone(),
        }
    }

    pub(crate) fn commit(&self, op: Op, key: &str, size: u64, begun: &(VersionId, Vec<Target>)) -> Request {
        let etag = Etag::new("d41d8cd98f00b204e9800998ecf8427e");
        let copy = |target: &Target| StoredCopy {
            target: target.id(),
            stored_size: size,
            backend_etag: Some(etag.clone()),
            backend_version: None,
            encoding: Encoding::default(),
            digest: Some(s3o_types::Digest::Crc64Nvme([7; 8])),
        };
        let mut attributes = ObjectAttributes::default();
        attributes.metadata.insert("who".to_owned(), "me".to_owned());
        attributes.tags.insert("t".to_owned(), "1".to_owned());
        attributes.headers.content_type = Some("text/plain".to_owned());
        let commit = Commit {
            intent: self.carried(key, size, begun),
            etag: etag.clone(),
            attributes,
            checksums: Checksums { values: [("crc32".to_owned(), "AAAAAA==".to_owned())].into() },
            copies: begun.1.iter().map(copy).collect(),
            failed: vec![],
            copied: vec![],
        };
        self.request(op, Call::Commit(Box::new(commit)))
    }

    pub(crate) fn abort(
        &self,
        op: Op,
        key: &str,
        size: u64,
        begun: &(VersionId, Vec<Target>),
        end: TargetEnd,
    ) -> Request {
        let finished = |t: &Target| FinishedTarget { target: t.id(), end, backend_version: None };
        let targets = begun.1.iter().map(finished).collect();
        self.request(op, Call::Abort(Abort { intent: self.carried(key, size, begun), targets }))
    }

    pub(crate) async fn begun(&self, op: Op, key: &str, size: u64) -> (VersionId, Vec<Target>) {
        begun(self.store.submit(self.begin(op, key, size)).await)
    }

    /// A whole write; its version and sequence number.
    pub(crate) async fn put(&self, key: &str, size: u64) -> (VersionId, i64) {
        let op = op();
        let begun = self.begun(op, key, size).await;
        match self.store.submit(self.commit(op, key, size, &begun)).await {
            Outcome::Committed { seq, .. } => (begun.0, seq.0),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.sql.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Promise 4: every counter is what the rows add up to.
    pub(crate) async fn audit(&self) {
        for audit in self.store.audit_usage().await.unwrap() {
            assert!(audit.agrees(), "{audit:?}");
        }
    }

    pub(crate) async fn make_everything_due(&self) {
        self.sql.batch_execute("UPDATE cleanup_queue SET not_before = now() - interval '1 s'").await.unwrap();
    }
}

pub(crate) fn op() -> Op {
    Op { id: Uuid::now_v7(), item: 0 }
}

pub(crate) fn begun(outcome: Outcome) -> (VersionId, Vec<Target>) {
    match outcome {
        Outcome::Begun { version, targets, .. } => (version, targets),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    for _ in 0..600 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}
