//! GetObjectRetention, PutObjectRetention, GetObjectLegalHold, PutObjectLegalHold: rows, not bytes, as tags are. Where no
//! version is named, it is whichever is current when the control plane decides.

use std::sync::Arc;

use http::StatusCode;
use s3o_types::{ObjectLock, Retention, VersionRef};
use s3s::dto::{
    GetObjectLegalHoldInput, GetObjectLegalHoldOutput, GetObjectRetentionInput, GetObjectRetentionOutput,
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
    PutObjectLegalHoldInput, PutObjectLegalHoldOutput, PutObjectRetentionInput, PutObjectRetentionOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::{date_of, hold_of, hold_word, mode_of, mode_word, no_lock};
use crate::control::{LockChange, Want};
use crate::failpoints::{Point, pause_at};
use crate::ops::headers::timestamp;
use crate::ops::locate::{locate, unread};
use crate::ops::{Answer, bucket_of, check_key, document, version};
use crate::pipeline::task::to_its_end;
use crate::pipeline::{audit, faults};
use crate::plane::Plane;

/// GetObjectRetention.
pub(in crate::ops) async fn retention(
    plane: &Arc<Plane>,
    req: S3Request<GetObjectRetentionInput>,
) -> Answer<GetObjectRetentionOutput> {
    let lock = lock_of(plane, &req, &req.input.key, req.input.version_id.as_deref()).await?;
    let retention = Some(show(&lock.retention.ok_or_else(nothing)?));
    Ok(S3Response::new(GetObjectRetentionOutput { retention }))
}

/// GetObjectLegalHold.
pub(in crate::ops) async fn legal_hold(
    plane: &Arc<Plane>,
    req: S3Request<GetObjectLegalHoldInput>,
) -> Answer<GetObjectLegalHoldOutput> {
    let lock = lock_of(plane, &req, &req.input.key, req.input.version_id.as_deref()).await?;
    let status = ObjectLockLegalHoldStatus::from_static(hold_word(lock.legal_hold.ok_or_else(nothing)?));
    let legal_hold = Some(ObjectLockLegalHold { status: Some(status) });
    Ok(S3Response::new(GetObjectLegalHoldOutput { legal_hold }))
}

async fn lock_of<T: Sync>(
    plane: &Arc<Plane>,
    req: &S3Request<T>,
    key: &str,
    version_id: Option<&str>,
) -> S3Result<ObjectLock> {
    let (bucket, caller) = (bucket_of(req)?, plane.caller(req));
    check_key(key)?;
    let version = version::named(version_id)?;
    let named = (&bucket, key, version);
    let located = locate(plane, req, &caller, named, Want::Range(0, 0)).await?;
    let lock = located.attributes.lock;
    if lock.is_none() && bucket.lock.is_none() { Err(no_lock()) } else { Ok(lock) }
}

fn nothing() -> S3Error {
    faults::custom(
        "NoSuchObjectLockConfiguration",
        StatusCode::NOT_FOUND,
        "The specified object does not have a ObjectLock configuration",
    )
}

/// PutObjectRetention.
pub(in crate::ops) async fn put_retention(
    plane: &Arc<Plane>,
    req: S3Request<PutObjectRetentionInput>,
) -> Answer<PutObjectRetentionOutput> {
    document::check_elements(&req, &["Mode", "RetainUntilDate"])?;
    let input = &req.input;
    let said = input.retention.as_ref().ok_or_else(|| s3_error!(MalformedXML))?;
    let (wanted, bypass) = (read(said)?, input.bypass_governance_retention == Some(true));
    // An element that is empty may have been meant to be something: only who says so takes a retention away by none.
    if wanted.is_none() && !bypass {
        return Err(s3_error!(MalformedXML));
    }
    let change = LockChange::Retention(wanted);
    set(plane, &req, (&input.key, input.version_id.as_deref()), change, bypass).await?;
    Ok(S3Response::new(PutObjectRetentionOutput::default()))
}

/// PutObjectLegalHold.
pub(in crate::ops) async fn put_legal_hold(
    plane: &Arc<Plane>,
    req: S3Request<PutObjectLegalHoldInput>,
) -> Answer<PutObjectLegalHoldOutput> {
    document::check_elements(&req, &["Status"])?;
    let input = &req.input;
    let on = input.legal_hold.as_ref().and_then(read_hold).ok_or_else(|| s3_error!(MalformedXML))?;
    let change = LockChange::LegalHold(on);
    set(plane, &req, (&input.key, input.version_id.as_deref()), change, false).await?;
    Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
}

/// Not cut short when the client goes.
async fn set<T: Sync>(
    plane: &Arc<Plane>,
    req: &S3Request<T>,
    (key, version_id): (&str, Option<&str>),
    change: LockChange,
    bypass: bool,
) -> S3Result<()> {
    let (bucket, caller) = (bucket_of(req)?, plane.caller(req));
    check_key(key)?;
    let named: Option<VersionRef> = version::named(version_id)?;
    let (id, name, key) = (bucket.id, bucket.name.clone(), key.to_owned());
    let (of, remembering) = (key.clone(), Arc::clone(plane));
    let call = async move {
        let outcome = caller.set_lock(id, (&of, named), change, bypass).await;
        if outcome.is_ok() {
            remembering.locations.changed(id, &of);
            audit::locked(&caller, &name, (&of, named), change, bypass);
        }
        pause_at(Point::AfterCommit).await;
        outcome
    };
    let outcome = to_its_end(plane, call).await?;
    outcome.map(|_| ()).map_err(|failure| unread(plane, req, (&bucket, &key), failure))
}

/// `None` where the document is empty: the retention is to go.
pub(super) fn read(said: &ObjectLockRetention) -> S3Result<Option<Retention>> {
    match (&said.mode, &said.retain_until_date) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode = mode_of(mode.as_str()).ok_or_else(|| s3_error!(MalformedXML))?;
            Ok(Some(Retention { mode, until: date_of(until)? }))
        }
        _ => Err(s3_error!(MalformedXML)),
    }
}

pub(super) fn show(retention: &Retention) -> ObjectLockRetention {
    ObjectLockRetention {
        mode: Some(ObjectLockRetentionMode::from_static(mode_word(retention.mode))),
        retain_until_date: timestamp(retention.until),
    }
}

pub(super) fn read_hold(said: &ObjectLockLegalHold) -> Option<bool> {
    said.status.as_ref().and_then(|status| hold_of(status.as_str()))
}
