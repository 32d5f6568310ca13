//! Sets the counters of each backend beside what its rows add up to, and puts right what differs.
//!
//! Invariant: counters are wrong only by a bug, or by an older release beside this one; what was wrong is shown before it
//! is put right, and writers are never kept waiting for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use s3o_core::ports::{Configs, Reconciliation};
use s3o_core::usage::{UsageDrift, signed};
use s3o_core::worker::Counts;
use s3o_runtime::audit;
use tokio::sync::Mutex;

use crate::Deps;
use crate::harness::Worker;

type ByBackend<T> = Family<[(&'static str, String); 1], T>;

pub(crate) struct QuotaAudit {
    store: Arc<dyn Reconciliation>,
    configs: Arc<dyn Configs>,
    drift: ByBackend<Gauge>,
    repaired: ByBackend<Counter>,
    /// Backends that have series.
    shown: Mutex<BTreeSet<String>>,
}

impl QuotaAudit {
    pub(crate) fn new(deps: &Deps) -> Self {
        let new = Self {
            store: deps.reconciliation.clone(),
            configs: deps.configs.clone(),
            drift: Family::default(),
            repaired: Family::default(),
            shown: Mutex::default(),
        };
        let help = "Bytes by which the counters were wrong in the last audit, which put them right";
        deps.metrics.register("quota_drift_bytes", help, new.drift.clone());
        let help = "Audits that found a backend's counters wrong and put them right";
        deps.metrics.register("quota_drift_repaired", help, new.repaired.clone());
        new
    }

    fn report(&self, name: &str, drift: &UsageDrift) {
        self.repaired.get_or_create(&[("backend", name.to_owned())]).inc();
        let (counted, actual) = (drift.counted, drift.actual);
        audit!("quota_audit.repaired", backend = name, bytes = drift.bytes());
        tracing::error!(backend = name, ?counted, ?actual, "a backend's counters were wrong");
    }
}

#[async_trait]
impl Worker for QuotaAudit {
    async fn tick(&self) -> Result<Counts, String> {
        let drifts = self.store.audit(true).await.map_err(|error| error.to_string())?;
        let config = self.configs.current();
        let mut shown = self.shown.lock().await;
        let mut names = BTreeSet::new();
        let mut repaired = 0;
        for drift in &drifts {
            let known = config.backends.iter().find(|backend| backend.spec.id == drift.backend);
            let name =
                known.map_or_else(|| format!("backend {}", drift.backend.0), |known| known.spec.name.clone());
            if !drift.agrees() {
                repaired += 1;
                self.report(&name, drift);
            }
            if known.is_some() {
                self.drift.get_or_create(&[("backend", name.clone())]).set(signed(drift.bytes()));
                names.insert(name);
            }
        }
        for gone in shown.difference(&names).filter(|_| !drifts.is_empty()) {
            self.drift.remove(&[("backend", gone.clone())]);
        }
        if !drifts.is_empty() {
            *shown = names;
        }
        Ok(Counts::from([("audited".to_owned(), drifts.len() as u64), ("repaired".to_owned(), repaired)]))
    }
}
