//! GetBucketLifecycleConfiguration, PutBucketLifecycleConfiguration, DeleteBucketLifecycle: the rules by which the control
//! plane lets objects expire. Those of the configuration file can be read here, and not changed.
//!
//! Invariant: nothing is stored that would not be done. What is not implemented is refused by name.

mod read;
mod show;

use std::sync::Arc;

use http::StatusCode;
use s3o_types::LifecycleRule;
use s3s::dto::{
    DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput, GetBucketLifecycleConfigurationInput,
    GetBucketLifecycleConfigurationOutput, PutBucketLifecycleConfigurationInput,
    PutBucketLifecycleConfigurationOutput, TransitionDefaultMinimumObjectSize,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Answer, bucket_of, document, refuse_unsupported};
use crate::pipeline::faults;
use crate::plane::Plane;

/// What S3 says where nothing else was asked for. Transitions are all that it is about, and there are none; tools wait
/// until it is said.
const LEAST_TRANSITION: &str = TransitionDefaultMinimumObjectSize::ALL_STORAGE_CLASSES_128K;

/// GetBucketLifecycleConfiguration.
pub(super) fn get(
    req: &S3Request<GetBucketLifecycleConfigurationInput>,
) -> Answer<GetBucketLifecycleConfigurationOutput> {
    let bucket = bucket_of(req)?;
    if bucket.lifecycle.is_empty() {
        return Err(faults::custom(
            "NoSuchLifecycleConfiguration",
            StatusCode::NOT_FOUND,
            "The lifecycle configuration does not exist",
        ));
    }
    let rules = Some(bucket.lifecycle.iter().map(show::rule).collect());
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
        rules,
        transition_default_minimum_object_size: Some(least_transition()),
    }))
}

/// PutBucketLifecycleConfiguration.
pub(super) async fn put(
    plane: &Arc<Plane>,
    req: S3Request<PutBucketLifecycleConfigurationInput>,
) -> Answer<PutBucketLifecycleConfigurationOutput> {
    document::check_elements(&req, &["Rule"])?;
    let least = req.input.transition_default_minimum_object_size.as_ref();
    let other = least.is_some_and(|least| least.as_str() != LEAST_TRANSITION);
    refuse_unsupported(&[(other, "Another x-amz-transition-default-minimum-object-size")])?;
    let configuration = req.input.lifecycle_configuration.as_ref().ok_or_else(|| s3_error!(MalformedXML))?;
    let rules = read::rules(&configuration.rules)?;
    set(plane, &req, &rules).await?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput {
        transition_default_minimum_object_size: Some(least_transition()),
    }))
}

fn least_transition() -> TransitionDefaultMinimumObjectSize {
    TransitionDefaultMinimumObjectSize::from_static(LEAST_TRANSITION)
}

/// DeleteBucketLifecycle: nothing to delete is no error.
pub(super) async fn delete(
    plane: &Arc<Plane>,
    req: S3Request<DeleteBucketLifecycleInput>,
) -> Answer<DeleteBucketLifecycleOutput> {
    set(plane, &req, &[]).await?;
    Ok(S3Response::with_status(DeleteBucketLifecycleOutput {}, StatusCode::NO_CONTENT))
}

async fn set<T: Sync>(plane: &Arc<Plane>, req: &S3Request<T>, rules: &[LifecycleRule]) -> S3Result<()> {
    let (bucket, caller) = (bucket_of(req)?, plane.caller(req));
    let generation = caller.set_lifecycle(&bucket.name, rules).await.map_err(faults::of_failure)?;
    plane.reach(&caller, generation).await;
    Ok(())
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
