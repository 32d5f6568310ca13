//! What the store has counted, by lane, in `/metrics`.
//!
//! Invariant: read when somebody asks; nothing is added to the work itself.

use std::fmt;
use std::sync::Arc;

use s3o_runtime::Metrics;
use s3o_runtime::metrics::prometheus_client::collector::Collector;
use s3o_runtime::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use s3o_runtime::metrics::prometheus_client::metrics::MetricType;
use s3o_runtime::metrics::prometheus_client::metrics::counter::ConstCounter;
use s3o_store::{LaneStats, Store};

/// A counter's name without `s3o_` and `_total`, its help, and where it is read.
type Meter = (&'static str, &'static str, fn(&LaneStats) -> u64);

/// Items by batches is the mean batch.
const METERS: [Meter; 7] = [
    ("store_batches", "Batches of calls decided", |lane| lane.batches),
    ("store_items", "Calls in the batches", |lane| lane.items),
    ("store_transactions", "Transactions tried, repeats included", |lane| lane.transactions),
    ("store_round_trips", "Round trips to PostgreSQL", |lane| lane.round_trips),
    ("store_reconnects", "Connections opened after a lost one", |lane| lane.reconnects),
    ("store_deferred", "Calls put off to a later batch because of a lock", |lane| lane.deferred),
    ("store_panics", "Batches that panicked", |lane| lane.panics),
];

struct StoreMeters(Arc<Store>);

impl fmt::Debug for StoreMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMeters").finish_non_exhaustive()
    }
}

impl Collector for StoreMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lanes = self.0.stats().lanes;
        for (name, help, read) in METERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for lane in &lanes {
                ConstCounter::new(read(lane))
                    .encode(family.encode_family(&[("lane", lane.lane.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// Shows the counters of `store` in `metrics`.
pub(crate) fn register(metrics: &Metrics, store: &Arc<Store>) {
    metrics.registry(|registry| registry.register_collector(Box::new(StoreMeters(store.clone()))));
}
