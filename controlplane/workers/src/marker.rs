//! Attaches backends: a backend takes writes only while it shows our marker, `.s3o/backend`.
//!
//! Invariants: a marker is written only where the tables say that nothing of ours is stored. A backend
//! that should hold blobs and shows no marker is another folder or another bucket than it was: it is
//! detached, and nothing is written there. One that merely cannot be reached stays as it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use s3o_backend::{Backend, MarkerCheck, probe_puts, read_marker, write_marker_if_absent};
use s3o_core::config::{BackendConfig, ClusterConfig, MarkerPlace, MarkerSeen};
use s3o_core::ports::{Configs, Overview};
use s3o_core::worker::Counts;
use s3o_types::{BackendId, EtagProof};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::Deps;
use crate::backends::{Backends, in_time};
use crate::harness::Worker;
use crate::marker_gate::PATIENCE;
use crate::probe::Proofs;

/// How long a probe may take: it moves 3 MiB, and the marker's own patience goes on meanwhile.
const PROBE_PATIENCE: Duration = Duration::from_secs(8);

/// How long a good marker is believed for placement. Deletions and absences ask again.
const RECHECK: Duration = Duration::from_mins(10);

pub(crate) struct Marker {
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    backends: Arc<Backends>,
    /// Endpoint and bucket where the marker was last good, and when.
    good: Mutex<HashMap<BackendId, (String, Instant)>>,
    /// What was complained of last, and when: the same complaint is not made every few seconds.
    complaints: Mutex<HashMap<BackendId, (String, Instant)>>,
    /// Places that showed a marker once and none later: it is not made again, even where nothing is stored.
    vanished: Mutex<HashSet<(BackendId, String)>>,
    /// Shared with who probes on demand.
    proofs: Arc<Proofs>,
    /// Markers are made one after the other: of two backends that are one bucket, the second finds the
    /// first one's.
    making: Mutex<()>,
}

