//! UploadPartCopy: bytes of an object as a part. A whole object that lies where the part goes is copied by the
//! backend itself, everything else passes through here.

use std::sync::Arc;

use s3o_blob::AlgorithmSet;
use s3o_proto::v1::WriteKind;
use s3o_types::{Conditions, ObjectAttributes};
use s3s::dto::{CopyPartResult, ETag, UploadPartCopyInput, UploadPartCopyOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::token::UploadToken;
use super::{no_such_upload, part_number};
use crate::control::{PartOf, Want};
use crate::ops::checksums::set_checksums;
use crate::ops::conditions::ReadConditions;
use crate::ops::copy_object::{check_size, check_source, server_side, source, source_fault, streamed};
use crate::ops::headers::whole_seconds;
use crate::ops::locate::locate_or;
use crate::ops::range::Slice;
use crate::ops::{Answer, bucket_of, check_key, refuse_unsupported};
use crate::pipeline::faults::invalid_argument;
use crate::pipeline::put::{Write, write};
use crate::pipeline::read::Source;
use crate::plane::Plane;

/// Answers when the part is stored.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<UploadPartCopyInput>,
) -> Answer<UploadPartCopyOutput> {
    let bucket = bucket_of(&req)?;
    check(&req.input)?;
    let number = part_number(req.input.part_number)?;
    let token = UploadToken::parse(&req.input.upload_id).ok_or_else(no_such_upload)?;
    let (source_bucket, source_key, version) =
        source(plane, &plane.caller(&req), &req.input.copy_source, &req.headers).await?;
    let range = req.input.copy_source_range.as_deref().map(parse_range).transpose()?;
    let want = range.map_or(Want::All, |slice| Want::Range(slice.start, slice.end));
    let reader = plane.caller(&req);
    let named = (&source_bucket, source_key.as_str(), version);
    let located = locate_or(plane, &req, &reader, named, want, source_fault).await?;
    let input = &mut req.input;
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    check_source(&conditions, &located)?;
    let whole = Slice::all(located.size);
    let slice = range.unwrap_or(whole);
    if slice.end > located.size {
        return Err(invalid_argument(format!(
            "Range specified is not valid for source object of size: {}",
            located.size
        )));
    }
    check_size(slice.len())?;
    if slice.len() > bucket.max_object_size {
        return Err(s3_error!(EntityTooLarge));
    }
    let wanted: AlgorithmSet = token.checksum.map(|(algorithm, _)| algorithm).into_iter().collect();
    // A backend's own copy shows us no byte to make a checksum of.
    let near = slice == whole && wanted == AlgorithmSet::NONE;
    let copy_source_version_id = located.version_id.clone();
    let reading = Source { caller: reader, bucket: source_bucket.id, key: source_key };
    let request = Write {
        caller: plane.caller(&req),
        bucket,
        key: req.input.key,
        size: slice.len(),
        conditions: Conditions::default(),
        kind: WriteKind::Part,
        part: Some(PartOf { upload: token.id, number }),
        attributes: ObjectAttributes::default(),
        server_side: if near { server_side(&located) } else { Vec::new() },
        payload: streamed(plane, reading, located, slice, wanted),
        etag: None,
        checksums: None,
    };
    let written = write(plane, request).await?;
    let mut result = CopyPartResult {
        e_tag: Some(ETag::Strong(written.etag.as_str().to_owned())),
        last_modified: whole_seconds(written.modified),
        ..Default::default()
    };
    set_checksums!(result, written.checksums);
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id,
        ..Default::default()
    }))
}

fn check(input: &UploadPartCopyInput) -> S3Result<()> {
    check_key(&input.key)?;
    let customer = input.sse_customer_key.is_some() || input.copy_source_sse_customer_key.is_some();
    refuse_unsupported(&[(customer, "Encryption with customer keys")])
}

/// `x-amz-copy-source-range`: only `bytes=first-last` (UploadPartCopy reference).
fn parse_range(text: &str) -> S3Result<Slice> {
    let bounds = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let digits = |text: &str| {
        let only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if only { text.parse::<u64>().ok() } else { None }
    };
    let parsed = bounds.and_then(|(first, last)| {
        let (first, last) = (digits(first)?, digits(last)?);
        (first <= last && last < u64::MAX >> 1).then(|| Slice { start: first, end: last + 1 })
    });
    parsed.ok_or_else(|| {
        invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9").expect("good"), Slice { start: 0, end: 10 });
        assert_eq!(parse_range("bytes=5-5").expect("good"), Slice { start: 5, end: 6 });
        for bad in
            ["", "0-9", "bytes=9-0", "bytes=-5", "bytes=5-", "bytes=+1-2", "bytes=0-99999999999999999999"]
        {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
