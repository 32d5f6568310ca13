//! DeleteBucket: of a bucket that was made through the API, once nothing is in it. The control plane decides.

use std::sync::Arc;

use s3s::dto::{DeleteBucketInput, DeleteBucketOutput};
use s3s::{S3Request, S3Response};

use super::{Answer, bucket_of};
use crate::pipeline::faults;
use crate::plane::Plane;

/// Answers when the bucket is not known here any more.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<DeleteBucketInput>,
) -> Answer<DeleteBucketOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let generation = caller.delete_bucket(&bucket.name).await.map_err(faults::of_failure)?;
    plane.reach(&caller, generation).await;
    Ok(S3Response::new(DeleteBucketOutput {}))
}
