//! The sections that declare the cluster: routing, backends, buckets, credentials.
//!
//! Invariant: the hash covers exactly what is applied to the database, with the environment in place,
//! so that replicas with the same declaration apply it once.

use s3o_core::config::{Declared, DeclaredBackend, DeclaredBucket, DeclaredCredential, Routing};
use s3o_runtime::ByteSize;
use s3o_types::{
    AckLevel, BucketLock, BucketName, ChecksumMode, CorsRule, Credentials, DegradedReads, EtagProof,
    LifecycleRule, Quirks, Right, Rights, Scope, Secret, UsageLimits, Versioning,
};
use serde::{Deserialize, Serialize};

use super::ControlPlaneConfig;

/// `routing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSection {
    /// How placement chooses among backends that have room.
    pub strategy: Strategy,
}

/// `routing.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// In the file's order, each until it is full.
    #[default]
    Pack,
    /// The one that is the least full.
    Spread,
}

impl Strategy {
    pub(crate) const fn routing(self) -> Routing {
        match self {
            Self::Pack => Routing::Pack,
            Self::Spread => Routing::Spread,
        }
    }
}

/// An entry of `backends`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSection {
    /// Unique name, in metrics and logs.
    pub name: String,
    /// `https://host` or `http://host:port`, without a path.
    pub endpoint: String,
    /// For the signature.
    #[serde(default = "default_region")]
    pub region: String,
    /// The real bucket there.
    pub bucket: String,
    /// Who we are there.
    pub credentials: BackendCredentials,
    /// Bytes that may be stored there; absent for no limit.
    #[serde(default)]
    pub quota_bytes: Option<ByteSize>,
    /// Largest object it takes.
    #[serde(default)]
    pub max_object_size: Option<ByteSize>,
    /// What it may be used for in a calendar month (UTC).
    #[serde(default)]
    pub limits: LimitsSection,
    /// Lower is first; the same goes in the file's order.
    #[serde(default)]
    pub priority: i32,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Sign `UNSIGNED-PAYLOAD` instead of a hash of the body.
    #[serde(default = "yes")]
    pub unsigned_payload: bool,
    /// Which checksum header goes along with a PUT.
    #[serde(default)]
    pub checksum: ChecksumMode,
    /// Headers that the backend rejects.
    #[serde(default)]
    pub strip_headers: Vec<String>,
    /// What its ETags are; found out where nothing is said.
    #[serde(default)]
    pub etag: EtagProof,
}

/// `backends[].limits`; what is absent is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// Calls of its API.
    pub api_requests: Option<u64>,
    /// Bytes read from it.
    pub egress_bytes: Option<ByteSize>,
    /// Bytes sent to it.
    pub ingress_bytes: Option<ByteSize>,
}

impl LimitsSection {
    fn declared(self) -> UsageLimits {
        let Self { api_requests, egress_bytes, ingress_bytes } = self;
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
        UsageLimits { api_requests, egress_bytes: bytes(egress_bytes), ingress_bytes: bytes(ingress_bytes) }
    }
}

/// `backends[].credentials`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendCredentials {
    /// An access key.
    Static(StaticKeys),
    /// What the AWS default chain finds: environment, profile, web identity, instance role.
    AwsDefaultChain,
}

/// `backends[].credentials.static`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticKeys {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// For temporary credentials.
    #[serde(default)]
    pub session_token: Option<Secret>,
}

/// An entry of `buckets`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSection {
    /// The name that clients use.
    pub name: String,
    /// How sure a write must be before the client hears success.
    #[serde(default)]
    pub ack: AckLevel,
    /// Copies wanted.
    #[serde(default = "one")]
    pub replication_factor: u16,
    /// Largest object accepted.
    #[serde(default)]
    pub max_object_size: Option<ByteSize>,
    /// Which web pages may use it from a browser; the first rule that matches a request counts.
    #[serde(default)]
    pub cors: Vec<CorsRule>,
    /// By which rules its objects expire; clients may say so where this does not.
    #[serde(default)]
    pub lifecycle: Vec<LifecycleRule>,
    /// Whether it keeps versions; clients may say so where this does not.
    #[serde(default)]
    pub versioning: Option<DeclaredVersioning>,
    /// Its Object Lock, with which it keeps versions. What has it has it for good; clients may say so where this does not.
    #[serde(default)]
    pub object_lock: Option<BucketLock>,
    /// What readers get while the database cannot be asked.
    #[serde(default)]
    pub degraded_reads: DegradedReads,
}

/// `buckets[].versioning`. What was enabled once can be suspended, but never be off again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeclaredVersioning {
    /// Each write is a version of its own.
    Enabled,
    /// Writes replace the null version; the versions that there are stay.
    Suspended,
}

/// An entry of `credentials`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSection {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: Secret,
    /// Whether it may make buckets of its own through the S3 API, and delete them.
    #[serde(default)]
    pub create_buckets: bool,
    /// Which buckets, and what may be done there.
    #[serde(default)]
    pub grants: Vec<Grant>,
}

/// An entry of `credentials[].grants`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// A bucket of this file.
    pub bucket: String,
    /// What may be done there.
    pub access: Access,
    /// Only to keys under it; all keys without. A bucket may be granted under several prefixes.
    #[serde(default)]
    pub prefix: String,
}

