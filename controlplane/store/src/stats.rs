//! What the store counts about itself, and whether the database answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters of one lane. Batches decided, calls in them, transactions tried (repeats and bisections
/// included), round trips to the server, reconnects, calls put off because of a lock, and panics.
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    pub(crate) batches: AtomicU64,
    pub(crate) items: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) round_trips: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) deferred: AtomicU64,
    pub(crate) panics: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// One lane's counters since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStats {
    /// `begin`, `commit-0`…, `bulk`, `locate`, and `lookup` for listings.
    pub lane: String,
    /// Batches that were decided.
    pub batches: u64,
    /// Calls in them; by `batches` it is the mean batch.
    pub items: u64,
    /// Transactions tried, repeats included.
    pub transactions: u64,
    /// Round trips to the server.
    pub round_trips: u64,
    /// New connections after a lost one.
    pub reconnects: u64,
    /// Calls put off to a later batch because of a lock.
    pub deferred: u64,
    /// Batches that panicked.
    pub panics: u64,
}

impl LaneCounters {
    pub(crate) fn read(&self, lane: &str) -> LaneStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LaneStats {
            lane: lane.to_owned(),
            batches: get(&self.batches),
            items: get(&self.items),
            transactions: get(&self.transactions),
            round_trips: get(&self.round_trips),
            reconnects: get(&self.reconnects),
            deferred: get(&self.deferred),
            panics: get(&self.panics),
        }
    }
}

/// A snapshot of all counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// By lane.
    pub lanes: Vec<LaneStats>,
    /// Whether the database has answered lately: the circuit breaker `database`.
    pub database_reachable: bool,
}

/// Whether the database answers. Open from a failed connection or poll until the next success.
#[derive(Debug)]
pub(crate) struct Breaker {
    closed: AtomicBool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { closed: AtomicBool::new(true) }
    }
}

impl Breaker {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn succeeded(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            tracing::info!("the database answers again");
        }
    }

    pub(crate) fn failed(&self, why: &str) {
        if self.closed.swap(false, Ordering::Relaxed) {
            tracing::warn!(why, "the database does not answer");
        }
    }
}
