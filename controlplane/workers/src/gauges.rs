//! Gauges read from the tables: quota, this month's usage, depths of the queues, how far the journal is behind, whether the
//! recovery mode is on. No backend calls.
//!
//! Invariant: nothing here goes by what another worker of this process did or did not do.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use s3o_core::ports::{Configs, Journal, Overview, Queues, Recovery, Uploads};
use s3o_core::session::BackendUsage;
use s3o_core::usage::{Usage, signed};
use s3o_core::worker::Counts;
use tokio::sync::Mutex;

use crate::Deps;
use crate::harness::Worker;

type ByBackend = Family<[(&'static str, String); 1], Gauge>;

pub(crate) struct Gauges {
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    queues: Arc<dyn Queues>,
    uploads: Arc<dyn Uploads>,
    recovery: Arc<dyn Recovery>,
    /// `None`: nothing is shipped, so that nothing is behind.
    journal: Option<Arc<dyn Journal>>,
    used: ByBackend,
    limit: ByBackend,
    orphan: ByBackend,
    available: ByBackend,
    objects: ByBackend,
    requests: ByBackend,
    egress: ByBackend,
    ingress: ByBackend,
    active_uploads: ByBackend,
    cleanup: Gauge,
    dead: Gauge,
    intents: Gauge,
    recovery_mode: Gauge,
    journal_lag: Gauge,
    /// Backends that have series.
    shown: Mutex<BTreeSet<String>>,
}

impl Gauges {
    pub(crate) fn new(deps: &Deps) -> Self {
        let metrics = &deps.metrics;
        let by_backend = |name: &str, help: &str| {
            let family = ByBackend::default();
            metrics.register(name, help, family.clone());
            family
        };
        let single = |name: &str, help: &str| {
            let gauge = Gauge::default();
            metrics.register(name, help, gauge.clone());
            gauge
        };
        Self {
            configs: deps.configs.clone(),
            overview: deps.overview.clone(),
            queues: deps.queues.clone(),
            uploads: deps.uploads.clone(),
            recovery: deps.recovery.clone(),
            journal: deps.settings.journal.enabled.then(|| deps.journal.clone()),
            used: by_backend("quota_bytes_used", "Current bytes used"),
            limit: by_backend("quota_bytes_limit", "Quota limit"),
            orphan: by_backend("quota_orphan_bytes", "Bytes reserved by pending cleanup items"),
            available: by_backend("quota_bytes_available", "Remaining space"),
            objects: by_backend("objects_count", "Stored object count"),
            requests: by_backend("usage_api_requests", "Current month API request count"),
            egress: by_backend("usage_egress_bytes", "Current month egress bytes"),
            ingress: by_backend("usage_ingress_bytes", "Current month ingress bytes"),
            active_uploads: by_backend("active_multipart_uploads", "In-progress uploads"),
            cleanup: single("cleanup_queue_depth", "Current pending items in the cleanup queue"),
            dead: single("cleanup_dlq_depth", "Unrecoverable orphans in the dead-letter table"),
            intents: single("pending_intents_depth", "Current unresolved pending PUT intents"),
            recovery_mode: single("recovery_mode", "1: nothing is deleted until `s3o recover`"),
            journal_lag: single("journal_lag_seconds", "Age of the oldest change that is not in the journal"),
            shown: Mutex::default(),
        }
    }

    /// A backend that is gone from the configuration is gone from the metrics.
    fn forget(&self, name: &str) {
        let families =
            [&self.used, &self.limit, &self.orphan, &self.available, &self.objects, &self.requests];
        for family in families.into_iter().chain([&self.egress, &self.ingress, &self.active_uploads]) {
            family.remove(&[("backend", name.to_owned())]);
        }
    }

    fn show(&self, name: &str, quota: Option<u64>, usage: Usage, month: &BackendUsage) {
        let label = [("backend", name.to_owned())];
        let set = |family: &ByBackend, value: i64| {
            family.get_or_create(&label).set(value);
        };
        set(&self.used, usage.used);
        set(&self.orphan, usage.orphaned);
        set(&self.objects, usage.objects);
        set(&self.requests, signed(month.requests.values().sum()));
        set(&self.egress, signed(month.egress_bytes));
        set(&self.ingress, signed(month.ingress_bytes));
        // A backend without a limit has no series: 0 would read as full.
        if let Some(quota) = quota {
            set(&self.limit, signed(quota));
            set(&self.available, signed(quota).saturating_sub(usage.total()));
        } else {
            self.limit.remove(&label);
            self.available.remove(&label);
        }
    }
}

#[async_trait]
impl Worker for Gauges {
    async fn tick(&self) -> Result<Counts, String> {
        let config = self.configs.current();
        for (id, usage, month) in self.overview.backend_usage().await.map_err(|error| error.to_string())? {
            if let Some(backend) = config.backends.iter().find(|backend| backend.spec.id == id) {
                self.show(&backend.spec.name, backend.quota_bytes, usage, &month);
            }
        }
        let active = self.uploads.active_uploads().await.map_err(|error| error.to_string())?;
        for backend in &config.backends {
            let n = active.iter().find(|(id, _)| *id == backend.spec.id).map_or(0, |(_, n)| *n);
            let label = [("backend", backend.spec.name.clone())];
            self.active_uploads.get_or_create(&label).set(signed(n));
        }
        let names = config.backends.iter().map(|backend| backend.spec.name.clone()).collect();
        let mut shown = self.shown.lock().await;
        shown.difference(&names).for_each(|gone| self.forget(gone));
        *shown = names;
        let depths = self.queues.depths().await.map_err(|error| error.to_string())?;
        self.cleanup.set(signed(depths.cleanup));
        self.dead.set(signed(depths.dead_letters));
        self.intents.set(signed(depths.intents));
        let recovery = self.recovery.recovery().await.map_err(|error| error.to_string())?;
        self.recovery_mode.set(i64::from(recovery.is_some()));
        if let Some(journal) = &self.journal {
            let lag_us = journal.journal_lag_us().await.map_err(|error| error.to_string())?;
            self.journal_lag.set(signed(lag_us / 1_000_000));
        }
        Ok(Counts::new())
    }
}
