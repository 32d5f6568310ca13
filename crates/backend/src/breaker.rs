//! A circuit breaker in three states. No clock and no randomness of its own: both are handed in.
//!
//! Invariants: open only after N failures in a row; half open lets one probe through at a time; a
//! probe that never reports back frees its place after `probe_timeout`, so no breaker stays shut.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When to open and when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub threshold: u32,
    /// How long it stays open the first time; doubled with each failed probe.
    pub open_for: Duration,
    /// The longest it stays open.
    pub open_at_most: Duration,
    /// After how long a probe counts as lost.
    pub probe_timeout: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            threshold: 5,
            open_for: Duration::from_secs(5),
            open_at_most: Duration::from_mins(1),
            probe_timeout: Duration::from_secs(30),
        }
    }
}

/// What the breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All is well.
    Closed,
    /// The backend is avoided.
    Open,
    /// The next call, or the one under way, decides.
    HalfOpen,
}

impl BreakerState {
    /// The word in metrics and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Call as usual.
    Allowed,
    /// Call, and know that the outcome decides; report it.
    Probe,
    /// Leave it alone.
    Refused,
}

/// How often a breaker went from one state to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transitions([[u64; 3]; 3]);

impl Transitions {
    const STATES: [BreakerState; 3] = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen];

    fn add(&mut self, from: BreakerState, to: BreakerState) {
        if from != to {
            self.0[from as usize][to as usize] += 1;
        }
    }

    /// Those of two breakers of one thing together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let cells = self.0.iter_mut().flatten().zip(other.0.iter().flatten());
        cells.for_each(|(sum, more)| *sum += more);
        self
    }

    /// From, to, how often; of what happened at least once.
    pub fn counts(self) -> impl Iterator<Item = (BreakerState, BreakerState, u64)> {
        let pairs = Self::STATES.into_iter().flat_map(|from| Self::STATES.map(|to| (from, to)));
        pairs.map(move |(from, to)| (from, to, self.0[from as usize][to as usize])).filter(|(.., n)| *n > 0)
    }
}

#[derive(Debug, Clone, Copy)]
enum Inner {
    Closed { failures: u32 },
    Open { until: Instant, trips: u32 },
    Probing { since: Instant, trips: u32 },
}

impl Inner {
    /// Half open counts from the probe on: that nobody has tried yet is no event.
    const fn state(self) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

#[derive(Debug)]
struct Guarded {
    inner: Inner,
    transitions: Transitions,
}

impl Guarded {
    fn set(&mut self, inner: Inner) {
        self.transitions.add(self.inner.state(), inner.state());
        self.inner = inner;
    }
}

/// See the module.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    guarded: Mutex<Guarded>,
}

