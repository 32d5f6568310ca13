//! What keeps versions, and what buckets say of it, as clients ask for it.
//!
//! Invariant: a mode that is not known here is refused: it may be meant to hold longer than those that are.

use s3o_core::call::{LockChange, SetLock};
use s3o_proto::v1;
use s3o_types::{BucketId, BucketLock, ObjectLock, Retention};
use s3o_wire::lock::{self, NotKnown};

use crate::field::{self, Bad};

/// The end of the last year of four digits, in microseconds since 1970: no date in a header or a document is later.
const LATEST_US: i64 = 253_402_300_799_999_999;

pub(crate) fn from_wire(wire: Option<v1::ObjectLock>) -> Result<ObjectLock, Bad> {
    let within = |bad: Bad| bad.within("retention");
    let ObjectLock { retention, legal_hold } =
        lock::from_wire(wire).map_err(|what| within(not_known(what)))?;
    Ok(ObjectLock { retention: retention.map(checked).transpose().map_err(within)?, legal_hold })
}

fn retention(wire: v1::Retention) -> Result<Retention, Bad> {
    checked(lock::retention_from_wire(wire).map_err(not_known)?)
}

fn checked(retention: Retention) -> Result<Retention, Bad> {
    let until_us = retention.until.0;
    if (0..=LATEST_US).contains(&until_us) {
        Ok(retention)
    } else {
        Err(Bad::new("until_us", format!("{until_us} is no time that can be written")))
    }
}

fn not_known(what: NotKnown) -> Bad {
    match what {
        NotKnown::Mode(word) => Bad::new("mode", format!("{word} is no retention mode that is known here")),
        NotKnown::Period => Bad::new("period", "is missing"),
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
    let within = |bad: Bad| bad.within("default_retention");
    let lock = lock::bucket_from_wire(wire).map_err(|what| within(not_known(what)))?;
    match lock.default_retention.and_then(|default| default.period.problem()) {
        None => Ok(lock),
        Some(why) => Err(within(Bad::new("period", why))),
    }
}

#[cfg(test)]
mod tests {
    use s3o_proto::v1::default_retention::Period;
    use s3o_types::{RetentionMode, Timestamp};

    use super::*;

    #[test]
    fn locks() {
        let retention = Retention { mode: RetentionMode::Compliance, until: Timestamp(LATEST_US) };
        for lock in [
            ObjectLock { retention: Some(retention), legal_hold: Some(false) },
            ObjectLock { retention: None, legal_hold: Some(true) },
            ObjectLock::default(),
        ] {
            assert_eq!(from_wire(lock::to_wire(lock)), Ok(lock));
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
    fn buckets() {
        let wire =
            |mode, period| v1::BucketLock { default_retention: Some(v1::DefaultRetention { mode, period }) };
        let good = bucket_from_wire(wire(1, Some(Period::Years(100)))).unwrap();
        assert_eq!(lock::bucket_to_wire(good), wire(1, Some(Period::Years(100))));
        assert_eq!(bucket_from_wire(v1::BucketLock::default()), Ok(BucketLock::default()));
        for (bad, field) in [
            (wire(1, None), "default_retention.period"),
            (wire(1, Some(Period::Years(101))), "default_retention.period"),
            (wire(9, Some(Period::Days(1))), "default_retention.mode"),
        ] {
            assert_eq!(bucket_from_wire(bad).unwrap_err().field, field);
        }
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
