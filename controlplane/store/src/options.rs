//! How the store is opened.

use s3o_core::cleanup::CleanupTimes;

/// DESIGN §6: at most 256 items a batch.
pub(crate) const BATCH_ITEMS: u16 = 256;

/// How the store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `postgres://user:password@host:port/database`; several hosts are tried until one takes writes.
    pub url: String,
    /// Commit lanes, each with a connection. A key always meets the same one. One is the cheapest: calls that
    /// come while it waits for the disk share its next batch. More pay where one connection is not enough.
    pub lanes: u16,
    /// Begin lanes. One is enough: Begins wait for each other at the backend's usage row anyway.
    pub begin_lanes: u16,
    /// Calls in one transaction, at most. 1 is no group commit: for comparison.
    pub batch_items: u16,
    /// Name of this replica in `pg_stat_activity` and in the log.
    pub instance: String,
    /// The waits of the cleanup queue.
    pub cleanup_times: CleanupTimes,
    /// Connections for everything that is not a lane.
    pub pool: u16,
}

impl StoreOptions {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            lanes: 1,
            begin_lanes: 1,
            batch_items: BATCH_ITEMS,
            instance: "s3o".to_owned(),
            cleanup_times: CleanupTimes::default(),
            pool: 4,
        }
    }
}
