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

/// What to move. `shelves` are those that take writes, in the configured order.
pub fn plan(shelves: &[Shelf], strategy: Routing, threshold_percent: u8) -> Vec<Transfer> {
    let threshold = u128::from(threshold_percent.min(100));
    match strategy {
        Routing::Spread => spread(shelves, threshold),
        Routing::Pack => pack(shelves, threshold),
    }
}

/// Each to the mean share. Backends without a quota have no share.
fn spread(shelves: &[Shelf], threshold: u128) -> Vec<Transfer> {
    let limited: Vec<(BackendId, u128, u128)> = shelves
        .iter()
        .filter_map(|shelf| {
            Some((shelf.backend, u128::from(shelf.used), u128::from(shelf.quota.filter(|q| *q > 0)?)))
        })
        .collect();
    let used: u128 = limited.iter().map(|(_, used, _)| used).sum();
    let quota: u128 = limited.iter().map(|(.., quota)| quota).sum::<u128>().max(1);
    let fair = |own: u128| own * used / quota;
    let is_off = |(_, used, own): &(BackendId, u128, u128)| used.abs_diff(fair(*own)) * 100 > threshold * own;
    if !limited.iter().any(is_off) {
        return Vec::new();
    }
    let above = limited.iter().filter(|(_, used, own)| *used > fair(*own));
    let mut excess: Vec<(BackendId, u128)> = above.map(|(id, used, own)| (*id, used - fair(*own))).collect();
    let below = limited.iter().filter(|(_, used, own)| *used < fair(*own));
    let mut room: Vec<(BackendId, u128)> = below.map(|(id, used, own)| (*id, fair(*own) - used)).collect();
    excess.sort_by_key(|(id, bytes)| (std::cmp::Reverse(*bytes), *id));
    room.sort_by_key(|(id, bytes)| (std::cmp::Reverse(*bytes), *id));
    pair(excess, room)
}

/// The last ones are emptied into the first ones.
fn pack(shelves: &[Shelf], threshold: u128) -> Vec<Transfer> {
    let room = |shelf: &Shelf| match shelf.quota {
        Some(quota) => (u128::from(quota) * (100 - threshold) / 100).saturating_sub(u128::from(shelf.used)),
        None => u128::MAX,
    };
    let mut left: Vec<u128> = shelves.iter().map(|shelf| u128::from(shelf.used)).collect();
    let mut transfers = Vec::new();
    let mut last = shelves.len();
    for (first, to) in shelves.iter().enumerate() {
        let mut room = room(to);
        while room > 0 && last > first + 1 {
            let from = last - 1;
            let bytes = room.min(left[from]);
            left[from] -= bytes;
            room -= bytes;
            if bytes > 0 {
                transfers.push(transfer(shelves[from].backend, to.backend, bytes));
            }
            if left[from] == 0 {
                last -= 1;
            }
        }
    }
    transfers
}

fn pair(excess: Vec<(BackendId, u128)>, room: Vec<(BackendId, u128)>) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    let mut room = room.into_iter();
    let mut to = room.next();
    for (from, mut bytes) in excess {
        while bytes > 0
            && let Some((id, free)) = to
        {
            let part = bytes.min(free);
            bytes -= part;
            transfers.push(transfer(from, id, part));
            to = if part == free { room.next() } else { Some((id, free - part)) };
        }
    }
    transfers
}

fn transfer(from: BackendId, to: BackendId, bytes: u128) -> Transfer {
    Transfer { from, to, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shelf(id: i32, used: u64, quota: u64) -> Shelf {
        Shelf { backend: BackendId(id), used, quota: (quota > 0).then_some(quota) }
    }

    fn planned(shelves: &[Shelf], strategy: Routing, threshold: u8) -> Vec<(i32, i32, u64)> {
        let transfers = plan(shelves, strategy, threshold);
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
            for Transfer { from, to, bytes } in plan(&shelves, strategy, threshold) {
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
            let rest: u64 = plan(&after, strategy, threshold.max(1)).iter().map(|transfer| transfer.bytes).sum();
            let small = shelves.iter().any(|shelf| shelf.quota.is_some_and(|quota| quota < 200));
            prop_assert!(rest == 0 || (small && !pack), "{rest} after {after:?}");
        }
    }
}
