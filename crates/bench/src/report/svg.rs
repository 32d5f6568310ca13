//! The plot: for each scenario a bar a target, as long as its rate's ratio to nginx, with the range over
//! the rounds. SVG text only: no fonts are needed to make it.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Report, Row};
use crate::stats::Spread;

const WIDTH: u32 = 1000;
const LEFT: i32 = 260;
const RIGHT: i32 = 90;
const TOP: i32 = 70;
/// Height of a bar with its gap.
const BAR: i32 = 18;
/// Above the bars of a scenario.
const GAP: i32 = 12;
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
];

struct Bar<'a> {
    row: &'a Row,
    ratio: Spread,
}

/// Bars by scenario and concurrency, in the report's order.
fn bars(report: &Report) -> Vec<(String, Vec<Bar<'_>>)> {
    let mut groups: Vec<(String, Vec<Bar<'_>>)> = Vec::new();
    for row in &report.rows {
        let Some(yardstick) = report.yardstick(row) else { continue };
        if row.target == "direct" && yardstick.target != "direct" {
            continue;
        }
        let Some(ratio) = row.rate_to(yardstick) else { continue };
        let name = format!("{} @{}", row.scenario, row.concurrency);
        match groups.iter_mut().find(|(found, _)| *found == name) {
            Some((_, bars)) => bars.push(Bar { row, ratio }),
            None => groups.push((name, vec![Bar { row, ratio }])),
        }
    }
    groups
}

/// The drawing.
pub(super) fn render(report: &Report) -> Result<String> {
    let groups = bars(report);
    let count: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let height = TOP + i32::try_from(count)? * BAR + i32::try_from(groups.len())? * GAP + 30;
    let longest = groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.ratio.max).fold(1.0, f64::max);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, u32::try_from(height)?)).into_drawing_area();
        draw(&root, report, &groups, longest, height).map_err(|error| anyhow!("drawing: {error}"))?;
        root.present().map_err(|error| anyhow!("drawing: {error}"))?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(
    root: &Area<'_>,
    report: &Report,
    groups: &[(String, Vec<Bar<'_>>)],
    longest: f64,
    height: i32,
) -> Drawn {
    root.fill(&WHITE)?;
    let title = format!(
        "Rate by nginx = 1 · {} cores · {} · {}",
        report.machine.cores, report.machine.commit, report.machine.date
    );
    write(root, &title, (LEFT, 14), 15, HPos::Left)?;
    let note =
        format!("medians of {} rounds, lines: least and greatest ratio of a round", report.settings.rounds);
    write(root, &note, (LEFT, 34), 11, HPos::Left)?;
    let room = f64::from(WIDTH) - f64::from(LEFT + RIGHT);
    let x = |ratio: f64| LEFT + pixels(ratio / longest * room);
    root.draw(&PathElement::new(vec![(x(1.0), TOP - 10), (x(1.0), height - 20)], BLACK.mix(0.4)))?;
    let mut targets: Vec<&str> =
        groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.row.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let mut y = TOP;
    for (name, bars) in groups {
        write(root, name, (8, y + BAR / 2), 13, HPos::Left)?;
        for bar in bars {
            let place = targets.iter().position(|target| *target == bar.row.target).unwrap_or(0);
            let colour = COLOURS[place % COLOURS.len()];
            let (end, middle) = (x(bar.ratio.median), y + BAR / 2);
            root.draw(&Rectangle::new([(LEFT, y + 2), (end, y + BAR - 2)], colour.filled()))?;
            let range = vec![(x(bar.ratio.min), middle), (x(bar.ratio.max), middle)];
            root.draw(&PathElement::new(range, BLACK.stroke_width(2)))?;
            write(root, &bar.row.target, (LEFT - 6, middle), 12, HPos::Right)?;
            let failed = if bar.row.failed() > 0 { " FAILED" } else { "" };
            let label = format!("{:.3}{failed}", bar.ratio.median);
            write(root, &label, (x(bar.ratio.max.max(bar.ratio.median)) + 6, middle), 12, HPos::Left)?;
            y += BAR;
        }
        y += GAP;
    }
    Ok(())
}

fn write(root: &Area<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(anchor, VPos::Center));
    root.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// Ratios are small and the drawing is not wide.
#[allow(clippy::cast_possible_truncation)]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}
