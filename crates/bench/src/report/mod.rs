//! What a run found, and its three forms: a table, JSON, a plot.
//!
//! Invariant: JSON has every interval; table and plot are made from it, so a stored run can be shown again.

mod markdown;
mod svg;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::load::Payload;
use crate::machine::Machine;
use crate::measure::{Interval, Settings};
use crate::procs::Memory;
use crate::stats::{Spread, ratio, spread};

pub(crate) use markdown::align;

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    /// Memory before any load.
    pub(crate) idle: Vec<Idle>,
    pub(crate) rows: Vec<Row>,
    /// What PostgreSQL counted over the whole run.
    pub(crate) postgres: Option<PostgresTotals>,
}

/// Memory of a target's processes before any load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) target: String,
    pub(crate) memory: Memory,
}

/// A cross-check: transactions by PostgreSQL's own count, beside what control planes say of their lanes.
/// The difference is what is no lane's: leases, workers, configuration.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct PostgresTotals {
    pub(crate) commits: i64,
    pub(crate) rollbacks: i64,
    pub(crate) lane_transactions: u64,
    /// Rows of `objects` at the end.
    pub(crate) objects: i64,
}

/// A scenario at one concurrency on one target, in all rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) concurrency: usize,
    pub(crate) target: String,
    pub(crate) payload: Payload,
    /// Shown as bytes a second.
    pub(crate) counts_bytes: bool,
    pub(crate) rounds: Vec<Interval>,
}

impl Row {
    /// The spread of one figure over the rounds.
    pub(crate) fn over_rounds(&self, figure: impl Fn(&Interval) -> Option<f64>) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(figure))
    }

    pub(crate) fn failed(&self) -> u64 {
        self.rounds.iter().map(|round| round.failed.count).sum()
    }

    /// The ratio of rates to another row, formed within each round.
    pub(crate) fn rate_to(&self, other: &Self) -> Option<Spread> {
        let rates = |row: &Self| row.rounds.iter().map(|round| Some(round.rate)).collect::<Vec<_>>();
        ratio(&rates(self), &rates(other))
    }
}

impl Report {
    /// The row of another target that did the same.
    pub(crate) fn same_of(&self, row: &Row, target: &str) -> Option<&Row> {
        self.rows.iter().find(|other| {
            other.target == target && other.scenario == row.scenario && other.concurrency == row.concurrency
        })
    }

    /// The row with which a row is compared in the same scenario: nginx's, where there is one, else direct.
    pub(crate) fn yardstick(&self, row: &Row) -> Option<&Row> {
        self.same_of(row, "nginx").or_else(|| self.same_of(row, "direct"))
    }

    /// Every answer that was not what it should have been.
    pub(crate) fn failures(&self) -> u64 {
        self.rows.iter().map(Row::failed).sum()
    }
}

/// Where a report goes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Output {
    /// Everything, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// A plot of the ratios to nginx.
    #[arg(long)]
    pub(crate) svg: Option<PathBuf>,
}

impl Output {
    /// Prints the table and writes the files. Fails, after that, when an answer was wrong.
    pub(crate) fn put(&self, report: &Report) -> Result<()> {
        print!("{}", table::render(report));
        if let Some(file) = &self.json {
            write(file, &serde_json::to_string_pretty(report)?)?;
        }
        if let Some(file) = &self.svg {
            write(file, &svg::render(report)?)?;
        }
        match report.failures() {
            0 => Ok(()),
            failures => bail!("{failures} answers were not as expected: see the rows marked FAILED"),
        }
    }
}

/// Writes a file of results.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// `s3o-bench render`.
#[derive(Debug, clap::Args)]
pub(crate) struct RenderArgs {
    /// What `run --json` wrote.
    report: PathBuf,
    /// A plot of the ratios to nginx.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// Shows a stored run again.
pub(crate) fn show(args: RenderArgs) -> Result<()> {
    let text = std::fs::read_to_string(&args.report)
        .with_context(|| format!("reading {}", args.report.display()))?;
    let report: Report = serde_json::from_str(&text).context("it is not the JSON of a run")?;
    Output { json: None, svg: args.svg }.put(&report)
}

#[cfg(test)]
mod tests;
