//! The tables of `s3o-bench multipart`.
//!
//! Invariant: ratios and differences compare what was measured in the same round, as everywhere.

use std::fmt::Write as _;

use super::{Leg, Report, Round, Row};
use crate::procs::{Cpu, Memory};
use crate::report::align;
use crate::stats::{Spread, difference, ratio, spread};

const SPEED: [&str; 12] = [
    "target",
    "upload MB/s",
    "min-max",
    "to nginx",
    "to direct",
    "GET MB/s",
    "min-max",
    "to nginx",
    "to direct",
    "Complete ms p50",
    "min-max",
    "beyond direct ms",
];

const COST: [&str; 10] = [
    "target",
    "large",
    "CPU s: loader",
    "front",
    "control",
    "postgres",
    "backend",
    "MiB: front",
    "control",
    "postgres",
];

/// A figure of a round.
type Figure = fn(&Round) -> Option<f64>;

const UPLOAD: Figure = |round| round.upload.map(|leg| leg.mb_per_second);
const READ: Figure = |round| round.read.map(|leg| leg.mb_per_second);
const COMPLETE: Figure = |round| round.complete_ms;

impl Row {
    /// In the order of rounds.
    fn figures(&self, figure: impl Fn(&Round) -> Option<f64>) -> Vec<Option<f64>> {
        self.rounds.iter().map(figure).collect()
    }

    fn over(&self, figure: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(figure))
    }
}

/// Everything.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let machine = &report.machine;
    let _ = writeln!(
        out,
        "{} · commit {} · {} cores ({}) · load before: {}",
        machine.date, machine.commit, machine.cores, machine.cpu, machine.load
    );
    let _ = writeln!(
        out,
        "{} bytes in parts of {}, {} at a time; Complete of {} parts of {} bytes; payload {}; medians over {} rounds\n",
        report.size,
        report.part_size,
        report.connections,
        report.parts,
        report.small_part,
        report.payload.name(),
        report.rows.iter().map(|row| row.rounds.len()).max().unwrap_or_default()
    );
    let mut speed = vec![SPEED.map(str::to_owned).to_vec()];
    speed.extend(report.rows.iter().map(|row| speed_cells(report, row)));
    let mut cost = vec![COST.map(str::to_owned).to_vec()];
    for row in &report.rows {
        cost.push(cost_cells(row, "upload", |round| round.upload));
        cost.push(cost_cells(row, "GET", |round| round.read));
    }
    let _ = writeln!(out, "{}\n{}", align(&speed, 1), align(&cost, 2));
    for row in &report.rows {
        for text in row.rounds.iter().flat_map(|round| &round.failed.first) {
            let _ = writeln!(out, "FAILED {}: {text}", row.target);
        }
    }
    out
}

fn speed_cells(report: &Report, row: &Row) -> Vec<String> {
    let other = |name: &str| report.rows.iter().find(|other| other.target == name);
    let mut cells = vec![row.target.clone()];
    for figure in [UPLOAD, READ] {
        cells.extend(median_and_range(row.over(figure), 0));
        for name in ["nginx", "direct"] {
            let to = other(name).and_then(|other| ratio(&row.figures(figure), &other.figures(figure)));
            cells.push(with_range(to, 3));
        }
    }
    cells.extend(median_and_range(row.over(COMPLETE), 2));
    let beyond = other("direct").filter(|direct| direct.target != row.target);
    let beyond = beyond.and_then(|direct| difference(&row.figures(COMPLETE), &direct.figures(COMPLETE)));
    cells.push(with_range(beyond, 2));
    cells
}

fn cost_cells(row: &Row, name: &str, leg: impl Fn(&Round) -> Option<Leg>) -> Vec<String> {
    let mut cells = vec![row.target.clone(), name.to_owned()];
    let roles: [fn(Cpu) -> f64; 5] =
        [|c| c.loader, |c| c.front, |c| c.control, |c| c.postgres, |c| c.backend];
    for role in roles {
        cells.push(shown(row.over(|round| leg(round).map(|leg| role(leg.cpu))).map(|cpu| cpu.median), 2));
    }
    let roles: [fn(Memory) -> f64; 3] = [|m| m.front, |m| m.control, |m| m.postgres];
    for role in roles {
        // The greatest of all rounds: it is a peak.
        cells.push(shown(row.over(|round| leg(round).map(|leg| role(leg.memory))).map(|peak| peak.max), 1));
    }
    cells
}

fn median_and_range(spread: Option<Spread>, digits: usize) -> [String; 2] {
    spread.map_or(["-".to_owned(), "-".to_owned()], |Spread { median, min, max }| {
        [format!("{median:.digits$}"), format!("{min:.digits$}-{max:.digits$}")]
    })
}

fn with_range(spread: Option<Spread>, digits: usize) -> String {
    let [median, range] = median_and_range(spread, digits);
    if spread.is_some() { format!("{median} ({range})") } else { median }
}

/// What is nobody's is left empty.
fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.filter(|figure| *figure > 0.0).map_or("-".to_owned(), |figure| format!("{figure:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Failed, Payload};
    use crate::machine::Machine;

    fn row(target: &str, rounds: &[(f64, f64)]) -> Row {
        let leg = |mb_per_second| Leg {
            seconds: 1.0,
            mb_per_second,
            cpu: Cpu { front: 1.5, ..Cpu::default() },
            memory: Memory::default(),
        };
        let round = |(rate, complete_ms): &(f64, f64)| Round {
            upload: Some(leg(*rate)),
            read: None,
            complete_ms: Some(*complete_ms),
            failed: Failed::default(),
        };
        Row { target: target.to_owned(), rounds: rounds.iter().map(round).collect() }
    }

    #[test]
    fn differences_and_ratios_are_those_of_a_round() {
        let mut ours = row("ours", &[(500.0, 12.0), (250.0, 23.0), (500.0, 13.0)]);
        ours.rounds[1].failed = Failed { count: 1, first: vec!["large: no".to_owned()] };
        let rows = vec![row("direct", &[(1000.0, 2.0), (500.0, 12.0), (1000.0, 2.0)]), ours];
        let report = Report {
            machine: Machine::default(),
            size: 100,
            part_size: 10,
            connections: 8,
            parts: 1000,
            small_part: 5120,
            payload: Payload::Unsigned,
            rows,
        };
        let cells = speed_cells(&report, &report.rows[1]);
        assert_eq!(cells[..5], ["ours", "500", "250-500", "-", "0.500 (0.500-0.500)"]);
        assert_eq!(cells[5..9], ["-", "-", "-", "-"], "no GET was measured");
        assert_eq!(cells[9..], ["13.00", "12.00-23.00", "11.00 (10.00-11.00)"]);
        assert_eq!(speed_cells(&report, &report.rows[0]).last().map(String::as_str), Some("-"));
        assert_eq!(cells.len(), SPEED.len());
        let cost = cost_cells(&report.rows[1], "upload", |round| round.upload);
        assert_eq!((cost.len(), cost[3].as_str(), cost[4].as_str()), (COST.len(), "1.50", "-"));
        assert!(render(&report).contains("FAILED ours: large: no"));
    }
}
