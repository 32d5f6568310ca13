//! What keeps versions, and what buckets say of it.
//!
//! Invariant: a mode or a period of a later release is never taken for one that is known: it is refused or left out, as
//! the caller asks.

use s3o_proto::v1;
use s3o_proto::v1::default_retention::Period;
use s3o_types::{
    BucketLock, DefaultRetention, ObjectLock, Retention, RetentionMode, RetentionPeriod, Timestamp,
};

/// What the wire says and this release does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKnown {
    /// A mode of retention.
    Mode(i32),
    /// A period, or none is said.
    Period,
}

/// What keeps a version. `None` where nothing was ever said.
pub fn to_wire(lock: ObjectLock) -> Option<v1::ObjectLock> {
    if lock.is_none() {
        return None;
    }
    let ObjectLock { retention, legal_hold } = lock;
    Some(v1::ObjectLock { retention: retention.map(retention_to_wire), legal_hold })
}

/// What keeps a version, whole.
pub fn from_wire(wire: Option<v1::ObjectLock>) -> Result<ObjectLock, NotKnown> {
    let v1::ObjectLock { retention, legal_hold } = wire.unwrap_or_default();
    Ok(ObjectLock { retention: retention.map(retention_from_wire).transpose()?, legal_hold })
}

/// What keeps a version, to be shown: a retention that is not known here is left out.
pub fn known_from_wire(wire: Option<v1::ObjectLock>) -> ObjectLock {
    let v1::ObjectLock { retention, legal_hold } = wire.unwrap_or_default();
    ObjectLock { retention: retention.and_then(|wire| retention_from_wire(wire).ok()), legal_hold }
}

/// Until when a version stays.
pub fn retention_to_wire(retention: Retention) -> v1::Retention {
    let Retention { mode, until } = retention;
    v1::Retention { mode: mode_to_wire(mode).into(), until_us: until.0 }
}

/// Until when a version stays. The time is not checked.
pub fn retention_from_wire(wire: v1::Retention) -> Result<Retention, NotKnown> {
    let v1::Retention { mode, until_us } = wire;
    Ok(Retention { mode: mode_from_wire(mode)?, until: Timestamp(until_us) })
}

/// What a bucket says.
pub fn bucket_to_wire(lock: BucketLock) -> v1::BucketLock {
    let BucketLock { default_retention } = lock;
    v1::BucketLock { default_retention: default_retention.map(default_to_wire) }
}

/// What a bucket says, whole. The length of a period is not checked.
pub fn bucket_from_wire(wire: v1::BucketLock) -> Result<BucketLock, NotKnown> {
    let v1::BucketLock { default_retention } = wire;
    Ok(BucketLock { default_retention: default_retention.map(default_from_wire).transpose()? })
}

/// A bucket's of the configuration. A default that is not known here is left out: the control plane applies it all the same.
pub fn known_bucket_from_wire(wire: v1::BucketLock) -> BucketLock {
    let v1::BucketLock { default_retention } = wire;
    BucketLock { default_retention: default_retention.and_then(|wire| default_from_wire(wire).ok()) }
}

fn default_to_wire(default: DefaultRetention) -> v1::DefaultRetention {
    let DefaultRetention { mode, period } = default;
    v1::DefaultRetention {
        mode: mode_to_wire(mode).into(),
        period: Some(match period {
            RetentionPeriod::Days(days) => Period::Days(days),
            RetentionPeriod::Years(years) => Period::Years(years),
        }),
    }
}

fn default_from_wire(wire: v1::DefaultRetention) -> Result<DefaultRetention, NotKnown> {
    let v1::DefaultRetention { mode, period } = wire;
    let period = match period.ok_or(NotKnown::Period)? {
        Period::Days(days) => RetentionPeriod::Days(days),
        Period::Years(years) => RetentionPeriod::Years(years),
    };
    Ok(DefaultRetention { mode: mode_from_wire(mode)?, period })
}

const fn mode_to_wire(mode: RetentionMode) -> v1::RetentionMode {
    match mode {
        RetentionMode::Governance => v1::RetentionMode::Governance,
        RetentionMode::Compliance => v1::RetentionMode::Compliance,
    }
}

fn mode_from_wire(word: i32) -> Result<RetentionMode, NotKnown> {
    match v1::RetentionMode::try_from(word) {
        Ok(v1::RetentionMode::Governance) => Ok(RetentionMode::Governance),
        Ok(v1::RetentionMode::Compliance) => Ok(RetentionMode::Compliance),
        Ok(v1::RetentionMode::Unspecified) | Err(_) => Err(NotKnown::Mode(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip() {
        let retention = Retention { mode: RetentionMode::Compliance, until: Timestamp(7) };
        for lock in [
            ObjectLock::default(),
            ObjectLock { retention: Some(retention), legal_hold: Some(false) },
            ObjectLock { retention: None, legal_hold: Some(true) },
        ] {
            assert_eq!(from_wire(to_wire(lock)), Ok(lock));
            assert_eq!(known_from_wire(to_wire(lock)), lock);
        }
        assert_eq!(to_wire(ObjectLock::default()), None);
    }

    #[test]
    fn buckets_round_trip() {
        for (mode, period) in [
            (RetentionMode::Governance, RetentionPeriod::Days(3)),
            (RetentionMode::Compliance, RetentionPeriod::Years(100)),
        ] {
            let lock = BucketLock { default_retention: Some(DefaultRetention { mode, period }) };
            assert_eq!(bucket_from_wire(bucket_to_wire(lock)), Ok(lock));
            assert_eq!(known_bucket_from_wire(bucket_to_wire(lock)), lock);
        }
        let none = BucketLock::default();
        assert_eq!(bucket_from_wire(bucket_to_wire(none)), Ok(none));
        assert_eq!(known_bucket_from_wire(bucket_to_wire(none)), none);
    }

    #[test]
    fn what_is_not_known_is_refused_or_left_out() {
        for mode in [0, 9] {
            let retention = Some(v1::Retention { mode, until_us: 7 });
            let wire = Some(v1::ObjectLock { retention, legal_hold: Some(true) });
            assert_eq!(from_wire(wire), Err(NotKnown::Mode(mode)));
            let known = known_from_wire(wire);
            assert_eq!((known.retention, known.legal_hold), (None, Some(true)), "the rest is shown");
        }
        for (mode, period, not_known) in
            [(9, Some(Period::Days(1)), NotKnown::Mode(9)), (1, None, NotKnown::Period)]
        {
            let wire = v1::BucketLock { default_retention: Some(v1::DefaultRetention { mode, period }) };
            assert_eq!(bucket_from_wire(wire), Err(not_known));
            assert_eq!(known_bucket_from_wire(wire), BucketLock::default());
        }
    }
}
