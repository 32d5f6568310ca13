//! A lane: a connection, a queue, and one batch in flight.
//!
//! Invariants: calls on one key are decided in the order in which they came, one a batch; a lone call
//! waits for nothing; every call is answered, by its outcome or, when its patience is over, retryably.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use s3o_core::call::{Outcome, Refusal, Request};
use s3o_core::cleanup::CleanupTimes;
use s3o_types::ErrorCode;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::batch::{Desk, Verdict, attempt};
use super::effects;
use super::facts::{self, Locking};
use super::group::{Group, Item, expire, fail, halve, refuse, settle};
use super::pressure::{Pressure, relieve};
use crate::connection::{ANSWER_PATIENCE, Connection, Connector, Profile};
use crate::error::Failure;
use crate::options::BATCH_ITEMS;
use crate::stats::{LaneCounters, add};

/// DESIGN §6: at most 1 MiB a batch.
const BATCH_BYTES: usize = 1 << 20;

/// Calls that a lane holds beyond its channel: enough to fill a batch past calls that must wait.
const PENDING: usize = 4 * BATCH_ITEMS as usize;

/// A call put off because of a lock comes back after this long, and up to twice it.
const PUT_OFF: Duration = Duration::from_millis(20);

/// Between attempts to connect.
const RECONNECT: Duration = Duration::from_millis(100);

/// Connections lost in a row by one batch before it is halved: one of its calls may bring the server down.
const LOSSES: u32 = 5;

/// Times that the server may give a batch up as too slow, or refuse it, before it is halved.
const CANCELS: u32 = 2;

pub(crate) fn unavailable(why: &str) -> Refusal {
    Refusal::new(ErrorCode::ServiceUnavailable, why)
}

/// The lane's task.
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) profile: Profile,
    pub(crate) connector: Connector,
    pub(crate) slot: i16,
    pub(crate) times: CleanupTimes,
    /// Calls in a batch, at most.
    pub(crate) batch_items: usize,
    pub(crate) counters: Arc<LaneCounters>,
    pub(crate) stop: CancellationToken,
    pub(crate) connection: Option<Connection>,
    pub(crate) pending: VecDeque<Item>,
    pub(crate) pressure: Pressure,
}

