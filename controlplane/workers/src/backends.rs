//! The backends as this process's workers speak to them.
//!
//! Invariant: the set holds what the newest generation says, drained backends too: what is stored
//! there must still be found and deleted.

use std::sync::Arc;
use std::time::Duration;

use s3o_backend::{Backend, BackendSet, HttpPool};
use s3o_core::config::ClusterConfig;
use s3o_core::ports::Configs;
use s3o_runtime::Shutdown;
use s3o_types::BackendId;

use crate::BackendSettings;
use crate::meters::ProcessMeters;

/// How often a backend that is not up may be probed; its breaker says whether.
const PROBE: Duration = Duration::from_secs(1);

pub(crate) struct Backends {
    set: Arc<BackendSet>,
    configs: Arc<dyn Configs>,
    shutdown: Shutdown,
}

impl Backends {
    pub(crate) fn start(
        configs: Arc<dyn Configs>,
        how: BackendSettings,
        meters: &Arc<ProcessMeters>,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let set = BackendSet::new(HttpPool::new(how.timeouts), meters.as_meters(), how.breaker);
        let new = Arc::new(Self { set: Arc::new(set), configs, shutdown: shutdown.clone() });
        new.rebuild(&new.configs.current());
        shutdown.spawn(probe(Arc::clone(&new)));
        new
    }

    pub(crate) fn get(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.set.get(id)
    }

    /// Follows the configuration until the shutdown; `changed` is called after each rebuild.
    pub(crate) async fn follow(&self, changed: impl Fn()) {
        let mut generation = self.configs.current().generation;
        loop {
            tokio::select! {
                () = self.shutdown.stopping() => return,
                config = self.configs.newer_than(generation) => {
                    generation = config.generation;
                    self.rebuild(&config);
                    changed();
                }
            }
        }
    }

    pub(crate) fn rebuild(&self, config: &ClusterConfig) {
        self.set.rebuild(config.backends.iter().map(|backend| backend.spec.clone()).collect());
    }
}

async fn probe(backends: Arc<Backends>) {
    loop {
        tokio::select! {
            () = backends.shutdown.stopping() => return,
            () = tokio::time::sleep(PROBE) => backends.set.probe_due().await,
        }
    }
}
