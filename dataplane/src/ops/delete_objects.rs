//! DeleteObjects: up to 1000 deletes that share an operation id, each with its item number, on the bulk
//! lane.

use std::sync::Arc;

use futures::StreamExt as _;
use s3o_types::{Conditions, Etag, Right};
use s3s::dto::{DeleteObjectsInput, DeleteObjectsOutput, ObjectIdentifier};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::elements::Elements;
use super::list::ENTRY_BYTES;
use super::{Answer, bucket_of, check_key, document, version};
use crate::access::allowed;
use crate::control::{Caller, Deleted};
use crate::pipeline::task::to_its_end;
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
    let caller = plane.caller(&req);
    document::check_elements(&req, &["Object", "Quiet"])?;
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
    let outcomes = to_its_end(plane, all).await?;
    let mut response = S3Response::new(DeleteObjectsOutput::default());
    response.extensions.insert(told(&outcomes, quiet));
    Ok(response)
}

/// What became of each item, in the order in which they were named.
fn told(outcomes: &[(S3Result<Deleted>, ObjectIdentifier)], quiet: bool) -> Elements {
    let mut elements = Elements::with_capacity(outcomes.len() * ENTRY_BYTES);
    for (outcome, object) in outcomes {
        let named = [("Key", Some(&*object.key)), ("VersionId", object.version_id.as_deref())];
        match outcome {
            Ok(_) if quiet => {}
            Ok(done) => elements.element("Deleted", |elements| {
                elements.texts(&named);
                if done.delete_marker {
                    elements.plain("DeleteMarker", true);
                    elements.texts(&[("DeleteMarkerVersionId", done.version_id.as_deref())]);
                }
            }),
            Err(error) => elements.element("Error", |elements| {
                elements.texts(&named);
                elements.texts(&[("Code", Some(error.code().as_str())), ("Message", error.message())]);
            }),
        }
    }
    elements
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
