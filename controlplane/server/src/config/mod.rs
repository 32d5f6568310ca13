//! The control plane's file: how this process runs, and what it declares for the cluster.
//!
//! Invariant: a file that passes validation says nothing that this release does not do.

mod declared;
mod process;
mod validate;

use serde::{Deserialize, Serialize};

use s3o_runtime::{HumanDuration, LogConfig};

pub use declared::{
    Access, AccessRight, BackendCredentials, BackendSection, BucketSection, CredentialSection, Grant,
    LimitsSection, RoutingSection, StaticKeys, Strategy,
};
pub use process::{
    CleanupSection, DatabaseSection, GrpcSection, HttpSection, IntegritySection, JournalSection,
    LifecycleSection, MultipartSection, ReaperSection, RebalanceSection, ReconcileSection,
    ReplicationSection, WorkersSection,
};

/// The whole file. See `config/controlplane.example.yaml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlaneConfig {
    /// This replica's name, in status and logs. Default: `HOSTNAME`, else `controlplane`, with random
    /// letters behind it, so that no two replicas share one.
    #[serde(default = "process::default_instance")]
    pub instance: String,
    /// Where the metadata is.
    pub database: DatabaseSection,
    /// What data planes and admin clients reach.
    pub grpc: GrpcSection,
    /// Health, metrics, admin REST.
    #[serde(default)]
    pub http: HttpSection,
    /// When blobs that nobody needs go.
    #[serde(default)]
    pub cleanup: CleanupSection,
    /// When writes that nobody finished are settled.
    #[serde(default)]
    pub pending_reaper: ReaperSection,
    /// When uploads that nobody will finish are given up.
    #[serde(default)]
    pub multipart: MultipartSection,
    /// When copies are made and taken away.
    #[serde(default)]
    pub replication: ReplicationSection,
    /// When copies are moved to fill backends as wanted.
    #[serde(default)]
    pub rebalance: RebalanceSection,
    /// What is kept to check bytes against, and how fast they are checked.
    #[serde(default)]
    pub integrity: IntegritySection,
    /// When backends are compared with the tables.
    #[serde(default)]
    pub reconcile: ReconcileSection,
    /// What is kept on the backends besides blobs.
    #[serde(default)]
    pub journal: JournalSection,
    /// When it is looked for what expires by the rules of buckets.
    #[serde(default)]
    pub lifecycle: LifecycleSection,
    /// Background work.
    #[serde(default)]
    pub workers: WorkersSection,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
    /// How long a shutdown waits for what runs before it cuts it.
    #[serde(default = "process::default_grace")]
    pub shutdown_grace: HumanDuration,
    /// How placement chooses.
    #[serde(default)]
    pub routing: RoutingSection,
    /// Where objects are stored, in the order in which `pack` fills them.
    #[serde(default)]
    pub backends: Vec<BackendSection>,
    /// What clients see as buckets.
    #[serde(default)]
    pub buckets: Vec<BucketSection>,
    /// Who may use them.
    #[serde(default)]
    pub credentials: Vec<CredentialSection>,
}

#[cfg(test)]
mod tests;
