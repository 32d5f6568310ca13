//! AbortMultipartUpload: its parts are queued for deletion before the answer.

use std::sync::Arc;

use s3s::dto::{AbortMultipartUploadInput, AbortMultipartUploadOutput};
use s3s::{S3Request, S3Response};

use super::no_such_upload;
use super::token::UploadToken;
use crate::ops::{Answer, bucket_of, check_key, refuse_unsupported};
use crate::pipeline::task::to_its_end;
use crate::pipeline::{audit, faults};
use crate::plane::Plane;

/// Answers when no part of it is stored any more, as far as anybody can see.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<AbortMultipartUploadInput>,
) -> Answer<AbortMultipartUploadOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let input = req.input;
    check_key(&input.key)?;
    // S3 has it for directory buckets only.
    refuse_unsupported(&[(input.if_match_initiated_time.is_some(), "x-amz-if-match-initiated-time")])?;
    let token = UploadToken::parse(&input.upload_id).ok_or_else(no_such_upload)?;
    let call = async move {
        let outcome = caller.abort_upload(bucket.id, &input.key, token.id).await;
        if outcome.is_ok() {
            audit::given_up(&caller, &bucket.name, &input.key);
        }
        outcome
    };
    to_its_end(plane, call).await?.map_err(faults::of_failure)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}
