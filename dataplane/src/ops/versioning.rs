//! GetBucketVersioning and PutBucketVersioning: the control plane's to say and to decide, so that every data plane says
//! the same at once. MFA delete does not exist here.

use std::sync::Arc;

use http::StatusCode;
use s3o_types::Versioning;
use s3s::dto::{
    BucketVersioningStatus, GetBucketVersioningInput, GetBucketVersioningOutput, MFADelete,
    PutBucketVersioningInput, PutBucketVersioningOutput, VersioningConfiguration,
};
use s3s::{S3Request, S3Response, S3Result};

use super::{Answer, bucket_of, document, refuse_unsupported};
use crate::pipeline::faults;
use crate::pipeline::task::to_its_end;
use crate::plane::Plane;

/// GetBucketVersioning: never enabled is said by saying nothing.
pub(super) async fn get(
    plane: &Arc<Plane>,
    req: &S3Request<GetBucketVersioningInput>,
) -> Answer<GetBucketVersioningOutput> {
    let (bucket, caller) = (bucket_of(req)?, plane.caller(req));
    let status = match caller.versioning(bucket.id).await.map_err(faults::of_failure)? {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(BucketVersioningStatus::from_static);
    Ok(S3Response::new(GetBucketVersioningOutput { status, ..Default::default() }))
}

/// PutBucketVersioning. Not cut short when the client goes.
pub(super) async fn put(
    plane: &Arc<Plane>,
    req: S3Request<PutBucketVersioningInput>,
) -> Answer<PutBucketVersioningOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    document::check_elements(&req, &["MfaDelete", "Status"])?;
    let wanted = wanted(&req.input.versioning_configuration)?;
    let call = async move { caller.set_versioning(bucket.id, wanted).await };
    to_its_end(plane, call).await?.map_err(faults::of_failure)?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}

fn wanted(configuration: &VersioningConfiguration) -> S3Result<Versioning> {
    let mfa = configuration.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() != MFADelete::DISABLED);
    refuse_unsupported(&[(mfa, "MFA delete")])?;
    match configuration.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Ok(Versioning::Enabled),
        Some(BucketVersioningStatus::SUSPENDED) => Ok(Versioning::Suspended),
        _ => Err(faults::custom(
            "IllegalVersioningConfigurationException",
            StatusCode::BAD_REQUEST,
            "The versioning configuration specified in the request is invalid: Status must be Enabled or Suspended.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(status: Option<&str>, mfa: Option<&'static str>) -> VersioningConfiguration {
        VersioningConfiguration {
            status: status.map(|status| BucketVersioningStatus::from(status.to_owned())),
            mfa_delete: mfa.map(MFADelete::from_static),
        }
    }

    #[test]
    fn states() {
        let of = |status, mfa| wanted(&configuration(status, mfa));
        assert_eq!(of(Some("Enabled"), None).expect("known"), Versioning::Enabled);
        assert_eq!(of(Some("Suspended"), Some("Disabled")).expect("known"), Versioning::Suspended);
        let code = |status, mfa| of(status, mfa).expect_err("refused").code().as_str().to_owned();
        assert_eq!(code(Some("enabled"), None), "IllegalVersioningConfigurationException");
        assert_eq!(code(None, None), "IllegalVersioningConfigurationException");
        assert_eq!(code(Some("Enabled"), Some("Enabled")), "NotImplemented");
    }
}
