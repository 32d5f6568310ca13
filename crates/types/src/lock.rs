//! Object Lock: what keeps a version from being removed, and what a bucket says of versions that are written to it
//! (Amazon S3 User Guide, "Locking objects with Object Lock").
//!
//! Invariant: whether a lock holds is asked with a time that the caller has of the database; no clock is read here.

mod period;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

pub use period::{DefaultRetention, MAX_RETENTION_DAYS, MAX_RETENTION_YEARS, RetentionPeriod};

/// Who may shorten a retention, or take it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionMode {
    /// Whoever has the right to, and says that it is meant.
    Governance,
    /// Nobody.
    Compliance,
}

impl RetentionMode {
    /// The word in configuration and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }
}

impl FromStr for RetentionMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "governance" => Ok(Self::Governance),
            "compliance" => Ok(Self::Compliance),
            other => Err(format!("retention mode `{other}` is neither governance nor compliance")),
        }
    }
}

/// Until when a version stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retention {
    /// Who may change that.
    pub mode: RetentionMode,
    /// It may go from then on.
    pub until: Timestamp,
}

impl Retention {
    /// Whether it still keeps the version.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until > now
    }
}

/// What keeps a version. Its JSON stands in databases and in journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectLock {
    /// For a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Until somebody takes it off. `None`: nothing was ever said of it, which readers are told otherwise than that it
    /// was taken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legal_hold: Option<bool>,
}

/// Why a version must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A legal hold.
    LegalHold,
    /// A retention that has not ended.
    Retained(Retention),
}

impl ObjectLock {
    /// Whether nothing was ever said.
    pub const fn is_none(&self) -> bool {
        self.retention.is_none() && self.legal_hold.is_none()
    }

    /// Why the version must stay for now, whoever asks; `bypass`: by leave of whom a governance retention does not count.
    pub fn held(&self, now: Timestamp, bypass: bool) -> Option<Held> {
        if self.legal_hold == Some(true) {
            return Some(Held::LegalHold);
        }
        let retention = self.retention.filter(|retention| retention.holds(now))?;
        let waived = bypass && retention.mode == RetentionMode::Governance;
        (!waived).then_some(Held::Retained(retention))
    }
}

/// The Object Lock of a bucket that has it. It has it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BucketLock {
    /// For versions that come without a retention of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_retention: Option<DefaultRetention>,
}

impl BucketLock {
    /// The lock of a version that is written now, and for which its writer asked that much.
    pub fn of_new(&self, asked: ObjectLock, now: Timestamp) -> ObjectLock {
        let by_default = || {
            let DefaultRetention { mode, period } = self.default_retention?;
            Some(Retention { mode, until: period.after(now) })
        };
        ObjectLock { retention: asked.retention.or_else(by_default), ..asked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn retained(mode: RetentionMode, until: i64) -> ObjectLock {
        ObjectLock { retention: Some(Retention { mode, until: Timestamp(until) }), legal_hold: None }
    }

    #[test]
    fn what_holds() {
        use RetentionMode::{Compliance, Governance};
        assert_eq!(ObjectLock::default().held(NOW, false), None);
        for mode in [Governance, Compliance] {
            assert!(retained(mode, NOW.0 + 1).held(NOW, false).is_some());
            assert_eq!(retained(mode, NOW.0).held(NOW, false), None, "its time has come");
        }
        assert_eq!(retained(Governance, NOW.0 + 1).held(NOW, true), None);
        assert!(retained(Compliance, NOW.0 + 1).held(NOW, true).is_some(), "whoever asks");
        let hold = ObjectLock { legal_hold: Some(true), ..ObjectLock::default() };
        assert_eq!(hold.held(NOW, true), Some(Held::LegalHold));
        let off = ObjectLock { legal_hold: Some(false), ..retained(Governance, NOW.0) };
        assert!(off.held(NOW, false).is_none() && !off.is_none());
    }

    #[test]
    fn new_versions() {
        let period = RetentionPeriod::Days(2);
        let mode = RetentionMode::Compliance;
        let bucket = BucketLock { default_retention: Some(DefaultRetention { mode, period }) };
        let hold = ObjectLock { legal_hold: Some(true), ..ObjectLock::default() };
        let new = bucket.of_new(hold, NOW);
        assert_eq!(new.legal_hold, Some(true));
        assert_eq!(new.retention, Some(Retention { mode, until: period.after(NOW) }));
        let asked = retained(RetentionMode::Governance, 5);
        assert_eq!(bucket.of_new(asked, NOW), asked);
        assert_eq!(BucketLock::default().of_new(hold, NOW), hold);
    }
}
