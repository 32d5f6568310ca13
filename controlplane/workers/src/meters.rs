//! Counts this process's backend calls: for metrics, and for the monthly usage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use s3o_backend::{ApiClass, BackendMetrics, Meters, Operation, UsageSink};
use s3o_core::session::BackendUsage;
use s3o_runtime::Metrics;
use s3o_runtime::metrics::duration_histogram;
use s3o_types::BackendId;

type CallLabels = [(&'static str, String); 3];
type DurationLabels = [(&'static str, String); 2];

/// What this process has counted.
pub(crate) struct ProcessMeters {
    requests: Family<CallLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    usage: Mutex<BTreeMap<BackendId, BackendUsage>>,
}

impl ProcessMeters {
    pub(crate) fn new(metrics: &Metrics) -> Arc<Self> {
        let new = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(duration_histogram),
            usage: Mutex::default(),
        };
        metrics.register("backend_requests", "Backend S3 API calls", new.requests.clone());
        metrics.register("backend_duration_seconds", "Backend latency", new.durations.clone());
        Arc::new(new)
    }

    pub(crate) fn as_meters(self: &Arc<Self>) -> Meters {
        Meters { metrics: self.clone(), usage: self.clone() }
    }

    /// What was used since the last call.
    pub(crate) fn take_usage(&self) -> BTreeMap<BackendId, BackendUsage> {
        std::mem::take(&mut self.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with(&self, backend: BackendId, change: impl FnOnce(&mut BackendUsage)) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        change(usage.entry(backend).or_default());
    }
}

impl BackendMetrics for ProcessMeters {
    fn request(&self, operation: Operation, backend: &str, status: &str, seconds: f64) {
        let (operation, backend) =
            (("operation", operation.as_str().to_owned()), ("backend", backend.to_owned()));
        self.durations.get_or_create(&[operation.clone(), backend.clone()]).observe(seconds);
        self.requests.get_or_create(&[operation, backend, ("status", status.to_owned())]).inc();
    }
}

impl UsageSink for ProcessMeters {
    fn request(&self, backend: BackendId, class: ApiClass) {
        self.with(backend, |usage| *usage.requests.entry(class.as_str().to_owned()).or_default() += 1);
    }

    fn ingress(&self, backend: BackendId, bytes: u64) {
        self.with(backend, |usage| usage.ingress_bytes += bytes);
    }

    fn egress(&self, backend: BackendId, bytes: u64) {
        self.with(backend, |usage| usage.egress_bytes += bytes);
    }
}