impl Breaker {
    /// A closed one.
    pub fn new(config: BreakerConfig) -> Self {
        let (inner, transitions) = (Inner::Closed { failures: 0 }, Transitions::default());
        Self { config, guarded: Mutex::new(Guarded { inner, transitions }) }
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is, without asking for admission.
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.lock().inner {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { until, .. } if now < until => BreakerState::Open,
            Inner::Open { .. } | Inner::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// How often it went from where to where, so far.
    pub fn transitions(&self) -> Transitions {
        self.lock().transitions
    }

    /// Asks whether to call. `Probe` takes the one place there is.
    pub fn admit(&self, now: Instant) -> Admission {
        let mut guarded = self.lock();
        match guarded.inner {
            Inner::Closed { .. } => Admission::Allowed,
            Inner::Open { until, .. } if now < until => Admission::Refused,
            Inner::Probing { since, .. } if now < since + self.config.probe_timeout => Admission::Refused,
            Inner::Open { trips, .. } | Inner::Probing { trips, .. } => {
                guarded.set(Inner::Probing { since: now, trips });
                Admission::Probe
            }
        }
    }

    /// A call worked.
    pub fn succeeded(&self) {
        self.lock().set(Inner::Closed { failures: 0 });
    }

    /// A call failed by the backend's fault. `jitter` in 0…1 spreads the next attempt over the second
    /// half of the pause, so that many processes do not come back at once.
    pub fn failed(&self, now: Instant, jitter: f64) {
        let mut guarded = self.lock();
        let next = match guarded.inner {
            Inner::Closed { failures } if failures + 1 < self.config.threshold => {
                Inner::Closed { failures: failures + 1 }
            }
            Inner::Closed { .. } => Inner::Open { until: now + self.pause(0, jitter), trips: 1 },
            // What was under way when it opened says nothing new.
            Inner::Open { until, trips } if now < until => Inner::Open { until, trips },
            Inner::Open { trips, .. } | Inner::Probing { trips, .. } => {
                Inner::Open { until: now + self.pause(trips, jitter), trips: trips.saturating_add(1) }
            }
        };
        guarded.set(next);
    }

    /// A probe that says something of this breaker only in part worked: one more failure opens it again.
    pub fn probe_worked(&self) {
        let mut guarded = self.lock();
        if matches!(guarded.inner, Inner::Probing { .. }) {
            guarded.set(Inner::Closed { failures: self.config.threshold.saturating_sub(1) });
        }
    }

    /// A probe failed. Says nothing to a breaker that is not probing.
    pub fn probe_failed(&self, now: Instant, jitter: f64) {
        let is_probing = matches!(self.lock().inner, Inner::Probing { .. });
        if is_probing {
            self.failed(now, jitter);
        }
    }

    fn pause(&self, trips: u32, jitter: f64) -> Duration {
        let doubled = self.config.open_for.saturating_mul(2_u32.saturating_pow(trips.min(16)));
        let pause = doubled.min(self.config.open_at_most);
        pause.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        threshold: 3,
        open_for: Duration::from_secs(10),
        open_at_most: Duration::from_secs(25),
        probe_timeout: Duration::from_secs(30),
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let (breaker, now) = (Breaker::new(CONFIG), Instant::now());
        for _ in 0..5 {
            breaker.failed(now, 1.0);
            breaker.failed(now, 1.0);
            breaker.succeeded();
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        for _ in 0..3 {
            assert_eq!(breaker.admit(now), Admission::Allowed);
            breaker.failed(now, 1.0);
        }
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert_eq!(breaker.admit(after(now, 9)), Admission::Refused);
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        use BreakerState::{Closed, HalfOpen, Open};

        let (breaker, now) = (Breaker::new(CONFIG), Instant::now());
        (0..3).for_each(|_| breaker.failed(now, 1.0));
        assert_eq!(breaker.state(after(now, 10)), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(after(now, 10)), Admission::Probe);
        assert_eq!(breaker.admit(after(now, 11)), Admission::Refused);
        breaker.failed(after(now, 12), 1.0);
        // The second pause is twice the first, the third no longer than allowed.
        assert_eq!(breaker.admit(after(now, 31)), Admission::Refused);
        assert_eq!(breaker.admit(after(now, 32)), Admission::Probe);
        breaker.failed(after(now, 32), 1.0);
        assert_eq!(breaker.admit(after(now, 32 + 25)), Admission::Probe);
        breaker.succeeded();
        assert_eq!(breaker.admit(after(now, 58)), Admission::Allowed);
        let counts: Vec<_> = breaker.transitions().counts().collect();
        assert_eq!(
            counts,
            [(Closed, Open, 1), (Open, HalfOpen, 3), (HalfOpen, Closed, 1), (HalfOpen, Open, 2)]
        );
        let twice: u64 = breaker.transitions().and(breaker.transitions()).counts().map(|(.., n)| n).sum();
        assert_eq!(twice, 14);
    }

    #[test]
    fn a_lost_probe_frees_its_place() {
        let (breaker, now) = (Breaker::new(CONFIG), Instant::now());
        (0..3).for_each(|_| breaker.failed(now, 1.0));
        assert_eq!(breaker.admit(after(now, 10)), Admission::Probe);
        assert_eq!(breaker.admit(after(now, 39)), Admission::Refused);
        assert_eq!(breaker.admit(after(now, 40)), Admission::Probe);
    }

    #[test]
    fn late_failures_do_not_prolong_and_jitter_only_shortens() {
        let (breaker, now) = (Breaker::new(CONFIG), Instant::now());
        (0..3).for_each(|_| breaker.failed(now, 0.0));
        breaker.failed(after(now, 4), 1.0);
        assert_eq!(breaker.state(after(now, 5)), BreakerState::HalfOpen);
    }
}