/// `credentials[].grants[].access`: one of two words, or a list of single rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "must be `read`, `read_write`, or a list of `read`, `write`, `list`, `delete`, `configure`, `bypass_governance`"
)]
pub enum Access {
    /// The usual ones.
    Word(AccessWord),
    /// Each by its name.
    Rights(Vec<AccessRight>),
}

/// A usual set of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessWord {
    /// Get, head, list.
    Read,
    /// Put, copy, delete too.
    ReadWrite,
}

/// A single right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessRight {
    /// Get an object and what is said about it.
    Read,
    /// Put, copy to, tag, upload in parts.
    Write,
    /// See which keys there are.
    List,
    /// Remove objects.
    Delete,
    /// Change the bucket's own settings.
    Configure,
    /// Remove and unlock what a governance retention keeps.
    BypassGovernance,
}

impl Access {
    fn rights(&self) -> Rights {
        match self {
            Self::Word(AccessWord::Read) => Rights::READ,
            Self::Word(AccessWord::ReadWrite) => Rights::ALL,
            Self::Rights(rights) => rights
                .iter()
                .map(|right| match right {
                    AccessRight::Read => Right::Read,
                    AccessRight::Write => Right::Write,
                    AccessRight::List => Right::List,
                    AccessRight::Delete => Right::Delete,
                    AccessRight::Configure => Right::Configure,
                    AccessRight::BypassGovernance => Right::BypassGovernance,
                })
                .collect(),
        }
    }
}

impl ControlPlaneConfig {
    /// What goes to the database. A bucket name that is none is the error; validation says so before.
    pub fn declared(&self) -> Result<Declared, String> {
        let routing = self.routing.strategy.routing();
        Ok(Declared {
            routing,
            backends: self.backends.iter().map(BackendSection::declared).collect(),
            buckets: self.buckets.iter().map(BucketSection::declared).collect::<Result<_, _>>()?,
            credentials: self
                .credentials
                .iter()
                .map(CredentialSection::declared)
                .collect::<Result<_, _>>()?,
        })
    }

    /// SHA-256 of the declared sections, in hexadecimal.
    pub fn declared_hash(&self) -> Result<String, serde_json::Error> {
        let Self { routing, backends, buckets, credentials, .. } = self;
        let text = serde_json::to_vec(&(routing, backends, buckets, credentials))?;
        Ok(hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text)))
    }
}

impl BackendSection {
    fn declared(&self) -> DeclaredBackend {
        let credentials = match &self.credentials {
            BackendCredentials::AwsDefaultChain => Credentials::AwsDefaultChain,
            BackendCredentials::Static(keys) => Credentials::Static {
                access_key_id: keys.access_key_id.clone(),
                secret_access_key: keys.secret_access_key.clone(),
                session_token: keys.session_token.clone(),
            },
        };
        DeclaredBackend {
            name: self.name.clone(),
            endpoint: self.endpoint.trim_end_matches('/').to_owned(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            credentials,
            quirks: Quirks {
                path_style: self.path_style,
                unsigned_payload: self.unsigned_payload,
                checksum: self.checksum,
                strip_headers: self.strip_headers.iter().map(|name| name.to_lowercase()).collect(),
                etag: self.etag,
            },
            quota_bytes: self.quota_bytes.map(|size| size.0),
            max_object_size: self.max_object_size.map(|size| size.0),
            limits: self.limits.declared(),
            priority: self.priority,
        }
    }
}

impl BucketSection {
    fn declared(&self) -> Result<DeclaredBucket, String> {
        Ok(DeclaredBucket {
            name: self.name.parse()?,
            ack: self.ack,
            replication_factor: self.replication_factor,
            max_object_size: self.max_object_size.map(|size| size.0),
            cors: self.cors.clone(),
            lifecycle: self.lifecycle.clone(),
            versioning: self.versioning.map(|versioning| match versioning {
                DeclaredVersioning::Enabled => Versioning::Enabled,
                DeclaredVersioning::Suspended => Versioning::Suspended,
            }),
            lock: self.object_lock,
            degraded_reads: self.degraded_reads,
        })
    }
}

impl CredentialSection {
    fn declared(&self) -> Result<DeclaredCredential, String> {
        let (mut grants, mut scopes) = (Vec::new(), Vec::new());
        for grant in &self.grants {
            let (bucket, scope): (BucketName, Scope) = grant.declared()?;
            match scope.rights {
                Rights::ALL if scope.prefix.is_empty() => grants.push((bucket, true)),
                Rights::READ if scope.prefix.is_empty() => grants.push((bucket, false)),
                _ => scopes.push((bucket, scope)),
            }
        }
        Ok(DeclaredCredential {
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            create_buckets: self.create_buckets,
            grants,
            scopes,
        })
    }
}

impl Grant {
    fn declared(&self) -> Result<(BucketName, Scope), String> {
        let scope = Scope { prefix: self.prefix.clone(), rights: self.access.rights() };
        Ok((self.bucket.parse()?, scope))
    }
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

const fn yes() -> bool {
    true
}

const fn one() -> u16 {
    1
}
