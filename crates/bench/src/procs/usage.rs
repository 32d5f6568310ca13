//! CPU time and memory of process trees, from /proc (proc(5)).
//!
//! Invariant: CPU time of children that ended in between is in it: their parent has waited for them.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use serde::{Deserialize, Serialize};

use crate::stats::float;

/// What a tick of /proc/PID/stat lasts; `USER_HZ` is 100 on every Linux that Rust runs on.
const TICK: f64 = 0.01;

/// Whose processes these are, by their role; roots of trees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// nginx, data planes, or a rival.
    pub(crate) front: Vec<u32>,
    pub(crate) control: Vec<u32>,
    pub(crate) postgres: Vec<u32>,
    pub(crate) backend: Vec<u32>,
}

/// CPU seconds by role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) loader: f64,
    pub(crate) front: f64,
    pub(crate) control: f64,
    pub(crate) postgres: f64,
    pub(crate) backend: f64,
}

/// Peak memory by role, in MiB. Of PostgreSQL it is the proportional set size (shared memory counted
/// once) when asked, of the others the resident set's high-water mark since [`Groups::reset_peaks`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) loader: f64,
    pub(crate) front: f64,
    pub(crate) control: f64,
    pub(crate) postgres: f64,
    pub(crate) backend: f64,
}

impl Cpu {
    /// What was used between `earlier` and this, of each role by `f`.
    pub(crate) fn since(&self, earlier: &Self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            loader: f(self.loader - earlier.loader),
            front: f(self.front - earlier.front),
            control: f(self.control - earlier.control),
            postgres: f(self.postgres - earlier.postgres),
            backend: f(self.backend - earlier.backend),
        }
    }
}

/// Ticks used by a process itself, and by children that it has waited for.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    parent: u32,
    own: u64,
    waited: u64,
}

/// Every process that there is now.
struct Processes(HashMap<u32, Ticks>);

impl Processes {
    fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(|pid: u32| Some((pid, ticks(pid)?))).collect())
    }

    /// A root and all below it.
    fn tree(&self, root: u32) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, ticks) in &self.0 {
            children.entry(ticks.parent).or_default().push(*pid);
        }
        let mut tree = vec![root];
        let mut at = 0;
        while let Some(pid) = tree.get(at) {
            tree.extend(children.get(pid).into_iter().flatten());
            at += 1;
        }
        tree
    }

    fn seconds(&self, roots: &[u32]) -> f64 {
        let of = |pid: &u32| self.0.get(pid).map_or(0, |ticks| ticks.own + ticks.waited);
        let sum: u64 = roots.iter().flat_map(|root| self.tree(*root)).map(|pid| of(&pid)).sum();
        float(sum) * TICK
    }
}

fn ticks(pid: u32) -> Option<Ticks> {
    parse_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 4 (ppid) and 14 to 17 (utime, stime, cutime, cstime); the name in field 2 may hold anything.
fn parse_ticks(stat: &str) -> Option<Ticks> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    Some(Ticks {
        parent: u32::try_from(number(4)?).ok()?,
        own: number(14)? + number(15)?,
        waited: number(16)? + number(17)?,
    })
}

/// A field of /proc/PID/status or `smaps_rollup`, in MiB.
fn mib(pid: u32, file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(float(kib) / 1024.0)
}

impl Groups {
    /// CPU time so far. The loader is this process without its children.
    pub(crate) fn cpu(&self) -> Cpu {
        let processes = Processes::read();
        let own = ticks(std::process::id()).unwrap_or_default();
        Cpu {
            loader: float(own.own) * TICK,
            front: processes.seconds(&self.front),
            control: processes.seconds(&self.control),
            postgres: processes.seconds(&self.postgres),
            backend: processes.seconds(&self.backend),
        }
    }

    /// From now on peaks are those of what follows.
    pub(crate) fn reset_peaks(&self) {
        let processes = Processes::read();
        let roots = [&self.front, &self.control, &self.backend].into_iter().flatten();
        for pid in roots.flat_map(|root| processes.tree(*root)).chain([std::process::id()]) {
            // Of a process of somebody else it may be refused: then the peak is that of its whole life.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// Peaks since then.
    pub(crate) fn memory(&self) -> Memory {
        let processes = Processes::read();
        let sum = |roots: &[u32], file: &str, field: &str| -> f64 {
            let pids = roots.iter().flat_map(|root| processes.tree(*root));
            // Folded: the sum of nothing would be minus zero.
            pids.filter_map(|pid| mib(pid, file, field)).fold(0.0, |sum, mib| sum + mib)
        };
        let peak = |roots: &[u32]| sum(roots, "status", "VmHWM");
        Memory {
            loader: mib(std::process::id(), "status", "VmHWM").unwrap_or_default(),
            front: peak(&self.front),
            control: peak(&self.control),
            postgres: sum(&self.postgres, "smaps_rollup", "Pss"),
            backend: peak(&self.backend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces() {
        let stat = "12 (a) b (c)) S 7 12 12 0 -1 4194304 1 2 3 4 100 20 30 4 20 0 1 0 5 6 7";
        let ticks = parse_ticks(stat).expect("fields");
        assert_eq!((ticks.parent, ticks.own, ticks.waited), (7, 120, 34));
    }

    #[test]
    fn a_tree_is_followed_and_counted_once() {
        let ticks = |parent, own| Ticks { parent, own, waited: 1 };
        let all = [(1, ticks(0, 5)), (2, ticks(1, 10)), (3, ticks(2, 20)), (4, ticks(9, 40))];
        let processes = Processes(all.into_iter().collect());
        assert!((processes.seconds(&[2]) - 0.32).abs() < 1e-9);
        assert!((processes.seconds(&[2, 4]) - 0.73).abs() < 1e-9);
    }

    #[test]
    fn our_own_figures_are_read() {
        let groups = Groups { front: vec![std::process::id()], ..Groups::default() };
        groups.reset_peaks();
        // These are two readings of one process: where another test ends between them, the second may be less.
        let is_read = |memory: Memory| memory.loader > 0.0 && memory.front >= memory.loader;
        assert!((0..20).any(|_| is_read(groups.memory())));
        assert!(groups.cpu().loader >= 0.0);
    }
}
