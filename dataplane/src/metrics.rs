//! What this process counts. Names and labels are those of the monitoring reference.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use s3o_backend::{BackendMetrics, BackendSet, Breaker, BreakerState, Operation, Transitions};
use s3o_blob::BodyFault;
use s3o_runtime::metrics::{duration_histogram, size_histogram};

use crate::control::Failure;
use crate::pipeline::faults;

macro_rules! labels {
    ($name:ident { $($field:ident: $type:ty),+ }) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $name { $($field: $type),+ }
    };
}

labels!(MethodStatus { method: &'static str, status_code: u16 });
labels!(Method { method: &'static str });
labels!(BackendCall { operation: &'static str, backend: String, status: String });
labels!(BackendOperation { operation: &'static str, backend: String });
labels!(Reason { reason: &'static str });
labels!(Variant { variant: &'static str });
labels!(Route { route: &'static str });
labels!(Name { name: String });
labels!(Transition { name: String, from: &'static str, to: &'static str });
labels!(Outcome { outcome: &'static str });
labels!(OperationLabel { operation: &'static str });

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric of the data plane.
pub(crate) struct DataPlaneMetrics {
    registry: s3o_runtime::Metrics,
    requests: Family<MethodStatus, Counter>,
    duration: Durations<Method>,
    request_size: Durations<Method>,
    response_size: Durations<Method>,
    inflight: Family<Method, Gauge>,
    backend_requests: Family<BackendCall, Counter>,
    backend_duration: Durations<BackendOperation>,
    early_rejections: Family<Reason, Counter>,
    admission_rejections: Counter,
    degraded_writes: Family<OperationLabel, Counter>,
    degraded_reads: Family<OperationLabel, Counter>,
    degraded_cache_hits: Counter,
    transitions: Family<Transition, Counter>,
    hedged: Family<Outcome, Counter>,
    streaming: Family<Variant, Counter>,
    streaming_rejections: Family<Reason, Counter>,
    panics: Family<Route, Counter>,
    integrity_checks: Family<OperationLabel, Counter>,
    integrity_errors: Family<OperationLabel, Counter>,
    breakers: Family<Name, Gauge>,
    drain_races: Counter,
}

impl DataPlaneMetrics {
    /// Registers all of them.
    pub(crate) fn new(registry: s3o_runtime::Metrics) -> Arc<Self> {
        let metrics = Self {
            registry,
            requests: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
            request_size: Family::new_with_constructor(size_histogram),
            response_size: Family::new_with_constructor(size_histogram),
            inflight: Family::default(),
            backend_requests: Family::default(),
            backend_duration: Family::new_with_constructor(duration_histogram),
            early_rejections: Family::default(),
            admission_rejections: Counter::default(),
            degraded_writes: Family::default(),
            degraded_reads: Family::default(),
            degraded_cache_hits: Counter::default(),
            transitions: Family::default(),
            hedged: Family::default(),
            streaming: Family::default(),
            streaming_rejections: Family::default(),
            panics: Family::default(),
            integrity_checks: Family::default(),
            integrity_errors: Family::default(),
            breakers: Family::default(),
            drain_races: Counter::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        let registry = &self.registry;
        registry.register("requests", "HTTP request count", self.requests.clone());
        registry.register("request_duration_seconds", "Request latency", self.duration.clone());
        registry.register("request_size_bytes", "Upload sizes", self.request_size.clone());
        registry.register("response_size_bytes", "Download sizes", self.response_size.clone());
        registry.register("inflight_requests", "Currently processing", self.inflight.clone());
        registry.register("backend_requests", "Backend S3 API calls", self.backend_requests.clone());
        registry.register("backend_duration_seconds", "Backend latency", self.backend_duration.clone());
        registry.register(
            "early_rejections",
            "Writes refused before their body was read",
            self.early_rejections.clone(),
        );
        let admission = self.admission_rejections.clone();
        registry.register(
            "admission_rejections",
            "Requests rejected by server-level admission control",
            admission,
        );
        let degraded = self.degraded_writes.clone();
        registry.register("degraded_write_rejections", "Writes rejected in degraded mode", degraded);
        registry.register(
            "auth_streaming_requests",
            "Streaming-payload SigV4 PUTs by variant",
            self.streaming.clone(),
        );
        let rejections = self.streaming_rejections.clone();
        registry.register("auth_streaming_rejections", "Chunk-validation failures", rejections);
        registry.register(
            "http_panic_recovered",
            "Handler panics caught by the recovery middleware",
            self.panics.clone(),
        );
        let help = "Integrity hash verifications performed";
        registry.register("integrity_checks", help, self.integrity_checks.clone());
        registry.register("integrity_errors", "Hash mismatches detected", self.integrity_errors.clone());
        let help = "0=closed, 1=open, 2=half-open (name: \"database\" or backend name)";
        registry.register("circuit_breaker_state", help, self.breakers.clone());
        self.register_outages();
    }

    fn register_outages(&self) {
        let registry = &self.registry;
        let help = "State transitions per component";
        registry.register("circuit_breaker_transitions", help, self.transitions.clone());
        registry.register("degraded_reads", "Broadcast reads in degraded mode", self.degraded_reads.clone());
        let hits = self.degraded_cache_hits.clone();
        registry.register("degraded_cache_hits", "Cache hits during degraded reads", hits);
        let help = "PutObject attempts aborted after drain started mid-write";
        registry.register("drain_race_aborted", help, self.drain_races.clone());
        let help = "Second copies that were asked because the first was slow, by which one answered";
        registry.register("hedged_reads", help, self.hedged.clone());
    }

    /// A target was given up because its backend began to be drained after it was chosen.
    pub(crate) fn drain_race(&self) {
        self.drain_races.inc();
    }

    /// Everything as text.
    pub(crate) fn encode(&self) -> String {
        self.registry.encode()
    }

    pub(crate) fn request_started(&self, method: &'static str) {
        self.inflight.get_or_create(&Method { method }).inc();
    }

    pub(crate) fn request_ended(
        &self,
        method: &'static str,
        status_code: u16,
        seconds: f64,
        sizes: (u64, u64),
    ) {
        let label = Method { method };
        self.inflight.get_or_create(&label).dec();
        self.requests.get_or_create(&MethodStatus { method, status_code }).inc();
        self.duration.get_or_create(&label).observe(seconds);
        self.request_size.get_or_create(&label).observe(lossy(sizes.0));
        self.response_size.get_or_create(&label).observe(lossy(sizes.1));
    }

    pub(crate) fn admission_rejected(&self) {
        self.admission_rejections.inc();
    }

    /// A write that was refused because nothing can be decided.
    pub(crate) fn degraded_write(&self, operation: &'static str) {
        self.degraded_writes.get_or_create(&OperationLabel { operation }).inc();
    }

    /// A read for which the backends are asked where the object is.
    pub(crate) fn degraded_read(&self, operation: &'static str) {
        self.degraded_reads.get_or_create(&OperationLabel { operation }).inc();
    }

    /// A read of a location that was remembered.
    pub(crate) fn degraded_cache_hit(&self) {
        self.degraded_cache_hits.inc();
    }

    /// A second copy was asked; `outcome`: `first`, `second` or `none` answered.
    pub(crate) fn hedged_read(&self, outcome: &'static str) {
        self.hedged.get_or_create(&Outcome { outcome }).inc();
    }

    /// A Begin that was refused, or got no answer.
    pub(crate) fn early_rejection(&self, failure: &Failure) {
        let reason = match failure {
            Failure::Refused { code, .. } => code.info().s3,
            Failure::Marker { .. } => s3o_types::ErrorCode::NoSuchKey.info().s3,
            Failure::Unknown => {
                self.degraded_writes.get_or_create(&OperationLabel { operation: "PutObject" }).inc();
                "NoAnswer"
            }
        };
        self.early_rejections.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn streaming_request(&self, variant: &'static str) {
        self.streaming.get_or_create(&Variant { variant }).inc();
    }

    pub(crate) fn body_fault(&self, fault: &BodyFault) {
        if let Some(reason) = faults::streaming_reason(fault) {
            self.streaming_rejections.get_or_create(&Reason { reason }).inc();
        }
    }

    /// An extent was read whole and compared.
    pub(crate) fn verified(&self, is_right: bool) {
        let read = OperationLabel { operation: "read" };
        self.integrity_checks.get_or_create(&read).inc();
        if !is_right {
            self.integrity_errors.get_or_create(&read).inc();
        }
    }

    pub(crate) fn panicked(&self, route: &'static str) {
        self.panics.get_or_create(&Route { route }).inc();
    }

    /// Called before the metrics are read.
    pub(crate) fn set_breakers(&self, backends: &BackendSet, database: &Breaker) {
        let now = std::time::Instant::now();
        for backend in backends.all() {
            self.set_breaker(backend.name(), backend.health().state(now), backend.health().transitions());
        }
        self.set_breaker("database", database.state(now), database.transitions());
    }

    fn set_breaker(&self, name: &str, state: BreakerState, transitions: Transitions) {
        let number = match state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        self.breakers.get_or_create(&Name { name: name.to_owned() }).set(number);
        for (from, to, count) in transitions.counts() {
            let label = Transition { name: name.to_owned(), from: from.as_str(), to: to.as_str() };
            let counter = self.transitions.get_or_create(&label);
            counter.inner().store(count, Ordering::Relaxed);
        }
    }
}

impl BackendMetrics for DataPlaneMetrics {
    fn request(&self, operation: Operation, backend: &str, status: &str, seconds: f64) {
        let (operation, backend) = (operation.as_str(), backend.to_owned());
        let call = BackendCall { operation, backend: backend.clone(), status: status.to_owned() };
        self.backend_requests.get_or_create(&call).inc();
        self.backend_duration.get_or_create(&BackendOperation { operation, backend }).observe(seconds);
    }
}

/// Histograms count in floating point; sizes above 2^53 bytes lose their last digits.
#[allow(clippy::cast_precision_loss)]
fn lossy(bytes: u64) -> f64 {
    bytes as f64
}
