//! What the services are built from, each field with its reason.

use std::sync::{Arc, OnceLock};

use s3o_core::ports::{Buckets, Configs, Drains, Ledger, Overview, Queues, Sessions, Uploads, WorkerControl};
use s3o_runtime::Shutdown;
use tonic::Status;

use crate::session::commands::Commands;
use crate::session::reports::Reports;

/// The rest of the control plane, as far as the services need it.
#[derive(Clone)]
pub struct Ports {
    /// Decides calls and answers Locate and List.
    pub ledger: Arc<dyn Ledger>,
    /// Pages of multipart uploads and their parts.
    pub uploads: Arc<dyn Uploads>,
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
    /// Runs workers on demand.
    pub workers: Arc<dyn WorkerControl>,
}

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
    /// Features that every reply demands.
    required: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

impl Wiring {
    /// Of a replica that has not reached the database yet. `required` is asked at every reply.
    pub fn new(
        instance: &str,
        shutdown: Shutdown,
        required: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ports: Arc::default(),
            instance: instance.into(),
            shutdown,
            reports: Reports::default(),
            commands: Commands::default(),
            required: Arc::new(required),
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

    pub(crate) fn required_features(&self) -> Vec<String> {
        (self.required)()
    }
}
