//! Asks a backend whose it is before an absence there is believed or anything is deleted.
//!
//! Invariant (DESIGN §6, "Copies never vanish by accident"): an edited endpoint or an unmounted folder
//! answers 404 to everything. Only a backend that shows our marker may say that a blob is gone.

use std::collections::HashMap;
use std::sync::Arc;

use s3o_backend::{Backend, read_marker};
use s3o_core::ports::Configs;
use s3o_types::BackendId;
use tokio::sync::{Mutex, OnceCell};

type Answer = Arc<OnceCell<Result<(), String>>>;

/// One tick's answers: each backend is asked once.
pub(crate) struct MarkerGate {
    configs: Arc<dyn Configs>,
    answers: Mutex<HashMap<BackendId, Answer>>,
}

impl MarkerGate {
    pub(crate) fn new(configs: Arc<dyn Configs>) -> Self {
        Self { configs, answers: Mutex::default() }
    }

    /// Forgets what was said: a new tick asks again.
    pub(crate) async fn reset(&self) {
        self.answers.lock().await.clear();
    }

    /// `Ok` when the backend shows our marker now; else why its answers prove nothing.
    pub(crate) async fn is_ours(&self, backend: &Backend) -> Result<(), String> {
        let answer = Arc::clone(self.answers.lock().await.entry(backend.id()).or_default());
        answer.get_or_init(|| self.ask(backend)).await.clone()
    }

    async fn ask(&self, backend: &Backend) -> Result<(), String> {
        let cluster = self.configs.current().cluster.to_string();
        match read_marker(backend.client()).await {
            Ok(Some((Ok(marker), _)))
                if marker.cluster_id == cluster && marker.backend_id == backend.id() =>
            {
                Ok(())
            }
            Ok(Some((Ok(marker), _))) => {
                let (cluster, id) = (marker.cluster_id, marker.backend_id.0);
                Err(format!("its marker names backend {id} of cluster {cluster}"))
            }
            Ok(Some((Err(error), _))) => Err(format!("its marker cannot be read: {error}")),
            Ok(None) => Err("its marker is missing".to_owned()),
            Err(error) => Err(format!("its marker could not be asked for: {error}")),
        }
    }
}
