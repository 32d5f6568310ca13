//! What control planes have counted about their database work, read from their metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::stack;
use crate::stats::float;

/// Counters of one lane, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lane {
    /// Batches decided.
    pub(crate) batches: u64,
    /// Calls in them.
    pub(crate) items: u64,
    /// Transactions tried.
    pub(crate) transactions: u64,
    /// Round trips to PostgreSQL.
    pub(crate) round_trips: u64,
}

/// By lane, of all control planes that were asked.
pub(crate) type Lanes = BTreeMap<String, Lane>;

impl Lane {
    /// Calls in a batch, on average.
    pub(crate) fn batch(&self) -> Option<f64> {
        (self.batches > 0).then(|| float(self.items) / float(self.batches))
    }

    fn plus(self, other: Self) -> Self {
        Self {
            batches: self.batches + other.batches,
            items: self.items + other.items,
            transactions: self.transactions + other.transactions,
            round_trips: self.round_trips + other.round_trips,
        }
    }
}

/// All lanes together.
pub(crate) fn total(lanes: &Lanes) -> Lane {
    lanes.values().fold(Lane::default(), |sum, lane| sum.plus(*lane))
}

/// What was counted between `earlier` and `later`; lanes that did nothing are left out.
pub(crate) fn since(later: &Lanes, earlier: &Lanes) -> Lanes {
    let mut lanes = Lanes::new();
    for (name, lane) in later {
        let before = earlier.get(name).copied().unwrap_or_default();
        let difference = Lane {
            batches: lane.batches.saturating_sub(before.batches),
            items: lane.items.saturating_sub(before.items),
            transactions: lane.transactions.saturating_sub(before.transactions),
            round_trips: lane.round_trips.saturating_sub(before.round_trips),
        };
        if difference != Lane::default() {
            lanes.insert(name.clone(), difference);
        }
    }
    lanes
}

/// Asks control planes at their HTTP listeners.
pub(crate) async fn read(listeners: &[SocketAddr]) -> Result<Lanes> {
    let mut all = Lanes::new();
    for listener in listeners {
        let (status, text) = stack::http(*listener, "GET", "/metrics").await?;
        ensure!(status == 200, "http://{listener}/metrics: status {status}");
        for (name, lane) in parse(&text) {
            let sum = all.entry(name).or_default();
            *sum = sum.plus(lane);
        }
    }
    Ok(all)
}

/// `s3o_store_items_total{lane="begin"} 12`.
fn parse(text: &str) -> Lanes {
    let mut lanes = Lanes::new();
    for line in text.lines() {
        let Some((name, rest)) =
            line.strip_prefix("s3o_store_").and_then(|rest| rest.split_once("_total{lane=\""))
        else {
            continue;
        };
        let Some((lane, value)) = rest.split_once("\"} ") else { continue };
        let Ok(value) = value.trim().parse::<u64>() else { continue };
        let lane = lanes.entry(lane.to_owned()).or_default();
        match name {
            "batches" => lane.batches = value,
            "items" => lane.items = value,
            "transactions" => lane.transactions = value,
            "round_trips" => lane.round_trips = value,
            _ => {}
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_and_subtracted() {
        let before =
            parse("s3o_store_items_total{lane=\"begin\"} 2\ns3o_store_batches_total{lane=\"begin\"} 1\n");
        let text = "# TYPE s3o_store_items counter\ns3o_store_items_total{lane=\"begin\"} 14\n\
                    s3o_store_batches_total{lane=\"begin\"} 4\ns3o_store_round_trips_total{lane=\"locate\"} 5\n\
                    s3o_store_panics_total{lane=\"begin\"} 9\ns3o_other{lane=\"begin\"} 1\n";
        let lanes = since(&parse(text), &before);
        assert_eq!(lanes["begin"].batch(), Some(4.0));
        assert_eq!(total(&lanes), Lane { batches: 3, items: 12, transactions: 0, round_trips: 5 });
        assert_eq!(Lane::default().batch(), None);
        assert!(since(&before, &before).is_empty());
    }
}
