//! Locks of versions and of buckets at the control plane, from and to the wire.

use s3o_proto::v1;
use s3o_proto::v1::change_bucket_request::Change;
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_types::{
    BucketId, BucketLock, DefaultRetention, ObjectLock, Retention, RetentionMode, RetentionPeriod, Timestamp,
    VersionRef,
};

use super::calls::BUSY_PATIENCE;
use super::convert::{told, version_ref};
use super::{Caller, Failure};

/// What is to become of a version's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockChange {
    /// `None` removes it.
    Retention(Option<Retention>),
    LegalHold(bool),
}

impl Caller {
    /// Changes what keeps a version of a key, the current one where none is named, and says which one it is.
    pub(crate) async fn set_lock(
        &self,
        bucket: BucketId,
        (key, version): (&str, Option<VersionRef>),
        change: LockChange,
        bypass_governance: bool,
    ) -> Result<Option<String>, Failure> {
        let change = match change {
            LockChange::Retention(Some(retention)) => {
                v1::set_lock::Change::Retention(retention_to_wire(retention))
            }
            LockChange::Retention(None) => v1::set_lock::Change::NoRetention(v1::NoRetention {}),
            LockChange::LegalHold(on) => v1::set_lock::Change::LegalHold(on),
        };
        let set = v1::SetLock {
            bucket: bucket.0,
            key: key.to_owned(),
            version_id: version_ref(version),
            change: Some(change),
            bypass_governance,
        };
        match self.call(0, false, Call::SetLock(set), self.call_patience, BUSY_PATIENCE).await? {
            Outcome::LockSet(v1::LockSet { version_id }) => Ok(told(version_id)),
            _ => Err(Failure::Unknown),
        }
    }

    /// Gives a bucket Object Lock, with this instead of what was said before.
    pub(crate) async fn set_object_lock(&self, name: &str, lock: BucketLock) -> Result<i64, Failure> {
        self.change_bucket(name, Change::SetLock(bucket_to_wire(lock))).await
    }
}

/// `None` where nothing is asked for.
pub(super) fn to_wire(lock: &ObjectLock) -> Option<v1::ObjectLock> {
    if lock.is_none() {
        return None;
    }
    let ObjectLock { retention, legal_hold } = *lock;
    Some(v1::ObjectLock { retention: retention.map(retention_to_wire), legal_hold })
}

/// To be shown. A retention of a mode that is not known here is left out.
pub(super) fn from_wire(lock: Option<v1::ObjectLock>) -> ObjectLock {
    let v1::ObjectLock { retention, legal_hold } = lock.unwrap_or_default();
    let retention = retention.and_then(|retention| {
        Some(Retention { mode: mode_of(retention.mode())?, until: Timestamp(retention.until_us) })
    });
    ObjectLock { retention, legal_hold }
}

fn retention_to_wire(Retention { mode, until }: Retention) -> v1::Retention {
    v1::Retention { mode: mode_to_wire(mode).into(), until_us: until.0 }
}

const fn mode_to_wire(mode: RetentionMode) -> v1::RetentionMode {
    match mode {
        RetentionMode::Governance => v1::RetentionMode::Governance,
        RetentionMode::Compliance => v1::RetentionMode::Compliance,
    }
}

const fn mode_of(mode: v1::RetentionMode) -> Option<RetentionMode> {
    match mode {
        v1::RetentionMode::Governance => Some(RetentionMode::Governance),
        v1::RetentionMode::Compliance => Some(RetentionMode::Compliance),
        v1::RetentionMode::Unspecified => None,
    }
}

fn bucket_to_wire(lock: BucketLock) -> v1::BucketLock {
    use v1::default_retention::Period;

    let BucketLock { default_retention } = lock;
    let default_retention = default_retention.map(|DefaultRetention { mode, period }| v1::DefaultRetention {
        mode: mode_to_wire(mode).into(),
        period: Some(match period {
            RetentionPeriod::Days(days) => Period::Days(days),
            RetentionPeriod::Years(years) => Period::Years(years),
        }),
    });
    v1::BucketLock { default_retention }
}

/// A bucket's of the configuration. A default that is not known here is left out: the control plane applies it all the same.
pub(crate) fn bucket_of(lock: v1::BucketLock) -> BucketLock {
    use v1::default_retention::Period;

    let v1::BucketLock { default_retention } = lock;
    let default_retention = default_retention.and_then(|default| {
        let mode = mode_of(default.mode())?;
        let period = match default.period? {
            Period::Days(days) => RetentionPeriod::Days(days),
            Period::Years(years) => RetentionPeriod::Years(years),
        };
        Some(DefaultRetention { mode, period })
    });
    BucketLock { default_retention }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let retention = Retention { mode: RetentionMode::Compliance, until: Timestamp(7) };
        for lock in [
            ObjectLock::default(),
            ObjectLock { retention: Some(retention), legal_hold: Some(false) },
            ObjectLock { retention: None, legal_hold: Some(true) },
        ] {
            assert_eq!(from_wire(to_wire(&lock)), lock);
        }
        let of_later = v1::Retention { mode: 9, until_us: 7 };
        let of_later = v1::ObjectLock { retention: Some(of_later), legal_hold: None };
        assert!(from_wire(Some(of_later)).is_none());
        let period = RetentionPeriod::Years(2);
        let default = DefaultRetention { mode: RetentionMode::Governance, period };
        for lock in [BucketLock::default(), BucketLock { default_retention: Some(default) }] {
            assert_eq!(bucket_of(bucket_to_wire(lock)), lock);
        }
    }
}
