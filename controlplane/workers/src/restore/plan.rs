//! Which files of the journal a database is made from.
//!
//! Invariants: a snapshot counts only with all of its pieces; a number that is missing is told, and what came after it is
//! taken all the same.

use std::collections::{BTreeMap, BTreeSet};

use s3o_blob::journal::{JournalName, JournalPart};

/// Files by their names, and on which backends they are, by place in a list.
pub(super) type Holders = BTreeMap<JournalName, Vec<usize>>;

/// Files in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// The pieces of the snapshot, if there is one.
    pub(super) snapshot: Vec<JournalName>,
    /// Segments.
    pub(super) segments: Vec<JournalName>,
    /// Numbers of segments that are nowhere.
    pub(super) missing: Vec<u64>,
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

/// All segments, on top of a snapshot; from `number` on none may be missing. Where two processes wrote the same segment, both
/// are read: each has changes that were made, and the one that counts has all. Those of before the snapshot are read too:
/// they say of young versions that they are gone.
pub(super) fn whole(files: &Holders, number: u64, snapshot: Vec<JournalName>) -> Plan {
    Plan { snapshot, ..from_to(files, 0, number) }
}

/// Segments from a number on.
pub(super) fn from(files: &Holders, number: u64) -> Plan {
    from_to(files, number, number)
}

fn from_to(files: &Holders, first: u64, complete: u64) -> Plan {
    let is_wanted = |name: &&JournalName| name.part == JournalPart::Segment && name.number >= first;
    let segments: Vec<JournalName> = files.keys().filter(is_wanted).cloned().collect();
    let numbers: BTreeSet<u64> = segments.iter().map(|name| name.number).collect();
    let last = numbers.last().copied().unwrap_or(0);
    let missing = (complete..=last).filter(|number| !numbers.contains(number)).collect();
    Plan { snapshot: Vec::new(), segments, missing }
}

/// The newest file that says how the database was when the journal ended.
pub(super) fn newest(files: &Holders) -> Option<&JournalName> {
    let is_last = |name: &&JournalName| !matches!(name.part, JournalPart::Snapshot(_));
    files.keys().filter(is_last).max_by_key(|name| (name.number, name.part == JournalPart::Segment))
}

/// Whether the newest file was written after the database's next segment had its number.
pub(super) fn is_beyond(files: &Holders, next: u64) -> bool {
    newest(files)
        .is_some_and(|name| name.number > next || (name.number == next && name.part == JournalPart::Segment))
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
        let plan = whole(&all, 5, vec![segment(1)]);
        assert_eq!((plan.segments.len(), plan.missing, plan.snapshot), (5, vec![7], vec![segment(1)]));
        assert_eq!(newest(&all), Some(&name(9, JournalPart::SnapshotEnd)));
        assert!(is_beyond(&all, 8) && !is_beyond(&all, 9), "a snapshot has the number of the next segment");
        assert!(is_beyond(&files(&[segment(9)]), 9) && !is_beyond(&files(&[]), 0));
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
