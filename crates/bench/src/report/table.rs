//! The table on standard output, with what a reader has to know about it.

use std::fmt::Write as _;

use super::{Report, Row, align};
use crate::lanes;
use crate::procs::{Cpu, Memory};
use crate::stats::{self, Percentiles, Spread, float};

/// The backend takes this much of a core: what is measured may be the backend.
const BUSY_BACKEND: f64 = 0.4;

/// The backend alone is less than this many times as fast as what is in front of it.
const NEAR_LIMIT: f64 = 1.5;

/// Other programs took this much of a core.
const DISTURBED: f64 = 0.2;

const SPEED: [&str; 11] = [
    "scenario",
    "conns",
    "target",
    "rate",
    "min-max",
    "to nginx",
    "to direct",
    "p50 ms",
    "p95",
    "p99",
    "p99.9",
];

const COST: [&str; 15] = [
    "scenario",
    "conns",
    "target",
    "CPU µs: loader",
    "front",
    "control",
    "postgres",
    "backend",
    "MiB: front",
    "control",
    "postgres",
    "calls/batch",
    "tx/req",
    "trips/req",
    "backend req",
];

/// Text columns.
const TEXT: usize = 3;

/// Everything.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let (machine, settings) = (&report.machine, &report.settings);
    let _ = writeln!(
        out,
        "{} · commit {} · {} cores ({}) · Linux {} · {} · {} · load before: {}",
        machine.date,
        machine.commit,
        machine.cores,
        machine.cpu,
        machine.kernel,
        machine.postgres,
        machine.nginx,
        machine.load
    );
    let _ = writeln!(
        out,
        "{} rounds of {:?}, medians; payload {}; latency at {:.0} % of the target's own rate (1 connection: closed loop)\n",
        settings.rounds,
        settings.interval,
        settings.payload.name(),
        settings.share * 100.0
    );
    let mut speed = vec![SPEED.map(str::to_owned).to_vec()];
    speed.extend(report.rows.iter().map(|row| speed_cells(report, row)));
    let mut cost = vec![COST.map(str::to_owned).to_vec()];
    cost.extend(report.rows.iter().map(cost_cells));
    let _ = writeln!(out, "{}\n{}", align(&speed, TEXT), align(&cost, TEXT));
    notes(report, &mut out);
    out
}

fn name_cells(row: &Row) -> Vec<String> {
    vec![row.scenario.clone(), row.concurrency.to_string(), row.target.clone()]
}

fn speed_cells(report: &Report, row: &Row) -> Vec<String> {
    let unit = if row.counts_bytes { "MB/s" } else { "/s" };
    let rate = row.over_rounds(|round| Some(if row.counts_bytes { round.mb_per_second } else { round.rate }));
    let mut cells = name_cells(row);
    let failed = row.failed();
    let mark = if failed > 0 { format!(" FAILED×{failed}") } else { String::new() };
    cells.push(rate.map_or("-".to_owned(), |rate| format!("{} {unit}{mark}", figure(rate.median))));
    cells.push(rate.map_or("-".to_owned(), |rate| format!("{}-{}", figure(rate.min), figure(rate.max))));
    for other in ["nginx", "direct"] {
        let ratio = report.same_of(row, other).and_then(|other| row.rate_to(other));
        cells.push(ratio.map_or("-".to_owned(), ratio_text));
    }
    let percentiles: [fn(Percentiles) -> f64; 4] = [|p| p.p50, |p| p.p95, |p| p.p99, |p| p.p999];
    for percentile in percentiles {
        let value = row.over_rounds(|round| round.latency().map(percentile));
        cells.push(value.map_or("-".to_owned(), |micros| figure(micros.median / 1000.0)));
    }
    cells
}

