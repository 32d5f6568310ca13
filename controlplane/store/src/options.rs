//! How the store is opened.

use s3o_core::cleanup::CleanupTimes;

/// How the store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `postgres://user:password@host:port/database`; several hosts are tried until one takes writes.
    pub url: String,
    /// Commit lanes, each with a connection. A key always meets the same one.
    pub lanes: u16,
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
            lanes: 2,
            instance: "s3o".to_owned(),
            cleanup_times: CleanupTimes::default(),
            pool: 4,
        }
    }
}
