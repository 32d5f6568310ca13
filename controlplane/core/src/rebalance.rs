//! What to move so that backends are as full as their strategy wants them: arithmetic, no doing.
//!
//! Invariants: nothing moves from or to a backend that does not take writes; no backend is filled beyond its quota; a plan
//! that was carried out leaves nothing to plan.

use s3o_types::{BackendId, Extent, VersionId};

use crate::config::Routing;
use crate::replication::CopyItem;

/// A backend, as far as planning needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelf {
    /// Which.
    pub backend: BackendId,
    /// Bytes stored, reserved and orphaned there.
    pub used: u64,
    /// The most it takes; `None`: no limit.
    pub quota: Option<u64>,
}

/// So many bytes from one backend to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Taken from.
    pub from: BackendId,
    /// Brought to.
    pub to: BackendId,
    /// At most.
    pub bytes: u64,
}

/// How a run is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceWish {
    /// What is wanted.
    pub strategy: Routing,
    /// In percent of the quota: `spread` leaves backends alone that are this close to the mean; `pack` leaves this much of
    /// each backend free.
    pub threshold_percent: u8,
    /// Copies that are moved, at most.
    pub batch: u32,
    /// Only says what would be moved.
    pub dry_run: bool,
}

/// A copy that is moved, was, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The virtual bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The backend's name.
    pub from: String,
    /// The backend's name.
    pub to: String,
    /// Bytes.
    pub size: u64,
    /// `None`: nothing was done, in a dry run; else whether it worked, or why not.
    pub result: Option<Result<(), String>>,
}

/// Copies on one backend of which another has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CandidatePage {
    /// In the order of their versions.
    pub copies: Vec<CopyItem>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<(VersionId, Extent)>,
}

/// What a run has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebalanceTotals {
    /// Bytes that the plan would move.
    pub planned_bytes: u64,
    /// Copies moved, or to be moved in a dry run.
    pub moved: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Copies that could not be moved.
    pub failed: u64,
}

impl RebalanceTotals {
    /// Requests to backends: a GET and a PUT to copy, a DELETE once the old copy may go.
    pub const fn api_calls(&self) -> u64 {
        3 * self.moved
    }
}

/// Says what to move from where to where, as far as it has come: copies of one object stay apart, so that not all of what
/// is wanted may be possible.
#[derive(Debug, Clone)]
pub struct Planner {
    shelves: Vec<Shelf>,
    strategy: Routing,
    threshold: u128,
    /// What each should hold; of `spread` only.
    fair: Vec<u128>,
}

impl Planner {
    /// `shelves` are those that take writes, in the configured order.
    pub fn new(shelves: Vec<Shelf>, strategy: Routing, threshold_percent: u8) -> Self {
        let threshold = u128::from(threshold_percent.min(100));
        let quotas = || shelves.iter().filter_map(|shelf| shelf.quota.map(|quota| (shelf.used, quota)));
        let used: u128 = quotas().map(|(used, _)| u128::from(used)).sum();
        let quota: u128 = quotas().map(|(_, quota)| u128::from(quota)).sum::<u128>().max(1);
        // Backends without a quota have no share: they stay as they are.
        let share =
            |shelf: &Shelf| shelf.quota.map_or(shelf.used.into(), |own| u128::from(own) * used / quota);
        let fair = shelves.iter().map(share).collect();
        Self { shelves, strategy, threshold, fair }
    }

