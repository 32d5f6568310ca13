//! The open loop: requests are due on a fixed schedule, whatever the target does.
//!
//! Latency counts from the moment at which a request was due, so that a target that stalls is charged
//! for every request that it kept waiting (no coordinated omission). The schedule is kept by a thread of
//! its own, since the runtime's timers are no finer than a millisecond; how late that thread itself was
//! is measured and reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Connection;
use super::failures::{Failed, Failures};
use super::feed::Feed;
use crate::stats::histogram;

/// How long requests may be late at the end before they count as failed.
const DRAIN: Duration = Duration::from_secs(60);

/// Request `n` is due at `start + n / rate`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    rate: f64,
    count: u64,
}

impl Schedule {
    /// `rate` requests a second for `duration`, at least one.
    pub(crate) fn new(start: Instant, rate: f64, duration: Duration) -> Self {
        let count = crate::stats::whole(rate * duration.as_secs_f64()).max(1);
        Self { start, rate: rate.max(0.1), count }
    }

    /// When request `n` is due.
    pub(crate) fn due(&self, n: u64) -> Instant {
        self.start + Duration::from_secs_f64(crate::stats::float(n) / self.rate)
    }
}

struct Shared {
    schedule: Schedule,
    feed: Feed,
    /// One permit for each request that is due.
    due: Semaphore,
    next: AtomicU64,
    failures: Failures,
}

/// What an open loop found.
pub(crate) struct Found {
    /// From the moment at which each was due.
    pub(crate) latency: Histogram<u32>,
    /// How late requests were released by the schedule's own thread.
    pub(crate) lateness: Histogram<u32>,
    pub(crate) failed: Failed,
    /// Requests a second that were asked for.
    pub(crate) rate: f64,
}

/// Runs `rate` requests a second for `duration` over `connections`.
pub(crate) async fn run(
    connections: Vec<Connection>,
    feed: Feed,
    rate: f64,
    duration: Duration,
) -> Result<Found> {
    // A little ahead, so that all workers wait before the first is due.
    let schedule = Schedule::new(Instant::now() + Duration::from_millis(20), rate, duration);
    let shared = Arc::new(Shared {
        schedule,
        feed,
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
        failures: Failures::default(),
    });
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn(work(Arc::clone(&shared), connection));
    }
    let keeper = Arc::clone(&shared);
    let (told, lateness) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("schedule".to_owned()).spawn(move || drop(told.send(keep(&keeper))))?;
    let mut latency = histogram();
    let drained = timeout(duration + DRAIN, async {
        while let Some(worker) = workers.join_next().await {
            latency.add(&worker.context("a worker ended badly")?).context("adding histograms")?;
        }
        anyhow::Ok(())
    });
    match drained.await {
        Ok(done) => done?,
        Err(_) => shared.failures.note(format!("requests were more than {DRAIN:?} late at the end")),
    }
    let lateness = lateness.await.context("the schedule's thread ended badly")?;
    Ok(Found { latency, lateness, failed: shared.failures.read(), rate })
}

/// Releases requests as they become due. Ends when all are out.
fn keep(shared: &Shared) -> Histogram<u32> {
    // The kernel may otherwise be 50 µs late by itself.
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut lateness = histogram();
    let mut released = 0;
    while released < shared.schedule.count {
        let now = Instant::now();
        let due = shared.schedule.due(released);
        if due > now {
            std::thread::sleep(due - now);
            continue;
        }
        lateness.saturating_record(u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX));
        shared.due.add_permits(1);
        released += 1;
    }
    lateness
}

async fn work(shared: Arc<Shared>, mut connection: Connection) -> Histogram<u32> {
    let mut latency = histogram();
    // Closed when the last request was taken.
    while let Ok(permit) = shared.due.acquire().await {
        permit.forget();
        let n = shared.next.fetch_add(1, Ordering::Relaxed);
        if n + 1 >= shared.schedule.count {
            shared.due.close();
        }
        let due = shared.schedule.due(n);
        let done = match shared.feed.next() {
            Some(Ok(prepared)) => connection.exchange(&prepared).await,
            Some(Err(error)) => Err(error),
            None => break,
        };
        match done {
            Ok(()) => latency.saturating_record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            Err(error) => shared.failures.note(format!("{error:#}")),
        }
    }
    latency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_fixed() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 1000.0, Duration::from_millis(2500));
        assert_eq!(schedule.count, 2500);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(1500), start + Duration::from_millis(1500));
        assert_eq!(Schedule::new(start, 0.0, Duration::from_secs(1)).count, 1);
    }
}
