//! What one run of the campaign is: how long, from which seed, with which faults; and the schedule of faults that
//! follows from it.
//!
//! Invariant: the schedule is a function of the plan alone. When the faults really strike depends on the machine,
//! which faults, in which order and on what does not.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::faults::{Fault, Kind};

/// Data planes.
pub const DATA_PLANES: usize = 3;
/// Control planes.
pub const CONTROL_PLANES: usize = 2;
/// Backends.
pub const BACKENDS: usize = 4;
/// Clients.
pub const CLIENTS: usize = 8;

/// The longest that one fault lasts, in milliseconds. Nothing that a fault holds back may arrive later than
/// `late_put_window` after it was sent (`buckets::sections`).
pub const LONGEST_MS: u64 = 6_000;
/// Faults at a time, where nothing else is asked for.
pub const AT_ONCE: usize = 3;
/// Before the first one, in milliseconds: some objects are there by then.
const FIRST_MS: u64 = 2_000;

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long clients work and faults strike.
    pub length: Duration,
    /// Where everything random comes from.
    pub seed: u64,
    /// Faults that may strike; none for a calm run.
    pub kinds: Vec<Kind>,
    /// How many of them at a time, at most; with more they also follow each other faster.
    pub at_once: usize,
    /// Where histories and logs go when something is wrong.
    pub out: PathBuf,
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Since the start.
    pub at: Duration,
    /// Until it is healed.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// Reads a list like `kill,cut,drain`: each word is a kind or the beginning of several.
pub fn parse_kinds(list: &str) -> Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let found: Vec<Kind> = match word {
            "all" => Kind::ALL.into(),
            "none" => continue,
            _ => Kind::ALL.into_iter().filter(|kind| kind.name().starts_with(word)).collect(),
        };
        if found.is_empty() {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            bail!("`{word}` is no kind of fault; there are all, none, {}", names.join(", "));
        }
        kinds.extend(found.into_iter().filter(|kind| !kinds.contains(kind)).collect::<Vec<_>>());
    }
    Ok(kinds)
}

/// A stream of random numbers of its own for each part of a run, so that one part drawing more changes no other.
pub fn random(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part))
}

impl Plan {
    /// All faults of the run, in order. No two that overlap are about the same thing.
    pub fn schedule(&self) -> Vec<Strike> {
        let mut random = random(self.seed, 0);
        let mut strikes: Vec<Strike> = Vec::new();
        let mut at = FIRST_MS;
        if self.kinds.is_empty() {
            return strikes;
        }
        let end = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX);
        let longest_gap = LONGEST_MS / self.at_once.clamp(1, 20) as u64;
        while at < end {
            let kind = self.kinds[random.random_range(0..self.kinds.len())];
            let fault = kind.draw(&mut random);
            let strike = Strike {
                at: Duration::from_millis(at),
                lasts: Duration::from_millis(random.random_range(500..LONGEST_MS)),
                fault,
            };
            let active: Vec<&Strike> =
                strikes.iter().filter(|other| other.at + other.lasts >= strike.at).collect();
            if active.len() < self.at_once && active.iter().all(|other| other.fault.scope() != fault.scope())
            {
                strikes.push(strike);
            }
            // Now and then everything is well for a while: what was interrupted gets done.
            at += if random.random_bool(0.05) { 8_000 } else { random.random_range(200..=longest_gap) };
        }
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Plan {
        Plan {
            length: Duration::from_mins(30),
            seed,
            kinds: Kind::ALL.into(),
            at_once: AT_ONCE,
            out: PathBuf::new(),
        }
    }

    #[test]
    fn a_seed_is_a_schedule_and_another_one_is_another() {
        assert_eq!(plan(1).schedule(), plan(1).schedule());
        assert_ne!(plan(1).schedule(), plan(2).schedule());
    }

    #[test]
    fn every_kind_strikes_and_nothing_is_hit_twice_at_once() {
        let strikes = plan(7).schedule();
        for kind in Kind::ALL {
            assert!(strikes.iter().any(|strike| strike.fault.kind == kind), "{kind:?}");
        }
        for (n, one) in strikes.iter().enumerate() {
            for other in &strikes[n + 1..] {
                let apart = other.at > one.at + one.lasts || one.fault.scope() != other.fault.scope();
                assert!(apart, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_word_names_a_kind_or_several() {
        assert_eq!(parse_kinds("drain").expect("a kind"), [Kind::Drain]);
        assert_eq!(parse_kinds("kill").expect("kinds").len(), 4);
        assert!(parse_kinds("none").expect("no kind").is_empty());
        assert!(parse_kinds("all").expect("kinds").contains(&Kind::Corrupt));
        assert!(parse_kinds("fire").is_err());
    }
}
