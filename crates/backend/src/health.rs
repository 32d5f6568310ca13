//! What this process knows of a backend's health: its breaker and how fast it answers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::breaker::{Admission, Breaker, BreakerConfig, BreakerState, Transitions};
use crate::error::BackendError;
use crate::latency::LatencySketch;

/// Weight of the newest sample: about the last ten answers count.
const NEWEST: f64 = 0.2;
/// An average that nothing was added to for so long says nothing any more. Who orders by it asks such a backend first, and so
/// finds out whether it is quick again: the calls that come until it has answered.
const FADES: Duration = Duration::from_mins(5);

/// Who has waited so long for an answer, or for the next bytes of one, and gives up, says of the backend what a time limit
/// would say: a client waits a minute at most, often less, and a backend that hangs would never meet the whole limit. Clouds begin to
/// answer within some tenths of a second; who leaves sooner says nothing.
pub const STOOD_STILL: Duration = Duration::from_secs(2);

/// What a call says something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whether the backend answers and gives what it holds: every call but these two.
    Read,
    /// Whether it takes blobs: PUT and COPY. A success counts only once it is verified.
    Write,
}

/// Health of one backend, as this process sees it. Each side has a count of its own: a backend that
/// answers reads may still lose writes.
#[derive(Debug)]
pub struct Health {
    reads: Breaker,
    writes: Breaker,
    /// Bits of an `f64` in seconds; 0 = no sample yet.
    latency: AtomicU64,
    /// When the last sample came, as `answered`.
    sampled: AtomicU64,
    /// When it last did as it should, in milliseconds of this process's clock from 1 on; 0 = not yet.
    answered: AtomicU64,
    latencies: LatencySketch,
}

impl Health {
    /// Of a backend nothing is known of.
    pub fn new(config: BreakerConfig) -> Self {
        let (reads, writes) = (Breaker::new(config), Breaker::new(config));
        Self {
            reads,
            writes,
            latency: AtomicU64::new(0),
            sampled: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            latencies: LatencySketch::default(),
        }
    }

    /// Whether placement may count on it. Asking takes no probe's place.
    pub fn is_up(&self, now: Instant) -> bool {
        self.state(now) == BreakerState::Closed
    }

    /// Whether readers may count on it.
    pub fn is_readable(&self, now: Instant) -> bool {
        self.reads.state(now) == BreakerState::Closed
    }

    /// The worse of both sides.
    pub fn state(&self, now: Instant) -> BreakerState {
        match (self.reads.state(now), self.writes.state(now)) {
            (BreakerState::Open, _) | (_, BreakerState::Open) => BreakerState::Open,
            (BreakerState::HalfOpen, _) | (_, BreakerState::HalfOpen) => BreakerState::HalfOpen,
            (BreakerState::Closed, BreakerState::Closed) => BreakerState::Closed,
        }
    }

    /// How often its sides went from one state to another, both together.
    pub fn transitions(&self) -> Transitions {
        self.reads.transitions().and(self.writes.transitions())
    }

    /// Asks to probe a backend that is not up.
    pub fn admit(&self, now: Instant) -> Admission {
        match (self.reads.admit(now), self.writes.admit(now)) {
            (Admission::Probe, _) | (_, Admission::Probe) => Admission::Probe,
            (Admission::Allowed, Admission::Allowed) => Admission::Allowed,
            _ => Admission::Refused,
        }
    }

    /// The probe that was admitted has ended. It reads, so a side that failed to write stays on
    /// probation.
    pub fn probed(&self, worked: bool, now: Instant, jitter: f64) {
        if worked {
            self.note_answer();
            self.reads.succeeded();
            self.writes.probe_worked();
        } else {
            self.reads.probe_failed(now, jitter);
            self.writes.probe_failed(now, jitter);
        }
    }

    /// A call worked, to its end.
    pub fn succeeded(&self, side: Side) {
        self.note_answer();
        self.side(side).succeeded();
    }

    /// A call failed. What is not the backend's fault is an answer like any other to the side that
    /// reads, except a body of ours that failed: it says nothing.
    pub fn failed_on(&self, side: Side, error: &BackendError, now: Instant, jitter: f64) {
        if error.counts_against_health() {
            self.side(side).failed(now, jitter);
        } else if error.status.is_some() && side == Side::Read {
            self.note_answer();
            self.reads.succeeded();
        }
    }

    /// [`Self::failed_on`] the side that reads.
    pub fn failed(&self, error: &BackendError, now: Instant, jitter: f64) {
        self.failed_on(Side::Read, error, now, jitter);
    }

    const fn side(&self, side: Side) -> &Breaker {
        match side {
            Side::Read => &self.reads,
            Side::Write => &self.writes,
        }
    }

    fn note_answer(&self) {
        self.answered.store(milliseconds(), Ordering::Relaxed);
    }

