//! Object Lock: what clients say of it, in headers and in documents (S3 API reference, `PutObject`, `PutObjectRetention`,
//! `PutObjectLegalHold`, `PutObjectLockConfiguration`). Whether a lock lets a version go is the control plane's to decide, by
//! the database's clock.
//!
//! Invariant: what is not understood is refused, never passed over: the client believes that its object is locked.

pub(super) mod configuration;
pub(super) mod version;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use s3o_blob::{AlgorithmSet, Expected};
use s3o_types::{ObjectLock, Retention, RetentionMode, Timestamp};
use s3s::dto::{
    ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetentionMode, Timestamp as S3Timestamp,
    TimestampFormat,
};
use s3s::{S3Error, S3Result, s3_error};

use super::headers::timestamp;
use crate::control::Caller;
use crate::pipeline::faults::{self, invalid_argument};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// Nanoseconds of what a date can say: it has milliseconds where it is written.
const DATE_NANOS: i128 = 1_000_000;

/// What a write asks for by its headers or fields.
pub(super) fn of_write(
    mode: Option<&ObjectLockMode>,
    until: Option<&S3Timestamp>,
    hold: Option<&ObjectLockLegalHoldStatus>,
) -> S3Result<ObjectLock> {
    let retention = match (mode, until) {
        (None, None) => None,
        (Some(mode), Some(until)) => {
            let mode =
                mode_of(mode.as_str()).ok_or_else(|| invalid_argument("Unknown wormMode directive."))?;
            Some(Retention { mode, until: date_of(until)? })
        }
        _ => {
            return Err(invalid_argument(
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            ));
        }
    };
    let legal_hold = match hold.map(|hold| hold_of(hold.as_str())) {
        Some(None) => return Err(invalid_argument("Legal Hold must be either of 'ON' or 'OFF'")),
        known => known.flatten(),
    };
    Ok(ObjectLock { retention, legal_hold })
}

/// [`of_write`] of the fields that the writes have in common.
macro_rules! lock_of_write {
    ($input:expr) => {
        $crate::ops::object_lock::of_write(
            $input.object_lock_mode.as_ref(),
            $input.object_lock_retain_until_date.as_ref(),
            $input.object_lock_legal_hold_status.as_ref(),
        )?
    };
}
pub(super) use lock_of_write;

/// Refuses a write with a lock to a bucket without Object Lock. The control plane does too; but one that does not know locks
/// would pass it over, and none such can write to a bucket that has it.
pub(super) async fn check_bucket(
    plane: &Arc<Plane>,
    caller: &Caller,
    bucket: &Bucket,
    lock: &ObjectLock,
) -> S3Result<()> {
    if lock.is_none() || bucket.lock.is_some() {
        return Ok(());
    }
    // Another data plane may have enabled it a moment ago.
    plane.catch_up(caller).await.map_err(faults::of_failure)?;
    let has_lock = |known: &Bucket| known.id == bucket.id && known.lock.is_some();
    if plane.snapshot.load().buckets.get(&bucket.name).is_some_and(has_lock) {
        Ok(())
    } else {
        Err(no_lock())
    }
}

fn no_lock() -> S3Error {
    s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration")
}

/// What is locked must be what was meant: a PUT with a lock says a digest (S3 API reference, `PutObject`, "Content-MD5").
pub(super) fn check_digest(expected: &Expected) -> S3Result<()> {
    let has_digest = expected.md5.is_some()
        || !expected.checksums.values.is_empty()
        || expected.trailers != AlgorithmSet::NONE;
    if has_digest {
        return Ok(());
    }
    Err(s3_error!(
        InvalidRequest,
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
    ))
}

fn mode_of(word: &str) -> Option<RetentionMode> {
    match word {
        ObjectLockRetentionMode::GOVERNANCE => Some(RetentionMode::Governance),
        ObjectLockRetentionMode::COMPLIANCE => Some(RetentionMode::Compliance),
        _ => None,
    }
}

const fn mode_word(mode: RetentionMode) -> &'static str {
    match mode {
        RetentionMode::Governance => ObjectLockRetentionMode::GOVERNANCE,
        RetentionMode::Compliance => ObjectLockRetentionMode::COMPLIANCE,
    }
}

fn hold_of(word: &str) -> Option<bool> {
    match word {
        ObjectLockLegalHoldStatus::ON => Some(true),
        ObjectLockLegalHoldStatus::OFF => Some(false),
        _ => None,
    }
}

const fn hold_word(on: bool) -> &'static str {
    if on { ObjectLockLegalHoldStatus::ON } else { ObjectLockLegalHoldStatus::OFF }
}

/// What a date cannot be written with is rounded up: it must not end sooner.
fn date_of(date: &S3Timestamp) -> S3Result<Timestamp> {
    let nanos = time::OffsetDateTime::from(date.clone()).unix_timestamp_nanos();
    let micros =
        nanos.div_euclid(DATE_NANOS) * 1000 + if nanos.rem_euclid(DATE_NANOS) > 0 { 1000 } else { 0 };
    let until = i64::try_from(micros).map(Timestamp).ok();
    // The year 9999 ends at different times here and there.
    let until = until.filter(|until| until.0 >= 0 && date_text(*until).is_some());
    until.ok_or_else(|| invalid_argument("The retain until date is out of range"))
}

/// As headers and documents have it.
fn date_text(until: Timestamp) -> Option<String> {
    let mut text = Vec::new();
    timestamp(until)?.format(TimestampFormat::DateTime, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// What readers of a version are told.
pub(super) fn add_headers(headers: &mut HeaderMap, lock: &ObjectLock) {
    let ObjectLock { retention, legal_hold } = lock;
    if let Some(Retention { mode, until }) = retention
        && let Some(date) = date_text(*until).and_then(|date| HeaderValue::try_from(date).ok())
    {
        headers.insert("x-amz-object-lock-mode", HeaderValue::from_static(mode_word(*mode)));
        headers.insert("x-amz-object-lock-retain-until-date", date);
    }
    if let Some(on) = legal_hold {
        headers.insert("x-amz-object-lock-legal-hold", HeaderValue::from_static(hold_word(*on)));
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
