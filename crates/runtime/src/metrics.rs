//! The registry behind `/metrics`, and the few metrics that every process has.
//!
//! Invariant: names are those of the monitoring reference. All begin with `s3o_`; counters are
//! registered without their `_total`, which the text format adds.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::audit;

pub use prometheus_client;

/// `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of durations, in seconds: from a read of memory to a large upload.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Upper bounds of object sizes, in bytes: 1 KiB to 16 GiB, by four and sixteen.
pub const SIZE_BUCKETS: [f64; 10] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    16_777_216.0,
    134_217_728.0,
    1_073_741_824.0,
    17_179_869_184.0,
];

/// One service's registry. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// With `s3o_build_info` and `s3o_audit_events_total`. The audit counter is the process's: services
    /// that share a process show the same one.
    pub fn new() -> Self {
        let metrics = Self(Arc::new(Mutex::new(Registry::with_prefix("s3o"))));
        let build = Family::<[(&'static str, &'static str); 2], Gauge>::default();
        let labels = [("version", crate::VERSION), ("rust_version", env!("S3O_RUST_VERSION"))];
        build.get_or_create(&labels).set(1);
        metrics.register("build_info", "Build metadata", build);
        metrics.register("audit_events", "Audit log entries emitted", audit::counter().clone());
        metrics
    }

    /// Adds a metric or family under `s3o_{name}`; a counter's name goes without `_total`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry(|registry| registry.register(name, help, metric));
    }

    /// The registry itself, for code that registers many.
    pub fn registry<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything, in the `OpenMetrics` text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail; a metric that cannot say itself is left out.
        let _ = self.registry(|registry| text::encode(&mut out, registry));
        out
    }
}

/// An empty histogram of durations in seconds; a constructor for families.
pub fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// An empty histogram of sizes in bytes; a constructor for families.
pub fn size_histogram() -> Histogram {
    Histogram::new(SIZE_BUCKETS)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn names_are_as_in_the_reference() {
        let metrics = Metrics::new();
        let requests = Family::<[(&'static str, &'static str); 1], Counter>::default();
        requests.get_or_create(&[("method", "GET")]).inc();
        metrics.register("requests", "HTTP request count", requests);
        audit::count("test.Metrics");
        let text = metrics.encode();
        let version = crate::VERSION;
        for line in [
            "s3o_requests_total{method=\"GET\"} 1",
            &format!("s3o_build_info{{version=\"{version}\",rust_version=\"1."),
            "s3o_audit_events_total{event=\"test.Metrics\"}",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "{line} in\n{text}");
        }
    }
}
