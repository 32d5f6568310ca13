//! One interval: a target, a scenario, some seconds.
//!
//! Invariant: CPU, memory, database work and requests are those of the same interval; connecting,
//! signing and filling happen before it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;
use crate::lanes::{self, Lanes};
use crate::load::closed::Lap;
use crate::load::{Connection, Failed, Feed, Payload, Payloads, Workshop, connect_all, open};
use crate::machine;
use crate::procs::{Cpu, Memory};
use crate::scenario::{Kind, Scenario, Work};
use crate::stack::Stack;
use crate::stats::{Percentiles, float, whole};
use crate::target::Target;

/// Requests that are signed before a warm-up, whose rate nobody knows yet.
const WARM_AHEAD: u64 = 4_000;

/// Requests that are signed before an interval, at most; each takes about a kilobyte.
const MOST_AHEAD: u64 = 150_000;

/// Objects that are made to be deleted, at least: three requests of 1,000.
const LEAST_VICTIMS: u64 = 3_000;

/// Where keys go that an interval makes; the null backend forgets them after it.
const NEW: &str = "new";

/// How it is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) payload: Payload,
    pub(crate) interval: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) rounds: usize,
    /// Share of a target's own rate at which its latency is measured; 0: it is not.
    pub(crate) share: f64,
    /// Content of bodies is compared.
    pub(crate) verify: bool,
}

/// What one interval found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// Requests a second of the closed loop; with large bodies, by the bytes that went.
    pub(crate) rate: f64,
    /// Megabytes (10^6) of bodies a second.
    pub(crate) mb_per_second: f64,
    /// Requests of the closed loop, with those that ended after the interval.
    pub(crate) requests: u64,
    pub(crate) failed: Failed,
    /// CPU microseconds a request.
    pub(crate) cpu: Cpu,
    /// Cores that other programs of the machine took meanwhile.
    pub(crate) other_cores: f64,
    /// The backend's CPU time by the interval's length.
    pub(crate) backend_cores: f64,
    pub(crate) memory: Memory,
    /// Of the closed loop.
    pub(crate) closed_latency: Option<Percentiles>,
    /// Of the open loop, from the moment at which each request was due.
    pub(crate) open_latency: Option<Percentiles>,
    /// Requests a second of the open loop.
    pub(crate) open_rate: Option<f64>,
    /// How late the loader itself released requests of the open loop.
    pub(crate) lateness: Option<Percentiles>,
    /// Database work of the closed loop.
    pub(crate) lanes: Lanes,
    /// Requests to the null backend for each request.
    pub(crate) backend_requests: Option<f64>,
    /// Requests that had to be signed within the interval.
    pub(crate) signed_late: u64,
    /// Connections that had to be opened again.
    pub(crate) reopened: u64,
}

impl Interval {
    /// One that could not be measured at all.
    pub(crate) fn failed(why: String) -> Self {
        Self { failed: Failed { count: 1, first: vec![why] }, ..Self::default() }
    }

    /// What the table shows: the open loop's, of a single connection the closed loop's.
    pub(crate) fn latency(&self) -> Option<Percentiles> {
        self.open_latency.or(self.closed_latency)
    }
}

