//! What the store has counted, by lane and over all, in `/metrics`.
//!
//! Invariant: read when somebody asks; nothing is added to the work itself.

use std::fmt;
use std::sync::Arc;

use s3o_runtime::Metrics;
use s3o_runtime::metrics::prometheus_client::collector::Collector;
use s3o_runtime::metrics::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use s3o_runtime::metrics::prometheus_client::metrics::MetricType;
use s3o_runtime::metrics::prometheus_client::metrics::counter::ConstCounter;
use s3o_store::{LaneStats, Store, StoreStats, WriteStats};
use s3o_workers::IntentsResolved;

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

struct StoreMeters {
    store: Arc<Store>,
    /// What the reaper counts; commits are counted by the store, and both are one family.
    resolved: IntentsResolved,
}

impl fmt::Debug for StoreMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMeters").finish_non_exhaustive()
    }
}

impl Collector for StoreMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let StoreStats { lanes, writes, unreadable, database_reachable: _ } = self.store.stats();
        self.writes(&mut encoder, &writes)?;
        let help = "Rows passed over since this release cannot read them";
        let mut family =
            encoder.encode_descriptor("store_unreadable_rows", help, None, MetricType::Counter)?;
        for (table, n) in unreadable {
            ConstCounter::new(n).encode(family.encode_family(&[("table", table)])?)?;
        }
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

impl StoreMeters {
    fn writes(&self, encoder: &mut DescriptorEncoder<'_>, writes: &WriteStats) -> Result<(), fmt::Error> {
        let help = "In-flight PUT intents inserted before the backend write";
        let counter = ConstCounter::new(writes.intents_enqueued);
        counter.encode(encoder.encode_descriptor(
            "pending_intents_enqueued",
            help,
            None,
            MetricType::Counter,
        )?)?;

        let help = "Pending PUT intents resolved by status";
        let mut family =
            encoder.encode_descriptor("pending_intents_resolved", help, None, MetricType::Counter)?;
        let committed = ConstCounter::new(writes.intents_committed);
        committed.encode(family.encode_family(&[("status", "committed")])?)?;
        self.resolved.encode(family)?;

        let help = "Items added to the cleanup retry queue";
        let mut family =
            encoder.encode_descriptor("cleanup_queue_enqueued", help, None, MetricType::Counter)?;
        for (reason, n) in writes.cleanup_enqueued() {
            ConstCounter::new(n).encode(family.encode_family(&[("reason", reason.as_str())])?)?;
        }

        let help = "Operations rejected by usage limits";
        let mut family =
            encoder.encode_descriptor("usage_limit_rejections", help, None, MetricType::Counter)?;
        for ((operation, limit), n) in &writes.limit_rejections {
            let labels = [("operation", *operation), ("limit_type", limit.as_str())];
            ConstCounter::new(*n).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Shows the counters of `store`, and those of the reaper in `resolved`, in `metrics`.
pub(crate) fn register(metrics: &Metrics, store: &Arc<Store>, resolved: &IntentsResolved) {
    let meters = StoreMeters { store: store.clone(), resolved: resolved.clone() };
    metrics.registry(|registry| registry.register_collector(Box::new(meters)));
}
