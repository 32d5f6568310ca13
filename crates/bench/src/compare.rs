//! `s3o-bench run`: targets side by side, in rounds.
//!
//! Invariant: in every round every target does everything once, in an order that turns from round to
//! round, so that no target always has the quiet moment.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::beside::BesideArgs;
use crate::lanes;
use crate::machine::Machine;
use crate::measure::{Interval, Meter, Settings};
use crate::report::{Idle, Output, PostgresTotals, Report, Row};
use crate::scenario::{self, Kind, Work};
use crate::stack::{AckLevel, ControlOptions, DataOptions, Stack, in_bucket};
use crate::target::Target;

/// What is measured when nobody says what: about ten minutes.
const SELECTION: [&str; 8] =
    ["put-4k@32", "get-4k@32", "put-4k@1", "get-4k@1", "head@32", "mixed-4k@32", "put-64m@8", "get-64m@8"];

/// The same for `--quick`: about two minutes.
const QUICK: [&str; 6] = ["put-4k@32", "get-4k@32", "put-4k@1", "get-4k@1", "put-64m@8", "get-64m@8"];

/// `s3o-bench run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// Scenarios: names or globs, `@N` for N connections: `put-4k@32,get-*`. `*` is all of them.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<String>,
    /// Connections of scenarios without `@N`.
    #[arg(long, value_delimiter = ',')]
    concurrency: Vec<usize>,
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Rounds [default: 5; quick: 2].
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of an interval [default: 3; quick: 1].
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before it.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Latency is measured at this share of a target's own rate; 0: not at all.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    /// Compare the content of what is read.
    #[arg(long)]
    verify: bool,
    /// Data planes; several numbers make a target of each.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    data_planes: Vec<usize>,
    /// Control planes; several numbers make a target of each.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    control_planes: Vec<usize>,
    /// Also buckets of three copies with these ack levels, a target of each: what PUT costs there.
    #[arg(long, value_delimiter = ',', value_enum)]
    ack: Vec<AckLevel>,
    #[command(flatten)]
    beside: BesideArgs,
    #[command(flatten)]
    output: Output,
}

impl RunArgs {
    fn settings(&self) -> Settings {
        let (rounds, seconds) = if self.quick { (2, 1.0) } else { (5, 3.0) };
        Settings {
            seed: self.beside.seed,
            payload: self.beside.payload,
            interval: Duration::from_secs_f64(self.seconds.unwrap_or(seconds)),
            warm_up: Duration::from_secs_f64(self.warm_up),
            rounds: self.rounds.unwrap_or(rounds),
            share: self.share,
            verify: self.verify,
        }
    }

    fn works(&self) -> Result<Vec<Work>> {
        let default: &[&str] = if self.quick { &QUICK } else { &SELECTION };
        let default: Vec<String> = default.iter().map(|text| (*text).to_owned()).collect();
        scenario::select(if self.scenario.is_empty() { &default } else { &self.scenario }, &self.concurrency)
    }
}

/// Starts everything, measures, reports. What was started ends with it, also when it is dropped.
pub(crate) async fn run(args: RunArgs) -> Result<()> {
    let (works, machine) = (args.works()?, Machine::look());
    let rivals = args.beside.rivals()?;
    let mut stack = args.beside.start().await?;
    let mut targets = start_targets(&args, &mut stack).await?;
    targets.extend(rivals);
    let idle = idle(&targets).await;
    let settings = args.settings();
    let mut meter = Meter::new(settings.clone(), &stack);
    fill(&mut meter, &works, &targets).await?;
    let before = totals(&stack, &targets).await?;
    let rows = rounds(&mut meter, &works, &targets, settings.rounds).await?;
    let postgres = difference(before, totals(&stack, &targets).await?);
    args.output.put(&Report { machine, settings, idle, rows, postgres })
}

async fn start_targets(args: &RunArgs, stack: &mut Stack) -> Result<Vec<Target>> {
    let mut targets = args.beside.plain(stack).await?;
    if args.beside.no_ours {
        return Ok(targets);
    }
    let most = |counts: &[usize]| counts.iter().copied().max().unwrap_or(1).max(1);
    let mut control = Vec::new();
    for _ in 0..most(&args.control_planes) {
        let options = ControlOptions { acks: args.ack.clone(), ..ControlOptions::default() };
        control.push(stack.add_control_plane(&options).await?);
    }
    let is_scale = args.control_planes.len() * args.data_planes.len() > 1;
    for controls in &args.control_planes {
        let name = format!("ours-{controls}cp");
        let chosen = control.get(..(*controls).max(1)).context("control planes")?;
        let whole =
            stack.add_data_planes(&name, most(&args.data_planes), chosen, &DataOptions::default()).await?;
        for planes in &args.data_planes {
            let name = if is_scale { format!("ours-{planes}dp-{controls}cp") } else { "ours".to_owned() };
            let part = stack.part(&whole, &name, (*planes).max(1));
            let acks = args
                .ack
                .iter()
                .map(|ack| in_bucket(&part, &format!("{name}-{}", ack.as_str()), ack.bucket()));
            targets.extend(acks.collect::<Vec<_>>());
            targets.push(part);
        }
    }
    Ok(targets)
}