/// Per request; memory in all.
fn cost_cells(row: &Row) -> Vec<String> {
    let mut cells = name_cells(row);
    let roles: [fn(Cpu) -> f64; 5] =
        [|c| c.loader, |c| c.front, |c| c.control, |c| c.postgres, |c| c.backend];
    for role in roles {
        cells.push(shown(row.over_rounds(|round| Some(role(round.cpu)))));
    }
    let roles: [fn(Memory) -> f64; 3] = [|m| m.front, |m| m.control, |m| m.postgres];
    for role in roles {
        // The greatest of all rounds: it is a peak.
        cells.push(shown(
            row.over_rounds(|round| Some(role(round.memory))).map(|s| Spread { median: s.max, ..s }),
        ));
    }
    cells.extend(database(row));
    cells
}

/// Calls in a batch; transactions, round trips and requests to the backend for each request.
fn database(row: &Row) -> [String; 4] {
    let of_lanes = |figure: &dyn Fn(lanes::Lane, f64) -> Option<f64>| {
        let with_lanes = row.rounds.iter().filter(|round| !round.lanes.is_empty());
        let figures =
            with_lanes.filter_map(|round| figure(lanes::total(&round.lanes), float(round.requests.max(1))));
        stats::spread(figures)
    };
    let text =
        |spread: Option<Spread>| spread.map_or("-".to_owned(), |spread| format!("{:.2}", spread.median));
    [
        text(of_lanes(&|lane, _| lane.batch())),
        text(of_lanes(&|lane, requests| Some(float(lane.transactions) / requests))),
        text(of_lanes(&|lane, requests| Some(float(lane.round_trips) / requests))),
        text(row.over_rounds(|round| round.backend_requests)),
    ]
}

/// What is nobody's is left empty.
fn shown(spread: Option<Spread>) -> String {
    spread.filter(|spread| spread.max > 0.0).map_or("-".to_owned(), |spread| figure(spread.median))
}

fn ratio_text(ratio: Spread) -> String {
    format!("{:.3} ({:.3}-{:.3})", ratio.median, ratio.min, ratio.max)
}

/// Three digits, more where there are more before the point.
fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn notes(report: &Report, out: &mut String) {
    for row in &report.rows {
        let name = format!("{} @{} {}", row.scenario, row.concurrency, row.target);
        for text in row.rounds.iter().flat_map(|round| &round.failed.first).take(3) {
            let _ = writeln!(out, "FAILED {name}: {text}");
        }
        if row.target == "direct" {
            continue;
        }
        let limit =
            report.same_of(row, "direct").and_then(|direct| direct.rate_to(row)).map(|ratio| ratio.median);
        let backend = row.over_rounds(|round| Some(round.backend_cores)).map_or(0.0, |cores| cores.median);
        if backend >= BUSY_BACKEND || limit.is_some_and(|limit| limit < NEAR_LIMIT) {
            let limit = limit.map_or(String::new(), |limit| format!(", direct is {limit:.2} times as fast"));
            let _ = writeln!(out, "{name}: near the backend's limit: it takes {backend:.2} cores{limit}");
        }
    }
    let disturbed =
        report.rows.iter().flat_map(|row| &row.rounds).filter(|round| round.other_cores > DISTURBED);
    let (disturbed, all) = (disturbed.count(), report.rows.iter().map(|row| row.rounds.len()).sum::<usize>());
    if disturbed > 0 {
        let _ = writeln!(
            out,
            "In {disturbed} of {all} intervals other programs took more than {DISTURBED} cores: ratios hold better than figures."
        );
    }
    for idle in &report.idle {
        let Memory { front, control, postgres, .. } = idle.memory;
        let _ = writeln!(
            out,
            "{} idle: front {front:.1} MiB, control planes {control:.1} MiB, PostgreSQL {postgres:.1} MiB",
            idle.target
        );
    }
    if let Some(totals) = &report.postgres {
        let _ = writeln!(
            out,
            "PostgreSQL counted {} commits and {} rollbacks; the control planes' lanes {} transactions; {} objects at the end.",
            totals.commits, totals.rollbacks, totals.lane_transactions, totals.objects
        );
    }
}
