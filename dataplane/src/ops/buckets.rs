//! What is asked of buckets themselves. All of it is in the snapshot: no call leaves this process.

use std::sync::Arc;

use s3s::dto::{
    Bucket as S3Bucket, BucketLocationConstraint, GetBucketLocationInput, GetBucketLocationOutput,
    HeadBucketInput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Owner,
};
use s3s::{S3Request, S3Response, s3_error};

use super::elements::Elements;
use super::headers::whole_seconds;
use super::{Answer, bucket_of, token};
use crate::access::Tenant;
use crate::pipeline::faults::invalid_argument;
use crate::plane::Plane;

/// S3's default page of ListBuckets.
const MAX_BUCKETS: usize = 10_000;
/// What S3 calls the region of buckets without one.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// Whoever owns everything: there are no accounts.
pub(crate) const OWNER: &str = "s3o";

/// The same for `s3s`.
pub(super) fn owner() -> Owner {
    Owner { display_name: None, id: Some(OWNER.to_owned()) }
}

/// ListBuckets: those the key has a grant for.
pub(super) fn list(plane: &Arc<Plane>, req: &S3Request<ListBucketsInput>) -> Answer<ListBucketsOutput> {
    let tenant = req.extensions.get::<Tenant>().ok_or_else(|| s3_error!(AccessDenied))?;
    let input = &req.input;
    let after = match &input.continuation_token {
        Some(text) => token::decode(text)
            .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?,
        None => String::new(),
    };
    let limit = match input.max_buckets {
        None => MAX_BUCKETS,
        Some(n) => usize::try_from(n)
            .ok()
            .filter(|n| (1..=MAX_BUCKETS).contains(n))
            .ok_or_else(|| invalid_argument("max-buckets must be between 1 and 10000"))?,
    };
    let prefix = input.prefix.as_deref().unwrap_or_default();
    // All of them are in the one that HeadBucket says.
    let region = region(plane);
    let elsewhere = input.bucket_region.as_deref().is_some_and(|wanted| wanted != region);
    let snapshot = plane.snapshot.load();
    let key = snapshot.keys.get(&tenant.access_key);
    let mut buckets: Vec<_> = snapshot
        .buckets
        .values()
        .filter(|bucket| key.is_some_and(|key| !key.scopes(bucket.id).is_empty()))
        .filter(|bucket| !elsewhere && bucket.name.starts_with(prefix) && bucket.name > after)
        .collect();
    buckets.sort_by(|a, b| a.name.cmp(&b.name));
    let more = buckets.len() > limit;
    buckets.truncate(limit);
    let next = if more { buckets.last().map(|bucket| token::encode(&bucket.name)) } else { None };
    let buckets = buckets.into_iter().map(|bucket| S3Bucket {
        creation_date: whole_seconds(bucket.created),
        name: Some(bucket.name.clone()),
        bucket_region: Some(region.to_owned()),
        ..Default::default()
    });
    let buckets = Some(buckets.collect());
    let mut elements = Elements::default();
    elements.texts(&[("Prefix", input.prefix.as_deref())]);
    let mut response = S3Response::new(ListBucketsOutput {
        buckets,
        continuation_token: next,
        owner: Some(owner()),
        // It is written by itself.
        prefix: None,
    });
    response.extensions.insert(elements);
    Ok(response)
}

/// HeadBucket: the access check has found it.
pub(super) fn head(plane: &Arc<Plane>, req: &S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
    bucket_of(req)?;
    let bucket_region = Some(region(plane).to_owned());
    Ok(S3Response::new(HeadBucketOutput { bucket_region, ..Default::default() }))
}

/// GetBucketLocation: no constraint means us-east-1.
pub(super) fn location(
    plane: &Arc<Plane>,
    req: &S3Request<GetBucketLocationInput>,
) -> Answer<GetBucketLocationOutput> {
    bucket_of(req)?;
    let region = region(plane);
    let location_constraint =
        (region != DEFAULT_REGION).then(|| BucketLocationConstraint::from(region.to_owned()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}

/// The one region of all buckets.
pub(super) fn region(plane: &Plane) -> &str {
    plane.config.s3.region.as_deref().unwrap_or(DEFAULT_REGION)
}
