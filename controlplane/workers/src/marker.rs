//! Attaches backends: a backend takes writes only while it shows our marker, `.s3o/backend`.
//!
//! Invariant: a marker is written only where the tables say that nothing of ours is stored. A backend
//! that should hold blobs and shows no marker is another folder or another bucket than it was: it is
//! detached, and nothing is written there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use s3o_backend::{Backend, MarkerCheck, read_marker};
use s3o_core::config::{BackendConfig, MarkerSeen};
use s3o_core::ports::{Configs, Overview, PortError};
use s3o_core::worker::Counts;
use s3o_types::{BackendId, BackendState};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::Deps;
use crate::backends::Backends;
use crate::harness::Worker;

/// How long a good marker is believed for placement. Deletions and absences ask again.
const RECHECK: Duration = Duration::from_mins(10);

pub(crate) struct Marker {
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    backends: Arc<Backends>,
    /// Endpoint and bucket where the marker was last good, and when.
    good: Mutex<HashMap<BackendId, (String, Instant)>>,
}

/// What a look at one backend came to.
enum Seen {
    Attached,
    Detached,
    Unreachable,
}

impl Marker {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>) -> Self {
        let (configs, overview) = (deps.configs.clone(), deps.overview.clone());
        Self { configs, overview, backends, good: Mutex::default() }
    }

    async fn is_fresh(&self, config: &BackendConfig) -> bool {
        let good = self.good.lock().await;
        config.attached
            && good
                .get(&config.spec.id)
                .is_some_and(|(place, at)| *place == place_of(config) && at.elapsed() < RECHECK)
    }

    async fn look(&self, config: &BackendConfig, cluster: &str) -> Result<Seen, PortError> {
        let Some(backend) = self.backends.get(config.spec.id) else {
            return Ok(Seen::Unreachable);
        };
        match self.check(&backend, cluster).await {
            Ok(Some(MarkerCheck::Ours(etag) | MarkerCheck::Created(etag))) => {
                self.configs.attach(MarkerSeen { backend: backend.id(), etag }).await?;
                self.good.lock().await.insert(backend.id(), (place_of(config), Instant::now()));
                if !config.attached {
                    info!(backend = backend.name(), ?etag, "backend attached");
                }
                Ok(Seen::Attached)
            }
            Ok(Some(MarkerCheck::Foreign { cluster_id, backend_id })) => {
                let theirs = backend_id.map(|id| id.0);
                error!(
                    backend = backend.name(),
                    id = backend.id().0,
                    cluster,
                    cluster_id,
                    ?theirs,
                    "the backend's marker is not ours: is its bucket configured twice, or another cluster's?"
                );
                self.detach(&backend).await
            }
            Ok(None) => {
                error!(
                    backend = backend.name(),
                    "the backend should hold blobs and shows no marker: nothing is written there"
                );
                self.detach(&backend).await
            }
            Err(Unreachable(why)) => {
                warn!(backend = backend.name(), error = %why, "the backend's marker could not be read");
                Ok(Seen::Unreachable)
            }
        }
    }

    async fn detach(&self, backend: &Backend) -> Result<Seen, PortError> {
        self.good.lock().await.remove(&backend.id());
        self.configs.detach(backend.id()).await?;
        Ok(Seen::Detached)
    }

    /// `Ok(None)`: there is no marker, and there must be one.
    async fn check(&self, backend: &Backend, cluster: &str) -> Result<Option<MarkerCheck>, Unreachable> {
        let found = read_marker(backend.client()).await.map_err(|error| Unreachable(error.to_string()))?;
        if found.is_none() && !self.holds_nothing(backend.id()).await? {
            return Ok(None);
        }
        let check = backend.check_marker(cluster).await.map_err(|error| Unreachable(error.to_string()))?;
        Ok(Some(check))
    }

    async fn holds_nothing(&self, backend: BackendId) -> Result<bool, Unreachable> {
        let usage = self.overview.backend_usage().await.map_err(|error| Unreachable(error.to_string()))?;
        let ours = usage.iter().find(|(id, _, _)| *id == backend);
        Ok(ours.is_none_or(|(_, usage, _)| usage.total() == 0 && usage.objects == 0))
    }
}

/// Neither good nor bad is known.
struct Unreachable(String);

fn place_of(config: &BackendConfig) -> String {
    format!("{} {}", config.spec.endpoint, config.spec.bucket)
}

#[async_trait]
impl Worker for Marker {
    async fn tick(&self) -> Result<Counts, String> {
        let config = self.configs.current();
        let cluster = config.cluster.to_string();
        let mut counts = Counts::new();
        for backend in &config.backends {
            if backend.state == BackendState::Removed || self.is_fresh(backend).await {
                continue;
            }
            let seen = self.look(backend, &cluster).await.map_err(|error| error.to_string())?;
            let counted = match seen {
                Seen::Attached => "attached",
                Seen::Detached => "detached",
                Seen::Unreachable => "unreachable",
            };
            *counts.entry(counted.to_owned()).or_default() += 1;
        }
        Ok(counts)
    }
}
