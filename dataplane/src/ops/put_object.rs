//! PutObject: authenticate → admit → **begin → stream → commit**. The first two are behind us here.

use std::sync::Arc;

use futures::TryStreamExt as _;
use s3o_proto::v1::WriteKind;
use s3o_types::ObjectAttributes;
use s3s::dto::{ETag, ObjectCannedACL, PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::attributes::{self, content_headers};
use super::headers::add_checksums;
use super::{Answer, bucket_of, check_acl, check_key, conditions, refuse_unsupported, tags, upload};
use crate::pipeline::body::{ByteStream, ClientBody, Payload};
use crate::pipeline::faults::invalid_argument;
use crate::pipeline::put::{Write, write};
use crate::plane::Plane;

/// Answers when the object counts.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<PutObjectInput>,
) -> Answer<PutObjectOutput> {
    let bucket = bucket_of(&req)?;
    let caller = plane.caller(&req);
    check(&req.input)?;
    let size = content_length(&req.input)?;
    if size > bucket.max_object_size.min(super::MAX_SINGLE_BYTES) {
        return Err(s3_error!(EntityTooLarge));
    }
    let input = &req.input;
    let conditions = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref());
    let conditions = conditions.map_err(|message| s3_error!(NotImplemented, "{message}"))?;
    let expected = upload::expected(&req.headers, size, req.trailing_headers.take())?;
    let attributes = attributes_of(&mut req.input)?;
    let body: ByteStream = match req.input.body.take() {
        Some(body) => Box::pin(body.map_err(Into::into)),
        None => Box::pin(futures::stream::empty()),
    };
    let payload = Payload::Client(ClientBody::new(body, expected, plane.replay.reserve(size)));
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
        ..Default::default()
    });
    add_checksums(&mut response.headers, &written.checksums);
    Ok(response)
}

fn check(input: &PutObjectInput) -> S3Result<()> {
    check_key(&input.key)?;
    let grants = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write_acp.is_some();
    check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), grants)?;
    let lock = input.object_lock_mode.is_some()
        || input.object_lock_legal_hold_status.is_some()
        || input.object_lock_retain_until_date.is_some();
    refuse_unsupported(&[
        (input.server_side_encryption.is_some() || input.ssekms_key_id.is_some(), "Server-side encryption"),
        (
            input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some(),
            "Encryption with customer keys",
        ),
        (lock, "Object lock"),
        (input.write_offset_bytes.is_some(), "Appending"),
    ])
}

/// Of the decoded body.
fn content_length(input: &PutObjectInput) -> S3Result<u64> {
    let length = input.content_length.ok_or_else(|| s3_error!(MissingContentLength))?;
    u64::try_from(length).map_err(|_| invalid_argument("Content-Length must not be negative."))
}

fn attributes_of(input: &mut PutObjectInput) -> S3Result<ObjectAttributes> {
    let headers = content_headers!(input);
    attributes::check_redirect(&headers)?;
    let metadata = attributes::metadata(input.metadata.take())?;
    let tags = tags::of_header(input.tagging.as_deref())?;
    Ok(ObjectAttributes { headers, metadata, tags })
}
