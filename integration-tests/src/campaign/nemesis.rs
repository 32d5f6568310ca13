//! Lets the faults of the schedule strike, and heals them.
//!
//! Invariant: what was injected is healed, even when injecting it failed half-way; a fault that could not strike is
//! counted as missed, with the reason.

use std::collections::BTreeMap;

use anyhow::Result;
use tokio::time::Instant;

use super::faults::{Fault, Kind};
use super::field::Field;
use super::plan::Strike;

/// What became of the schedule.
#[derive(Debug, Default)]
pub(super) struct Strikes {
    /// How often each kind struck.
    pub(super) struck: BTreeMap<Kind, u64>,
    /// How often each kind could not, and why the last time.
    pub(super) missed: BTreeMap<Kind, (u64, String)>,
    /// When what struck, or was healed, in milliseconds since the start: for whoever reads a history.
    pub(super) log: Vec<String>,
}

struct Nemesis<'a> {
    field: &'a mut Field,
    start: Instant,
    /// What is to be healed, and when.
    active: Vec<(Instant, Fault)>,
    strikes: Strikes,
}

/// Runs the schedule to its end. Everything is healed afterwards, as far as healing succeeds at once.
pub(super) async fn run(field: &mut Field, schedule: &[Strike]) -> Result<Strikes> {
    let mut nemesis =
        Nemesis { field, start: Instant::now(), active: Vec::new(), strikes: Strikes::default() };
    for strike in schedule {
        nemesis.wait_until(nemesis.start + strike.at).await?;
        nemesis.inject(strike).await;
    }
    let last = nemesis.active.iter().map(|(end, _)| *end).max().unwrap_or(nemesis.start);
    nemesis.wait_until(last).await?;
    Ok(nemesis.strikes)
}

impl Nemesis<'_> {
    async fn wait_until(&mut self, end: Instant) -> Result<()> {
        loop {
            self.field.supervise()?;
            self.active.sort_by_key(|(due, _)| *due);
            let due = self.active.first().map(|(due, _)| *due).filter(|due| *due <= end);
            tokio::time::sleep_until(due.unwrap_or(end)).await;
            if due.is_none() {
                return Ok(());
            }
            let (_, fault) = self.active.remove(0);
            let healed = fault.heal(self.field).await;
            self.note("healed", &fault, healed.as_ref().err());
        }
    }

    async fn inject(&mut self, strike: &Strike) {
        let fault = strike.fault;
        let injected = fault.inject(self.field).await;
        self.note("struck", &fault, injected.as_ref().err());
        self.active.push((Instant::now() + strike.lasts, fault));
        match injected {
            Ok(()) => *self.strikes.struck.entry(fault.kind).or_default() += 1,
            Err(error) => {
                let missed = self.strikes.missed.entry(fault.kind).or_default();
                *missed = (missed.0 + 1, format!("{error:#}"));
            }
        }
    }

    fn note(&mut self, what: &str, fault: &Fault, error: Option<&anyhow::Error>) {
        let Fault { kind, target, amount } = fault;
        let failed = error.map(|error| format!(": {error:#}")).unwrap_or_default();
        let at = self.start.elapsed().as_millis();
        self.strikes.log.push(format!("{at:>8} ms {what} {} {target} ({amount}){failed}", kind.name()));
    }
}