/// Makes intervals.
pub(crate) struct Meter<'a> {
    settings: Settings,
    stack: &'a Stack,
    payloads: HashMap<usize, Arc<Payloads>>,
    /// Tells the keys of one interval from those of the next.
    epoch: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(settings: Settings, stack: &'a Stack) -> Self {
        Self { settings, stack, payloads: HashMap::new(), epoch: 0 }
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Fails when a process of ours has ended.
    pub(crate) fn check(&self) -> Result<()> {
        self.stack.check()
    }

    fn payloads(&mut self, size: usize) -> Arc<Payloads> {
        let (payload, seed) = (self.settings.payload, self.settings.seed);
        let made = self.payloads.entry(size).or_insert_with(|| Arc::new(Payloads::new(payload, size, seed)));
        Arc::clone(made)
    }

    /// Objects that are there before GET, HEAD and LIST.
    fn set(&self, size: usize) -> (Keys, u64) {
        let count = match size {
            0..=4_096 => 10_000,
            4_097..=65_536 => 2_000,
            65_537..=1_048_576 => 256,
            _ => 16,
        };
        (Keys::new(&format!("set-{size}"), self.settings.seed, 0), count)
    }

    fn workshop(target: &Target) -> Result<Workshop> {
        Workshop::new(target.signer(), &target.bucket, &target.host)
    }

    /// Makes the objects that the scenario reads.
    pub(crate) async fn fill(&mut self, scenario: &Scenario, target: &Target) -> Result<()> {
        let (keys, count) = self.set(scenario.size);
        let (payloads, workshop) = (self.payloads(scenario.size), Self::workshop(target)?);
        let puts: Result<_> = (0..count).map(|n| workshop.put(&keys.key(n), payloads.upload(n))).collect();
        let connections = if scenario.size > 1 << 20 { 4 } else { 32 };
        let connections = connect_all(&target.addresses, connections, false).await?;
        let lap = Lap::start(connections, Feed::once(puts?));
        lap.run(Duration::from_secs(600)).await;
        let ended = lap.end().await?;
        let failed = ended.failed;
        ensure!(
            failed.count == 0,
            "{}: {} of {count} objects were not stored: {:?}",
            target.name,
            failed.count,
            failed.first
        );
        Ok(())
    }

    /// Looks once whether a listing has what it should have.
    pub(crate) async fn check_list(&self, target: &Target) -> Result<()> {
        let mut connection = connect_all(&target.addresses, 1, false).await?;
        let request = Self::workshop(target)?.list("set-4096/", "set-4096/000", false)?;
        let connection = connection.first_mut().context("no connection")?;
        let (status, body) = connection.fetch(&request).await?;
        let keys = String::from_utf8_lossy(&body).matches("<Key>").count();
        ensure!(
            status == 200 && keys == 1000,
            "{}: a listing answers {status} with {keys} keys",
            target.name
        );
        Ok(())
    }

    /// Makes objects for `duration`, to be deleted. Their keys.
    async fn victims(&mut self, work: &Work, target: &Target, duration: Duration) -> Result<Vec<String>> {
        let (keys, payloads) = (self.new_keys("del"), self.payloads(work.scenario.size));
        let (workshop, source) = (Self::workshop(target)?, keys.clone());
        let feed = Feed::endless(0, move |n| workshop.put(&source.key(n), payloads.upload(n)))?;
        let lap = Lap::start(connect_all(&target.addresses, 32, false).await?, feed);
        lap.run(duration).await;
        // A slow target makes a few pages of them all the same.
        while lap.count().requests < LEAST_VICTIMS && lap.count().seconds < 60.0 {
            lap.run(Duration::from_millis(100)).await;
        }
        let ended = lap.end().await?;
        let failed = ended.failed;
        ensure!(failed.count == 0, "{}: objects to delete were not stored: {:?}", target.name, failed.first);
        Ok((0..ended.latency.len()).map(|n| keys.key(n)).collect())
    }

    fn new_keys(&mut self, what: &str) -> Keys {
        self.epoch += 1;
        Keys::new(&format!("{NEW}/{what}"), self.settings.seed, self.epoch)
    }

    /// Requests of a scenario that makes or reads objects; the first `ahead` are signed now.
    fn feed(&mut self, scenario: &Scenario, target: &Target, ahead: u64) -> Result<Feed> {
        let (payloads, workshop) = (self.payloads(scenario.size), Self::workshop(target)?);
        let (set, count) = self.set(scenario.size);
        match scenario.kind {
            Kind::Put => {
                let keys = self.new_keys("put");
                Feed::endless(ahead, move |n| workshop.put(&keys.key(n), payloads.upload(n)))
            }
            Kind::Mixed => {
                let keys = self.new_keys("mix");
                Feed::endless(ahead, move |n| match n % 10 {
                    0..7 => {
                        let n = crate::keys::mix(n) % count;
                        workshop.get(&set.key(n), payloads.plain(n))
                    }
                    _ => workshop.put(&keys.key(n), payloads.upload(n)),
                })
            }
            Kind::Overwrite => {
                let keys = Keys::new("over", self.settings.seed, 0);
                // Another body at each return to a key.
                let puts = (0..64 * 16).map(|n| workshop.put(&keys.key(n % 64), payloads.upload(n / 64 + n)));
                Ok(Feed::cycle(puts.collect::<Result<_>>()?))
            }
            Kind::Get => {
                let gets = (0..count).map(|n| workshop.get(&set.key(n), payloads.plain(n)));
                Ok(Feed::cycle(gets.collect::<Result<_>>()?))
            }
            Kind::Head => {
                Ok(Feed::cycle((0..count).map(|n| workshop.head(&set.key(n))).collect::<Result<_>>()?))
            }
            Kind::List => {
                // From the first seven eighths of the keys, so that every page is full.
                let after = |n: u64| format!("set-4096/{:03x}", crate::keys::mix(n) % 0xe00);
                let pages = (0..500).map(|n| workshop.list("set-4096/", &after(n), false));
                Ok(Feed::cycle(pages.collect::<Result<_>>()?))
            }
            Kind::Delete | Kind::DeleteObjects => Ok(Feed::once(Vec::new())),
        }
    }

    /// Measures.
    pub(crate) async fn interval(&mut self, work: &Work, target: &Target) -> Result<Interval> {
        let Work { scenario, concurrency } = work;
        let connections = connect_all(&target.addresses, *concurrency, self.settings.verify).await?;
        let (connections, feed) = match scenario.kind {
            Kind::Delete | Kind::DeleteObjects => (connections, self.deletions(work, target).await?),
            _ => {
                let feed = self.feed(scenario, target, WARM_AHEAD)?;
                let (connections, rate) = self.warm_up(connections, feed, scenario).await?;
                let ahead = whole(rate * self.settings.interval.as_secs_f64() * 1.2).min(MOST_AHEAD);
                (connections, self.feed(scenario, target, ahead)?)
            }
        };
        let (mut found, connections) = self.closed(scenario, target, connections, feed).await?;
        let wanted = self.settings.share > 0.0 && *concurrency > 1 && scenario.has_schedule();
        if wanted && found.rate > 0.0 && connections.len() == *concurrency {
            self.open(scenario, target, connections, &mut found).await?;
        }
        if target.is_null {
            self.stack.clear(&target.bucket, NEW).await?;
        }
        self.stack.check()?;
        Ok(found)
    }

    /// Objects are made for longer than they take to be deleted at the same rate.
    async fn deletions(&mut self, work: &Work, target: &Target) -> Result<Feed> {
        let keys = self.victims(work, target, self.settings.interval.mul_f64(1.5)).await?;
        let workshop = Self::workshop(target)?;
        let requests: Result<Vec<_>> = match work.scenario.kind {
            Kind::DeleteObjects => {
                keys.chunks_exact(1000).map(|keys| workshop.delete_objects(keys)).collect()
            }
            _ => keys.iter().map(|key| workshop.delete(key)).collect(),
        };
        Ok(Feed::once(requests?))
    }

    async fn warm_up(
        &self,
        connections: Vec<Connection>,
        feed: Feed,
        scenario: &Scenario,
    ) -> Result<(Vec<Connection>, f64)> {
        let lap = Lap::start(connections, feed);
        lap.run(self.settings.warm_up).await;
        let count = lap.count();
        let ended = lap.end().await?;
        let rate = count.rate(scenario.size as u64, scenario.counts_bytes());
        Ok((ended.connections, rate))
    }

    async fn closed(
        &self,
        scenario: &Scenario,
        target: &Target,
        connections: Vec<Connection>,
        feed: Feed,
    ) -> Result<(Interval, Vec<Connection>)> {
        let lanes_before = lanes::read(&target.metrics).await?;
        let asked_before = self.stack.backend_requests().await?;
        target.groups.reset_peaks();
        let (cpu_before, busy_before) = (target.groups.cpu(), machine::busy_seconds());
        let lap = Lap::start(connections, feed);
        lap.run(self.settings.interval).await;
        let count = lap.count();
        let (cpu_after, busy_after) = (target.groups.cpu(), machine::busy_seconds());
        let ended = lap.end().await?;
        let memory = target.groups.memory();
        let asked = self.stack.backend_requests().await? - asked_before;
        let lanes = lanes::since(&lanes::read(&target.metrics).await?, &lanes_before);

        let rate = count.rate(scenario.size as u64, scenario.counts_bytes());
        let requests = (rate * count.seconds).max(1.0);
        let used = cpu_after.since(&cpu_before, |seconds| seconds);
        let Cpu { loader, front, control, postgres, backend } = used;
        let others = busy_after - busy_before - (loader + front + control + postgres + backend);
        let done = ended.latency.len();
        let uses_null = !target.groups.backend.is_empty();
        let found = Interval {
            rate,
            mb_per_second: float(count.sent + count.received) / count.seconds.max(1e-9) / 1e6,
            requests: done,
            failed: ended.failed,
            cpu: cpu_after.since(&cpu_before, |seconds| seconds * 1e6 / requests),
            other_cores: others.max(0.0) / count.seconds.max(1e-9),
            backend_cores: backend / count.seconds.max(1e-9),
            memory,
            closed_latency: Percentiles::of(&ended.latency),
            lanes,
            backend_requests: uses_null.then(|| float(asked) / float(done.max(1))),
            signed_late: ended.signed_late,
            reopened: ended.reopened,
            ..Interval::default()
        };
        Ok((found, ended.connections))
    }

    async fn open(
        &mut self,
        scenario: &Scenario,
        target: &Target,
        connections: Vec<Connection>,
        found: &mut Interval,
    ) -> Result<()> {
        let (rate, interval) = (found.rate * self.settings.share, self.settings.interval);
        let ahead = whole(rate * interval.as_secs_f64()).min(MOST_AHEAD) + 1;
        let feed = self.feed(scenario, target, ahead)?;
        let open = open::run(connections, feed, rate, interval).await?;
        found.open_latency = Percentiles::of(&open.latency);
        found.lateness = Percentiles::of(&open.lateness);
        found.open_rate = Some(open.rate);
        found.failed.add(open.failed);
        Ok(())
    }
}
