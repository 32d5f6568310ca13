//! The cluster's configuration: as it is declared in YAML, and as it stands in the database.

use std::str::FromStr;

use s3o_types::{
    AckLevel, BackendId, BackendSpec, BackendState, BucketId, BucketLock, BucketName, CorsRule, Credentials,
    DegradedReads, LifecycleRule, Quirks, Scope, Secret, Timestamp, UsageLimits, Versioning,
};
use uuid::Uuid;

use crate::removal::Removal;

/// How placement chooses among backends that have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Routing {
    /// In the order of their priority, each until it is full.
    #[default]
    Pack,
    /// The one with the lowest (used + reserved + orphaned) / quota.
    Spread,
}

impl Routing {
    /// The word in configuration and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Spread => "spread",
        }
    }
}

impl FromStr for Routing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pack" => Ok(Self::Pack),
            "spread" => Ok(Self::Spread),
            other => Err(format!("routing strategy `{other}` is neither pack nor spread")),
        }
    }
}

/// What YAML declares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// How placement chooses.
    pub routing: Routing,
    /// In the file's order.
    pub backends: Vec<DeclaredBackend>,
    /// Virtual buckets.
    pub buckets: Vec<DeclaredBucket>,
    /// Access keys.
    pub credentials: Vec<DeclaredCredential>,
}

/// A backend in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredBackend {
    /// Unique name.
    pub name: String,
    /// Scheme, host, port.
    pub endpoint: String,
    /// For the signature.
    pub region: String,
    /// The real bucket.
    pub bucket: String,
    /// Who we are there.
    pub credentials: Credentials,
    /// In what it differs from S3.
    pub quirks: Quirks,
    /// Bytes that may be stored there; `None` for no limit.
    pub quota_bytes: Option<u64>,
    /// Largest object it takes, in bytes; `None` for S3's own limit.
    pub max_object_size: Option<u64>,
    /// What it may be used for in a month.
    pub limits: UsageLimits,
    /// Lower is first; backends of the same priority go in the file's order.
    pub priority: i32,
}

/// A bucket in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredBucket {
    /// Its name.
    pub name: BucketName,
    /// How sure a write must be.
    pub ack: AckLevel,
    /// Copies wanted.
    pub replication_factor: u16,
    /// Largest object accepted, in bytes.
    pub max_object_size: Option<u64>,
    /// Which web pages may use it.
    pub cors: Vec<CorsRule>,
    /// By which rules its objects expire.
    pub lifecycle: Vec<LifecycleRule>,
    /// Whether it keeps versions; `None`: not said, so that clients may.
    pub versioning: Option<Versioning>,
    /// Its Object Lock, with which it keeps versions; `None`: not said, so that clients may.
    pub lock: Option<BucketLock>,
    /// What readers get while the database cannot be asked.
    pub degraded_reads: DegradedReads,
}

impl DeclaredBucket {
    /// Whether it keeps versions by what is said of it: what has Object Lock does.
    pub fn keeps_versions(&self) -> Option<Versioning> {
        if self.lock.is_some() { Some(Versioning::Enabled) } else { self.versioning }
    }
}

/// An access key in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredCredential {
    /// Access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Whether it may make buckets of its own.
    pub create_buckets: bool,
    /// Whole buckets, and whether writing is allowed.
    pub grants: Vec<(BucketName, bool)>,
    /// Parts of buckets, or some rights only.
    pub scopes: Vec<(BucketName, Scope)>,
}

/// What the database serves to everybody, under one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Minted by the database; grows with each change.
    pub generation: i64,
    /// The cluster's id, on every backend's marker.
    pub cluster: Uuid,
    /// How placement chooses.
    pub routing: Routing,
    /// All that are not removed.
    pub backends: Vec<BackendConfig>,
    /// All that are not gone.
    pub buckets: Vec<BucketConfig>,
    /// All access keys.
    pub credentials: Vec<CredentialConfig>,
}

/// A backend's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    /// Where it is; `quirks.etag` is what configuration or the marker showed.
    pub spec: BackendSpec,
    /// Whether it takes blobs.
    pub state: BackendState,
    /// Bytes that may be stored there.
    pub quota_bytes: Option<u64>,
    /// Largest object.
    pub max_object_size: Option<u64>,
    /// What it may be used for in a month.
    pub limits: UsageLimits,
    /// Lower is first.
    pub priority: i32,
    /// Whether its marker was read and is ours. Without it nothing is placed there.
    pub attached: bool,
    /// How it is given up; `None`: it is not.
    pub removal: Option<Removal>,
}

/// Whether a bucket can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketState {
    /// Yes.
    Active,
    /// Being emptied.
    Deleting,
    /// Gone; the name may be used by a new row.
    Gone,
}

impl BucketState {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleting => "deleting",
            Self::Gone => "gone",
        }
    }
}

impl FromStr for BucketState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "deleting" => Ok(Self::Deleting),
            "gone" => Ok(Self::Gone),
            other => Err(format!("bucket state `{other}` is none of active, deleting, gone")),
        }
    }
}

/// A bucket's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// Its number.
    pub id: BucketId,
    /// Its name.
    pub name: BucketName,
    /// Whether it can be used.
    pub state: BucketState,
    /// How sure a write must be.
    pub ack: AckLevel,
    /// Copies wanted.
    pub replication_factor: u16,
    /// Largest object accepted, in bytes.
    pub max_object_size: Option<u64>,
    /// When it was made.
    pub created: Timestamp,
    /// Which web pages may use it.
    pub cors: Vec<CorsRule>,
    /// By which rules its objects expire.
    pub lifecycle: Vec<LifecycleRule>,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Its Object Lock, where it has one.
    pub lock: Option<BucketLock>,
    /// What readers get while the database cannot be asked.
    pub degraded_reads: DegradedReads,
}

/// An access key's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialConfig {
    /// Access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Whether it may make buckets of its own.
    pub create_buckets: bool,
    /// Whole buckets, and whether writing is allowed.
    pub grants: Vec<(BucketId, bool)>,
    /// Parts of buckets, or some rights only.
    pub scopes: Vec<(BucketId, Scope)>,
}

/// Where a backend's marker was looked for. A configuration that names another place by now is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerPlace {
    /// The backend.
    pub backend: BackendId,
    /// Its endpoint at that time.
    pub endpoint: String,
    /// Its bucket at that time.
    pub bucket: String,
}

impl MarkerPlace {
    /// The place of a backend.
    pub fn of(spec: &s3o_types::BackendSpec) -> Self {
        Self { backend: spec.id, endpoint: spec.endpoint.clone(), bucket: spec.bucket.clone() }
    }
}

/// What reading a backend's marker showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerSeen {
    /// Where.
    pub place: MarkerPlace,
    /// What its ETag proves.
    pub etag: s3o_types::EtagProof,
}
