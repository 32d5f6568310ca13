//! Group commit: calls are decided in batches, each in one transaction (DESIGN §6).
//!
//! Each lane collects while its previous batch is in flight. Begin and Retarget have one lane, whose
//! commits need not reach the disk; Commit, Abort, Delete and Resolve are spread by their key; bulk calls
//! have a lane of their own; so do the readers.

mod batch;
mod check;
mod columns;
mod copies;
mod effects;
mod expiry;
mod extents;
mod facts;
mod flight;
mod group;
mod intake;
mod lane;
mod late;
mod list;
mod locate;
mod lookups;
mod plan;
mod pressure;
mod reads;
mod uploads;
mod versions;
mod versions_list;
mod writes;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use s3o_core::call::{Outcome, Refusal, Request};
use s3o_core::cleanup::CleanupTimes;
use s3o_core::listing::{ListQuery, Page};
use s3o_core::object::{Locate, Lookup};
use s3o_core::ports::{Ledger, PortError};
use s3o_core::versions::VersionsQuery;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Store;
use crate::StoreOptions;
use crate::connection::{Connector, Profile};
pub(crate) use crate::ledger::copies::queued;
pub(crate) use crate::ledger::list::beyond;
pub(crate) use crate::ledger::lookups::{COPIES_AFTER, COPIES_OF, STRAYS, VERSION};
pub(crate) use crate::ledger::versions_list::list as list_versions;
pub(crate) use crate::ledger::writes::ADD_REPLICATION;

use crate::ledger::group::Item;
use crate::ledger::lane::{Lane, unavailable};
use crate::ledger::locate::{LocateLane, Reader};
use crate::ledger::pressure::Pressure;
use crate::slots::Slots;
use crate::stats::{LaneCounters, LaneStats, WriteStats};

/// How long a call waits for the database: a failover of PostgreSQL takes up to 40 s, and must not
/// kill an upload whose bytes are already stored.
const PATIENCE: Duration = Duration::from_secs(45);

/// Calls waiting in a lane's channel; beyond it, callers wait to get in.
const QUEUE: usize = 4096;

struct Entrance<T> {
    name: String,
    sender: mpsc::Sender<T>,
    counters: Arc<LaneCounters>,
}

/// The ways into the lanes.
pub(crate) struct Lanes {
    begin: Vec<Entrance<Item>>,
    commit: Vec<Entrance<Item>>,
    bulk: Entrance<Item>,
    locate: Entrance<Reader>,
}

/// What all lanes are made of.
struct Workshop<'a> {
    connector: &'a Connector,
    times: CleanupTimes,
    batch_items: usize,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Workshop<'_> {
    fn lane(&self, name: String, profile: Profile, slot: i16) -> Entrance<Item> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let counters = Arc::new(LaneCounters::default());
        let lane = Lane {
            name: name.clone(),
            profile,
            connector: self.connector.clone(),
            slot,
            times: self.times,
            batch_items: self.batch_items,
            counters: counters.clone(),
            stop: self.stop.clone(),
            connection: None,
            pending: VecDeque::new(),
            pressure: Pressure::default(),
        };
        self.tasks.spawn(lane.run(queue));
        Entrance { name, sender, counters }
    }

    fn locate(&self) -> Entrance<Reader> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let counters = Arc::new(LaneCounters::default());
        let lane = LocateLane {
            connector: self.connector.clone(),
            counters: counters.clone(),
            stop: self.stop.clone(),
            connection: None,
        };
        self.tasks.spawn(lane.run(queue));
        Entrance { name: "locate".to_owned(), sender, counters }
    }
}

impl Lanes {
    pub(crate) fn start(
        connector: &Connector,
        options: &StoreOptions,
        slots: Slots,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (lanes, begin_lanes) = (options.lanes.max(1), options.begin_lanes.max(1));
        let batch_items = usize::from(options.batch_items.max(1));
        let works = Workshop { connector, times: options.cleanup_times, batch_items, tasks, stop };
        // With one there is nothing to tell apart.
        let begin_name = |n: u16| if begin_lanes == 1 { "begin".to_owned() } else { format!("begin-{n}") };
        Self {
            begin: (0..begin_lanes).map(|n| works.lane(begin_name(n), Profile::BeginLane, 0)).collect(),
            commit: (0..lanes)
                .map(|n| works.lane(format!("commit-{n}"), Profile::Lane, slots.lane(n)))
                .collect(),
            bulk: works.lane("bulk".to_owned(), Profile::Lane, slots.lane(lanes)),
            locate: works.locate(),
        }
    }

