//! GetObject: locate → conditions → range → stream.

use std::sync::Arc;

use futures::StreamExt as _;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use s3o_types::VersionId;
use s3s::dto::{GetObjectInput, GetObjectOutput, Range, StreamingBlob};
use s3s::{Body, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::conditions::{ReadConditions, Verdict};
use super::headers::{self, Overrides};
use super::locate::locate_to_read;
use super::range::{self, Slice};
use super::{Answer, bucket_of, check_key, expiration, refuse_unsupported, version};
use crate::control::{Located, Want};
use crate::degraded::Asked;
use crate::pipeline::faults;
use crate::pipeline::read::{self, ReadError, Source};
use crate::plane::Plane;

/// How often a version that was replaced under our hands is looked for again.
pub(super) const MAX_LOCATES: usize = 4;

/// Answers when a backend has begun to answer.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<GetObjectInput>,
) -> Answer<GetObjectOutput> {
    let bucket = bucket_of(&req)?;
    check(&req.input)?;
    let version = version::named(req.input.version_id.as_deref())?;
    let input = &mut req.input;
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
    let if_range = if_range(&req.headers);
    let part = part_number(req.input.part_number, req.input.range.as_ref())?;
    // By version and place in the key's order: one that is found again without the database may lie elsewhere.
    let mut gone: Option<(VersionId, i64)> = None;
    for _ in 0..MAX_LOCATES {
        // A caller of its own each time: a repeat by the same op may get the same answer.
        // With If-Range it is not known yet whether the whole object is wanted.
        let want = match part {
            Some(number) => Want::Part(number),
            None if if_range.is_none() => bounds(req.input.range.as_ref()),
            None => Want::All,
        };
        let caller = plane.caller(&req);
        let gone_version = gone.map(|(version, _)| version);
        let asked = Asked { bucket: &bucket, key: &req.input.key, version, want, gone: gone_version };
        let located = locate_to_read(plane, &req, &caller, asked, "GetObject").await?;
        let found = (located.version, located.seq);
        if gone == Some(found) {
            return Err(faults::unavailable("No copy of the object can be found. Please try again."));
        }
        check_conditions(&conditions, &located)?;
        let range = req.input.range.as_ref().filter(|_| is_current(if_range.as_ref(), &located));
        let slice = match part {
            Some(number) => slice_of_part(&located, number)?,
            None => resolve(range, located.size)?,
        };
        let source = Source { caller, bucket: bucket.id, key: req.input.key.clone() };
        let opened = read::open(plane, source, &located, slice.unwrap_or(Slice::all(located.size))).await;
        match opened {
            Ok(stream) => {
                let wants_checksums = req.input.checksum_mode.is_some();
                let mut headers = headers::of_object(&located, slice, wants_checksums, &overrides);
                if part.is_some() {
                    headers::add_part(&mut headers, &located, wants_checksums);
                }
                expiration::add_of_read(&mut headers, &bucket, (&req.input.key, version), &located);
                return Ok(respond(stream, slice, located.size, headers));
            }
            // All copies gone: a newer version may have taken its place, and no byte has left.
            Err(ReadError::Gone) => gone = Some(found),
            Err(ReadError::Unavailable) => {
                return Err(faults::unavailable("No backend can give the object now. Please try again."));
            }
        }
    }
    Err(faults::unavailable("The object changes faster than it can be read. Please try again."))
}

fn respond(
    stream: crate::pipeline::body::ByteStream,
    slice: Option<Slice>,
    size: u64,
    headers: http::HeaderMap,
) -> S3Response<GetObjectOutput> {
    let body = Body::http_body_unsync(StreamBody::new(stream.map(|chunk| chunk.map(Frame::data))));
    let output = GetObjectOutput {
        body: Some(StreamingBlob::from(body)),
        // What makes it a 206.
        content_range: slice.and_then(|slice| slice.content_range(size)),
        ..Default::default()
    };
    S3Response::with_headers(output, headers)
}

fn check(input: &GetObjectInput) -> S3Result<()> {
    check_key(&input.key)?;
    refuse_unsupported(&[(input.sse_customer_key.is_some(), "Encryption with customer keys")])
}

/// The part that is asked for: one that there can be, and not of a range.
pub(super) fn part_number(part: Option<i32>, range: Option<&Range>) -> S3Result<Option<u16>> {
    let Some(part) = part else { return Ok(None) };
    if range.is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "Cannot specify both Range header and partNumber query parameter."
        ));
    }
    super::multipart::part_number(part).map(Some)
}

/// The bytes of a part, which may be none. An object that came whole is its own first part; `None` where it is empty.
pub(super) fn slice_of_part(located: &Located, number: u16) -> S3Result<Option<Slice>> {
    let unsatisfiable = || {
        faults::custom(
            "InvalidPartNumber",
            http::StatusCode::RANGE_NOT_SATISFIABLE,
            "The requested partnumber is not satisfiable",
        )
    };
    match (located.parts, located.extents.as_slice()) {
        (None, _) if number == 1 => Ok((located.size > 0).then(|| Slice::all(located.size))),
        (Some(_), [extent]) => Ok(Some(Slice { start: extent.offset, end: extent.offset + extent.size })),
        _ => Err(unsatisfiable()),
    }
}

/// The greatest offset that the database's integers hold.
const LARGEST: u64 = u64::MAX >> 1;

/// What Locate may leave out. A suffix is not known before the size is.
fn bounds(range: Option<&Range>) -> Want {
    match range {
        Some(Range::Int { first, last }) => {
            let first = (*first).min(LARGEST);
            Want::Range(first, last.map_or(LARGEST, |last| last.saturating_add(1).min(LARGEST)).max(first))
        }
        Some(Range::Suffix { .. }) | None => Want::All,
    }
}

/// `If-Range`, which `s3s` does not know.
pub(super) fn if_range(headers: &http::HeaderMap) -> Option<HeaderValue> {
    headers.get(http::header::IF_RANGE).cloned()
}

/// Whether the range is of this version: the strong ETag or the very date (RFC 9110, 13.1.5).
pub(super) fn is_current(if_range: Option<&HeaderValue>, located: &Located) -> bool {
    let Some(wanted) = if_range else { return true };
    let mut identity = http::HeaderMap::new();
    headers::identity(&mut identity, &located.etag, located.modified);
    identity.values().any(|value| value == wanted)
}

/// 304 and 412, with what identifies the object.
pub(super) fn check_conditions(conditions: &ReadConditions, located: &Located) -> S3Result<()> {
    let mut error = match conditions.check(&located.etag, located.modified) {
        Verdict::Holds => return Ok(()),
        Verdict::NotModified => s3_error!(NotModified),
        Verdict::Failed => s3_error!(PreconditionFailed),
    };
    let mut identity = http::HeaderMap::new();
    headers::identity(&mut identity, &located.etag, located.modified);
    headers::version(&mut identity, located);
    if error.status_code() == Some(StatusCode::NOT_MODIFIED) {
        headers::freshness(&mut identity, &located.attributes.headers);
    }
    identity.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    error.set_headers(identity);
    Err(error)
}

/// 416 says how large the object is.
pub(super) fn resolve(range: Option<&Range>, size: u64) -> S3Result<Option<Slice>> {
    range::resolve(range, size).map_err(|range::Unsatisfiable| unsatisfiable(size))
}

fn unsatisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange);
    let mut headers = http::HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        headers.insert(CONTENT_RANGE, value);
    }
    error.set_headers(headers);
    error
}
