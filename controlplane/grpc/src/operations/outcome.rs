//! Outcomes as they go to the wire.

use s3o_core::call::{Outcome, Refusal};
use s3o_core::intent::Target;
use s3o_proto::v1;
use s3o_proto::v1::outcome::Result as Wire;
use s3o_types::{ErrorCode, VersionRef};

pub(crate) fn of_call(outcome: Outcome) -> Wire {
    match outcome {
        Outcome::Begun { version, targets, required_copies } => Wire::Begun(v1::Begun {
            version: version.to_uuid().as_bytes().to_vec().into(),
            targets: targets.into_iter().map(target).collect(),
            required_copies: u32::from(required_copies),
        }),
        Outcome::Retargeted(new) => Wire::Retargeted(v1::Retargeted { target: Some(target(new)) }),
        Outcome::Committed { seq, modified, version } => Wire::Committed(v1::Committed {
            seq: seq.0,
            modified_us: modified.0,
            version_id: version_id(version),
        }),
        Outcome::Aborted => Wire::Aborted(v1::Aborted {}),
        Outcome::Deleted { existed, version, delete_marker } => {
            Wire::Deleted(v1::Deleted { existed, version_id: version_id(version), delete_marker })
        }
        Outcome::TagsSet { version } => Wire::TagsSet(v1::TagsSet { version_id: version_id(version) }),
        Outcome::LockSet { version } => Wire::LockSet(v1::LockSet { version_id: version_id(version) }),
        Outcome::UploadCreated => Wire::UploadCreated(v1::UploadCreated {}),
        Outcome::UploadAborted => Wire::UploadAborted(v1::UploadAborted {}),
        Outcome::Refused(refusal) => refused(refusal),
        // Only workers ask for that, and not over the wire.
        Outcome::Resolved(_) | Outcome::CopyChanged | Outcome::BlobSettled(_) => {
            refused(Refusal::new(ErrorCode::InternalError, "a data plane's call got a worker's outcome"))
        }
    }
}

/// Empty where the client is told of none.
pub(crate) fn version_id(version: Option<VersionRef>) -> String {
    version.map(|version| version.to_string()).unwrap_or_default()
}

pub(super) fn refused(refusal: Refusal) -> Wire {
    let Refusal { code, message, limit: _ } = refusal;
    Wire::Refused(v1::Refused { code: code.info().wire, message })
}

fn target(target: Target) -> v1::Target {
    let Target { backend, place, extent, r#gen, storage_key } = target;
    v1::Target {
        backend: backend.0,
        extent: u32::from(extent.get()),
        r#gen: u32::from(r#gen.get()),
        storage_key,
        place: place.number(),
    }
}
