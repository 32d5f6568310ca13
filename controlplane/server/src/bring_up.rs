//! What follows the listeners: the database, the declaration, the services, the workers, reloads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use s3o_core::ports::{BackendProbing, ObjectScrub, Rebalancing, Recovering, WorkerControl};
use s3o_grpc::{Ports, Wiring};
use s3o_runtime::{LogHandle, Metrics, Shutdown, config};
use s3o_store::{Store, StoreError};
use s3o_workers::{
    BackendSettings, Deps, IntentsResolved, LifecycleSettings, ReconcileSettings, WorkerSettings, Workers,
};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::ControlPlaneConfig;
use crate::no_workers::NoWorkers;
use crate::start::{Http, Phase};
use crate::{store, store_meters};

/// Waits between two tries to reach the database.
const TRIES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long requests to the probes and the admin API may take at the end.
const HTTP_GRACE: Duration = Duration::from_secs(6);

/// The way from "listening" to "ready", and what goes on after it.
pub(crate) struct BringUp {
    pub(crate) config: ControlPlaneConfig,
    pub(crate) file: Option<PathBuf>,
    /// Wishes to read the file again, since it was read first: one that comes during the start is not lost.
    pub(crate) asked: watch::Receiver<u64>,
    pub(crate) log: Option<LogHandle>,
    pub(crate) database_is_private: bool,
    pub(crate) wiring: Wiring,
    pub(crate) metrics: Metrics,
    /// The control plane's.
    pub(crate) shutdown: Shutdown,
    /// The part of it that uses the store, and ends before it.
    pub(crate) services: Shutdown,
    /// Ends last.
    pub(crate) http: Http,
    pub(crate) phase: watch::Sender<Phase>,
}

impl BringUp {
    pub(crate) async fn run(self) {
        // When this task is cut by the hard stage, the probes' listener must not stay behind.
        let _http = self.http.shutdown.begin_on_drop();
        let store = tokio::select! {
            () = self.shutdown.stopping() => None,
            opened = self.open() => match opened {
                Ok(store) => Some(Arc::new(store)),
                Err(error) => {
                    error!(%error, "the control plane cannot start");
                    self.phase.send_replace(Phase::Failed(error.to_string()));
                    None
                }
            },
        };
        if let Some(store) = &store {
            self.serve(store);
            self.phase.send_replace(Phase::Ready);
            self.http.readiness.set(true);
            info!(instance = self.config.instance, "ready");
            self.warn_of_failover(store).await;
            self.follow_file(store).await;
        }
        self.end(store).await;
    }

    /// The services need the store, and probes are to see the drain: so in this order. When it takes too
    /// long, the hard stage of the whole ends this too.
    async fn end(&self, store: Option<Arc<Store>>) {
        self.http.readiness.set(false);
        self.shutdown.begin();
        self.services.finish(Duration::MAX).await;
        if let Some(store) = store {
            store.close().await;
        }
        self.http.shutdown.finish(HTTP_GRACE).await;
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

    /// Says once what a failover may cost (DESIGN §6).
    async fn warn_of_failover(&self, store: &Store) {
        if self.database_is_private {
            return;
        }
        let standbys = tokio::select! {
            () = self.shutdown.stopping() => return,
            standbys = store.synchronous_standbys() => standbys,
        };
        match standbys {
            Ok(names) if names.trim().is_empty() => warn!(
                "the database has no synchronous standby: a failover may lose acknowledged commits, and then only what the \
                 journal and the backends have of them comes back, by `s3o recover`"
            ),
            Ok(_) => {}
            Err(error) => warn!(%error, "whether the database has a synchronous standby is not known"),
        }
    }

    fn serve(&self, store: &Arc<Store>) {
        let resolved = IntentsResolved::default();
        store_meters::register(&self.metrics, store, &resolved);
        let (workers, rebalancing, scrub, recovering, probing) = if self.config.workers.enabled {
            on_demand(&Workers::start(self.deps(store, resolved)))
        } else {
            on_demand(&Arc::new(NoWorkers))
        };
        self.wiring.ready(Ports {
            ledger: store.clone(),
            uploads: store.clone(),
            versions: store.clone(),
            sessions: store.clone(),
            buckets: store.clone(),
            configs: store.clone(),
            queues: store.clone(),
            overview: store.clone(),
            drains: store.clone(),
            removals: store.clone(),
            replication: store.clone(),
            reconciliation: store.clone(),
            workers,
            rebalancing,
            scrub,
            recovery: store.clone(),
            recovering,
            probing,
        });
    }

    fn deps(&self, store: &Arc<Store>, intents_resolved: IntentsResolved) -> Deps {
        let reconcile = self.config.reconcile;
        Deps {
            ledger: store.clone(),
            buckets: store.clone(),
            configs: store.clone(),
            queues: store.clone(),
            uploads: store.clone(),
            replication: store.clone(),
            scrubs: store.clone(),
            rebalances: store.clone(),
            drains: store.clone(),
            removals: store.clone(),
            journal: store.clone(),
            recovery: store.clone(),
            restore: store.clone(),
            reconciliation: store.clone(),
            lifecycle: store.clone(),
            maintenance: store.clone(),
            overview: store.clone(),
            sessions: store.clone(),
            backends: BackendSettings::default(),
            metrics: self.metrics.clone(),
            intents_resolved,
            instance: self.config.instance.clone(),
            settings: WorkerSettings {
                cleanup_queue: self.config.cleanup.interval.get(),
                cleanup_concurrency: self.config.cleanup.concurrency.into(),
                pending_reaper: self.config.pending_reaper.interval.get(),
                reaper_concurrency: self.config.pending_reaper.concurrency.into(),
                stale_upload_after: self.config.multipart.stale_after.get(),
                replicator: self.config.replication.interval.get(),
                replication_concurrency: self.config.replication.concurrency.into(),
                unhealthy_threshold: self.config.replication.unhealthy_threshold.get(),
                over_replication: self.config.replication.trim_interval.get(),
                copy_scan: self.config.replication.scan_interval.get(),
                scrubber: self.config.integrity.interval.get(),
                rebalancer: self.config.rebalance.interval.get(),
                rebalance: self.config.rebalance.settings(),
                scrub_pace: self.config.integrity.pace(),
                digest: self.config.integrity.digest,
                reconcile: ReconcileSettings {
                    every: Some(reconcile.interval.get()).filter(|_| reconcile.enabled),
                    orphan_after: reconcile.orphan_after.get(),
                    interval: reconcile.check_interval.get(),
                },
                journal: self.config.journal.settings(),
                lifecycle: LifecycleSettings {
                    interval: self.config.lifecycle.interval.get(),
                    batch: self.config.lifecycle.batch,
                },
            },
            shutdown: self.services.clone(),
        }
    }

    /// Applies the file again whenever somebody asks. A file that is wrong changes nothing.
    async fn follow_file(&self, store: &Store) {
        let mut asked = self.asked.clone();
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

/// What the workers do when they are asked to.
type OnDemand = (
    Arc<dyn WorkerControl>,
    Arc<dyn Rebalancing>,
    Arc<dyn ObjectScrub>,
    Arc<dyn Recovering>,
    Arc<dyn BackendProbing>,
);

fn on_demand<T: WorkerControl + Rebalancing + ObjectScrub + Recovering + BackendProbing + 'static>(
    workers: &Arc<T>,
) -> OnDemand {
    (workers.clone(), workers.clone(), workers.clone(), workers.clone(), workers.clone())
}
