//! DeleteObject: one transaction of the control plane. What was not there is deleted too. Where versions are kept, a
//! delete that names none makes a delete marker.

use std::sync::Arc;

use s3s::dto::{DeleteObjectInput, DeleteObjectOutput};
use s3s::{S3Request, S3Response, s3_error};

use super::{Answer, bucket_of, check_key, conditions, refuse_unsupported, version};
use crate::failpoints::{Point, pause_at};
use crate::pipeline::task::to_its_end;
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
    let (id, name, key) = (bucket.id, bucket.name, input.key.clone());
    let remembering = Arc::clone(plane);
    let call = async move {
        let outcome = caller.delete((0, false), id, (&key, version), &conditions, bypass).await;
        if outcome.is_ok() {
            remembering.locations.changed(id, &key);
            audit::deleted(&caller, &name, (&key, version), bypass);
        }
        pause_at(Point::AfterCommit).await;
        outcome
    };
    // Not cut short when the client goes.
    let deleted = to_its_end(plane, call).await?.map_err(faults::of_failure)?;
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: deleted.delete_marker.then_some(true),
        version_id: version.map(|version| version.to_string()).or(deleted.version_id),
        ..Default::default()
    }))
}
