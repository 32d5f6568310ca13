//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging: rows, not bytes. Whichever version is current when the
//! control plane decides gets the tags; its ETag and its Last-Modified stay.

use std::sync::Arc;

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::tags::{self, Tags};
use super::{Answer, bucket_of, check_key, check_version, document, locate, unread};
use crate::control::Caller;
use crate::control::Want;
use crate::failpoints::{Point, pause_at};
use crate::pipeline::faults;
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// GetObjectTagging.
pub(super) async fn get(
    plane: &Arc<Plane>,
    req: S3Request<GetObjectTaggingInput>,
) -> Answer<GetObjectTaggingOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let input = &req.input;
    check_key(&input.key)?;
    check_version(input.version_id.as_deref())?;
    let located = locate(plane, &req, &caller, (&bucket, &input.key), Want::Range(0, 0)).await?;
    let tag_set = tags::to_document(located.attributes.tags);
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: None }))
}

/// PutObjectTagging.
pub(super) async fn put(
    plane: &Arc<Plane>,
    mut req: S3Request<PutObjectTaggingInput>,
) -> Answer<PutObjectTaggingOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    document::check(&req)?;
    check_key(&req.input.key)?;
    check_version(req.input.version_id.as_deref())?;
    let tags = tags::of_document(std::mem::take(&mut req.input.tagging.tag_set))?;
    let key = req.input.key.clone();
    set(plane, &req, (caller, &bucket, key), tags).await?;
    Ok(S3Response::new(PutObjectTaggingOutput::default()))
}

/// DeleteObjectTagging.
pub(super) async fn delete(
    plane: &Arc<Plane>,
    req: S3Request<DeleteObjectTaggingInput>,
) -> Answer<DeleteObjectTaggingOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    check_key(&req.input.key)?;
    check_version(req.input.version_id.as_deref())?;
    let key = req.input.key.clone();
    set(plane, &req, (caller, &bucket, key), Tags::new()).await?;
    Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
}

/// Not cut short when the client goes: the outcome is asked for until it is known.
async fn set<T: Sync>(
    plane: &Plane,
    req: &S3Request<T>,
    (caller, bucket, key): (Caller, &Bucket, String),
    tags: Tags,
) -> S3Result<()> {
    let (id, named) = (bucket.id, key.clone());
    let task = plane.shutdown.spawn(async move {
        let outcome = caller.set_tags(id, &named, &tags).await;
        pause_at(Point::AfterCommit).await;
        outcome
    });
    match task.await {
        Ok(Some(outcome)) => outcome.map_err(|failure| unread(plane, req, (bucket, &key), failure)),
        Ok(None) => Err(faults::unavailable("The service is shutting down.")),
        Err(_) => Err(s3_error!(InternalError)),
    }
}
