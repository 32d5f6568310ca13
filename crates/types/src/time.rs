//! A point in time as the database's clock gave it.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z: PostgreSQL's resolution. Never read from a local clock
/// where something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970, rounded down: HTTP dates have no fractions.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }
}
