//! Finds out on demand what a backend can do and what it needs.
//!
//! Invariants: a backend may be asked before it is attached, since what it needs may be what keeps it from that; it is
//! asked under keys of our own, which are taken away. Stored is only what its marker allows: whose it is, is looked at
//! again first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use s3o_backend::{Backend, Survey, survey};
use s3o_core::config::{BackendConfig, MarkerPlace, MarkerSeen};
use s3o_core::ports::Configs;
use s3o_core::probe::{NotProbed, ProbeReport, ProbeStored};
use s3o_runtime::Shutdown;
use s3o_types::{BackendId, EtagProof};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::marker::place_of;
use crate::marker_gate::MarkerGate;

/// Places that were asked what their answers to a PUT prove; `None`: they were too slow to say. The marker's worker tells
/// the tables the same every few minutes, so it must know what was found here.
pub(crate) type Proofs = Mutex<HashMap<(BackendId, String), Option<EtagProof>>>;

/// How often and how far apart it is looked for a backend that is being reconfigured.
const LOOKS: u8 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

pub(crate) struct Prober {
    configs: Arc<dyn Configs>,
    backends: Arc<Backends>,
    gate: MarkerGate,
    proofs: Arc<Proofs>,
    shutdown: Shutdown,
}

impl Prober {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>) -> Self {
        Self {
            configs: deps.configs.clone(),
            gate: MarkerGate::new(deps.configs.clone(), backends.clone()),
            backends,
            proofs: Arc::default(),
            shutdown: deps.shutdown.clone(),
        }
    }

    pub(crate) fn proofs(&self) -> Arc<Proofs> {
        Arc::clone(&self.proofs)
    }

    pub(crate) async fn probe(&self, name: &str, store: bool) -> Result<ProbeReport, NotProbed> {
        let (row, backend) = self.find(name).await?;
        let tag = Uuid::new_v4().to_string();
        let Survey { findings, proof, requests, left } =
            survey(&backend, &tag, &|| self.shutdown.is_stopping()).await;
        let stored = if store { self.store(&row, &backend, proof).await } else { ProbeStored::NotAsked };
        Ok(ProbeReport { findings, etag: proof, requests, left, stored })
    }

    /// Between a new generation and the set's rebuild the client may still be the old endpoint's: for a moment.
    async fn find(&self, name: &str) -> Result<(BackendConfig, Arc<Backend>), NotProbed> {
        for _ in 0..LOOKS {
            let (row, backend) = self.look(name)?;
            if let Some(backend) = backend {
                return Ok((row, backend));
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Err(NotProbed::Refused(format!("{name} is being reconfigured: ask again")))
    }

    fn look(&self, name: &str) -> Result<(BackendConfig, Option<Arc<Backend>>), NotProbed> {
        let config = self.configs.current();
        let row = config.backends.iter().find(|backend| backend.spec.name == name);
        let row = row.cloned().ok_or(NotProbed::Unknown)?;
        if self.gate.is_forgotten(row.spec.id) {
            return Err(NotProbed::Refused(format!(
                "{name} is given up, and nothing is asked of it any more"
            )));
        }
        let backend = self.backends.get(row.spec.id).filter(|backend| *backend.spec() == row.spec);
        Ok((row, backend))
    }

    async fn store(&self, row: &BackendConfig, backend: &Backend, proof: Option<EtagProof>) -> ProbeStored {
        let Some(proof) = proof else {
            return ProbeStored::NotStored("it could not be seen what its answers prove".to_owned());
        };
        match self.tell(row, backend, proof).await {
            Ok(()) => ProbeStored::Stored,
            Err(why) => ProbeStored::NotStored(why),
        }
    }

    /// As the marker's worker tells what it sees.
    async fn tell(&self, row: &BackendConfig, backend: &Backend, proof: EtagProof) -> Result<(), String> {
        self.gate.confirm(backend).await?;
        self.proofs.lock().await.insert((row.spec.id, place_of(row)), Some(proof));
        let seen = MarkerSeen { place: MarkerPlace::of(&row.spec), etag: proof };
        self.configs.attach(seen).await.map_err(|error| error.to_string())?;
        let newest = self.configs.newest().await.map_err(|error| error.to_string())?;
        let now = newest.backends.iter().find(|backend| backend.spec.id == row.spec.id);
        let now = now.ok_or("the backend is no longer configured")?;
        if place_of(now) != place_of(row) {
            return Err("the backend is elsewhere by now".to_owned());
        }
        if now.spec.quirks.etag == proof {
            return Ok(());
        }
        Err("its declaration says something else in `etag`, and that stays".to_owned())
    }
}
