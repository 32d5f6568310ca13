//! What is known of a background worker's ticks.

use std::collections::BTreeMap;

use s3o_types::Timestamp;

/// A worker on one replica, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its name, as in the list of workers.
    pub name: String,
    /// The replica.
    pub instance: String,
    /// The last tick that succeeded.
    pub last_success: Option<Timestamp>,
    /// The last that failed.
    pub last_failure: Option<Timestamp>,
    /// Why.
    pub last_error: Option<String>,
    /// Failures since the last success.
    pub consecutive_failures: u64,
}

/// What a tick did, by what was counted.
pub type Counts = BTreeMap<String, u64>;
