//! `s3o-bench multipart`: a large object in parts, Complete of many small ones, and the way back.
//!
//! In every round every target takes one large upload (bytes a second, CPU), gives it back in one GET, and
//! takes one upload of many small parts, of which only Complete is timed: beside the same Complete at the
//! null backend, which is the backend's own time. `plan.rs` says what is uploaded, `upload.rs` does it.
//!
//! Invariants: all targets get the same parts; what was uploaded is deleted before the next; the object of
//! small parts is compared byte by byte with what it should be, unless it is too large for that.

mod plan;
mod table;
mod upload;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::beside::BesideArgs;
use crate::load::{Failed, Payload, connect_all};
use crate::machine::Machine;
use crate::procs::{Cpu, Groups, Memory};
use crate::report::write;
use crate::stack::{ControlOptions, DataOptions, Stack};
use crate::stats::float;
use crate::target::Target;
use plan::Plan;
use upload::Client;

/// Of a larger object only the length is looked at: it would have to be in the loader's memory.
const MOST_COMPARED: usize = 256 << 20;

/// `s3o-bench multipart`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MultipartArgs {
    /// The large object: bytes, or with KiB, MiB or GiB behind the number.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: usize,
    /// Its parts.
    #[arg(long, default_value = "16MiB", value_parser = parse_size)]
    part_size: usize,
    /// Parts at a time, in both uploads.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Parts of the upload whose Complete is timed.
    #[arg(long, default_value_t = 1000)]
    parts: usize,
    /// How large these are. Ours is told to take them; a rival may want 5MiB.
    #[arg(long, default_value = "5KiB", value_parser = parse_size)]
    small_part: usize,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Everything, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    beside: BesideArgs,
}

/// `5KiB`.
fn parse_size(text: &str) -> Result<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: usize = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => bail!("`{unit}` is none of KiB, MiB and GiB"),
    };
    let number: usize = number.parse().with_context(|| format!("`{text}` does not begin with a number"))?;
    number.checked_mul(unit).with_context(|| format!("`{text}` is too large"))
}

/// A run.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    machine: Machine,
    size: usize,
    part_size: usize,
    connections: usize,
    parts: usize,
    small_part: usize,
    payload: Payload,
    rows: Vec<Row>,
}

/// A target in all rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    target: String,
    rounds: Vec<Round>,
}

/// What one round found at one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Round {
    /// The large upload, from Create to the end of Complete.
    upload: Option<Leg>,
    /// Its GET, on one connection.
    read: Option<Leg>,
    /// Complete of the many small parts.
    complete_ms: Option<f64>,
    failed: Failed,
}

/// The large object on its way.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Leg {
    seconds: f64,
    /// Of 10^6 bytes.
    mb_per_second: f64,
    /// Seconds.
    cpu: Cpu,
    memory: Memory,
}

/// What is uploaded in each round.
struct Work {
    large: Plan,
    small: Plan,
    connections: usize,
}

/// Starts everything, measures, reports.
pub(crate) async fn run(args: MultipartArgs) -> Result<()> {
    let machine = Machine::look();
    let small = args.parts.saturating_mul(args.small_part);
    let (payload, seed) = (args.beside.payload, args.beside.seed);
    let work = Work {
        large: Plan::new(args.size, args.part_size, payload, seed)?,
        small: Plan::new(small, args.small_part, payload, seed)?,
        connections: args.connections.max(1),
    };
    let rivals = args.beside.rivals()?;
    let mut stack = args.beside.start().await?;
    let mut targets = start_targets(&args, &mut stack).await?;
    targets.extend(rivals);
    let rows = rounds(&work, &targets, &stack, args.rounds).await?;
    let MultipartArgs { size, part_size, connections, parts, small_part, .. } = args;
    let report = Report { machine, size, part_size, connections, parts, small_part, payload, rows };
    print!("{}", table::render(&report));
    if let Some(file) = &args.json {
        write(file, &serde_json::to_string_pretty(&report)?)?;
    }
    let failures: u64 = report.rows.iter().flat_map(|row| &row.rounds).map(|round| round.failed.count).sum();
    match failures {
        0 => Ok(()),
        failures => bail!("{failures} uploads did not go as expected: see the lines marked FAILED"),
    }
}

