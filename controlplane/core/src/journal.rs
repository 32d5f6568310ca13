//! The journal as its worker sees it: how far it is, what comes next, and which files there are.
//!
//! Invariants: a file's row is there before the file; what a segment has is never read for another one, once the step
//! that names it was taken; a step is taken by whoever still has the claim, or not at all.

use s3o_types::BackendId;

/// A place in the change log. Rows commit out of order, so it goes by transaction first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPlace {
    /// The transaction.
    pub xid: u64,
    /// The number of the change.
    pub n: i64,
}

/// A stretch of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Records, a line each; changes that leave nothing behind have none.
    pub lines: Vec<String>,
    /// The last change that was read.
    pub upto: LogPlace,
    /// Whether there may be more by now.
    pub more: bool,
}

/// A row of the objects and their versions: bucket, key, and place in the key's order, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlace {
    /// The virtual bucket.
    pub bucket: i32,
    /// The object's key.
    pub key: String,
    /// The version's place.
    pub seq: i64,
}

impl RowPlace {
    /// Before all rows.
    pub const fn start() -> Self {
        Self { bucket: 0, key: String::new(), seq: 0 }
    }
}

/// Rows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsRead {
    /// Records, a line each.
    pub lines: Vec<String>,
    /// The last row; `None`: there are no more.
    pub upto: Option<RowPlace>,
}

/// A snapshot that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSnapshot {
    /// That of the first segment which may have what it lacks.
    pub number: u64,
    /// Its files so far.
    pub files: Vec<String>,
    /// The last row in them.
    pub upto: RowPlace,
    /// Whether all rows were read.
    pub is_read: bool,
}

/// How far the journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalState {
    /// The newest change that a segment has.
    pub shipped: LogPlace,
    /// The next segment.
    pub segment: u64,
    /// The snapshot under way.
    pub snapshot: Option<OpenSnapshot>,
    /// The number of the newest complete one, and how long ago it was complete, in microseconds.
    pub complete: Option<(u64, i64)>,
}

impl JournalState {
    /// Whether a snapshot is to be begun: there is none, or the last one is that old and something came after it.
    pub fn wants_snapshot(&self, every_us: i64) -> bool {
        self.snapshot.is_none()
            && self.complete.is_none_or(|(number, age_us)| age_us >= every_us && self.segment > number)
    }
}

/// What was done and is to be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalStep {
    /// The next segment is stored, with all changes up to here.
    Shipped(LogPlace),
    /// The changes up to here leave nothing behind.
    Passed(LogPlace),
    /// A snapshot begins, with the number of the next segment.
    SnapshotBegun,
    /// It has one file more, with all rows up to here.
    SnapshotPiece(String, RowPlace),
    /// It has all rows.
    SnapshotRead,
    /// Its end is stored.
    SnapshotComplete,
}

/// A file of the journal on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Where.
    pub backend: BackendId,
    /// The key there.
    pub storage_key: String,
    /// The number in its name.
    pub number: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Files that are to be deleted, copied, or not waited for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalChores {
    /// Of before the second newest snapshot; PUTs that were never verified; and what stands on backends that are drained
    /// and is stored elsewhere.
    pub delete: Vec<StoredFile>,
    /// Those that too few backends have, and one that has them.
    pub copy: Vec<StoredFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_taken_when_something_came_after_the_last() {
        let state = |segment, complete| JournalState {
            shipped: LogPlace::default(),
            segment,
            snapshot: None,
            complete,
        };
        assert!(state(1, None).wants_snapshot(100));
        assert!(!state(1, Some((1, 500))).wants_snapshot(100), "nothing was shipped since");
        assert!(!state(2, Some((1, 50))).wants_snapshot(100));
        assert!(state(2, Some((1, 100))).wants_snapshot(100));
        let open = OpenSnapshot { number: 2, files: vec![], upto: RowPlace::start(), is_read: false };
        assert!(!JournalState { snapshot: Some(open), ..state(2, None) }.wants_snapshot(100));
    }
}
