//! DeleteObjects: up to 1000 deletes that share an operation id, each with its item number, on the bulk
//! lane.

use std::sync::Arc;

use futures::StreamExt as _;
use s3o_types::{Conditions, Etag, Right};
use s3s::dto::{
    DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error as DeleteError, ObjectIdentifier,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Answer, bucket_of, check_key, document, version};
use crate::access::allowed;
use crate::control::{Caller, Deleted};
use crate::pipeline::{audit, faults};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// S3's limit (DeleteObjects reference).
const MAX_OBJECTS: usize = 1000;
/// Items under way at a time: as many as a batch of the control plane takes.
const AT_ONCE: usize = 256;

/// Answers when each item is decided.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<DeleteObjectsInput>,
) -> Answer<DeleteObjectsOutput> {
    let bucket = bucket_of(&req)?;
    document::check(&req)?;
    let caller = plane.caller(&req);
    let denied: Vec<bool> = {
        let may =
            |object: &ObjectIdentifier| allowed(plane, &req, &bucket, Right::Delete, &object.key).is_ok();
        req.input.delete.objects.iter().map(|object| !may(object)).collect()
    };
    let bypass = req.input.bypass_governance_retention == Some(true);
    let delete = req.input.delete;
    if delete.objects.is_empty() || delete.objects.len() > MAX_OBJECTS {
        return Err(s3_error!(MalformedXML));
    }
    let quiet = delete.quiet.unwrap_or(false);
    let remembering = Arc::clone(plane);
    let all = async move {
        let items = delete.objects.into_iter().zip(denied).zip(0_i32..);
        let outcomes = items.map(|((object, denied), item)| {
            let (plane, caller, bucket) = (&remembering, &caller, &bucket);
            async move {
                let outcome = if denied {
                    Err(s3_error!(AccessDenied))
                } else {
                    one(plane, caller, bucket, (item, bypass), &object).await
                };
                (outcome, object)
            }
        });
        let outcomes = futures::stream::iter(outcomes).buffered(AT_ONCE).collect::<Vec<_>>().await;
        let deleted = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
        audit::deleted_many(&caller, &bucket.name, deleted, outcomes.len() - deleted);
        outcomes
    };
    let Ok(Some(outcomes)) = plane.shutdown.spawn(all).await else {
        return Err(faults::unavailable("The service is shutting down."));
    };
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (outcome, ObjectIdentifier { key, version_id, .. }) in outcomes {
        match outcome {
            Ok(_) if quiet => {}
            Ok(done) => deleted.push(DeletedObject {
                key: Some(key),
                delete_marker: done.delete_marker.then_some(true),
                delete_marker_version_id: done.version_id.filter(|_| done.delete_marker),
                version_id,
            }),
            Err(error) => errors.push(DeleteError {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id,
            }),
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        request_charged: None,
    }))
}

async fn one(
    plane: &Plane,
    caller: &Caller,
    bucket: &Bucket,
    (item, bypass): (i32, bool),
    object: &ObjectIdentifier,
) -> S3Result<Deleted> {
    check_key(&object.key)?;
    let version = version::named(object.version_id.as_deref())?;
    if object.key.len() > s3o_types::storage_key::MAX_KEY_BYTES {
        return Err(s3_error!(KeyTooLongError));
    }
    if object.last_modified_time.is_some() || object.size.is_some() {
        return Err(s3_error!(NotImplemented, "A condition of directory buckets is not implemented"));
    }
    let if_match = object.e_tag.as_ref().map(|etag| Etag::new(etag.value()));
    let conditions = Conditions { if_absent: false, if_match };
    let deleted = caller.delete((item, true), bucket.id, (&object.key, version), &conditions, bypass).await;
    if deleted.is_ok() {
        plane.locations.changed(bucket.id, &object.key);
        if bypass && version.is_some() {
            audit::deleted(caller, &bucket.name, (&object.key, version), bypass);
        }
    }
    deleted.map_err(faults::of_failure)
}
