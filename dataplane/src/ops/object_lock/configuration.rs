//! GetObjectLockConfiguration and PutObjectLockConfiguration. What is asked for is decided by the control plane; what there is
//! comes with the configuration.

use std::sync::Arc;

use http::StatusCode;
use s3o_types::{BucketLock, DefaultRetention, RetentionPeriod};
use s3s::dto::{
    DefaultRetention as S3DefaultRetention, GetObjectLockConfigurationInput,
    GetObjectLockConfigurationOutput, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
    ObjectLockRule, PutObjectLockConfigurationInput, PutObjectLockConfigurationOutput,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::{mode_of, mode_word};
use crate::ops::{Answer, bucket_of, document};
use crate::pipeline::faults;
use crate::plane::Plane;

/// GetObjectLockConfiguration.
pub(in crate::ops) fn get(
    req: &S3Request<GetObjectLockConfigurationInput>,
) -> Answer<GetObjectLockConfigurationOutput> {
    let lock = bucket_of(req)?.lock.ok_or_else(|| {
        faults::custom(
            "ObjectLockConfigurationNotFoundError",
            StatusCode::NOT_FOUND,
            "Object Lock configuration does not exist for this bucket",
        )
    })?;
    let object_lock_configuration = Some(show(&lock));
    Ok(S3Response::new(GetObjectLockConfigurationOutput { object_lock_configuration }))
}

/// PutObjectLockConfiguration.
pub(in crate::ops) async fn put(
    plane: &Arc<Plane>,
    req: S3Request<PutObjectLockConfigurationInput>,
) -> Answer<PutObjectLockConfigurationOutput> {
    document::check_elements(&req, &["ObjectLockEnabled", "Rule"])?;
    let configuration =
        req.input.object_lock_configuration.as_ref().ok_or_else(|| s3_error!(MalformedXML))?;
    let lock = read(configuration)?;
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let generation = caller.set_object_lock(&bucket.name, lock).await.map_err(faults::of_failure)?;
    plane.reach(&caller, generation).await;
    Ok(S3Response::new(PutObjectLockConfigurationOutput::default()))
}

pub(super) fn read(configuration: &ObjectLockConfiguration) -> S3Result<BucketLock> {
    let enabled = configuration.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str);
    if enabled != Some(ObjectLockEnabled::ENABLED) {
        return Err(s3_error!(MalformedXML));
    }
    let Some(rule) = &configuration.rule else { return Ok(BucketLock::default()) };
    let said = rule.default_retention.as_ref().ok_or_else(|| s3_error!(MalformedXML))?;
    Ok(BucketLock { default_retention: Some(default_retention(said)?) })
}

fn default_retention(said: &S3DefaultRetention) -> S3Result<DefaultRetention> {
    let mode = said.mode.as_ref().and_then(|mode| mode_of(mode.as_str()));
    let mode = mode.ok_or_else(|| s3_error!(MalformedXML))?;
    let (n, period): (i32, fn(u32) -> RetentionPeriod) = match (said.days, said.years) {
        (Some(days), None) => (days, RetentionPeriod::Days),
        (None, Some(years)) => (years, RetentionPeriod::Years),
        _ => return Err(s3_error!(MalformedXML)),
    };
    let period = u32::try_from(n).map(period).map_err(|_| invalid_period())?;
    match period.problem() {
        None => Ok(DefaultRetention { mode, period }),
        Some(_) => Err(invalid_period()),
    }
}

/// S3's code for a period that is too short or too long.
fn invalid_period() -> S3Error {
    faults::custom(
        "InvalidRetentionPeriod",
        StatusCode::BAD_REQUEST,
        "Default retention period must be a positive integer value, of 36500 days or 100 years at most.",
    )
}

pub(super) fn show(lock: &BucketLock) -> ObjectLockConfiguration {
    let rule = lock.default_retention.map(|DefaultRetention { mode, period }| {
        let signed = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let (days, years) = match period {
            RetentionPeriod::Days(days) => (Some(signed(days)), None),
            RetentionPeriod::Years(years) => (None, Some(signed(years))),
        };
        let mode = Some(ObjectLockRetentionMode::from_static(mode_word(mode)));
        ObjectLockRule { default_retention: Some(S3DefaultRetention { days, mode, years }) }
    });
    let enabled = ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED);
    ObjectLockConfiguration { object_lock_enabled: Some(enabled), rule }
}
