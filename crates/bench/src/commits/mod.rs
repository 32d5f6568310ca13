//! `s3o-bench commits`: metadata commits a second at the gRPC port, without bodies.
//!
//! Two control planes on one PostgreSQL are asked in turn by the same client: one as it is, and one that
//! takes a single call into a transaction and has many lanes, which is the best that one transaction per
//! step can do. A commit is a Begin and a Commit, as for a PUT, with a new key each time.
//!
//! Invariant: both sides do the same work for the same calls; only the size of batches differs.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use crate::keys::Keys;
use crate::lanes::{self, Lanes};
use crate::machine::Machine;
use crate::procs::{Cpu, Groups};
use crate::report::{align, write};
use crate::stack::{BUCKET, ControlOptions, Stack, StackArgs, TOKEN};
use crate::stats::{Percentiles, Spread, float, histogram, ratio, spread};
use wire::Wire;

/// `s3o-bench commits`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CommitsArgs {
    /// Calls at a time.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of an interval.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Commit lanes of the side with one transaction per step.
    #[arg(long, default_value_t = 16)]
    single_lanes: u16,
    /// Its Begin lanes: more of them wait for each other at the backend's row.
    #[arg(long, default_value_t = 2)]
    single_begin_lanes: u16,
    /// Everything, as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    #[command(flatten)]
    stack: StackArgs,
}

/// One interval of one side.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Interval {
    /// Objects committed a second.
    rate: f64,
    /// From Begin to the end of Commit.
    latency: Option<Percentiles>,
    /// Microseconds an object.
    cpu: Cpu,
    lanes: Lanes,
    objects: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    machine: Machine,
    callers: usize,
    batched: Vec<Interval>,
    single: Vec<Interval>,
    /// Of rates, batched by single, formed in each round.
    ratio: Option<Spread>,
}

/// Starts both, measures, reports.
pub(crate) async fn run(args: CommitsArgs) -> Result<()> {
    let machine = Machine::look();
    let mut stack = Stack::start(&args.stack).await?;
    let single = ControlOptions {
        database: vec![
            ("batch_items", json!(1)),
            ("lanes", json!(args.single_lanes)),
            ("begin_lanes", json!(args.single_begin_lanes)),
        ],
        ..ControlOptions::default()
    };
    let batched = Side::open(&mut stack, &ControlOptions::default()).await?;
    let single = Side::open(&mut stack, &single).await?;
    let (mut of_batched, mut of_single) = (Vec::new(), Vec::new());
    for round in 0..args.rounds as u64 {
        for turn in 0..2 {
            let (name, side, found) = match (round + turn) % 2 {
                0 => ("batched", &batched, &mut of_batched),
                _ => ("single", &single, &mut of_single),
            };
            let interval = side.interval(&args, 2 * round + turn).await?;
            eprintln!("round {}  {name:<8} {:>8.0} commits/s", round + 1, interval.rate);
            found.push(interval);
            stack.check()?;
        }
    }
    let rates = |found: &[Interval]| found.iter().map(|interval| Some(interval.rate)).collect::<Vec<_>>();
    let ratio = ratio(&rates(&of_batched), &rates(&of_single));
    let report = Report { machine, callers: args.callers, batched: of_batched, single: of_single, ratio };
    print!("{}", table(&report));
    match &args.json {
        Some(file) => write(file, &serde_json::to_string_pretty(&report)?),
        None => Ok(()),
    }
}

/// A control plane and a session with it.
struct Side {
    wire: Arc<Wire>,
    groups: Groups,
    http: std::net::SocketAddr,
}

impl Side {
    async fn open(stack: &mut Stack, options: &ControlOptions) -> Result<Self> {
        let index = stack.add_control_plane(options).await?;
        let plane = stack.control_planes.get(index).context("the control plane")?;
        let wire = Wire::open(plane.grpc, TOKEN, BUCKET).await?;
        let postgres = stack.postgres.pid().into_iter().collect();
        let groups = Groups { control: vec![plane.pid()], postgres, ..Groups::default() };
        Ok(Self { wire: Arc::new(wire), groups, http: plane.http })
    }

