//! `marker`: reads the marker `.s3o/backend` of every configured backend, and makes it where a backend
//! is new. Ours: attached, so that placement may use it. Another's, or vanished: detached, loudly.
//!
//! Invariants: a backend that cannot be reached is left as it is. A marker is made only where the
//! database counts no byte and no object: an empty place where blobs should be is an edited endpoint or
//! an unmounted folder, and a fresh marker there would make their absence believable.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use s3o_backend::{Backend, MarkerCheck, read_marker};
use s3o_core::config::{BackendConfig, ClusterConfig, MarkerSeen};
use s3o_core::ports::{Configs, Overview};
use s3o_core::worker::Counts;
use s3o_runtime::Shutdown;
use s3o_types::{BackendId, EtagProof};
use tokio::sync::Mutex;
use tracing::{error, info};

use crate::backends::{Backends, MARKER_PATIENCE};
use crate::runner::Worker;
use crate::workers::Shared;

pub(crate) struct Marker {
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    backends: Arc<Backends>,
    /// Markers are made one after the other: of two backends that are one bucket, the second finds the
    /// first one's.
    making: Mutex<()>,
}

impl Marker {
    pub(crate) fn new(shared: &Shared) -> Arc<dyn Worker> {
        Arc::new(Self {
            configs: Arc::clone(&shared.configs),
            overview: Arc::clone(&shared.overview),
            backends: Arc::clone(&shared.backends),
            making: Mutex::default(),
        })
    }
}

#[async_trait]
impl Worker for Marker {
    async fn tick(&self, _: &Shutdown) -> Result<Counts, String> {
        let config = self.configs.current();
        let looks = config.backends.iter().map(|backend| self.look_and_tell(&config, backend));
        let mut counts = Counts::new();
        let mut failed = Vec::new();
        for result in join_all(looks).await {
            let word = result.unwrap_or_else(|error| {
                failed.push(error);
                "unreachable"
            });
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        if failed.is_empty() { Ok(counts) } else { Err(failed.join("; ")) }
    }
}

/// What stands on a backend.
enum Seen {
    Ours(EtagProof),
    Foreign {
        cluster_id: String,
        backend_id: Option<BackendId>,
    },
    /// No marker, and blobs that should be there.
    Vanished,
}

impl Marker {
    /// `Err`: it could not be asked, or the database not told.
    async fn look_and_tell(
        &self,
        config: &ClusterConfig,
        row: &BackendConfig,
    ) -> Result<&'static str, String> {
        let BackendConfig { spec, attached, .. } = row;
        let backend = self.backends.of(spec).ok_or_else(|| format!("{}: reconfigured just now", spec.name))?;
        let seen = match tokio::time::timeout(MARKER_PATIENCE, self.look(config, &backend)).await {
            Ok(seen) => seen.map_err(|why| format!("{}: {why}", spec.name))?,
            Err(_) => return Err(format!("{}: no answer within {MARKER_PATIENCE:?}", spec.name)),
        };
        let told = match seen {
            Seen::Ours(etag) => {
                if !attached {
                    info!(backend = spec.name, ?etag, "the marker is ours: attached");
                }
                self.configs.attach(MarkerSeen { backend: spec.id, etag }).await.map(|()| "ours")
            }
            Seen::Foreign { cluster_id, backend_id } => {
                log_foreign(config, row, &cluster_id, backend_id);
                self.configs.detach(spec.id).await.map(|()| "foreign")
            }
            Seen::Vanished => {
                log_vanished(row);
                self.configs.detach(spec.id).await.map(|()| "vanished")
            }
        };
        told.map_err(|error| format!("{}: {error}", spec.name))
    }

    async fn look(&self, config: &ClusterConfig, backend: &Backend) -> Result<Seen, String> {
        let cluster = config.cluster.to_string();
        let none = read_marker(backend.client()).await.map_err(|error| error.to_string())?.is_none();
        let _turn = if none { Some(self.making.lock().await) } else { None };
        if none && !self.holds_nothing(backend.id()).await? {
            return Ok(Seen::Vanished);
        }
        match backend.check_marker(&cluster).await.map_err(|error| error.to_string())? {
            MarkerCheck::Ours(etag) => Ok(Seen::Ours(etag)),
            MarkerCheck::Created(etag) => {
                info!(backend = backend.name(), "marker written");
                Ok(Seen::Ours(etag))
            }
            MarkerCheck::Foreign { cluster_id, backend_id } => Ok(Seen::Foreign { cluster_id, backend_id }),
        }
    }

    /// Whether no byte is stored, reserved or waiting for deletion there, as far as the database knows.
    async fn holds_nothing(&self, id: BackendId) -> Result<bool, String> {
        let usage = self.overview.backend_usage().await.map_err(|error| error.to_string())?;
        let here = usage.iter().find(|(backend, ..)| *backend == id);
        Ok(here.is_none_or(|(_, bytes, _)| bytes.total() == 0 && bytes.objects == 0))
    }
}

fn log_foreign(config: &ClusterConfig, row: &BackendConfig, cluster_id: &str, backend_id: Option<BackendId>) {
    let spec = &row.spec;
    let same_cluster = config.cluster.to_string() == cluster_id;
    let twin = config.backends.iter().find(|other| same_cluster && Some(other.spec.id) == backend_id);
    let why = match (same_cluster, cluster_id.is_empty()) {
        (true, _) => "another backend of this cluster is the same bucket",
        (false, true) => "it cannot be read",
        (false, false) => "the bucket belongs to another cluster",
    };
    error!(
        backend = spec.name,
        bucket = spec.bucket,
        our_cluster = %config.cluster,
        our_backend = spec.id.0,
        marker_cluster = cluster_id,
        marker_backend = backend_id.map(|id| id.0),
        same_bucket_as = twin.map(|twin| twin.spec.name.as_str()),
        "the marker .s3o/backend is not ours, so the backend is not used: {why}"
    );
}

fn log_vanished(row: &BackendConfig) {
    let spec = &row.spec;
    error!(
        backend = spec.name,
        endpoint = spec.endpoint,
        bucket = spec.bucket,
        "the marker .s3o/backend is gone, and blobs should be here: is the endpoint right, is the folder \
         mounted? Nothing is placed or deleted here until the marker is back"
    );
}