async fn start_targets(args: &MultipartArgs, stack: &mut Stack) -> Result<Vec<Target>> {
    let mut targets = args.beside.plain(stack).await?;
    if !args.beside.no_ours {
        let control = stack.add_control_plane(&ControlOptions::default()).await?;
        let smallest = args.small_part.min(args.part_size) as u64;
        let options = DataOptions { min_part: Some(smallest) };
        targets.push(stack.add_data_planes("ours", 1, &[control], &options).await?);
    }
    Ok(targets)
}

/// Every target once in each, in an order that turns.
async fn rounds(work: &Work, targets: &[Target], stack: &Stack, count: usize) -> Result<Vec<Row>> {
    for target in targets {
        let mut client = Client::open(target).await?;
        for plan in [&work.large, &work.small] {
            client.warm_up(plan).await.with_context(|| format!("{}: warming up", target.name))?;
        }
    }
    let row = |target: &Target| Row { target: target.name.clone(), rounds: Vec::new() };
    let mut rows: Vec<Row> = targets.iter().map(row).collect();
    for round in 0..count {
        for turn in 0..targets.len() {
            let place = (turn + round) % targets.len();
            let found = measure(work, &targets[place], round).await;
            stack.check()?;
            tell(round, &targets[place].name, &found);
            rows[place].rounds.push(found);
        }
    }
    Ok(rows)
}

/// A round at one target. What fails is in it, and does not keep the rest from being measured.
async fn measure(work: &Work, target: &Target, number: usize) -> Round {
    let mut round = Round::default();
    let large = large(work, target, number, &mut round).await;
    let small = small(work, target, number, &mut round).await;
    for (what, ended) in [("large", large), ("small parts", small)] {
        if let Err(error) = ended {
            round.failed.add(Failed { count: 1, first: vec![format!("{what}: {error:#}")] });
        }
    }
    round
}

async fn large(work: &Work, target: &Target, number: usize, round: &mut Round) -> Result<()> {
    let (plan, key) = (&work.large, format!("multipart/large-{number}"));
    let mut client = Client::open(target).await?;
    let connections = connect_all(&target.addresses, work.connections, false).await?;
    let watch = Watch::start(&target.groups);
    let id = client.begin(&key, plan, connections).await?;
    client.complete(&key, &id, plan).await?;
    round.upload = Some(watch.stop(plan.size()));
    let watch = Watch::start(&target.groups);
    let read = client.read(&key, plan.size()).await;
    round.read = read.is_ok().then(|| watch.stop(plan.size()));
    client.delete(&key).await?;
    read
}

async fn small(work: &Work, target: &Target, number: usize, round: &mut Round) -> Result<()> {
    let (plan, key) = (&work.small, format!("multipart/small-{number}"));
    let mut client = Client::open(target).await?;
    let connections = connect_all(&target.addresses, work.connections, false).await?;
    let id = client.begin(&key, plan, connections).await?;
    let took = client.complete(&key, &id, plan).await?;
    round.complete_ms = Some(took.as_secs_f64() * 1000.0);
    let read = if plan.size() <= MOST_COMPARED {
        client.compare(&key, plan.content()).await
    } else {
        client.read(&key, plan.size()).await
    };
    client.delete(&key).await?;
    read
}

/// Time and CPU from one moment on.
struct Watch<'a> {
    groups: &'a Groups,
    cpu: Cpu,
    began: Instant,
}

impl<'a> Watch<'a> {
    fn start(groups: &'a Groups) -> Self {
        groups.reset_peaks();
        Self { groups, cpu: groups.cpu(), began: Instant::now() }
    }

    /// After `bytes`.
    fn stop(self, bytes: usize) -> Leg {
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu = self.groups.cpu().since(&self.cpu, |seconds| seconds);
        let mb_per_second = float(bytes as u64) / seconds.max(1e-9) / 1e6;
        Leg { seconds, mb_per_second, cpu, memory: self.groups.memory() }
    }
}

fn tell(round: usize, name: &str, found: &Round) {
    let failed =
        if found.failed.count > 0 { format!("  FAILED×{}", found.failed.count) } else { String::new() };
    let rate = |leg: Option<Leg>| leg.map_or(0.0, |leg| leg.mb_per_second);
    eprintln!(
        "round {}  {name:<12} upload {:>7.1} MB/s  GET {:>7.1} MB/s  Complete {:>7.2} ms{failed}",
        round + 1,
        rate(found.upload),
        rate(found.read),
        found.complete_ms.unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in [("7", 7), ("5KiB", 5120), ("16MiB", 16 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text).expect(text), wanted);
        }
        for text in ["", "KiB", "5 KiB", "5KB", "-1", "99999999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
