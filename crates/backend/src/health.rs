//! What this process knows of a backend's health: its breaker and how fast it answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::breaker::{Admission, Breaker, BreakerConfig, BreakerState};
use crate::error::BackendError;

/// Weight of the newest sample: about the last ten answers count.
const NEWEST: f64 = 0.2;

/// Health of one backend, as this process sees it.
#[derive(Debug)]
pub struct Health {
    breaker: Breaker,
    /// Bits of an `f64` in seconds; 0 = no sample yet.
    latency: AtomicU64,
}

impl Health {
    /// Of a backend nothing is known of.
    pub fn new(config: BreakerConfig) -> Self {
        Self { breaker: Breaker::new(config), latency: AtomicU64::new(0) }
    }

    /// Whether placement and readers may count on it. Asking takes no probe's place.
    pub fn is_up(&self, now: Instant) -> bool {
        self.breaker.state(now) == BreakerState::Closed
    }

    /// The breaker's state.
    pub fn state(&self, now: Instant) -> BreakerState {
        self.breaker.state(now)
    }

    /// Asks to probe a backend that is not up.
    pub fn admit(&self, now: Instant) -> Admission {
        self.breaker.admit(now)
    }

    /// A call worked; `first_byte` is how long its answer took to begin, where that says something.
    pub fn succeeded(&self, first_byte: Option<Duration>) {
        self.breaker.succeeded();
        if let Some(sample) = first_byte {
            self.sample(sample.as_secs_f64());
        }
    }

    /// A call failed. What is not the backend's fault is an answer like any other, except a body of
    /// ours that failed: it says nothing.
    pub fn failed(&self, error: &BackendError, now: Instant, jitter: f64) {
        if error.counts_against_health() {
            self.breaker.failed(now, jitter);
        } else if error.status.is_some() {
            self.breaker.succeeded();
        }
    }

    /// Moving average of the time to the first byte. `None` before the first answer.
    pub fn latency(&self) -> Option<Duration> {
        match self.latency.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(Duration::from_secs_f64(f64::from_bits(bits))),
        }
    }

    fn sample(&self, seconds: f64) {
        let step = |bits: u64| {
            let old = f64::from_bits(bits);
            let new = if bits == 0 { seconds } else { old + NEWEST * (seconds - old) };
            Some(new.max(f64::MIN_POSITIVE).to_bits())
        };
        // The closure always gives a value, so this cannot fail.
        let _ = self.latency.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
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
        assert!(health.is_up(now));
        health.failed(&error(BackendErrorKind::Timeout), now, 0.5);
        health.failed(&error(BackendErrorKind::Body), now, 0.5);
        health.failed(&error(BackendErrorKind::Server), now, 0.5);
        assert!(!health.is_up(now));
    }

    #[test]
    fn latency_follows() {
        let health = Health::new(BreakerConfig::default());
        assert_eq!(health.latency(), None);
        health.succeeded(Some(Duration::from_secs(1)));
        assert_eq!(health.latency(), Some(Duration::from_secs(1)));
        (0..50).for_each(|_| health.succeeded(Some(Duration::from_secs(3))));
        assert!(health.latency().is_some_and(|latency| latency > Duration::from_millis(2990)));
    }
}
