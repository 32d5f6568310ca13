//! ListParts: what is stored of an open upload.

use std::sync::Arc;

use s3s::dto::{ChecksumAlgorithm, ChecksumType, ETag, ListPartsInput, ListPartsOutput, Part, StorageClass};
use s3s::{S3Request, S3Response, S3Result};

use super::token::UploadToken;
use super::{MAX_PART, initiator, no_such_upload, storage_class};
use crate::control::{Parts, StoredPart, UploadState};
use crate::ops::buckets::owner;
use crate::ops::checksums::set_checksums;
use crate::ops::elements::Elements;
use crate::ops::headers::whole_seconds;
use crate::ops::{Answer, bucket_of, check_key, expiration};
use crate::pipeline::faults::{self, invalid_argument};
use crate::plane::Plane;

/// S3's page.
const MAX_PARTS: i32 = 1000;

/// Answers with a page.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<ListPartsInput>,
) -> Answer<ListPartsOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let input = req.input;
    check_key(&input.key)?;
    let token = UploadToken::parse(&input.upload_id).ok_or_else(no_such_upload)?;
    let max_parts = limit(input.max_parts)?;
    let marker = u32::from(marker(input.part_number_marker.as_ref())?);
    let wanted = (marker, u32::try_from(max_parts).unwrap_or_default());
    let found =
        caller.list_parts(bucket.id, &input.key, token.id, wanted).await.map_err(faults::of_failure)?;
    let found = found.filter(|found| found.upload.state == UploadState::Open).ok_or_else(no_such_upload)?;
    let Parts { upload, stored: parts, truncated } = found;
    let number = |n: u32| i32::try_from(n).ok();
    let next = parts.last().map_or(marker, |part| part.number);
    let has_checksum = !upload.checksum_algorithm.is_empty();
    let (abort_date, abort_rule_id) = expiration::of_upload(&bucket, &input.key, upload.initiated).unzip();
    let mut elements = Elements::default();
    elements.text("Key", &input.key);
    let mut response = S3Response::new(ListPartsOutput {
        bucket: Some(bucket.name),
        upload_id: Some(UploadToken::of(&upload).format()),
        initiator: Some(initiator(upload.initiator)),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from(storage_class(upload.storage_class))),
        checksum_algorithm: has_checksum
            .then(|| ChecksumAlgorithm::from(upload.checksum_algorithm.to_ascii_uppercase())),
        checksum_type: has_checksum.then(|| ChecksumType::from(upload.checksum_type)),
        part_number_marker: number(marker),
        next_part_number_marker: number(next),
        max_parts: Some(max_parts),
        is_truncated: Some(truncated && max_parts > 0),
        parts: Some(parts.into_iter().map(part).collect()),
        abort_date,
        abort_rule_id,
        ..Default::default()
    });
    response.extensions.insert(elements);
    Ok(response)
}

/// How many parts a page has, at most.
pub(in crate::ops) fn limit(max_parts: Option<i32>) -> S3Result<i32> {
    match max_parts {
        None => Ok(MAX_PARTS),
        Some(n) if n >= 0 => Ok(n.min(MAX_PARTS)),
        Some(_) => Err(invalid_argument("Argument max-parts must be an integer between 0 and 2147483647")),
    }
}

/// The number behind which a page begins.
pub(in crate::ops) fn marker(marker: Option<&i32>) -> S3Result<u16> {
    let bad = || invalid_argument("Argument part-number-marker must be an integer between 0 and 2147483647");
    let marker = u32::try_from(marker.copied().unwrap_or_default()).map_err(|_| bad())?;
    // Behind the last part there is nothing, however far.
    Ok(u16::try_from(marker).unwrap_or(MAX_PART).min(MAX_PART))
}

fn part(part: StoredPart) -> Part {
    let StoredPart { number, attempt: _, size, etag, modified, checksums, copied: _ } = part;
    let mut part = Part {
        part_number: i32::try_from(number).ok(),
        size: i64::try_from(size).ok(),
        e_tag: Some(ETag::Strong(etag.as_str().to_owned())),
        last_modified: whole_seconds(modified),
        ..Default::default()
    };
    set_checksums!(part, checksums);
    part
}
