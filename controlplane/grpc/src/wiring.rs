//! What the services are built from, each field with its reason.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use s3o_core::config::ClusterConfig;
use s3o_core::ports::{
    BackendProbing, Buckets, Configs, Drains, Ledger, ObjectScrub, Overview, Queues, Rebalancing,
    Reconciliation, Recovering, Recovery, Removals, Replication, Sessions, Uploads, Versions, WorkerControl,
};
use s3o_core::session::VERSIONS_FEATURE;
use s3o_runtime::Shutdown;
use s3o_types::Secret;
use tonic::Status;

use crate::confirmation::Confirmations;
use crate::session::commands::Commands;
use crate::session::reports::Reports;

/// The rest of the control plane, as far as the services need it.
#[derive(Clone)]
pub struct Ports {
    /// Decides calls and answers Locate and List.
    pub ledger: Arc<dyn Ledger>,
    /// Pages of multipart uploads and their parts.
    pub uploads: Arc<dyn Uploads>,
    /// Pages of versions, and whether buckets keep them.
    pub versions: Arc<dyn Versions>,
    /// Leases, usage, and whether the database answers.
    pub sessions: Arc<dyn Sessions>,
    /// Buckets that clients make and change.
    pub buckets: Arc<dyn Buckets>,
    /// What data planes are configured with.
    pub configs: Arc<dyn Configs>,
    /// Depths for the status.
    pub queues: Arc<dyn Queues>,
    /// The rest of the status.
    pub overview: Arc<dyn Overview>,
    /// Backends that are emptied.
    pub drains: Arc<dyn Drains>,
    /// Backends that are given up.
    pub removals: Arc<dyn Removals>,
    /// Versions that are to be looked at.
    pub replication: Arc<dyn Replication>,
    /// Runs over backends.
    pub reconciliation: Arc<dyn Reconciliation>,
    /// Runs workers on demand.
    pub workers: Arc<dyn WorkerControl>,
    /// Moves copies on demand.
    pub rebalancing: Arc<dyn Rebalancing>,
    /// Reads an object's copies on demand.
    pub scrub: Arc<dyn ObjectScrub>,
    /// Whether anything may be deleted.
    pub recovery: Arc<dyn Recovery>,
    /// Ends the recovery mode on demand.
    pub recovering: Arc<dyn Recovering>,
    /// Asks backends on demand what they can do.
    pub probing: Arc<dyn BackendProbing>,
}

/// A configuration, and whether a bucket of it was ever versioned.
type KeepsVersions = Option<(Arc<ClusterConfig>, bool)>;

/// Shared by all services of a process. Clones are the same.
#[derive(Clone)]
pub struct Wiring {
    /// Empty until the database was reached once: the listener is up before that, and refuses.
    ports: Arc<OnceLock<Ports>>,
    /// This replica's name.
    pub(crate) instance: Arc<str>,
    /// Ends streams.
    pub(crate) shutdown: Shutdown,
    /// What data planes said of backends, for the status and for placement.
    pub reports: Reports,
    /// Commands to data planes.
    pub commands: Commands,
    /// What the operator's confirmations are signed with.
    pub(crate) confirmations: Arc<Confirmations>,
    /// Features that every reply demands.
    required: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Whether a bucket of that configuration was ever versioned.
    versioned: Arc<Mutex<KeepsVersions>>,
}

impl Wiring {
    /// Of a replica that has not reached the database yet. `required` is asked at every reply. Replicas with the same
    /// `secret` take each other's confirmations.
    pub fn new(
        instance: &str,
        secret: Option<&Secret>,
        shutdown: Shutdown,
        required: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ports: Arc::default(),
            instance: instance.into(),
            shutdown,
            reports: Reports::default(),
            commands: Commands::default(),
            confirmations: Arc::new(Confirmations::new(secret)),
            required: Arc::new(required),
            versioned: Arc::default(),
        }
    }

    /// Opens the services. The first ports stay.
    pub fn ready(&self, ports: Ports) {
        let _ = self.ports.set(ports);
    }

    /// Whether the database has answered lately; not before [`Self::ready`].
    pub fn database_reachable(&self) -> bool {
        self.ports.get().is_some_and(|ports| ports.sessions.database_reachable())
    }

    /// The ports, once there are any.
    pub(crate) fn ports_if_ready(&self) -> Option<&Ports> {
        self.ports.get()
    }

    /// The ports, or the retryable refusal of a replica that is starting.
    pub(crate) fn ports(&self) -> Result<&Ports, Status> {
        self.ports.get().ok_or_else(|| Status::unavailable("starting: the database has not been reached yet"))
    }

    /// What a data plane must know to go on: with a versioned bucket, what a version is.
    pub(crate) fn required_features(&self) -> Vec<String> {
        let mut required = (self.required)();
        if self.keeps_versions() && !required.iter().any(|feature| feature == VERSIONS_FEATURE) {
            required.push(VERSIONS_FEATURE.to_owned());
        }
        required
    }

    /// Whether any bucket was ever versioned: looked for once a configuration, since every reply asks.
    fn keeps_versions(&self) -> bool {
        let Some(config) = self.ports.get().map(|ports| ports.configs.current()) else { return false };
        let mut known = self.versioned.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, versioned)) if Arc::ptr_eq(of, &config) => *versioned,
            _ => {
                let versioned = config.buckets.iter().any(|bucket| bucket.versioning.is_versioned());
                *known = Some((config, versioned));
                versioned
            }
        }
    }
}
