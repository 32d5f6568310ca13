//! `gauges`: shows the database's numbers as metrics. No backend is asked.
//!
//! Invariant: a backend that is gone from the configuration is gone from the metrics; one without a
//! limit has no limit and no available bytes there, since a zero would read as full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use s3o_core::cleanup::QueueDepths;
use s3o_core::config::BackendConfig;
use s3o_core::ports::{Configs, Overview, Queues};
use s3o_core::session::BackendUsage;
use s3o_core::usage::{Usage, signed};
use s3o_core::worker::Counts;
use s3o_runtime::metrics::prometheus_client::metrics::gauge::Gauge;
use s3o_runtime::{Metrics, Shutdown};
use s3o_types::BackendId;
use tokio::sync::Mutex;

use crate::metrics::{GaugesBy, label};
use crate::runner::Worker;
use crate::workers::Shared;

pub(crate) struct Gauges {
    configs: Arc<dyn Configs>,
    overview: Arc<dyn Overview>,
    queues: Arc<dyn Queues>,
    by_backend: ByBackend,
    depths: Depths,
    /// Backends that have series.
    shown: Mutex<BTreeSet<String>>,
}

impl Gauges {
    pub(crate) fn new(shared: &Shared) -> Arc<dyn Worker> {
        Arc::new(Self {
            configs: Arc::clone(&shared.configs),
            overview: Arc::clone(&shared.overview),
            queues: Arc::clone(&shared.queues),
            by_backend: ByBackend::register(&shared.metrics),
            depths: Depths::register(&shared.metrics),
            shown: Mutex::default(),
        })
    }
}

#[async_trait]
impl Worker for Gauges {
    async fn tick(&self, _: &Shutdown) -> Result<Counts, String> {
        let usage = self.overview.backend_usage().await.map_err(|error| error.to_string())?;
        let depths = self.queues.depths().await.map_err(|error| error.to_string())?;
        let usage: BTreeMap<BackendId, (Usage, BackendUsage)> =
            usage.into_iter().map(|(id, bytes, month)| (id, (bytes, month))).collect();
        let config = self.configs.current();
        for backend in &config.backends {
            let (bytes, month) = usage.get(&backend.spec.id).cloned().unwrap_or_default();
            self.by_backend.show(backend, bytes, &month);
        }
        let names: BTreeSet<String> =
            config.backends.iter().map(|backend| backend.spec.name.clone()).collect();
        let mut shown = self.shown.lock().await;
        shown.difference(&names).for_each(|gone| self.by_backend.forget(gone));
        *shown = names;
        self.depths.show(depths);
        Ok(Counts::new())
    }
}

#[derive(Default)]
struct ByBackend {
    used: GaugesBy,
    limit: GaugesBy,
    orphan: GaugesBy,
    available: GaugesBy,
    objects: GaugesBy,
    requests: GaugesBy,
    egress: GaugesBy,
    ingress: GaugesBy,
}

impl ByBackend {
    fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let one = |name, help, family: &GaugesBy| metrics.register(name, help, family.clone());
        one("quota_bytes_used", "Current bytes used", &this.used);
        one("quota_bytes_limit", "Quota limit", &this.limit);
        one("quota_orphan_bytes", "Bytes reserved by pending cleanup items", &this.orphan);
        let available = "Remaining space (limit - used - reserved - orphan)";
        one("quota_bytes_available", available, &this.available);
        one("objects_count", "Stored object count", &this.objects);
        one("usage_api_requests", "Current month API request count", &this.requests);
        one("usage_egress_bytes", "Current month egress bytes", &this.egress);
        one("usage_ingress_bytes", "Current month ingress bytes", &this.ingress);
        this
    }

    fn forget(&self, backend: &str) {
        let Self { used, limit, orphan, available, objects, requests, egress, ingress } = self;
        for family in [used, limit, orphan, available, objects, requests, egress, ingress] {
            family.remove(&label("backend", backend));
        }
    }

    fn show(&self, backend: &BackendConfig, bytes: Usage, month: &BackendUsage) {
        let name = label("backend", &backend.spec.name);
        let set = |family: &GaugesBy, value: i64| {
            family.get_or_create(&name).set(value);
        };
        set(&self.used, bytes.used);
        set(&self.orphan, bytes.orphaned);
        set(&self.objects, bytes.objects);
        if let Some(quota) = backend.quota_bytes {
            set(&self.limit, signed(quota));
            set(&self.available, signed(quota) - bytes.total());
        } else {
            self.limit.remove(&name);
            self.available.remove(&name);
        }
        set(&self.requests, signed(month.requests.values().sum()));
        set(&self.egress, signed(month.egress_bytes));
        set(&self.ingress, signed(month.ingress_bytes));
    }
}

#[derive(Default)]
struct Depths {
    cleanup: Gauge,
    dead_letters: Gauge,
    intents: Gauge,
}

impl Depths {
    fn register(metrics: &Metrics) -> Self {
        let this = Self::default();
        let one = |name, help, gauge: &Gauge| metrics.register(name, help, gauge.clone());
        one("cleanup_queue_depth", "Current pending items in the cleanup queue", &this.cleanup);
        let dead = "Unrecoverable orphans waiting in the cleanup dead-letter table";
        one("cleanup_dlq_depth", dead, &this.dead_letters);
        one("pending_intents_depth", "Current number of unresolved pending PUT intents", &this.intents);
        this
    }

    fn show(&self, depths: QueueDepths) {
        let QueueDepths { cleanup, dead_letters, intents } = depths;
        self.cleanup.set(signed(cleanup));
        self.dead_letters.set(signed(dead_letters));
        self.intents.set(signed(intents));
    }
}