    /// Pairs of places in the list, in the order in which they are to be tried.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        match self.strategy {
            Routing::Spread => self.spread(),
            Routing::Pack => {
                (1..self.shelves.len()).rev().flat_map(|from| (0..from).map(move |to| (from, to))).collect()
            }
        }
    }

    /// From those that are above their share to those below it, the furthest off first.
    fn spread(&self) -> Vec<(usize, usize)> {
        let is_off = |n: usize| {
            let quota = u128::from(self.shelves[n].quota.unwrap_or_default());
            self.used(n).abs_diff(self.fair[n]) * 100 > self.threshold * quota
        };
        let all = 0..self.shelves.len();
        if !all.clone().any(is_off) {
            return Vec::new();
        }
        let furthest = |wanted: &dyn Fn(usize) -> bool| {
            let mut found: Vec<usize> = all.clone().filter(|n| wanted(*n)).collect();
            found.sort_by_key(|n| std::cmp::Reverse(self.used(*n).abs_diff(self.fair[*n])));
            found
        };
        let (above, below) =
            (furthest(&|n| self.used(n) > self.fair[n]), furthest(&|n| self.used(n) < self.fair[n]));
        above
            .into_iter()
            .flat_map(|from| below.iter().map(move |to| (from, *to)).collect::<Vec<_>>())
            .collect()
    }

    fn used(&self, n: usize) -> u128 {
        self.shelves[n].used.into()
    }

    /// What is wanted between a pair now; `None`: nothing.
    pub fn transfer(&self, (from, to): (usize, usize)) -> Option<Transfer> {
        let (there, room) = match self.strategy {
            Routing::Spread => {
                (self.used(from).saturating_sub(self.fair[from]), self.fair[to].saturating_sub(self.used(to)))
            }
            Routing::Pack => (self.used(from), self.room(to)),
        };
        let bytes = u64::try_from(there.min(room)).unwrap_or(u64::MAX);
        let (from, to) = (self.shelves[from].backend, self.shelves[to].backend);
        (bytes > 0).then_some(Transfer { from, to, bytes })
    }

    fn room(&self, n: usize) -> u128 {
        let may_hold = |quota: u64| u128::from(quota) * (100 - self.threshold) / 100;
        self.shelves[n].quota.map_or(u128::MAX, |quota| may_hold(quota).saturating_sub(self.used(n)))
    }

    /// So much was moved between a pair.
    pub fn moved(&mut self, (from, to): (usize, usize), bytes: u64) {
        self.shelves[from].used = self.shelves[from].used.saturating_sub(bytes);
        self.shelves[to].used = self.shelves[to].used.saturating_add(bytes);
    }

    /// All that is wanted, if all of it were possible.
    pub fn plan(mut self) -> Vec<Transfer> {
        let mut transfers = Vec::new();
        for pair in self.pairs() {
            if let Some(transfer) = self.transfer(pair) {
                self.moved(pair, transfer.bytes);
                transfers.push(transfer);
            }
        }
        transfers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shelf(id: i32, used: u64, quota: u64) -> Shelf {
        Shelf { backend: BackendId(id), used, quota: (quota > 0).then_some(quota) }
    }

    fn planned(shelves: &[Shelf], strategy: Routing, threshold: u8) -> Vec<(i32, i32, u64)> {
        let transfers = Planner::new(shelves.to_vec(), strategy, threshold).plan();
        transfers.into_iter().map(|Transfer { from, to, bytes }| (from.0, to.0, bytes)).collect()
    }

    #[test]
    fn spread_brings_each_to_the_mean_share() {
        let shelves = [shelf(1, 90, 100), shelf(2, 0, 100), shelf(3, 60, 200), shelf(4, 500, 0)];
        // 150 of 400: 37.5 %.
        assert_eq!(planned(&shelves, Routing::Spread, 10), [(1, 2, 37), (1, 3, 15)]);
        assert_eq!(planned(&shelves, Routing::Spread, 60), []);
        let even = [shelf(1, 50, 100), shelf(2, 45, 100)];
        assert_eq!(planned(&even, Routing::Spread, 5), []);
        assert_eq!(planned(&[], Routing::Spread, 0), []);
        assert_eq!(planned(&[shelf(1, 5, 0)], Routing::Spread, 0), []);
    }

    #[test]
    fn pack_empties_the_last_into_the_first() {
        let shelves = [shelf(1, 20, 100), shelf(2, 90, 100), shelf(3, 50, 100), shelf(4, 10, 100)];
        assert_eq!(planned(&shelves, Routing::Pack, 10), [(4, 1, 10), (3, 1, 50), (2, 1, 10)]);
        let full = [shelf(1, 95, 100), shelf(2, 5, 100)];
        assert_eq!(planned(&full, Routing::Pack, 10), []);
        let unlimited = [shelf(1, 0, 0), shelf(2, 7, 0), shelf(3, 8, 10)];
        assert_eq!(planned(&unlimited, Routing::Pack, 0), [(3, 1, 8), (2, 1, 7)]);
    }

    proptest! {
        #[test]
        fn a_plan_fits_and_leaves_nothing_to_plan(
            shelves in prop::collection::vec((0..1000_u64, 1..1000_u64), 0..6),
            threshold in 0..30_u8,
            pack in any::<bool>(),
        ) {
            let strategy = if pack { Routing::Pack } else { Routing::Spread };
            let shelves: Vec<Shelf> =
                (1..).zip(&shelves).map(|(id, (used, quota))| shelf(id, *used.min(quota), *quota)).collect();
            let mut after = shelves.clone();
            for Transfer { from, to, bytes } in Planner::new(shelves.clone(), strategy, threshold).plan() {
                prop_assert!(from != to && bytes > 0);
                let at = |id| after.iter().position(|shelf| shelf.backend == id).expect("known");
                let (from, to) = (at(from), at(to));
                prop_assert!(after[from].used >= bytes);
                after[from].used -= bytes;
                let target = &mut after[to];
                target.used += bytes;
                prop_assert!(target.used <= target.quota.expect("limited"));
            }
            // Shares are rounded down: a byte may be left over on each.
            let rest: u64 = Planner::new(after.clone(), strategy, threshold.max(1)).plan().iter().map(|transfer| transfer.bytes).sum();
            let small = shelves.iter().any(|shelf| shelf.quota.is_some_and(|quota| quota < 200));
            prop_assert!(rest == 0 || (small && !pack), "{rest} after {after:?}");
        }
    }
}
