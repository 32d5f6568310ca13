//! PutObject: authenticate → admit → **begin → stream → commit**. The first two are behind us here.

use std::sync::Arc;

use futures::TryStreamExt as _;
use s3o_proto::v1::WriteKind;
use s3o_types::{LifecycleRule, ObjectAttributes};
use s3s::dto::{ETag, PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::attributes::{check_write, object_attributes};
use super::headers::add_checksums;
use super::object_lock::lock_of_write;
use super::{Answer, bucket_of, check_key, conditions, expiration, object_lock, refuse_unsupported, upload};
use crate::pipeline::body::{ByteStream, ClientBody, Payload};
use crate::pipeline::put::{Write, write};
use crate::plane::Plane;

/// Answers when the object counts.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<PutObjectInput>,
) -> Answer<PutObjectOutput> {
    let body: ByteStream = match req.input.body.take() {
        Some(body) => Box::pin(body.map_err(Into::into)),
        None => Box::pin(futures::stream::empty()),
    };
    if !lock_of_write!(req.input).is_none() {
        let size = upload::content_length(&req, req.input.content_length)?;
        object_lock::check_digest(&upload::expected(&req.headers, size, req.trailing_headers.clone())?)?;
    }
    store(plane, req, body).await
}

/// The same of a body that came in another way.
pub(super) async fn store(
    plane: &Arc<Plane>,
    mut req: S3Request<PutObjectInput>,
    body: ByteStream,
) -> Answer<PutObjectOutput> {
    let bucket = bucket_of(&req)?;
    let caller = plane.caller(&req);
    check(&req.input)?;
    let size = upload::content_length(&req, req.input.content_length)?;
    if size > bucket.max_object_size.min(super::MAX_SINGLE_BYTES) {
        return Err(s3_error!(EntityTooLarge));
    }
    let input = &req.input;
    let conditions = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref());
    let conditions = conditions.map_err(|message| s3_error!(NotImplemented, "{message}"))?;
    let mut expected = upload::expected(&req.headers, size, req.trailing_headers.take())?;
    expected.keep = Some(plane.config.integrity.digest);
    let attributes = attributes_of(&mut req.input)?;
    object_lock::check_bucket(plane, &caller, &bucket, &attributes.lock).await?;
    let payload = Payload::Client(ClientBody::new(body, expected, plane.replay.reserve(size)));
    let rules = expiration::rules(&bucket, &req.input.key, size, &attributes.tags);
    let rules: Vec<LifecycleRule> = rules.cloned().collect();
    let (key, kind) = (req.input.key, WriteKind::Put);
    let request = Write {
        caller,
        bucket,
        key,
        size,
        conditions,
        kind,
        part: None,
        attributes,
        payload,
        etag: None,
        checksums: None,
        server_side: Vec::new(),
    };
    let written = write(plane, request).await?;
    let mut response = S3Response::new(PutObjectOutput {
        e_tag: Some(ETag::Strong(written.etag.as_str().to_owned())),
        version_id: written.version_id,
        ..Default::default()
    });
    add_checksums(&mut response.headers, &written.checksums);
    expiration::add(&mut response.headers, &rules, written.modified);
    Ok(response)
}

fn check(input: &PutObjectInput) -> S3Result<()> {
    check_key(&input.key)?;
    let customer = input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some();
    check_write!(input, customer: customer);
    refuse_unsupported(&[(input.write_offset_bytes.is_some(), "Appending")])
}

fn attributes_of(input: &mut PutObjectInput) -> S3Result<ObjectAttributes> {
    Ok(object_attributes!(input))
}
