//! What a run tells at its end, and what it leaves in files when something is wrong.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use s3o_testkit::history::Event;

use super::checks::Violation;
use super::field::Field;
use super::nemesis::Strikes;
use super::plan::Plan;

/// Lines of a key's history in the report; the file has all.
const LINES: usize = 60;

/// A finished run.
#[derive(Debug)]
pub struct Report {
    /// What must not be. Empty: the run passed.
    pub violations: Vec<Violation>,
    /// For people.
    pub text: String,
    /// The files of a run that did not pass.
    pub files: Option<PathBuf>,
}

/// Puts it together.
pub(super) fn report(
    plan: &Plan,
    field: &Field,
    strikes: &Strikes,
    notes: &[String],
    found: Vec<Violation>,
) -> Result<Report> {
    let mut text = String::new();
    writeln!(
        text,
        "seed {}, {} s, {} calls",
        plan.seed,
        plan.length.as_secs(),
        field.board.recorder.events().len()
    )?;
    writeln!(text, "\noperations:")?;
    for ((operation, result), n) in field.board.counts() {
        writeln!(text, "  {operation:<24} {result:<32} {n:>8}")?;
    }
    writeln!(text, "\nfaults:")?;
    for (kind, n) in &strikes.struck {
        writeln!(text, "  {:<24} {n:>8}", kind.name())?;
    }
    for (kind, (n, why)) in &strikes.missed {
        writeln!(text, "  {:<24} {n:>8} could not strike, the last time: {why}", kind.name())?;
    }
    for note in notes {
        writeln!(text, "\n{note}")?;
    }
    writeln!(text, "\nviolations: {}", found.len())?;
    let events = field.board.recorder.events();
    for Violation { check, what, key } in &found {
        writeln!(text, "\n{check}: {what}")?;
        if let Some(key) = key {
            write!(text, "{}", history_of(key, &events, LINES)?)?;
        }
    }
    let files = if found.is_empty() { None } else { Some(keep(plan, field, strikes, &text)?) };
    if let Some(files) = &files {
        writeln!(text, "\nhistory, faults and logs: {}", files.display())?;
    }
    Ok(Report { violations: found, text, files })
}

fn line(event: &Event) -> String {
    let ms = |ns: u64| ns / 1_000_000;
    let Event { key, client, call, outcome, invoked, returned } = event;
    format!("{:>8} … {:>8} ms {key} {client}: {call:?} → {outcome:?}", ms(*invoked), ms(*returned))
}

fn history_of(key: &str, events: &[Event], most: usize) -> Result<String> {
    let mut mine: Vec<&Event> = events.iter().filter(|event| event.key == key).collect();
    mine.sort_by_key(|event| event.invoked);
    let mut text = String::new();
    for event in mine.iter().skip(mine.len().saturating_sub(most)) {
        writeln!(text, "  {}", line(event))?;
    }
    Ok(text)
}

/// Writes everything that is needed to find out why.
fn keep(plan: &Plan, field: &Field, strikes: &Strikes, report: &str) -> Result<PathBuf> {
    let folder = plan.out.join(format!("s3o-campaign-{}-{}", plan.seed, std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut events = field.board.recorder.events();
    events.sort_by_key(|event| event.invoked);
    let history: Vec<String> = events.iter().map(line).collect();
    std::fs::write(folder.join("history"), history.join("\n"))?;
    std::fs::write(folder.join("faults"), strikes.log.join("\n"))?;
    std::fs::write(folder.join("report"), report)?;
    copy_logs(field.cluster.folder(), &folder)?;
    Ok(folder)
}

fn copy_logs(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "log")) {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
