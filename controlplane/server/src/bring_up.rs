//! What follows the listeners: the database, the declaration, the services, the workers, reloads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use s3o_core::ports::WorkerControl;
use s3o_grpc::{Ports, Wiring};
use s3o_runtime::{LogHandle, Metrics, Reload, Shutdown, config};
use s3o_store::{Store, StoreError};
use s3o_workers::{BackendSettings, Deps, WorkerSettings, Workers};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::ControlPlaneConfig;
use crate::no_workers::NoWorkers;
use crate::start::Phase;
use crate::store;

/// Waits between two tries to reach the database.
const TRIES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The way from "listening" to "ready", and what goes on after it.
pub(crate) struct BringUp {
    pub(crate) config: ControlPlaneConfig,
    pub(crate) file: Option<PathBuf>,
    pub(crate) reload: Reload,
    pub(crate) log: Option<LogHandle>,
    pub(crate) wiring: Wiring,
    pub(crate) metrics: Metrics,
    /// The control plane's.
    pub(crate) shutdown: Shutdown,
    /// The part of it that uses the store, and ends before it.
    pub(crate) services: Shutdown,
    pub(crate) phase: watch::Sender<Phase>,
}

impl BringUp {
    pub(crate) async fn run(self) {
        let store = tokio::select! {
            () = self.shutdown.stopping() => return,
            opened = self.open() => match opened {
                Ok(store) => store,
                Err(error) => {
                    error!(%error, "the control plane cannot start");
                    self.phase.send_replace(Phase::Failed(error.to_string()));
                    self.shutdown.begin();
                    return;
                }
            },
        };
        let store = Arc::new(store);
        self.serve(&store);
        self.phase.send_replace(Phase::Ready);
        info!(instance = self.config.instance, "ready");
        self.follow_file(&store).await;
        // What still runs needs the store; when it takes too long, the whole process's hard stage ends both.
        self.services.finish(Duration::MAX).await;
        store.close().await;
    }

    /// Opens the store and applies the declaration, until it is done or cannot be done.
    async fn open(&self) -> Result<Store, StoreError> {
        let mut wait = TRIES.0;
        loop {
            match store::open(&self.config).await {
                Ok(store) => return Ok(store),
                Err(error) if store::is_final(&error) => return Err(error),
                Err(error) => warn!(%error, "the database is tried again"),
            }
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(TRIES.1);
        }
    }

    fn serve(&self, store: &Arc<Store>) {
        let workers: Arc<dyn WorkerControl> =
            if self.config.workers.enabled { Workers::start(self.deps(store)) } else { Arc::new(NoWorkers) };
        self.wiring.ready(Ports {
            ledger: store.clone(),
            sessions: store.clone(),
            configs: store.clone(),
            queues: store.clone(),
            overview: store.clone(),
            workers,
        });
    }

    fn deps(&self, store: &Arc<Store>) -> Deps {
        Deps {
            ledger: store.clone(),
            configs: store.clone(),
            queues: store.clone(),
            maintenance: store.clone(),
            overview: store.clone(),
            sessions: store.clone(),
            backends: BackendSettings::default(),
            metrics: self.metrics.clone(),
            instance: self.config.instance.clone(),
            settings: WorkerSettings {
                cleanup_queue: self.config.cleanup.interval.get(),
                cleanup_concurrency: self.config.cleanup.concurrency.into(),
                pending_reaper: self.config.pending_reaper.interval.get(),
                reaper_concurrency: self.config.pending_reaper.concurrency.into(),
            },
            shutdown: self.services.clone(),
        }
    }

    /// Applies the file again whenever somebody asks. A file that is wrong changes nothing.
    async fn follow_file(&self, store: &Store) {
        let mut asked = self.reload.subscribe();
        while tokio::select! {
            () = self.shutdown.stopping() => false,
            wish = asked.changed() => wish.is_ok(),
        } {
            let Some(file) = &self.file else { continue };
            match config::load::<ControlPlaneConfig>(file) {
                Ok(config) => self.apply(store, &config).await,
                Err(error) => error!(%error, "the configuration stays as it was"),
            }
        }
    }

    async fn apply(&self, store: &Store, config: &ControlPlaneConfig) {
        if let Some(log) = &self.log
            && let Err(error) = log.set_filter(&config.log.filter)
        {
            error!(%error, "the log filter stays as it was");
        }
        match store::apply(store, config).await {
            Ok(()) => info!("the configuration was read again"),
            Err(error) => error!(%error, "the configuration could not be applied; ask again"),
        }
    }
}
