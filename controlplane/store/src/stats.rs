//! What the store counts about itself, and whether the database answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use s3o_core::call::{Call, Outcome, Refusal};
use s3o_core::cleanup::Reason;
use s3o_core::effects::Effects;
use s3o_core::intent::WriteKind;
use s3o_core::outcome_log::Logged;
use s3o_types::UsageLimit;

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
    intents_enqueued: AtomicU64,
    intents_committed: AtomicU64,
    /// In the order of `Reason::ALL`.
    cleanup_enqueued: [AtomicU64; Reason::ALL.len()],
    /// Locked only when a call is refused by a limit.
    limit_rejections: Mutex<BTreeMap<(&'static str, UsageLimit), u64>>,
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
    /// Counts what a transaction has written, once it is committed.
    pub(crate) fn wrote(&self, effects: &Effects) {
        add(&self.intents_enqueued, effects.add_intents.len());
        let committed = effects.changes.iter().filter(|change| change.logged == Logged::Committed).count();
        add(&self.intents_committed, committed);
        for (reason, counter) in Reason::ALL.iter().zip(&self.cleanup_enqueued) {
            let blobs = effects.cleanup.iter().filter(|entry| entry.reason == *reason).count();
            let versions = effects.cleanup_versions.iter().filter(|entry| entry.reason == *reason).count();
            add(counter, blobs + versions);
        }
    }

    /// Counts a call that a monthly limit has refused.
    pub(crate) fn answered(&self, call: &Call, outcome: &Outcome) {
        let Outcome::Refused(Refusal { limit: Some(limit), .. }) = outcome else { return };
        let operation = match call {
            Call::Begin(begin) => begin.kind.as_str(),
            Call::BeginCopy(_) => WriteKind::Replicate.as_str(),
            // Of a write that was begun before.
            _ => "retarget",
        };
        let mut rejections = self.limit_rejections.lock().unwrap_or_else(PoisonError::into_inner);
        *rejections.entry((operation, *limit)).or_default() += 1;
    }

    /// Adds this lane's to `sum`.
    pub(crate) fn read_writes(&self, sum: &mut WriteStats) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sum.intents_enqueued += get(&self.intents_enqueued);
        sum.intents_committed += get(&self.intents_committed);
        for (total, counter) in sum.cleanup_enqueued.iter_mut().zip(&self.cleanup_enqueued) {
            *total += get(counter);
        }
        for (of, n) in self.limit_rejections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *sum.limit_rejections.entry(*of).or_default() += n;
        }
    }

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

/// What all lanes have written since the start of the process. A transaction whose answer was lost, and
/// that turns out to be committed, is not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Intents recorded.
    pub intents_enqueued: u64,
    /// Intents that ended in a commit by their writer.
    pub intents_committed: u64,
    cleanup_enqueued: [u64; Reason::ALL.len()],
    /// Calls that a monthly limit has refused, by what they were to do and the limit.
    pub limit_rejections: BTreeMap<(&'static str, UsageLimit), u64>,
}

impl WriteStats {
    /// Blobs queued for deletion, by reason.
    pub fn cleanup_enqueued(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.cleanup_enqueued)
    }
}

/// A snapshot of all counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// By lane.
    pub lanes: Vec<LaneStats>,
    /// Of all lanes together.
    pub writes: WriteStats,
    /// Rows that this release could not read, by table.
    pub unreadable: BTreeMap<&'static str, u64>,
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
