//! What is queued for deletion, and when.
//!
//! Invariant: a queued blob's bytes count as orphaned until a backend has said that they are gone,
//! and, for an uncertain key, has said so twice with `late_put_window` between.

use s3o_types::{BackendId, BlobName, VersionId};
use uuid::Uuid;

/// Why something is queued; the label of `s3o_cleanup_queue_enqueued_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A newer version took its place.
    Displaced,
    /// Its object was deleted.
    Deleted,
    /// The write was given up.
    Aborted,
    /// The write was refused at commit.
    Refused,
    /// A target failed while another took the write.
    FailedTarget,
    /// Neither intent nor outcome was known.
    Lost,
    /// The reaper gave the intent up.
    Reaped,
    /// A part that was uploaded again.
    ReplacedPart,
    /// A part that the Complete of its upload left out.
    UnlistedPart,
    /// A part of an upload that was given up.
    AbortedUpload,
    /// A copy beyond the replication factor.
    Surplus,
    /// A copy that was found to be gone or wrong, and that another one replaced.
    Repaired,
    /// Reconcile found it, and nothing names it.
    Orphaned,
    /// A copy on a backend that is given up.
    GivenUp,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Displaced,
        Self::Deleted,
        Self::Aborted,
        Self::Refused,
        Self::FailedTarget,
        Self::Lost,
        Self::Reaped,
        Self::ReplacedPart,
        Self::UnlistedPart,
        Self::AbortedUpload,
        Self::Surplus,
        Self::Repaired,
        Self::Orphaned,
        Self::GivenUp,
    ];

    /// The word in the database and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Displaced => "displaced",
            Self::Deleted => "deleted",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::FailedTarget => "failed_target",
            Self::Lost => "lost",
            Self::Reaped => "reaped",
            Self::ReplacedPart => "replaced_part",
            Self::UnlistedPart => "unlisted_part",
            Self::AbortedUpload => "aborted_upload",
            Self::Surplus => "surplus",
            Self::Repaired => "repaired",
            Self::Orphaned => "orphaned",
            Self::GivenUp => "given_up",
        }
    }

    /// Whether readers may still hold the blob, so that it waits out `read_grace`; an orphan may be what a restored
    /// database does not know any more.
    pub const fn had_readers(self) -> bool {
        matches!(
            self,
            Self::Displaced | Self::Deleted | Self::Surplus | Self::Repaired | Self::Orphaned | Self::GivenUp
        )
    }
}

/// A row to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupEntry {
    /// Where.
    pub backend: BackendId,
    /// The full key there.
    pub storage_key: String,
    /// Which blob.
    pub blob: BlobName,
    /// The backend's version id, where deleting without it would only hide.
    pub backend_version: Option<String>,
    /// Bytes counted as orphaned until it is gone.
    pub size: u64,
    /// Why.
    pub reason: Reason,
    /// A PUT to it may still complete.
    pub uncertain: bool,
}

/// A version of many extents to be queued, as one row. Its bytes count as orphaned from now on; its copy rows
/// stay, for readers that hold it, until a worker queues them one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCleanup {
    /// Which.
    pub version: VersionId,
    /// What the storage keys of its blobs begin with.
    pub prefix: String,
    /// Bytes in all its blobs.
    pub size: u64,
    /// Why.
    pub reason: Reason,
}

/// A row that a worker has claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupItem {
    /// The row.
    pub id: i64,
    /// What to delete.
    pub entry: CleanupEntry,
    /// Failed attempts so far.
    pub attempts: u32,
    /// An uncertain key's first DELETE is done; this is the second.
    pub second_pass: bool,
    /// Whether the claim was taken over from a worker that died.
    pub recovered: bool,
}

/// What came of a claimed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupResult {
    /// Deleted.
    Deleted,
    /// It was not there.
    Absent,
    /// Not done; the text says why.
    Failed(String),
    /// Not even attempted: the backend is down, or its marker could not be read. The text says why.
    Deferred(String),
}

/// The waits of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupTimes {
    /// How long displaced and deleted blobs wait for readers that hold them, in microseconds.
    pub read_grace_us: i64,
    /// How long they wait beyond that, for point-in-time restores, in microseconds.
    pub cleanup_delay_us: i64,
    /// When an uncertain key gets its second DELETE, in microseconds after the first.
    pub late_put_window_us: i64,
}

impl Default for CleanupTimes {
    fn default() -> Self {
        const MINUTE: i64 = 60 * 1_000_000;
        Self { read_grace_us: 15 * MINUTE, cleanup_delay_us: 0, late_put_window_us: 60 * MINUTE }
    }
}

impl CleanupTimes {
    /// How long an entry waits before its first DELETE, in microseconds.
    pub fn first_wait_us(&self, reason: Reason) -> i64 {
        if reason.had_readers() { self.read_grace_us.max(self.cleanup_delay_us) } else { 0 }
    }
}

/// Attempts after which a row goes to the dead-letter table.
pub const MAX_ATTEMPTS: u32 = 10;

/// The wait after the `attempts`th failure, in microseconds: 1 min × 2^(attempts − 1), at most 24 h.
pub fn backoff_us(attempts: u32) -> i64 {
    const MINUTE: i64 = 60 * 1_000_000;
    let doublings = attempts.saturating_sub(1).min(20);
    (MINUTE << doublings).min(24 * 60 * MINUTE)
}

/// How long a deferred row waits, in microseconds.
pub const DEFERRED_US: i64 = 60 * 1_000_000;

/// A claim on queue rows or intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The claiming process.
    pub owner: Uuid,
    /// When others may take the rows over, in microseconds from the claim.
    pub lasts_us: i64,
    /// Rows at most.
    pub limit: u32,
    /// Of queue rows only those that were due this long ago already, in microseconds. A run takes what waited when it
    /// began, by whoever's clock; what comes meanwhile is for the next one, so that a run ends under any load.
    pub due_for_us: i64,
}

/// Depths of the queues. A store may stop counting at 100,001: more than a hundred thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueDepths {
    /// Rows waiting in the cleanup queue.
    pub cleanup: u64,
    /// Rows in the dead-letter table.
    pub dead_letters: u64,
    /// Unresolved intents.
    pub intents: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_a_minute_to_a_day() {
        let minutes: Vec<i64> = (1..=12).map(|n| backoff_us(n) / 60_000_000).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440]);
        assert_eq!(backoff_us(u32::MAX), 24 * 60 * 60_000_000);
    }

    #[test]
    fn only_blobs_that_had_readers_wait() {
        let times = CleanupTimes { read_grace_us: 5, cleanup_delay_us: 9, late_put_window_us: 1 };
        let waits = Reason::ALL.map(|reason| times.first_wait_us(reason));
        assert_eq!(waits, [9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]);
    }
}
