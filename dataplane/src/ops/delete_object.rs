//! DeleteObject: one transaction of the control plane. What was not there is deleted too. Where versions are kept, a
//! delete that names none makes a delete marker.

use std::sync::Arc;

use s3s::dto::{DeleteObjectInput, DeleteObjectOutput};
use s3s::{S3Request, S3Response, s3_error};

use super::{Answer, bucket_of, check_key, conditions, refuse_unsupported, version};
use crate::failpoints::{Point, pause_at};
use crate::pipeline::{audit, faults};
use crate::plane::Plane;

/// Answers when the object, or the version, is gone.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<DeleteObjectInput>,
) -> Answer<DeleteObjectOutput> {
    let bucket = bucket_of(&req)?;
    let input = &req.input;
    check_key(&input.key)?;
    let version = version::named(input.version_id.as_deref())?;
    let directory = input.if_match_size.is_some() || input.if_match_last_modified_time.is_some();
    refuse_unsupported(&[(directory, "A condition of directory buckets")])?;
    let conditions = conditions::of_write(input.if_match.as_ref(), None);
    let conditions = conditions.map_err(|message| s3_error!(NotImplemented, "{message}"))?;
    let bypass = input.bypass_governance_retention == Some(true);
    let caller = plane.caller(&req);
    // Not cut short when the client goes: the outcome is asked for until it is known.
    let (id, name, key) = (bucket.id, bucket.name, input.key.clone());
    let remembering = Arc::clone(plane);
    let task = plane.shutdown.spawn(async move {
        let outcome = caller.delete((0, false), id, (&key, version), &conditions, bypass).await;
        if outcome.is_ok() {
            remembering.locations.changed(id, &key);
            audit::deleted(&caller, &name, (&key, version), bypass);
        }
        pause_at(Point::AfterCommit).await;
        outcome
    });
    let deleted = match task.await {
        Ok(Some(outcome)) => outcome.map_err(faults::of_failure)?,
        Ok(None) => return Err(faults::unavailable("The service is shutting down.")),
        Err(_) => return Err(s3_error!(InternalError)),
    };
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: deleted.delete_marker.then_some(true),
        version_id: version.map(|version| version.to_string()).or(deleted.version_id),
        ..Default::default()
    }))
}
