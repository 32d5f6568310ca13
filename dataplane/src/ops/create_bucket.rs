//! CreateBucket: a bucket of the access key's own, for keys that may. The control plane decides; the answer leaves when
//! this data plane knows the bucket, and others ask for what they do not know.

use std::sync::Arc;

use http::StatusCode;
use s3o_types::{BucketName, ErrorCode};
use s3s::dto::{
    BucketCannedACL, BucketLocationConstraint, CreateBucketConfiguration, CreateBucketInput,
    CreateBucketOutput, ObjectOwnership,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::acl::check_acl;
use super::buckets::{DEFAULT_REGION, region};
use super::{Answer, refuse_unsupported};
use crate::access::{Tenant, creates_buckets, is_writable};
use crate::control::{Caller, Failure};
use crate::pipeline::faults;
use crate::plane::Plane;

/// Answers when the bucket can be used here.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<CreateBucketInput>,
) -> Answer<CreateBucketOutput> {
    let tenant = req.extensions.get::<Tenant>().ok_or_else(|| s3_error!(AccessDenied))?;
    let name = &req.input.bucket;
    let is_there = plane.snapshot.load().buckets.contains_key(name);
    let may_be = name.parse::<BucketName>().is_ok_and(|name| is_there || !name.is_reserved());
    if !may_be {
        return Err(s3_error!(InvalidBucketName));
    }
    let checked = check(&req.input, plane.config.s3.region.as_deref());
    let locks = req.input.object_lock_enabled_for_bucket == Some(true);
    if creates_buckets(plane, &tenant.access_key) {
        checked?;
        make(plane, &plane.caller(&req), &tenant.access_key, name, locks).await?;
    } else {
        // It has come so far because the bucket is its own. Tools go on with that, whatever they have asked for.
        checked.map_err(|_| s3_error!(BucketAlreadyOwnedByYou))?;
        owned(plane, &plane.caller(&req), name, locks).await?;
    }
    let location = Some(format!("/{name}"));
    Ok(S3Response::new(CreateBucketOutput { location, ..Default::default() }))
}

async fn make(
    plane: &Arc<Plane>,
    caller: &Caller,
    access_key: &str,
    name: &str,
    locks: bool,
) -> S3Result<()> {
    match caller.create_bucket(name, locks).await {
        Ok(generation) => {
            plane.reach(caller, generation).await;
            Ok(())
        }
        Err(Failure::Refused { code: ErrorCode::BucketAlreadyOwnedByYou, .. }) => {
            owned(plane, caller, name, locks).await
        }
        // One of the operator's that the key may write to is its own for all that tools ask.
        Err(Failure::Refused { code: ErrorCode::BucketAlreadyExists, .. })
            if is_writable(plane, access_key, name) =>
        {
            owned(plane, caller, name, locks).await
        }
        Err(failure) => Err(faults::of_failure(failure)),
    }
}

/// In `us-east-1` whoever makes a bucket that is its own already is told that it is there (S3 API reference, "List of error
/// codes": `BucketAlreadyOwnedByYou`). Nothing of it is changed, so that one without a lock is not what was asked for with one.
async fn owned(plane: &Arc<Plane>, caller: &Caller, name: &str, locks: bool) -> S3Result<()> {
    let has_lock = || plane.snapshot.load().buckets.get(name).is_some_and(|bucket| bucket.lock.is_some());
    if region(plane) != DEFAULT_REGION {
        return Err(s3_error!(BucketAlreadyOwnedByYou));
    }
    if !locks || has_lock() {
        return Ok(());
    }
    // It may have been made a moment ago, by another data plane.
    plane.catch_up(caller).await.map_err(faults::of_failure)?;
    if has_lock() { Ok(()) } else { Err(s3_error!(BucketAlreadyOwnedByYou)) }
}

fn check(input: &CreateBucketInput, region: Option<&str>) -> S3Result<()> {
    let grants = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write.is_some()
        || input.grant_write_acp.is_some();
    check_acl(input.acl.as_ref().map(BucketCannedACL::as_str), grants)?;
    let ownership = input.object_ownership.as_ref().map(ObjectOwnership::as_str);
    let enforced = ownership.is_none_or(|ownership| ownership == ObjectOwnership::BUCKET_OWNER_ENFORCED);
    refuse_unsupported(&[(!enforced, "Another object ownership than BucketOwnerEnforced")])?;
    check_configuration(input.create_bucket_configuration.as_ref(), region)
}

/// Buckets are where this cluster is (CreateBucket reference, `LocationConstraint`).
fn check_configuration(
    configuration: Option<&CreateBucketConfiguration>,
    region: Option<&str>,
) -> S3Result<()> {
    let Some(configuration) = configuration else { return Ok(()) };
    let directory = configuration.location.is_some() || configuration.bucket.is_some();
    let tags = configuration.tags.as_ref().is_some_and(|tags| !tags.is_empty());
    refuse_unsupported(&[(directory, "A directory bucket"), (tags, "Tags of a bucket")])?;
    let wanted = configuration.location_constraint.as_ref().map(BucketLocationConstraint::as_str);
    match (wanted, region) {
        (Some(wanted), Some(region)) if !wanted.is_empty() && wanted != region => Err(faults::custom(
            "InvalidLocationConstraint",
            StatusCode::BAD_REQUEST,
            "The specified location-constraint is not valid: it is not the region of this service",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::Tag;

    use super::*;

    #[test]
    fn only_here() {
        let at = |wanted: &str| {
            let constraint = Some(BucketLocationConstraint::from(wanted.to_owned()));
            CreateBucketConfiguration { location_constraint: constraint, ..Default::default() }
        };
        assert!(check_configuration(None, Some("eu-1")).is_ok());
        assert!(check_configuration(Some(&at("eu-1")), Some("eu-1")).is_ok());
        assert!(check_configuration(Some(&at("anywhere")), None).is_ok(), "no region is configured");
        let elsewhere = check_configuration(Some(&at("us-west-2")), Some("eu-1")).expect_err("elsewhere");
        assert_eq!(elsewhere.code().as_str(), "InvalidLocationConstraint");
    }

    #[test]
    fn tags_are_not_passed_over() {
        let with = |tags: Vec<Tag>| {
            let configuration = CreateBucketConfiguration { tags: Some(tags), ..Default::default() };
            check_configuration(Some(&configuration), None).map_err(|error| error.code().as_str().to_owned())
        };
        assert_eq!(with(Vec::new()), Ok(()));
        let tag = Tag { key: Some("a".to_owned()), value: Some("b".to_owned()) };
        assert_eq!(with(vec![tag]), Err("NotImplemented".to_owned()));
    }
}