    pub(crate) fn stats(&self) -> Vec<LaneStats> {
        let Self { begin, commit, bulk, locate } = self;
        let lanes = begin.iter().chain(commit).chain(std::iter::once(bulk));
        lanes
            .map(|lane| lane.counters.read(&lane.name))
            .chain(std::iter::once(locate.counters.read(&locate.name)))
            .collect()
    }

    pub(crate) fn writes(&self) -> WriteStats {
        let Self { begin, commit, bulk, locate: _ } = self;
        let mut sum = WriteStats::default();
        for lane in begin.iter().chain(commit).chain(std::iter::once(bulk)) {
            lane.counters.read_writes(&mut sum);
        }
        sum
    }

    fn of(&self, request: &Request) -> &mpsc::Sender<Item> {
        if !request.call.locks_key() {
            return &chosen(&self.begin, &request.op).sender;
        }
        if request.bulk {
            return &self.bulk.sender;
        }
        &chosen(&self.commit, &request.call.bucket_and_key()).sender
    }
}

/// Always the same one for the same `by`.
fn chosen<'a>(lanes: &'a [Entrance<Item>], by: &impl Hash) -> &'a Entrance<Item> {
    let mut hasher = DefaultHasher::new();
    by.hash(&mut hasher);
    let count = u64::try_from(lanes.len()).unwrap_or(1);
    &lanes[usize::try_from(hasher.finish() % count).unwrap_or(0)]
}

/// Puts `item` into a queue and waits for its answer.
async fn ask<T, A>(
    queue: &mpsc::Sender<T>,
    deadline: Instant,
    item: impl FnOnce(oneshot::Sender<A>) -> T,
) -> Result<A, Refusal> {
    let late = || unavailable("the database did not answer in time");
    let (reply, answer) = oneshot::channel();
    let sent = timeout_at(deadline, queue.send(item(reply))).await.map_err(|_| late())?;
    sent.map_err(|_| unavailable("the control plane is shutting down"))?;
    let answered = timeout_at(deadline, answer).await.map_err(|_| late())?;
    answered.map_err(|_| unavailable("the control plane is shutting down"))
}

#[async_trait]
impl Ledger for Store {
    async fn submit(&self, request: Request) -> Outcome {
        let bytes = match check::weigh(&request) {
            Ok(bytes) => bytes,
            Err(refusal) => return refusal.into(),
        };
        let deadline = Instant::now() + PATIENCE;
        let queue = self.inner.lanes.of(&request);
        let item = |reply| Item { request, bytes, deadline, reply, not_before: None, duplicates: 0 };
        ask(queue, deadline, item).await.unwrap_or_else(Outcome::Refused)
    }

    async fn locate(&self, query: Locate) -> Result<Lookup, Refusal> {
        if !check::locatable(&query) {
            return Ok(Lookup::Nothing);
        }
        let deadline = Instant::now() + locate::PATIENCE;
        ask(&self.inner.lanes.locate.sender, deadline, |reply| Reader { query, deadline, reply }).await?
    }

    async fn list(&self, query: ListQuery) -> Result<Page, Refusal> {
        list::list(&self.inner.lookup, &query).await
    }
}

impl Store {
    /// Runs a listing under `EXPLAIN (ANALYZE, BUFFERS)`: for operators who wonder, and for the test that
    /// its cost follows the results.
    pub async fn explain_list(&self, query: &ListQuery) -> Result<String, PortError> {
        Ok(list::explain(&self.inner.lookup, query).await?)
    }

    /// The same of a listing of versions.
    pub async fn explain_versions(&self, query: &VersionsQuery) -> Result<String, PortError> {
        Ok(versions_list::explain(&self.inner.lookup, query).await?)
    }
}
