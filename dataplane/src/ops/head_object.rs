//! HeadObject: the database alone answers, while it is there.

use std::sync::Arc;

use s3s::dto::{HeadObjectInput, HeadObjectOutput};
use s3s::{S3Request, S3Response};

use super::conditions::ReadConditions;
use super::get_object::{check_conditions, if_range, is_current, part_number, resolve, slice_of_part};
use super::headers::{self, Overrides};
use super::locate::locate_to_read;
use super::{Answer, bucket_of, check_key, expiration, refuse_unsupported, version};
use crate::control::Want;
use crate::degraded::Asked;
use crate::pipeline::audit;
use crate::plane::Plane;

/// Answers with what GetObject would, but the body.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<HeadObjectInput>,
) -> Answer<HeadObjectOutput> {
    let bucket = bucket_of(&req)?;
    let caller = plane.caller(&req);
    let key = req.input.key.clone();
    let input = &mut req.input;
    check_key(&input.key)?;
    let version = version::named(input.version_id.as_deref())?;
    let part = part_number(input.part_number, input.range.as_ref())?;
    refuse_unsupported(&[(input.sse_customer_key.is_some(), "Encryption with customer keys")])?;
    let conditions = ReadConditions {
        if_match: input.if_match.take(),
        if_none_match: input.if_none_match.take(),
        if_modified_since: input.if_modified_since.take(),
        if_unmodified_since: input.if_unmodified_since.take(),
    };
    let overrides = Overrides {
        content_type: input.response_content_type.take(),
        content_encoding: input.response_content_encoding.take(),
        content_disposition: input.response_content_disposition.take(),
        content_language: input.response_content_language.take(),
        cache_control: input.response_cache_control.take(),
        expires: headers::expires(&req.extensions, input.response_expires.as_ref()),
    };
    let want = part.map_or(Want::Range(0, 0), Want::Part);
    let asked = Asked { bucket: &bucket, key: &key, version, want, gone: None };
    let located = locate_to_read(plane, &req, &caller, asked, "HeadObject").await?;
    check_conditions(&conditions, &located)?;
    let if_range = if_range(&req.headers);
    let range = req.input.range.as_ref().filter(|_| is_current(if_range.as_ref(), &located));
    let slice = match part {
        Some(number) => slice_of_part(&located, number)?,
        None => resolve(range, located.size)?,
    };
    audit::looked_at(&caller, &bucket.name, &key, located.size);
    let wants_checksums = req.input.checksum_mode.is_some();
    let mut headers = headers::of_object(&located, slice, wants_checksums, &overrides);
    if part.is_some() {
        headers::add_part(&mut headers, &located, wants_checksums);
    }
    expiration::add_of_read(&mut headers, &bucket, (&key, version), &located);
    let content_range = slice.and_then(|slice| slice.content_range(located.size));
    Ok(S3Response::with_headers(HeadObjectOutput { content_range, ..Default::default() }, headers))
}
