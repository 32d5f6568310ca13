//! What keeps versions, and what buckets say of it, as they stand on the wire.
//!
//! Invariant: a mode that is not known here is refused: it may be meant to hold longer than those that are.

use s3o_core::call::{LockChange, SetLock};
use s3o_proto::v1;
use s3o_types::{
    BucketId, BucketLock, DefaultRetention, ObjectLock, Retention, RetentionMode, RetentionPeriod, Timestamp,
};

use crate::field::{self, Bad};

/// The end of the last year of four digits, in microseconds since 1970: no date in a header or a document is later.
const LATEST_US: i64 = 253_402_300_799_999_999;

pub(crate) fn from_wire(wire: Option<v1::ObjectLock>) -> Result<ObjectLock, Bad> {
    let v1::ObjectLock { retention: wire, legal_hold } = wire.unwrap_or_default();
    let retention = wire.map(retention).transpose().map_err(|bad| bad.within("retention"))?;
    Ok(ObjectLock { retention, legal_hold })
}

fn retention(wire: v1::Retention) -> Result<Retention, Bad> {
    let v1::Retention { mode: word, until_us } = wire;
    if !(0..=LATEST_US).contains(&until_us) {
        return Err(Bad::new("until_us", format!("{until_us} is no time that can be written")));
    }
    Ok(Retention { mode: mode(word)?, until: Timestamp(until_us) })
}

fn mode(word: i32) -> Result<RetentionMode, Bad> {
    match v1::RetentionMode::try_from(word) {
        Ok(v1::RetentionMode::Governance) => Ok(RetentionMode::Governance),
        Ok(v1::RetentionMode::Compliance) => Ok(RetentionMode::Compliance),
        Ok(v1::RetentionMode::Unspecified) | Err(_) => {
            Err(Bad::new("mode", format!("{word} is no retention mode that is known here")))
        }
    }
}

/// `None` where nothing was ever said.
pub(crate) fn to_wire(lock: ObjectLock) -> Option<v1::ObjectLock> {
    if lock.is_none() {
        return None;
    }
    let ObjectLock { retention, legal_hold } = lock;
    let retention = retention.map(|Retention { mode, until }| v1::Retention {
        mode: mode_to_wire(mode).into(),
        until_us: until.0,
    });
    Some(v1::ObjectLock { retention, legal_hold })
}

const fn mode_to_wire(mode: RetentionMode) -> v1::RetentionMode {
    match mode {
        RetentionMode::Governance => v1::RetentionMode::Governance,
        RetentionMode::Compliance => v1::RetentionMode::Compliance,
    }
}

pub(crate) fn set(wire: v1::SetLock) -> Result<SetLock, Bad> {
    use v1::set_lock::Change;

    let v1::SetLock { bucket, key, version_id, bypass_governance, change } = wire;
    let change = match field::present("change", change)? {
        Change::Retention(wire) => {
            LockChange::Retention(Some(retention(wire).map_err(|bad| bad.within("retention"))?))
        }
        Change::NoRetention(v1::NoRetention {}) => LockChange::Retention(None),
        Change::LegalHold(on) => LockChange::LegalHold(on),
    };
    Ok(SetLock {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        version: field::version_ref("version_id", &version_id)?,
        change,
        bypass_governance,
    })
}

/// What a client says of a bucket.
pub(crate) fn bucket_from_wire(wire: v1::BucketLock) -> Result<BucketLock, Bad> {
    let v1::BucketLock { default_retention } = wire;
    let default_retention = default_retention.map(default_from_wire).transpose();
    Ok(BucketLock { default_retention: default_retention.map_err(|bad| bad.within("default_retention"))? })
}

fn default_from_wire(wire: v1::DefaultRetention) -> Result<DefaultRetention, Bad> {
    use v1::default_retention::Period;

    let v1::DefaultRetention { mode: word, period } = wire;
    let period = match field::present("period", period)? {
        Period::Days(days) => RetentionPeriod::Days(days),
        Period::Years(years) => RetentionPeriod::Years(years),
    };
    match period.problem() {
        None => Ok(DefaultRetention { mode: mode(word)?, period }),
        Some(why) => Err(Bad::new("period", why)),
    }
}

pub(crate) fn bucket_to_wire(lock: BucketLock) -> v1::BucketLock {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_round_trip() {
        let retention = Retention { mode: RetentionMode::Compliance, until: Timestamp(LATEST_US) };
        for lock in [
            ObjectLock { retention: Some(retention), legal_hold: Some(false) },
            ObjectLock { retention: None, legal_hold: Some(true) },
            ObjectLock::default(),
        ] {
            assert_eq!(from_wire(to_wire(lock)), Ok(lock));
        }
        for (mode, until_us, field) in [
            (0, 1, "retention.mode"),
            (9, 1, "retention.mode"),
            (1, -1, "retention.until_us"),
            (1, i64::MAX, "retention.until_us"),
        ] {
            let wire = v1::ObjectLock { retention: Some(v1::Retention { mode, until_us }), legal_hold: None };
            assert_eq!(from_wire(Some(wire)).unwrap_err().field, field);
        }
    }

    #[test]
    fn buckets_round_trip() {
        let mode = RetentionMode::Governance;
        for period in [RetentionPeriod::Days(3), RetentionPeriod::Years(100)] {
            let lock = BucketLock { default_retention: Some(DefaultRetention { mode, period }) };
            assert_eq!(bucket_from_wire(bucket_to_wire(lock)), Ok(lock));
        }
        assert_eq!(bucket_from_wire(bucket_to_wire(BucketLock::default())), Ok(BucketLock::default()));
        let none = v1::BucketLock { default_retention: Some(v1::DefaultRetention { mode: 1, period: None }) };
        assert_eq!(bucket_from_wire(none).unwrap_err().field, "default_retention.period");
        let long = v1::default_retention::Period::Years(101);
        let long = v1::DefaultRetention { mode: 1, period: Some(long) };
        let long = v1::BucketLock { default_retention: Some(long) };
        assert_eq!(bucket_from_wire(long).unwrap_err().field, "default_retention.period");
    }

    #[test]
    fn changes() {
        let wire = v1::SetLock { bucket: 1, key: "k".into(), ..v1::SetLock::default() };
        assert_eq!(set(wire.clone()).unwrap_err().field, "change");
        let off = v1::SetLock { change: Some(v1::set_lock::Change::LegalHold(false)), ..wire.clone() };
        assert_eq!(set(off).unwrap().change, LockChange::LegalHold(false));
        let none = v1::set_lock::Change::NoRetention(v1::NoRetention {});
        let none = v1::SetLock { change: Some(none), bypass_governance: true, ..wire };
        let none = set(none).unwrap();
        assert_eq!((none.change, none.bypass_governance), (LockChange::Retention(None), true));
    }
}
