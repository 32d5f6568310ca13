//! How long a backend's answers take to begin: a histogram of the last thousand or so, without locks.
//!
//! Invariants: bounded and small; a quantile is at most a fifth above the truth; old answers fade, so that it follows.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Upper bound of the first bucket, in microseconds. Quicker is as quick as this.
const FIRST_US: f64 = 100.0;
/// Each bucket reaches this much further than the one before: 64 of them reach 11.6 s.
const STEP: f64 = 1.2;
const BUCKETS: usize = 64;
/// So many answers, and all counts are halved.
const WINDOW: u32 = 1024;
/// A quantile of fewer answers says nothing.
const ENOUGH: u32 = 32;

/// See the module.
#[derive(Debug)]
pub struct LatencySketch {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
}

impl Default for LatencySketch {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU32::new(0)), total: AtomicU32::new(0) }
    }
}

fn bucket(took: Duration) -> usize {
    let us = took.as_secs_f64() * 1e6;
    let index = (us / FIRST_US).ln() / STEP.ln();
    // Below the first bound it is negative; casts of floats saturate.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = index.ceil().max(0.0) as usize;
    index.min(BUCKETS - 1)
}

fn bound(bucket: usize) -> Duration {
    let steps = i32::try_from(bucket).unwrap_or(i32::MAX);
    Duration::from_secs_f64(FIRST_US * STEP.powi(steps) / 1e6)
}

impl LatencySketch {
    /// An answer began after `took`.
    pub fn record(&self, took: Duration) {
        self.counts[bucket(took)].fetch_add(1, Ordering::Relaxed);
        if self.total.fetch_add(1, Ordering::Relaxed) + 1 == WINDOW {
            self.halve();
        }
    }

    /// Counts that come meanwhile may be lost: none of them matters.
    fn halve(&self) {
        let mut total = 0;
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            total += half;
        }
        self.total.store(total, Ordering::Relaxed);
    }

    /// What 95 of 100 answers stayed under; `None` before there are enough.
    pub fn p95(&self) -> Option<Duration> {
        let counts: [u32; BUCKETS] = std::array::from_fn(|n| self.counts[n].load(Ordering::Relaxed));
        let total: u32 = counts.iter().sum();
        if total < ENOUGH {
            return None;
        }
        let (mut seen, wanted) = (0, total - total / 20);
        let reached = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn few_answers_say_nothing() {
        let sketch = LatencySketch::default();
        (0..ENOUGH - 1).for_each(|_| sketch.record(ms(5)));
        assert_eq!(sketch.p95(), None);
        sketch.record(ms(5));
        assert!(sketch.p95().is_some());
    }

    #[test]
    fn the_slow_twentieth_is_left_out() {
        let sketch = LatencySketch::default();
        for n in 0..100 {
            sketch.record(if n % 25 == 0 { ms(900) } else { ms(10) });
        }
        let p95 = sketch.p95().expect("enough");
        assert!(p95 >= ms(10) && p95 <= ms(12), "{p95:?}");
        (0..10).for_each(|_| sketch.record(ms(900)));
        assert!(sketch.p95().expect("enough") >= ms(900));
    }

    #[test]
    fn it_follows_and_takes_any_value() {
        let sketch = LatencySketch::default();
        (0..2000).for_each(|_| sketch.record(ms(10)));
        (0..4000).for_each(|_| sketch.record(ms(100)));
        assert!(sketch.p95().expect("enough") >= ms(100));
        (0..20_000).for_each(|_| sketch.record(ms(10)));
        assert!(sketch.p95().expect("enough") <= ms(12));
        for odd in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(3600)] {
            sketch.record(odd);
        }
    }
}
