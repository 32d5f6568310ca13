//! Headers and documents of locks, read and refused.

use s3o_blob::Expected;
use s3o_types::{ObjectLock, Retention, RetentionMode, Timestamp};
use s3s::dto::{ObjectLockLegalHoldStatus, ObjectLockMode, Timestamp as S3Timestamp, TimestampFormat};

use super::*;

fn date(text: &str) -> S3Timestamp {
    S3Timestamp::parse(TimestampFormat::DateTime, text).expect("a date")
}

fn asked(mode: Option<&str>, until: Option<&str>, hold: Option<&str>) -> Result<ObjectLock, String> {
    let mode = mode.map(|mode| ObjectLockMode::from(mode.to_owned()));
    let hold = hold.map(|hold| ObjectLockLegalHoldStatus::from(hold.to_owned()));
    of_write(mode.as_ref(), until.map(date).as_ref(), hold.as_ref())
        .map_err(|error| error.code().as_str().to_owned())
}

#[test]
fn writes() {
    assert_eq!(asked(None, None, None), Ok(ObjectLock::default()));
    let day = "2026-01-31T12:00:00Z";
    let lock = asked(Some("GOVERNANCE"), Some(day), Some("OFF")).expect("a lock");
    let retention = Retention { mode: RetentionMode::Governance, until: Timestamp(1_769_860_800_000_000) };
    assert_eq!(lock, ObjectLock { retention: Some(retention), legal_hold: Some(false) });
    for (mode, until, hold) in [
        (Some("GOVERNANCE"), None, None),
        (None, Some(day), None),
        (Some("governance"), Some(day), None),
        (Some("COMPLIANCE"), Some("1969-12-31T23:59:59Z"), None),
        (None, None, Some("on")),
    ] {
        let code = asked(mode, until, hold);
        assert_eq!(code, Err("InvalidArgument".to_owned()), "{mode:?} {until:?} {hold:?}");
    }
}

#[test]
fn dates_never_end_sooner() {
    let of = |text: &str| date_of(&date(text)).expect("a date");
    assert_eq!(of("2026-01-31T12:00:00.0001Z"), of("2026-01-31T12:00:00.001Z"));
    assert_eq!(of("2026-01-31T13:00:00+01:00"), of("2026-01-31T12:00:00Z"));
    assert_eq!(date_text(of("2026-01-31T12:00:00Z")).as_deref(), Some("2026-01-31T12:00:00.000Z"));
}

#[test]
fn readers_are_told() {
    let mut headers = HeaderMap::new();
    add_headers(&mut headers, &ObjectLock::default());
    assert!(headers.is_empty());
    let lock = asked(Some("COMPLIANCE"), Some("2026-01-31T12:00:00Z"), Some("ON")).expect("a lock");
    add_headers(&mut headers, &lock);
    assert_eq!(headers["x-amz-object-lock-mode"], "COMPLIANCE");
    assert_eq!(headers["x-amz-object-lock-retain-until-date"], "2026-01-31T12:00:00.000Z");
    assert_eq!(headers["x-amz-object-lock-legal-hold"], "ON");
}

#[test]
fn what_is_locked_has_a_digest() {
    let bare = || Expected::of_size(1);
    assert_eq!(check_digest(&bare()).expect_err("bare").code().as_str(), "InvalidRequest");
    assert!(check_digest(&Expected { md5: Some([0; 16]), ..bare() }).is_ok());
}