    async fn interval(&self, args: &CommitsArgs, epoch: u64) -> Result<Interval> {
        // A second for prepared statements and warm caches.
        self.load(args.callers, Keys::new("warm", 1, epoch), Duration::from_secs(1), || ()).await?;
        let lanes_before = lanes::read(&[self.http]).await?;
        let cpu_before = self.groups.cpu();
        let duration = Duration::from_secs_f64(args.seconds);
        let loaded =
            self.load(args.callers, Keys::new("k", 1, epoch), duration, || self.groups.cpu()).await?;
        let lanes = lanes::since(&lanes::read(&[self.http]).await?, &lanes_before);
        let objects = float(loaded.counted.max(1));
        Ok(Interval {
            rate: objects / loaded.seconds,
            latency: loaded.latency,
            cpu: loaded.at_end.since(&cpu_before, |seconds| seconds * 1e6 / objects),
            lanes,
            objects: loaded.counted,
        })
    }

    /// Begin and Commit over and over by `callers` at a time. `at_end` is called when the time is over,
    /// before the calls under way have ended.
    async fn load<T>(
        &self,
        callers: usize,
        keys: Keys,
        duration: Duration,
        at_end: impl FnOnce() -> T,
    ) -> Result<Loaded<T>> {
        let (stop, done, next) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let began = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..callers {
            let (wire, stop, done, next, keys) =
                (self.wire.clone(), stop.clone(), done.clone(), next.clone(), keys.clone());
            workers.spawn(async move {
                let mut latency = histogram();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    wire.write(&keys.key(next.fetch_add(1, Ordering::Relaxed))).await?;
                    latency.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    done.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(latency)
            });
        }
        tokio::time::sleep(duration).await;
        let (counted, seconds, at_end) =
            (done.load(Ordering::Relaxed), began.elapsed().as_secs_f64(), at_end());
        stop.store(true, Ordering::Relaxed);
        let mut latency = histogram();
        while let Some(worker) = workers.join_next().await {
            latency.add(worker??)?;
        }
        ensure!(counted > 0, "nothing was committed");
        Ok(Loaded { counted, seconds, latency: Percentiles::of(&latency), at_end })
    }
}

struct Loaded<T> {
    counted: u64,
    seconds: f64,
    latency: Option<Percentiles>,
    at_end: T,
}

fn table(report: &Report) -> String {
    let head = [
        "side",
        "commits/s",
        "min-max",
        "p50 ms",
        "p99",
        "CPU µs: loader",
        "control",
        "postgres",
        "tx/object",
        "mean batches",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, found) in [("batched", &report.batched), ("one transaction per step", &report.single)] {
        let of = |figure: &dyn Fn(&Interval) -> f64| {
            spread(found.iter().map(figure)).map_or(0.0, |spread| spread.median)
        };
        let rates = spread(found.iter().map(|interval| interval.rate));
        let range = rates.map_or(String::new(), |rates| format!("{:.0}-{:.0}", rates.min, rates.max));
        let latency = |pick: fn(Percentiles) -> f64| {
            spread(found.iter().filter_map(|i| i.latency.map(pick)))
                .map_or(0.0, |spread| spread.median / 1000.0)
        };
        let transactions = of(&|i| float(lanes::total(&i.lanes).transactions) / float(i.objects.max(1)));
        rows.push(vec![
            name.to_owned(),
            format!("{:.0}", of(&|i| i.rate)),
            range,
            format!("{:.2}", latency(|p| p.p50)),
            format!("{:.2}", latency(|p| p.p99)),
            format!("{:.0}", of(&|i| i.cpu.loader)),
            format!("{:.0}", of(&|i| i.cpu.control)),
            format!("{:.0}", of(&|i| i.cpu.postgres)),
            format!("{transactions:.3}"),
            batches(found.last()),
        ]);
    }
    let ratio =
        report.ratio.map_or(String::new(), |r| format!("{:.2} ({:.2}-{:.2})", r.median, r.min, r.max));
    format!(
        "{} callers; batched against one transaction per step: {ratio}\n\n{}",
        report.callers,
        align(&rows, 1)
    )
}

/// Mean batch of the Begin lane and of the commit lanes.
fn batches(interval: Option<&Interval>) -> String {
    let Some(interval) = interval else { return String::new() };
    let mean = |prefix: &str| {
        let lanes: Lanes = interval
            .lanes
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(n, l)| (n.clone(), *l))
            .collect();
        lanes::total(&lanes).batch().unwrap_or_default()
    };
    format!("begin {:.1}, commit {:.1}", mean("begin"), mean("commit"))
}