    /// How long ago the backend last did as it should. `None`: not since this process knows it.
    pub fn answered_ago(&self) -> Option<Duration> {
        match self.answered.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_millis(milliseconds().saturating_sub(at))),
        }
    }

    /// How long an answer took to begin.
    pub fn answered_in(&self, first_byte: Duration) {
        self.sample(first_byte.as_secs_f64());
        self.latencies.record(first_byte);
    }

    /// Somebody has waited so long in vain. An average of answers alone would never see it; what has never answered has none.
    pub fn waited(&self, in_vain: Duration) {
        if self.latency.load(Ordering::Relaxed) != 0 {
            self.answered_in(in_vain);
        }
    }

    /// What 95 of 100 of the last answers stayed under until their first byte. `None` before there are enough.
    pub fn p95(&self) -> Option<Duration> {
        self.latencies.p95()
    }

    /// Moving average of the time to the first byte. `None` before the first answer, and when the last one was long ago.
    pub fn latency(&self) -> Option<Duration> {
        let age = milliseconds().saturating_sub(self.sampled.load(Ordering::Relaxed));
        let seconds = average(self.latency.load(Ordering::Relaxed), Duration::from_millis(age));
        seconds.map(Duration::from_secs_f64)
    }

    fn sample(&self, seconds: f64) {
        let now = milliseconds();
        let age = Duration::from_millis(now.saturating_sub(self.sampled.swap(now, Ordering::Relaxed)));
        let step = |bits: u64| {
            let new = average(bits, age).map_or(seconds, |old| old + NEWEST * (seconds - old));
            Some(new.max(f64::MIN_POSITIVE).to_bits())
        };
        // The closure always gives a value, so this cannot fail.
        let _ = self.latency.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

/// The average that stands there, if it was added to not so long ago.
fn average(bits: u64, age: Duration) -> Option<f64> {
    (bits != 0 && age < FADES).then(|| f64::from_bits(bits))
}

/// Of this process's clock, which begins at 1 when it is first asked.
fn milliseconds() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{BackendErrorKind, Certainty};

    #[test]
    fn only_the_backends_faults_count() {
        let (health, now) =
            (Health::new(BreakerConfig { threshold: 2, ..BreakerConfig::default() }), Instant::now());
        let error = |kind| BackendError::new(kind, Certainty::Cut, "");
        for _ in 0..9 {
            health.failed(&error(BackendErrorKind::Body), now, 0.5);
            health.failed(&error(BackendErrorKind::NotFound), now, 0.5);
        }
        assert!(health.is_up(now) && health.answered_ago().is_none(), "nothing was an answer");
        health.failed(&error(BackendErrorKind::Timeout), now, 0.5);
        health.failed(&error(BackendErrorKind::Body), now, 0.5);
        health.failed(&error(BackendErrorKind::Server), now, 0.5);
        assert!(!health.is_up(now));
    }

    #[test]
    fn reads_that_work_do_not_hide_writes_that_fail() {
        let (health, now) =
            (Health::new(BreakerConfig { threshold: 2, ..BreakerConfig::default() }), Instant::now());
        let mismatch = BackendError::new(BackendErrorKind::Mismatch, Certainty::Unknown, "");
        for _ in 0..2 {
            health.failed_on(Side::Write, &mismatch, now, 1.0);
            health.succeeded(Side::Read);
        }
        assert!(!health.is_up(now) && health.is_readable(now));
        let later = now + Duration::from_secs(10);
        assert_eq!(health.admit(later), Admission::Probe);
        health.probed(true, later, 1.0);
        assert!(health.is_up(later));
        health.failed_on(Side::Write, &mismatch, later, 1.0);
        assert!(!health.is_up(later), "on probation");
    }

    #[test]
    fn an_answer_is_remembered() {
        let health = Health::new(BreakerConfig::default());
        assert_eq!(health.answered_ago(), None);
        health.succeeded(Side::Read);
        assert!(health.answered_ago().is_some_and(|ago| ago < Duration::from_mins(1)));
    }

    #[test]
    fn an_average_fades() {
        let bits = 2.0_f64.to_bits();
        assert_eq!(average(0, Duration::ZERO), None);
        assert_eq!(average(bits, Duration::ZERO).map(f64::to_bits), Some(bits));
        assert_eq!(average(bits, FADES), None);
    }

    #[test]
    fn latency_follows() {
        let health = Health::new(BreakerConfig::default());
        health.waited(Duration::from_secs(1));
        assert_eq!(health.latency(), None, "nothing was answered yet");
        health.answered_in(Duration::from_secs(1));
        assert_eq!(health.latency(), Some(Duration::from_secs(1)));
        health.waited(Duration::from_secs(6));
        assert_eq!(health.latency(), Some(Duration::from_secs(2)));
        (0..50).for_each(|_| health.answered_in(Duration::from_secs(3)));
        assert!(health.latency().is_some_and(|latency| latency > Duration::from_millis(2990)));
    }
}
