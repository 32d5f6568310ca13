//! Which files of the journal a database is made from.
//!
//! Invariants: a snapshot counts only with all of its pieces; a number that is missing is told, and what came after it is
//! taken all the same.

use std::collections::{BTreeMap, BTreeSet};

use s3o_blob::journal::{JournalName, JournalPart};

/// Files by their names, and on which backends they are, by place in a list.
pub(super) type Holders = BTreeMap<JournalName, Vec<usize>>;

/// A snapshot that is listed whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Its number: that of the segment behind it.
    pub(super) number: u64,
    /// Its pieces.
    pub(super) pieces: Vec<JournalName>,
}

/// Files in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Snapshots, the newest first: an older one is read where one cannot be read whole.
    pub(super) snapshots: Vec<Snapshot>,
    /// Segments.
    pub(super) segments: Vec<JournalName>,
    /// Numbers of segments that are nowhere.
    pub(super) missing: Vec<u64>,
}

impl Plan {
    /// Takes a snapshot as the base: no segment behind it may be missing.
    pub(super) fn stand_on(&mut self, number: u64) {
        self.missing = missing(&self.segments, number);
    }
}

/// The ends of snapshots, the newest first.
pub(super) fn ends(files: &Holders) -> Vec<JournalName> {
    let ends = files.keys().filter(|name| name.part == JournalPart::SnapshotEnd);
    ends.rev().cloned().collect()
}

/// The pieces that an end names; `None`: not all of them are there.
pub(super) fn pieces(files: &Holders, end: &[String]) -> Option<Vec<JournalName>> {
    let piece = |key: &String| JournalName::parse(key).filter(|name| files.contains_key(name));
    end.iter().map(piece).collect()
}

/// All segments, on top of a snapshot; where there is none, none may be missing. Where two processes wrote the same segment,
/// both are read: each has changes that were made, and the one that counts has all. Those of before the snapshot are read
/// too: they say of young versions that they are gone.
pub(super) fn whole(files: &Holders, snapshots: Vec<Snapshot>) -> Plan {
    let complete = snapshots.first().map_or(1, |snapshot| snapshot.number);
    Plan { snapshots, ..from_to(files, 0, complete) }
}

/// Segments from a number on.
pub(super) fn from(files: &Holders, number: u64) -> Plan {
    from_to(files, number, number)
}

fn from_to(files: &Holders, first: u64, complete: u64) -> Plan {
    let is_wanted = |name: &&JournalName| name.part == JournalPart::Segment && name.number >= first;
    let segments: Vec<JournalName> = files.keys().filter(is_wanted).cloned().collect();
    let missing = missing(&segments, complete);
    Plan { snapshots: Vec::new(), segments, missing }
}

fn missing(segments: &[JournalName], complete: u64) -> Vec<u64> {
    let numbers: BTreeSet<u64> = segments.iter().map(|name| name.number).collect();
    let last = numbers.last().copied().unwrap_or(0);
    (complete..=last).filter(|number| !numbers.contains(number)).collect()
}

/// Files that say how the database was when they were written, the newest first.
pub(super) fn newest(files: &Holders) -> Vec<&JournalName> {
    let is_last = |name: &&JournalName| !matches!(name.part, JournalPart::Snapshot(_));
    let mut names: Vec<&JournalName> = files.keys().filter(is_last).collect();
    names.sort_by_key(|name| std::cmp::Reverse((name.number, name.part == JournalPart::Segment)));
    names
}

/// Whether a file was written after the database's next segment had its number.
pub(super) fn is_beyond(name: &JournalName, next: u64) -> bool {
    name.number > next || (name.number == next && name.part == JournalPart::Segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64, part: JournalPart) -> JournalName {
        JournalName { number, part, tag: 1 }
    }

    fn files(names: &[JournalName]) -> Holders {
        names.iter().map(|name| (name.clone(), vec![0])).collect()
    }

    #[test]
    fn segments_are_taken_in_order_and_gaps_are_told() {
        let segment = |number| name(number, JournalPart::Segment);
        let twice = JournalName { tag: 2, ..segment(6) };
        let all = files(&[
            segment(3),
            segment(5),
            segment(6),
            twice.clone(),
            segment(8),
            name(9, JournalPart::SnapshotEnd),
        ]);
        let plan = from(&all, 5);
        assert_eq!(plan.segments, [segment(5), segment(6), twice, segment(8)]);
        assert_eq!(plan.missing, [7]);
        assert_eq!(from(&all, 9), Plan::default());
        let snapshot = |number| Snapshot { number, pieces: vec![] };
        let mut plan = whole(&all, vec![snapshot(5), snapshot(3)]);
        assert_eq!((plan.segments.len(), &plan.missing), (5, &vec![7]));
        plan.stand_on(3);
        assert_eq!(plan.missing, [4, 7]);
        assert_eq!(whole(&all, vec![]).missing, [1, 2, 4, 7]);
        let end = name(9, JournalPart::SnapshotEnd);
        assert_eq!(newest(&all)[..2], [&end, &segment(8)]);
        assert!(is_beyond(&end, 8) && !is_beyond(&end, 9), "a snapshot has the number of the next segment");
        assert!(is_beyond(&segment(9), 9) && !is_beyond(&segment(8), 9));
    }

    #[test]
    fn a_snapshot_needs_all_its_pieces() {
        let piece = |n| name(4, JournalPart::Snapshot(n));
        let all = files(&[
            piece(0),
            piece(1),
            name(4, JournalPart::SnapshotEnd),
            name(7, JournalPart::SnapshotEnd),
        ]);
        assert_eq!(ends(&all), [name(7, JournalPart::SnapshotEnd), name(4, JournalPart::SnapshotEnd)]);
        let named = |numbers: &[u32]| numbers.iter().map(|n| piece(*n).to_string()).collect::<Vec<_>>();
        assert_eq!(pieces(&all, &named(&[0, 1])), Some(vec![piece(0), piece(1)]));
        assert_eq!(pieces(&all, &named(&[0, 2])), None);
        assert_eq!(pieces(&all, &[]), Some(vec![]), "of an empty database");
    }
}
