//! Asks a backend whose it is before an absence there is believed or anything is deleted.
//!
//! Invariant (DESIGN §6, "Copies never vanish by accident"): an edited endpoint or an unmounted folder
//! answers 404 to everything, and 204 to every DELETE. Only a backend that shows our marker may say
//! that a blob is gone, and an answer given before the question counts for nothing: nothing is cached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use s3o_backend::Backend;
use s3o_backend::marker::Marker;
use s3o_core::ports::Configs;
use s3o_core::removal::RemovalMode;
use s3o_types::BackendId;

use crate::backends::{Backends, in_time};

/// How long a look at a marker may take: a hundred bytes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct MarkerGate {
    configs: Arc<dyn Configs>,
    backends: Arc<Backends>,
}

impl MarkerGate {
    pub(crate) fn new(configs: Arc<dyn Configs>, backends: Arc<Backends>) -> Self {
        Self { configs, backends }
    }

    /// A backend that may be worked with: configured, attached, not known to be down, and its marker is
    /// ours at this moment. `Err` says why not.
    pub(crate) async fn open(&self, id: BackendId) -> Result<Arc<Backend>, String> {
        let backend = self.usable(id)?;
        self.confirm(&backend).await?;
        Ok(backend)
    }

    fn usable(&self, id: BackendId) -> Result<Arc<Backend>, String> {
        let config = self.configs.current();
        let row = config.backends.iter().find(|backend| backend.spec.id == id);
        let row = row.ok_or_else(|| format!("backend {} is not configured", id.0))?;
        let name = &row.spec.name;
        if !row.attached {
            return Err(format!("{name} is not attached: its marker was not read, or is not ours"));
        }
        // Between a new generation and the set's rebuild the client may still be the old endpoint's.
        let current = self.backends.get(id).filter(|backend| *backend.spec() == row.spec);
        let backend = current.ok_or_else(|| format!("{name} is being reconfigured"))?;
        if backend.health().is_up(Instant::now()) { Ok(backend) } else { Err(format!("{name} is down")) }
    }

    /// Whether no backend is attached: none has shown a marker of ours yet, or all that did have lost theirs.
    pub(crate) fn has_none(&self) -> bool {
        self.configs.current().backends.iter().all(|backend| !backend.attached)
    }

    /// Whether a backend is given up, and nothing is deleted there any more.
    pub(crate) fn is_forgotten(&self, id: BackendId) -> bool {
        let config = self.configs.current();
        let row = config.backends.iter().find(|backend| backend.spec.id == id);
        row.and_then(|row| row.removal).is_some_and(|removal| removal.mode == RemovalMode::Forget)
    }

    fn is_ours(&self, marker: &Marker) -> bool {
        marker.cluster_id == self.configs.current().cluster.to_string()
    }

    /// Reads the marker again: whether it is the backend's own, or only our cluster's, as that of one that has joined in a time that
    /// was lost. `None`: neither, or it cannot be read.
    pub(crate) async fn is_itself(&self, backend: &Backend) -> Option<bool> {
        match in_time(backend, PATIENCE, backend.read_marker()).await {
            Ok(Some((Ok(marker), _))) if self.is_ours(&marker) => Some(marker.backend_id == backend.id()),
            _ => None,
        }
    }

    /// Reads the marker again. `Err`: it is not ours, or cannot be read; the text says which.
    pub(crate) async fn confirm(&self, backend: &Backend) -> Result<(), String> {
        let why = match in_time(backend, PATIENCE, backend.read_marker()).await {
            Err(error) => format!("its marker could not be asked for: {error}"),
            Ok(None) => "its marker is missing".to_owned(),
            Ok(Some((Err(error), _))) => format!("its marker cannot be read: {error}"),
            Ok(Some((Ok(marker), _))) => {
                if self.is_ours(&marker) && marker.backend_id == backend.id() {
                    return Ok(());
                }
                let (cluster, id) = (marker.cluster_id, marker.backend_id.0);
                format!("its marker names backend {id} of cluster {cluster}")
            }
        };
        Err(format!("{}: {why}", backend.name()))
    }
}