impl Lane {
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        while self.wait(&mut queue).await {
            // Calls that came in one message are put into the queue one after the other, by tasks that are running
            // right now: one turn for them makes larger batches, and a lone call loses nothing by it.
            yield_now().await;
            self.fetch(&mut queue);
            let batch = self.take_batch();
            if !batch.is_empty() {
                self.decide(batch).await;
            }
        }
        queue.close();
        let refused = || Outcome::from(unavailable("the control plane is shutting down"));
        self.pending.drain(..).for_each(|item| item.answer(refused()));
        while let Ok(item) = queue.try_recv() {
            item.answer(refused());
        }
    }

    /// Takes in what is there, up to the bound.
    fn fetch(&mut self, queue: &mut mpsc::Receiver<Item>) {
        while self.pending.len() < PENDING
            && let Ok(item) = queue.try_recv()
        {
            self.pending.push_back(item);
        }
    }

    /// Waits until something can be decided. `false`: the lane ends.
    async fn wait(&mut self, queue: &mut mpsc::Receiver<Item>) -> bool {
        loop {
            self.fetch(queue);
            if self.stop.is_cancelled() {
                return false;
            }
            let now = Instant::now();
            if self.pending.iter().any(|item| item.not_before.is_none_or(|at| at <= now)) {
                return true;
            }
            let earliest = self.pending.iter().filter_map(|item| item.not_before).min();
            let room = self.pending.len() < PENDING;
            tokio::select! {
                () = self.stop.cancelled() => return false,
                item = queue.recv(), if room => match item {
                    Some(item) => self.pending.push_back(item),
                    None if self.pending.is_empty() => return false,
                    None => sleep(PUT_OFF).await,
                },
                () = sleep_until(earliest.unwrap_or(now)), if earliest.is_some() => {}
            }
        }
    }

    /// The next batch, oldest first. A call that must wait holds up the later ones on its key.
    fn take_batch(&mut self) -> Vec<Item> {
        let now = Instant::now();
        let (mut batch, mut left) = (Vec::new(), VecDeque::new());
        let (mut turns, mut bytes) = (HashSet::new(), 0);
        for item in self.pending.drain(..) {
            if item.reply.is_closed() {
                continue;
            }
            let full =
                batch.len() >= self.batch_items || (bytes + item.bytes > BATCH_BYTES && !batch.is_empty());
            let first = turns.insert(item.turn());
            if full || !first || item.not_before.is_some_and(|at| at > now) {
                left.push_back(item);
            } else {
                bytes += item.bytes;
                batch.push(item);
            }
        }
        self.pending = left;
        batch
    }

    /// Decides a batch, in parts and again where that is needed. Calls that are put off go back to the
    /// front of the queue.
    async fn decide(&mut self, batch: Vec<Item>) {
        add(&self.counters.batches, 1);
        add(&self.counters.items, batch.len());
        // A lock that was held a moment ago is not waited for: that would hold up all the others.
        let was_put_off = batch.iter().any(|item| item.not_before.is_some());
        let locking = if was_put_off { Locking::Try } else { Locking::Wait };
        let mut groups = vec![Group { items: batch, locking, losses: 0 }];
        let mut put_off = Vec::new();
        while let Some(group) = groups.pop() {
            let group = expire(group);
            if group.items.is_empty() {
                continue;
            }
            match self.guarded(&group).await {
                Ok(verdicts) => {
                    let seen = (&mut self.pressure, &*self.counters);
                    put_off.extend(settle(group.items, verdicts, seen));
                }
                Err(failure) => self.recover(group, failure, &mut groups, &mut put_off).await,
            }
        }
        add(&self.counters.deferred, put_off.len());
        for mut item in put_off.into_iter().rev() {
            item.not_before = Some(Instant::now() + PUT_OFF.mul_f64(1.0 + rand::random::<f64>()));
            self.pending.push_front(item);
        }
        if let Some(bytes) = self.pressure.take() {
            self.make_room(bytes).await;
        }
    }

    async fn make_room(&mut self, bytes: u64) {
        let Some(connection) = &mut self.connection else { return };
        match timeout(ANSWER_PATIENCE, relieve(connection, bytes, &self.times)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(rows)) => {
                tracing::info!(rows, "room is short: blobs are deleted without waiting for readers");
            }
            Ok(Err(failure)) => tracing::debug!(%failure, "queued blobs could not be pulled forward"),
            Err(_) => self.connection = None,
        }
    }

    /// A panic ends the batch that it happened in, not the lane. The connection goes with it: what state it
    /// is in is not known.
    async fn guarded(&mut self, group: &Group) -> Result<Vec<Verdict>, Failure> {
        let counters = self.counters.clone();
        let result = survive(self.attempt(group), &counters).await;
        if matches!(result, Err(Failure::Panicked(_))) {
            self.connection = None;
        }
        result
    }

    async fn attempt(&mut self, group: &Group) -> Result<Vec<Verdict>, Failure> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let connected = tokio::select! {
                connected = self.connect() => connected?,
                () = self.stop.cancelled() => return Err(Failure::Lost("the control plane is shutting down".to_owned())),
            };
            self.connection = Some(connected);
        }
        let Some(connection) = &self.connection else {
            return Err(Failure::Lost("not connected".to_owned()));
        };
        let desk = Desk { connection, slot: self.slot, times: &self.times, counters: &self.counters };
        let requests: Vec<&Request> = group.items.iter().map(|item| &item.request).collect();
        attempt(&desk, &requests, group.locking).await
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let mut connection = self.connector.open(self.profile).await?;
        facts::prepare(&mut connection).await?;
        effects::prepare(&mut connection).await?;
        Ok(connection)
    }

    /// What to do about a batch that failed: again, in halves, without what is locked, or not at all.
    async fn recover(
        &mut self,
        mut group: Group,
        failure: Failure,
        groups: &mut Vec<Group>,
        put_off: &mut Vec<Item>,
    ) {
        match failure {
            // Nobody will be here to try again; another replica, or the next start, finds it by op.
            Failure::Lost(_) | Failure::Busy(_) if self.stop.is_cancelled() => {
                self.connection = None;
                let refused = || Outcome::from(unavailable("the control plane is shutting down"));
                group.items.into_iter().for_each(|item| item.answer(refused()));
            }
            Failure::Lost(why) => {
                tracing::debug!(
                    lane = self.name,
                    why,
                    "the lane lost its connection; repeating the batch by op"
                );
                add(&self.counters.reconnects, 1);
                self.connection = None;
                self.pause(RECONNECT).await;
                group.losses += 1;
                if group.losses >= LOSSES && group.items.len() > 1 {
                    halve(group, groups);
                } else {
                    groups.push(group);
                }
            }
            Failure::Busy(why) => {
                tracing::warn!(lane = self.name, why, "the database is busy");
                self.pause(RECONNECT).await;
                group.losses += 1;
                // One slow call must not take the others along until their patience is over.
                if group.losses >= CANCELS && group.items.len() > 1 {
                    halve(group, groups);
                } else {
                    groups.push(group);
                }
            }
            Failure::Locked(_) if group.locking == Locking::Wait => {
                groups.push(Group { locking: Locking::Try, ..group });
            }
            // A row or a bucket that is locked without its key: the halves tell whose it is.
            Failure::Locked(_) if group.items.len() > 1 => halve(group, groups),
            Failure::Locked(_) => put_off.append(&mut group.items),
            _ if group.items.len() > 1 => halve(group, groups),
            Failure::Data(rejected) => refuse(group.items, &rejected, put_off),
            Failure::Corrupt(why) | Failure::Declaration(why) | Failure::Panicked(why) => {
                fail(group.items, &why);
            }
            Failure::Unstaged(why) => fail(group.items, why),
        }
    }

    async fn pause(&self, about: Duration) {
        let jittered = about.mul_f64(0.5 + rand::random::<f64>());
        tokio::select! {
            () = sleep(jittered) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Runs `work`; a panic in it becomes a failure.
pub(super) async fn survive<T>(
    work: impl Future<Output = Result<T, Failure>>,
    counters: &LaneCounters,
) -> Result<T, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        add(&counters.panics, 1);
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        tracing::error!(why, "a batch panicked");
        Err(Failure::Panicked(format!("the call could not be decided: {why}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure_and_is_counted() {
        let counters = LaneCounters::default();
        let torn = survive(async { panic!("torn {}", 1) as Result<(), Failure> }, &counters).await;
        assert!(matches!(torn, Err(Failure::Panicked(why)) if why.contains("torn 1")));
        let fine = survive(async { Ok::<_, Failure>(7) }, &counters).await;
        assert!(matches!(fine, Ok(7)));
        assert_eq!(counters.read("l").panics, 1);
    }
}
