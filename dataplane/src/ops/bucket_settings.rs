//! What tools ask of a bucket before they work with it, answered as S3 answers of an ordinary new bucket: nothing is
//! set, nothing is public, the owner owns all. All of it is constant: no call leaves this process.
//!
//! Invariant: nothing is claimed that is not so. S3 would say that a new bucket encrypts by AES256; blobs are stored
//! as backends store them, so GetBucketEncryption says that nothing is configured.

use http::StatusCode;
use s3s::dto::{
    GetBucketAccelerateConfigurationInput, GetBucketAccelerateConfigurationOutput, GetBucketLoggingInput,
    GetBucketLoggingOutput, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, GetBucketOwnershipControlsInput,
    GetBucketOwnershipControlsOutput, GetBucketRequestPaymentInput, GetBucketRequestPaymentOutput,
    GetPublicAccessBlockInput, GetPublicAccessBlockOutput, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, Payer, PublicAccessBlockConfiguration,
};
use s3s::{S3Error, S3Request, S3Response};

use super::{Answer, bucket_of};
use crate::pipeline::faults;

/// Questions about what no bucket has: operation, S3's error for it, its status and its sentence. An operation that
/// is implemented later leaves this table.
const ABSENT: [(&str, &str, u16, &str); 6] = [
    ("GetBucketTagging", "NoSuchTagSet", 404, "The TagSet does not exist"),
    ("GetBucketPolicy", "NoSuchBucketPolicy", 404, "The bucket policy does not exist"),
    ("GetBucketPolicyStatus", "NoSuchBucketPolicy", 404, "The bucket policy does not exist"),
    (
        "GetBucketWebsite",
        "NoSuchWebsiteConfiguration",
        404,
        "The specified bucket does not have a website configuration",
    ),
    (
        "GetBucketReplication",
        "ReplicationConfigurationNotFoundError",
        404,
        "The replication configuration was not found",
    ),
    (
        "GetBucketEncryption",
        "ServerSideEncryptionConfigurationNotFoundError",
        404,
        "The server side encryption configuration was not found",
    ),
];

/// The names of [`ABSENT`], for those who may ask.
pub(crate) fn absent_name(operation: &str) -> Option<&'static str> {
    ABSENT.iter().find(|(name, ..)| *name == operation).map(|(name, ..)| *name)
}

/// What is answered to whoever may ask.
pub(crate) fn absent(operation: &str) -> Option<S3Error> {
    let (_, code, status, message) = ABSENT.iter().find(|(name, ..)| *name == operation)?;
    Some(faults::custom(code, StatusCode::from_u16(*status).unwrap_or(StatusCode::NOT_FOUND), message))
}

/// GetBucketOwnershipControls: ACLs mean nothing.
pub(super) fn ownership(
    req: &S3Request<GetBucketOwnershipControlsInput>,
) -> Answer<GetBucketOwnershipControlsOutput> {
    bucket_of(req)?;
    let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let rules = vec![OwnershipControlsRule { object_ownership }];
    let ownership_controls = Some(OwnershipControls { rules });
    Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls }))
}

/// GetPublicAccessBlock: nothing runs without a signature.
pub(super) fn public_access(
    req: &S3Request<GetPublicAccessBlockInput>,
) -> Answer<GetPublicAccessBlockOutput> {
    bucket_of(req)?;
    let public_access_block_configuration = Some(PublicAccessBlockConfiguration {
        block_public_acls: Some(true),
        block_public_policy: Some(true),
        ignore_public_acls: Some(true),
        restrict_public_buckets: Some(true),
    });
    Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration }))
}

/// GetBucketRequestPayment.
pub(super) fn request_payment(
    req: &S3Request<GetBucketRequestPaymentInput>,
) -> Answer<GetBucketRequestPaymentOutput> {
    bucket_of(req)?;
    let payer = Some(Payer::from_static(Payer::BUCKET_OWNER));
    Ok(S3Response::new(GetBucketRequestPaymentOutput { payer }))
}

/// GetBucketLogging: off is said by saying nothing.
pub(super) fn logging(req: &S3Request<GetBucketLoggingInput>) -> Answer<GetBucketLoggingOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketLoggingOutput::default()))
}

/// GetBucketAccelerateConfiguration: so is this.
pub(super) fn accelerate(
    req: &S3Request<GetBucketAccelerateConfigurationInput>,
) -> Answer<GetBucketAccelerateConfigurationOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
}

/// GetBucketNotificationConfiguration: and this.
pub(super) fn notification(
    req: &S3Request<GetBucketNotificationConfigurationInput>,
) -> Answer<GetBucketNotificationConfigurationOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_has_a_code_and_a_status() {
        for (operation, code, status, message) in ABSENT {
            let error = absent(operation).expect("in the table");
            assert_eq!(error.code().as_str(), code);
            assert_eq!(error.status_code().map(|status| status.as_u16()), Some(status));
            assert_eq!(error.message(), Some(message));
            assert_eq!(absent_name(operation), Some(operation));
        }
        assert!(absent("GetObject").is_none() && absent_name("PutBucketTagging").is_none());
    }
}
