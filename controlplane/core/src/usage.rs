//! Quota arithmetic, and whose month is used up.
//!
//! Invariant (promise 4): used + reserved + orphaned is what a backend stores or may store; it never
//! exceeds the quota, because only Begin and Retarget raise the sum, and they look first.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use s3o_types::{BackendId, Consumption};

use crate::config::ClusterConfig;
use crate::session::BackendUsage;

/// Bytes of a backend by what they are, or a change to them. Signed: a slot of the table may be
/// negative, only the sum over all slots is meaningful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// In committed copies.
    pub used: i64,
    /// Held by intents.
    pub reserved: i64,
    /// In the cleanup queue or dead-lettered.
    pub orphaned: i64,
    /// Copies, counted by their first extent.
    pub objects: i64,
}

impl Usage {
    /// Everything that counts against the quota.
    pub const fn total(self) -> i64 {
        self.used + self.reserved + self.orphaned
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            used: self.used + other.used,
            reserved: self.reserved + other.reserved,
            orphaned: self.orphaned + other.orphaned,
            objects: self.objects + other.objects,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Both views of one backend's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageDrift {
    /// The backend.
    pub backend: BackendId,
    /// The sum of its counters.
    pub counted: Usage,
    /// The sum of copies, parts of uploads, intents, cleanup rows and dead letters.
    pub actual: Usage,
}

impl UsageDrift {
    /// Whether the counters are right.
    pub fn agrees(&self) -> bool {
        self.counted == self.actual
    }

    /// By how many bytes they are wrong, all kinds together.
    pub const fn bytes(&self) -> u64 {
        let (counted, actual) = (self.counted, self.actual);
        counted.used.abs_diff(actual.used)
            + counted.reserved.abs_diff(actual.reserved)
            + counted.orphaned.abs_diff(actual.orphaned)
    }
}

/// Changes to several backends, in the order in which their rows are locked.
pub type UsageDeltas = BTreeMap<BackendId, Usage>;

/// Those whose month has no call or no byte to be read left, by their limits.
pub fn spent(config: &ClusterConfig, usage: &[(BackendId, Usage, BackendUsage)]) -> Vec<BackendId> {
    let is_spent = |id: BackendId, month: &BackendUsage| {
        let backend = config.backends.iter().find(|backend| backend.spec.id == id);
        backend.is_some_and(|backend| backend.limits.passed(month.sum(), Consumption::READ).is_some())
    };
    usage.iter().filter(|(id, _, month)| is_spent(*id, month)).map(|(id, ..)| *id).collect()
}

/// Bytes as the tables hold them. Sizes are checked against quotas long before `i64::MAX`.
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
