//! The closed loop: every connection sends its next request as soon as it has the answer to the last.
//! It finds what a target can do; its latencies say little, since a slow target is asked less.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::failures::{Failed, Failures};
use super::feed::Feed;
use crate::stats::{float, histogram};

/// How long requests under way at the end may take; then they have failed.
const DRAIN: Duration = Duration::from_secs(180);

/// One interval of a closed loop.
pub(crate) struct Lap {
    shared: Arc<Shared>,
    workers: JoinSet<(Connection, Histogram<u32>)>,
    began: Instant,
}

struct Shared {
    feed: Feed,
    stop: AtomicBool,
    done: AtomicU64,
    failures: Failures,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    /// The feed has ended.
    empty: Notify,
}

/// What was counted between the beginning and one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Requests that succeeded.
    pub(crate) requests: u64,
    /// Bytes of bodies that went.
    pub(crate) sent: u64,
    /// Bytes of bodies that came.
    pub(crate) received: u64,
    pub(crate) seconds: f64,
}

impl Count {
    /// Requests a second. Where bodies are large (`size` bytes) they are counted by their bytes: in
    /// seconds only a few end, and those on the way are work as well.
    pub(crate) fn rate(&self, size: u64, by_bytes: bool) -> f64 {
        let requests = if by_bytes {
            float(self.sent + self.received) / float(size.max(1))
        } else {
            float(self.requests)
        };
        if self.seconds > 0.0 { requests / self.seconds } else { 0.0 }
    }
}

/// What an interval was like, after its end.
pub(crate) struct Ended {
    pub(crate) latency: Histogram<u32>,
    pub(crate) failed: Failed,
    pub(crate) signed_late: u64,
    pub(crate) reopened: u64,
    /// To go on with.
    pub(crate) connections: Vec<Connection>,
}

impl Lap {
    /// Starts one worker a connection.
    pub(crate) fn start(connections: Vec<Connection>, feed: Feed) -> Self {
        let counters = connections.first().map(|c| (Arc::clone(&c.sent), Arc::clone(&c.received)));
        let (sent, received) = counters.unwrap_or_default();
        sent.store(0, Ordering::Relaxed);
        received.store(0, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            feed,
            stop: AtomicBool::new(false),
            done: AtomicU64::new(0),
            failures: Failures::default(),
            sent,
            received,
            empty: Notify::new(),
        });
        let mut workers = JoinSet::new();
        for connection in connections {
            workers.spawn(work(Arc::clone(&shared), connection));
        }
        Self { shared, workers, began: Instant::now() }
    }

    /// Waits for `duration`, or until there is nothing left to send.
    pub(crate) async fn run(&self, duration: Duration) {
        let _ = timeout(duration, self.shared.empty.notified()).await;
    }

    /// What was counted so far.
    pub(crate) fn count(&self) -> Count {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { done, sent, received, .. } = &*self.shared;
        Count {
            requests: get(done),
            sent: get(sent),
            received: get(received),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }

    /// Lets the requests under way end, and ends.
    pub(crate) async fn end(mut self) -> Result<Ended> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let (mut latency, mut connections) = (histogram(), Vec::new());
        let drained = timeout(DRAIN, async {
            while let Some(worker) = self.workers.join_next().await {
                let (connection, own) = worker.context("a worker ended badly")?;
                latency.add(&own).context("adding histograms")?;
                connections.push(connection);
            }
            anyhow::Ok(())
        });
        match drained.await {
            Ok(done) => done?,
            Err(_) => self.shared.failures.note(format!("no answer {DRAIN:?} after the end of the interval")),
        }
        let failed = self.shared.failures.read();
        let reopened = connections.iter().map(|connection| connection.reopened).sum();
        Ok(Ended { latency, failed, signed_late: self.shared.feed.signed_late(), reopened, connections })
    }
}

async fn work(shared: Arc<Shared>, mut connection: Connection) -> (Connection, Histogram<u32>) {
    let mut latency = histogram();
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(next) = shared.feed.next() else {
            shared.empty.notify_one();
            break;
        };
        let began = Instant::now();
        let done = match &next {
            Ok(prepared) => connection.exchange(prepared).await,
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        match done {
            Ok(()) => {
                latency.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                shared.failures.note(format!("{error:#}"));
                // A target that is gone must not be asked in a tight loop.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    (connection, latency)
}
