//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging: rows, not bytes. Where no version is named, whichever is
//! current when the control plane decides gets the tags; its ETag and its Last-Modified stay.

use std::sync::Arc;

use s3o_types::VersionRef;
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use super::locate::{locate, unread};
use super::tags::{self, Tags};
use super::{Answer, bucket_of, check_key, document, version};
use crate::control::Caller;
use crate::control::Want;
use crate::failpoints::{Point, pause_at};
use crate::pipeline::audit;
use crate::pipeline::task::to_its_end;
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
    let version = version::named(input.version_id.as_deref())?;
    let named = (&bucket, input.key.as_str(), version);
    let located = Arc::unwrap_or_clone(locate(plane, &req, &caller, named, Want::Range(0, 0)).await?);
    let tag_set = tags::to_document(located.attributes.tags);
    Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: located.version_id }))
}

/// PutObjectTagging.
pub(super) async fn put(
    plane: &Arc<Plane>,
    mut req: S3Request<PutObjectTaggingInput>,
) -> Answer<PutObjectTaggingOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    check_key(&req.input.key)?;
    document::check_elements(&req, &tags::ELEMENTS)?;
    let version = version::named(req.input.version_id.as_deref())?;
    let tags = tags::of_document(std::mem::take(&mut req.input.tagging.tag_set))?;
    let key = req.input.key.clone();
    let version_id = set(plane, &req, (caller, &bucket, key, version), tags).await?;
    Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
}

/// DeleteObjectTagging.
pub(super) async fn delete(
    plane: &Arc<Plane>,
    req: S3Request<DeleteObjectTaggingInput>,
) -> Answer<DeleteObjectTaggingOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    check_key(&req.input.key)?;
    let version = version::named(req.input.version_id.as_deref())?;
    let key = req.input.key.clone();
    let version_id = set(plane, &req, (caller, &bucket, key, version), Tags::new()).await?;
    Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
}

/// Not cut short when the client goes.
async fn set<T: Sync>(
    plane: &Arc<Plane>,
    req: &S3Request<T>,
    (caller, bucket, key, version): (Caller, &Bucket, String, Option<VersionRef>),
    tags: Tags,
) -> S3Result<Option<String>> {
    let (id, name, remembering) = (bucket.id, bucket.name.clone(), Arc::clone(plane));
    let named = key.clone();
    let call = async move {
        let outcome = caller.set_tags(id, (&named, version), &tags).await;
        if outcome.is_ok() {
            remembering.locations.changed(id, &named);
            audit::tagged(&caller, &name, (&named, version), tags.len());
        }
        pause_at(Point::AfterCommit).await;
        outcome
    };
    let outcome = to_its_end(plane, call).await?;
    outcome.map_err(|failure| unread(plane, req, (bucket, &key), failure))
}