/// What a look at one backend came to.
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
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, proofs: Arc<Proofs>) -> Self {
        Self {
            configs: deps.configs.clone(),
            overview: deps.overview.clone(),
            backends,
            good: Mutex::default(),
            complaints: Mutex::default(),
            vanished: Mutex::default(),
            proofs,
            making: Mutex::default(),
        }
    }

    async fn is_fresh(&self, config: &BackendConfig) -> bool {
        let good = self.good.lock().await;
        config.attached
            && good
                .get(&config.spec.id)
                .is_some_and(|(place, at)| *place == place_of(config) && at.elapsed() < RECHECK)
    }

    /// `Err`: the database could not be asked or told.
    async fn look_and_tell(
        &self,
        config: &ClusterConfig,
        row: &BackendConfig,
    ) -> Result<&'static str, String> {
        let id = row.spec.id;
        let Some(backend) = self.backends.get(id).filter(|backend| *backend.spec() == row.spec) else {
            return Ok("reconfigured");
        };
        match self.look_in_time(config, row, &backend).await {
            Ok(Seen::Ours(etag)) => {
                let seen = MarkerSeen { place: MarkerPlace::of(&row.spec), etag };
                self.configs.attach(seen).await.map_err(|e| e.to_string())?;
                self.good.lock().await.insert(id, (place_of(row), Instant::now()));
                self.complaints.lock().await.remove(&id);
                self.vanished.lock().await.remove(&(id, place_of(row)));
                if !row.attached {
                    info!(backend = backend.name(), ?etag, "backend attached");
                }
                Ok("attached")
            }
            Ok(Seen::Foreign { cluster_id, backend_id }) => {
                let why = foreign(config, &cluster_id, backend_id);
                if self.is_news(id, &why).await {
                    let (ours, name) = (config.cluster, backend.name());
                    let theirs = backend_id.map(|id| id.0);
                    error!(backend = name, our_cluster = %ours, our_backend = id.0, marker_cluster = cluster_id,
                        marker_backend = theirs, "the backend's marker is not ours, nothing is written there: {why}");
                }
                self.detach(row).await
            }
            Ok(Seen::Vanished) => {
                if self.is_news(id, "vanished").await {
                    error!(
                        backend = backend.name(),
                        endpoint = row.spec.endpoint,
                        bucket = row.spec.bucket,
                        "the backend should hold blobs and shows no marker: is the endpoint right, is the \
                         folder mounted? Nothing is written or deleted there until the marker is back"
                    );
                }
                self.detach(row).await
            }
            Err(why) => {
                if self.is_news(id, &why).await {
                    warn!(backend = backend.name(), error = why, "the backend's marker could not be read");
                }
                Ok("unreachable")
            }
        }
    }

    /// Whether this was not said of the backend lately.
    async fn is_news(&self, id: BackendId, what: &str) -> bool {
        let mut complaints = self.complaints.lock().await;
        let known = complaints.get(&id).is_some_and(|(said, at)| said == what && at.elapsed() < RECHECK);
        if !known {
            complaints.insert(id, (what.to_owned(), Instant::now()));
        }
        !known
    }

    async fn detach(&self, row: &BackendConfig) -> Result<&'static str, String> {
        self.good.lock().await.remove(&row.spec.id);
        self.configs.detach(MarkerPlace::of(&row.spec)).await.map_err(|error| error.to_string())?;
        Ok("detached")
    }

    /// `Err`: neither good nor bad is known. The first question alone is told to the backend's health where it stays without an
    /// answer: what comes after it waits for the tables, too.
    async fn look_in_time(
        &self,
        config: &ClusterConfig,
        row: &BackendConfig,
        backend: &Backend,
    ) -> Result<Seen, String> {
        let found = in_time(backend, PATIENCE, read_marker(backend.client())).await;
        let none = found.map_err(|error| error.to_string())?.is_none();
        let looked = tokio::time::timeout(PATIENCE, self.look(config, row, backend, none)).await;
        looked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }

    /// `none`: it showed no marker.
    async fn look(
        &self,
        config: &ClusterConfig,
        row: &BackendConfig,
        backend: &Backend,
        none: bool,
    ) -> Result<Seen, String> {
        let turn = if none { Some(self.making.lock().await) } else { None };
        if none && !self.may_be_made(row).await? {
            return Ok(Seen::Vanished);
        }
        let check = write_marker_if_absent(backend.client(), &config.cluster.to_string(), row.spec.id).await;
        drop(turn);
        Ok(match check.map_err(|error| error.to_string())? {
            MarkerCheck::Ours(etag) | MarkerCheck::Created(etag) => {
                Seen::Ours(self.proof(row, backend, etag).await)
            }
            MarkerCheck::Foreign { cluster_id, backend_id } => Seen::Foreign { cluster_id, backend_id },
        })
    }

    /// What a PUT's answer proves, where the marker's ETag is `etag`. Asked once a place; one that is too slow to
    /// say is not asked again, and what somebody else found out of it stands.
    async fn proof(&self, row: &BackendConfig, backend: &Backend, etag: EtagProof) -> EtagProof {
        if etag != EtagProof::Md5 {
            return etag;
        }
        let told = if row.spec.quirks.etag.is_md5() { row.spec.quirks.etag } else { etag };
        let place = (row.spec.id, place_of(row));
        let known = self.proofs.lock().await.get(&place).copied();
        if let Some(known) = known {
            return known.unwrap_or(told);
        }
        let proof = match tokio::time::timeout(PROBE_PATIENCE, probe_puts(backend.client())).await {
            Ok(Ok(proof)) => Some(proof),
            Err(_) => None,
            Ok(Err(error)) => {
                debug!(backend = backend.name(), %error, "what its answers prove could not be seen");
                return told;
            }
        };
        // Somebody may have found it out meanwhile, with more patience.
        self.proofs.lock().await.entry(place).or_insert(proof).unwrap_or(told)
    }

    /// Only where nothing of ours can be: nothing is stored there, and no marker was seen there before.
    async fn may_be_made(&self, row: &BackendConfig) -> Result<bool, String> {
        let place = (row.spec.id, place_of(row));
        let mut vanished = self.vanished.lock().await;
        if row.attached {
            vanished.insert(place.clone());
        }
        if vanished.contains(&place) {
            return Ok(false);
        }
        drop(vanished);
        self.holds_nothing(row.spec.id).await
    }

    async fn holds_nothing(&self, backend: BackendId) -> Result<bool, String> {
        let usage = self.overview.backend_usage().await.map_err(|error| error.to_string())?;
        let ours = usage.iter().find(|(id, _, _)| *id == backend);
        Ok(ours.is_none_or(|(_, usage, _)| usage.total() == 0 && usage.objects == 0))
    }
}

pub(crate) fn place_of(config: &BackendConfig) -> String {
    format!("{} {}", config.spec.endpoint, config.spec.bucket)
}

fn foreign(config: &ClusterConfig, cluster_id: &str, backend_id: Option<BackendId>) -> String {
    if cluster_id.is_empty() {
        return "it cannot be read".to_owned();
    }
    if cluster_id != config.cluster.to_string() {
        return "the bucket belongs to another cluster".to_owned();
    }
    let twin = config.backends.iter().find(|other| Some(other.spec.id) == backend_id);
    twin.map_or_else(
        || "the bucket belonged to a backend that is no longer configured".to_owned(),
        |twin| format!("it is the same bucket as backend {}", twin.spec.name),
    )
}

#[async_trait]
impl Worker for Marker {
    async fn tick(&self) -> Result<Counts, String> {
        let config = self.configs.current();
        let looks = config.backends.iter().map(|row| async {
            if self.is_fresh(row).await { Ok("fresh") } else { self.look_and_tell(&config, row).await }
        });
        let mut counts = Counts::new();
        let mut failed = Vec::new();
        for result in join_all(looks).await {
            match result {
                Ok(word) => *counts.entry(word.to_owned()).or_default() += 1,
                Err(why) => failed.push(why),
            }
        }
        if failed.is_empty() { Ok(counts) } else { Err(failed.join("; ")) }
    }
}
