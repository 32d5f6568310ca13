//! Table, JSON and plot of a small made-up run.

use std::time::Duration;

use super::*;
use crate::load::Failed;
use crate::stats::Percentiles;

fn row(target: &str, rates: &[f64]) -> Row {
    let latency = Percentiles { p50: 1500.0, p95: 2000.0, p99: 3000.0, p999: 4000.0, max: 5000.0, count: 10 };
    let rounds = rates.iter().map(|rate| Interval {
        rate: *rate,
        requests: 100,
        open_latency: Some(latency),
        ..Interval::default()
    });
    Row {
        scenario: "get-4k".into(),
        concurrency: 32,
        target: target.into(),
        payload: Payload::Unsigned,
        counts_bytes: false,
        rounds: rounds.collect(),
    }
}

fn report() -> Report {
    let settings = Settings {
        seed: 1,
        payload: Payload::Unsigned,
        interval: Duration::from_secs(3),
        warm_up: Duration::from_millis(500),
        rounds: 3,
        share: 0.5,
        verify: false,
    };
    let mut ours = row("ours", &[3000.0, 5000.0, 4000.0]);
    ours.rounds[1].failed = Failed { count: 2, first: vec!["status 503 in place of 200".into()] };
    ours.rounds[0].lanes.insert(
        "locate".into(),
        crate::lanes::Lane { batches: 5, items: 100, transactions: 5, round_trips: 5 },
    );
    ours.rounds[0].backend_cores = 0.5;
    let rows = vec![row("direct", &[40_000.0; 3]), row("nginx", &[10_000.0, 10_000.0, 8000.0]), ours];
    Report { machine: Machine::default(), settings, idle: vec![], rows, postgres: None }
}

#[test]
fn the_table_has_medians_ratios_and_failures() {
    let text = table::render(&report());
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("| ours")).collect();
    for (row, cell) in [
        (0, "4000 /s FAILED×2"),
        (0, "3000-5000"),
        (0, "0.500 (0.300-0.500)"),
        (0, "1.50"),
        (1, "20.00 |   0.05 |      0.05 |"),
    ] {
        assert!(rows[row].contains(cell), "`{cell}` in {}", rows[row]);
    }
    assert!(text.contains("FAILED get-4k @32 ours: status 503 in place of 200"));
    let lines: Vec<usize> =
        text.lines().filter(|line| line.starts_with('|')).map(|line| line.chars().count()).collect();
    let (speed, cost) = lines.split_at(5);
    for table in [speed, cost] {
        assert!(table.len() == 5 && table.iter().all(|width| *width == table[0]), "{lines:?}");
    }
}

#[test]
fn the_limit_is_pointed_out() {
    let mut near = report();
    near.rows[2] = row("ours", &[30_000.0; 3]);
    assert!(table::render(&near).contains("get-4k @32 ours: near the backend's limit"));
    assert!(!table::render(&report()).contains("get-4k @32 ours: near the backend's limit"));
}

#[test]
fn json_comes_back_as_it_was() {
    let text = serde_json::to_string(&report()).expect("JSON");
    let back: Report = serde_json::from_str(&text).expect("a report");
    assert_eq!(table::render(&back), table::render(&report()));
    assert_eq!(back.rows[2].rounds, report().rows[2].rounds);
}

#[test]
fn the_plot_has_a_bar_for_each_target_but_direct() {
    let text = svg::render(&report()).expect("a plot");
    assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    for part in ["get-4k @32", "ours", "nginx", "0.500 FAILED"] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains(">\ndirect"));
}