/// After two seconds of nothing.
async fn idle(targets: &[Target]) -> Vec<Idle> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    targets.iter().for_each(|target| target.groups.reset_peaks());
    let of = |target: &Target| Idle { target: target.name.clone(), memory: target.groups.memory() };
    targets.iter().filter(|target| !target.groups.front.is_empty()).map(of).collect()
}

/// Makes what is read, once for each target and size.
async fn fill(meter: &mut Meter<'_>, works: &[Work], targets: &[Target]) -> Result<()> {
    let mut done = Vec::new();
    for work in works {
        let scenario = &work.scenario;
        let reads = matches!(scenario.kind, Kind::Get | Kind::Mixed | Kind::Head | Kind::List);
        for target in targets.iter().filter(|_| reads) {
            if !done.contains(&(scenario.size, target.bucket.clone(), target.host.clone())) {
                // Several targets of ours share one bucket: only the first fills it.
                let shared = done.iter().any(|(size, bucket, _)| {
                    *size == scenario.size && *bucket == target.bucket && target.name.starts_with("ours")
                });
                if !shared {
                    eprintln!("filling {}: objects of {} bytes", target.name, scenario.size);
                    meter.fill(scenario, target).await?;
                }
                done.push((scenario.size, target.bucket.clone(), target.host.clone()));
            }
            if scenario.kind == Kind::List {
                meter.check_list(target).await?;
            }
        }
    }
    Ok(())
}

async fn rounds(meter: &mut Meter<'_>, works: &[Work], targets: &[Target], count: usize) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for work in works {
        rows.extend(targets.iter().map(|target| Row {
            scenario: work.scenario.name.clone(),
            concurrency: work.concurrency,
            target: target.name.clone(),
            payload: meter.settings().payload,
            counts_bytes: work.scenario.counts_bytes(),
            rounds: Vec::new(),
        }));
    }
    for round in 0..count {
        for (index, work) in works.iter().enumerate() {
            for turn in 0..targets.len() {
                let place = (turn + round) % targets.len();
                let target = &targets[place];
                let name = format!("{} @{} {}", work.scenario.name, work.concurrency, target.name);
                let found = match meter.interval(work, target).await {
                    Ok(found) => found,
                    // One target that is gone does not take the others' figures with it.
                    Err(error) => {
                        meter.check().with_context(|| name.clone())?;
                        Interval::failed(format!("{error:#}"))
                    }
                };
                tell(round, &name, &found);
                rows[index * targets.len() + place].rounds.push(found);
            }
        }
    }
    Ok(rows)
}

fn tell(round: usize, name: &str, found: &Interval) {
    let failed =
        if found.failed.count > 0 { format!("  FAILED×{}", found.failed.count) } else { String::new() };
    let p99 = found.latency().map_or(0.0, |latency| latency.p99 / 1000.0);
    eprintln!("round {}  {name:<32} {:>10.1}/s  p99 {p99:.2} ms{failed}", round + 1, found.rate);
}

/// PostgreSQL's counters and ours, of now.
async fn totals(stack: &Stack, targets: &[Target]) -> Result<PostgresTotals> {
    // A backend of PostgreSQL reports its counters a second after its last statement.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let sql = stack.sql().await?;
    let counters = "SELECT sum(xact_commit)::int8, sum(xact_rollback)::int8 FROM pg_stat_database";
    let row = sql.query_one(counters, &[]).await?;
    let mut listeners: Vec<_> = targets.iter().flat_map(|target| target.metrics.iter().copied()).collect();
    listeners.sort_unstable();
    listeners.dedup();
    let lane_transactions = lanes::total(&lanes::read(&listeners).await?).transactions;
    let objects = if listeners.is_empty() {
        0
    } else {
        sql.query_one("SELECT count(*) FROM objects", &[]).await?.get(0)
    };
    Ok(PostgresTotals { commits: row.get(0), rollbacks: row.get(1), lane_transactions, objects })
}

fn difference(before: PostgresTotals, after: PostgresTotals) -> Option<PostgresTotals> {
    (after.lane_transactions > 0).then(|| PostgresTotals {
        commits: after.commits - before.commits,
        rollbacks: after.rollbacks - before.rollbacks,
        lane_transactions: after.lane_transactions - before.lane_transactions,
        objects: after.objects,
    })
}
