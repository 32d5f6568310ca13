//! What tools ask of a bucket before they work with it, answered as S3 answers of an ordinary new bucket: nothing is
//! set, nothing is public, the owner owns all. All of it is constant: no call leaves this process. To set what is so
//! anyway, and to delete what is not there, is no mistake; whatever else would be set is refused.
//!
//! Invariant: nothing is claimed that is not so. S3 would say that a new bucket encrypts by AES256; blobs are stored
//! as backends store them, so GetBucketEncryption says that nothing is configured.

use http::StatusCode;
use s3s::dto::{
    AccelerateConfiguration, BucketAccelerateStatus, BucketLoggingStatus,
    GetBucketAccelerateConfigurationInput, GetBucketAccelerateConfigurationOutput, GetBucketLoggingInput,
    GetBucketLoggingOutput, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, GetBucketOwnershipControlsInput,
    GetBucketOwnershipControlsOutput, GetBucketRequestPaymentInput, GetBucketRequestPaymentOutput,
    GetPublicAccessBlockInput, GetPublicAccessBlockOutput, ListBucketAnalyticsConfigurationsInput,
    ListBucketAnalyticsConfigurationsOutput, ListBucketIntelligentTieringConfigurationsInput,
    ListBucketIntelligentTieringConfigurationsOutput, ListBucketInventoryConfigurationsInput,
    ListBucketInventoryConfigurationsOutput, ListBucketMetricsConfigurationsInput,
    ListBucketMetricsConfigurationsOutput, NotificationConfiguration, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, Payer, PublicAccessBlockConfiguration, PutBucketAccelerateConfigurationInput,
    PutBucketAccelerateConfigurationOutput, PutBucketLoggingInput, PutBucketLoggingOutput,
    PutBucketNotificationConfigurationInput, PutBucketNotificationConfigurationOutput,
    PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput, PutBucketRequestPaymentInput,
    PutBucketRequestPaymentOutput, PutPublicAccessBlockInput, PutPublicAccessBlockOutput,
};
use s3s::{S3Error, S3Request, S3Response, s3_error};

use super::{Answer, bucket_of, document, refuse_unsupported};
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

/// Lists of what no bucket has.
const LISTS: [&str; 4] = [
    "ListBucketAnalyticsConfigurations",
    "ListBucketIntelligentTieringConfigurations",
    "ListBucketInventoryConfigurations",
    "ListBucketMetricsConfigurations",
];

/// Deletions of what every bucket has, and nobody has set: it stays, and tools that want to be rid of their own setting take
/// this for its end.
const UNSET: [(&str, &str, &str); 2] = [
    (
        "DeletePublicAccessBlock",
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    ),
    (
        "DeleteBucketOwnershipControls",
        "OwnershipControlsNotFoundError",
        "The bucket ownership controls were not found",
    ),
];

/// What sets a bucket to what it is, or deletes what it has not.
const SETTINGS: [&str; 11] = [
    "PutBucketAccelerateConfiguration",
    "PutBucketLogging",
    "PutBucketNotificationConfiguration",
    "PutBucketOwnershipControls",
    "PutBucketRequestPayment",
    "PutPublicAccessBlock",
    "DeleteBucketEncryption",
    "DeleteBucketPolicy",
    "DeleteBucketReplication",
    "DeleteBucketTagging",
    "DeleteBucketWebsite",
];

/// The names of [`ABSENT`] and [`LISTS`], for those who may ask.
pub(crate) fn absent_name(operation: &str) -> Option<&'static str> {
    ABSENT.iter().map(|(name, ..)| *name).chain(LISTS).find(|name| *name == operation)
}

/// The names of [`SETTINGS`] and [`UNSET`], for those who may configure.
pub(crate) fn setting_name(operation: &str) -> Option<&'static str> {
    SETTINGS.into_iter().chain(UNSET.map(|(name, ..)| name)).find(|name| *name == operation)
}

/// What is answered to whoever may ask.
pub(crate) fn absent(operation: &str) -> Option<S3Error> {
    if let Some((_, code, message)) = UNSET.iter().find(|(name, ..)| *name == operation) {
        return Some(faults::custom(code, StatusCode::NOT_FOUND, message));
    }
    let (_, code, status, message) = ABSENT.iter().find(|(name, ..)| *name == operation)?;
    Some(faults::custom(code, StatusCode::from_u16(*status).unwrap_or(StatusCode::NOT_FOUND), message))
}

/// GetBucketOwnershipControls: ACLs mean nothing.
pub(super) fn ownership(
    req: &S3Request<GetBucketOwnershipControlsInput>,
) -> Answer<GetBucketOwnershipControlsOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketOwnershipControlsOutput { ownership_controls: Some(enforced()) }))
}

/// PutBucketOwnershipControls.
pub(super) fn put_ownership(
    req: &S3Request<PutBucketOwnershipControlsInput>,
) -> Answer<PutBucketOwnershipControlsOutput> {
    bucket_of(req)?;
    let other = req.input.ownership_controls != enforced();
    refuse_unsupported(&[(other, "Ownership of objects by others than the bucket's owner")])?;
    Ok(S3Response::new(PutBucketOwnershipControlsOutput {}))
}

fn enforced() -> OwnershipControls {
    let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    OwnershipControls { rules: vec![OwnershipControlsRule { object_ownership }] }
}

/// GetPublicAccessBlock: nothing runs without a signature.
pub(super) fn public_access(
    req: &S3Request<GetPublicAccessBlockInput>,
) -> Answer<GetPublicAccessBlockOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration: Some(blocked()) }))
}

/// PutPublicAccessBlock.
pub(super) fn put_public_access(
    req: &S3Request<PutPublicAccessBlockInput>,
) -> Answer<PutPublicAccessBlockOutput> {
    bucket_of(req)?;
    let some = req.input.public_access_block_configuration != blocked();
    refuse_unsupported(&[(some, "Public access")])?;
    Ok(S3Response::new(PutPublicAccessBlockOutput {}))
}

fn blocked() -> PublicAccessBlockConfiguration {
    PublicAccessBlockConfiguration {
        block_public_acls: Some(true),
        block_public_policy: Some(true),
        ignore_public_acls: Some(true),
        restrict_public_buckets: Some(true),
    }
}

/// GetBucketRequestPayment.
pub(super) fn request_payment(
    req: &S3Request<GetBucketRequestPaymentInput>,
) -> Answer<GetBucketRequestPaymentOutput> {
    bucket_of(req)?;
    let payer = Some(Payer::from_static(Payer::BUCKET_OWNER));
    Ok(S3Response::new(GetBucketRequestPaymentOutput { payer }))
}

/// PutBucketRequestPayment.
pub(super) fn put_request_payment(
    req: &S3Request<PutBucketRequestPaymentInput>,
) -> Answer<PutBucketRequestPaymentOutput> {
    bucket_of(req)?;
    let other = req.input.request_payment_configuration.payer.as_str() != Payer::BUCKET_OWNER;
    refuse_unsupported(&[(other, "Payment by others than the bucket's owner")])?;
    Ok(S3Response::new(PutBucketRequestPaymentOutput {}))
}

/// GetBucketLogging: off is said by saying nothing.
pub(super) fn logging(req: &S3Request<GetBucketLoggingInput>) -> Answer<GetBucketLoggingOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketLoggingOutput::default()))
}

/// PutBucketLogging.
pub(super) fn put_logging(req: &S3Request<PutBucketLoggingInput>) -> Answer<PutBucketLoggingOutput> {
    bucket_of(req)?;
    let BucketLoggingStatus { logging_enabled } = &req.input.bucket_logging_status;
    refuse_unsupported(&[(logging_enabled.is_some(), "Logging of a bucket")])?;
    document::check_elements(req, &[])?;
    Ok(S3Response::new(PutBucketLoggingOutput {}))
}

/// GetBucketAccelerateConfiguration: off is said by saying nothing.
pub(super) fn accelerate(
    req: &S3Request<GetBucketAccelerateConfigurationInput>,
) -> Answer<GetBucketAccelerateConfigurationOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
}

/// PutBucketAccelerateConfiguration.
pub(super) fn put_accelerate(
    req: &S3Request<PutBucketAccelerateConfigurationInput>,
) -> Answer<PutBucketAccelerateConfigurationOutput> {
    bucket_of(req)?;
    let AccelerateConfiguration { status } = &req.input.accelerate_configuration;
    let status = status.as_ref().ok_or_else(|| s3_error!(MalformedXML))?.as_str();
    refuse_unsupported(&[(status != BucketAccelerateStatus::SUSPENDED, "Acceleration of transfers")])?;
    Ok(S3Response::new(PutBucketAccelerateConfigurationOutput {}))
}

/// GetBucketNotificationConfiguration: none is said by saying nothing.
pub(super) fn notification(
    req: &S3Request<GetBucketNotificationConfigurationInput>,
) -> Answer<GetBucketNotificationConfigurationOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketNotificationConfigurationOutput::default()))
}

/// PutBucketNotificationConfiguration.
pub(super) fn put_notification(
    req: &S3Request<PutBucketNotificationConfigurationInput>,
) -> Answer<PutBucketNotificationConfigurationOutput> {
    bucket_of(req)?;
    let some = req.input.notification_configuration != NotificationConfiguration::default();
    refuse_unsupported(&[(some, "Notification of events")])?;
    document::check_elements(req, &[])?;
    Ok(S3Response::new(PutBucketNotificationConfigurationOutput {}))
}

/// The deletion of what no bucket has.
pub(super) fn deleted<I, O: Default>(req: &S3Request<I>) -> Answer<O> {
    bucket_of(req)?;
    Ok(S3Response::with_status(O::default(), StatusCode::NO_CONTENT))
}

/// ListBucketAnalyticsConfigurations: none.
pub(super) fn analytics(
    req: &S3Request<ListBucketAnalyticsConfigurationsInput>,
) -> Answer<ListBucketAnalyticsConfigurationsOutput> {
    bucket_of(req)?;
    let is_truncated = Some(false);
    Ok(S3Response::new(ListBucketAnalyticsConfigurationsOutput { is_truncated, ..Default::default() }))
}

/// ListBucketIntelligentTieringConfigurations: none.
pub(super) fn tiering(
    req: &S3Request<ListBucketIntelligentTieringConfigurationsInput>,
) -> Answer<ListBucketIntelligentTieringConfigurationsOutput> {
    bucket_of(req)?;
    let is_truncated = Some(false);
    Ok(S3Response::new(ListBucketIntelligentTieringConfigurationsOutput {
        is_truncated,
        ..Default::default()
    }))
}

/// ListBucketInventoryConfigurations: none.
pub(super) fn inventory(
    req: &S3Request<ListBucketInventoryConfigurationsInput>,
) -> Answer<ListBucketInventoryConfigurationsOutput> {
    bucket_of(req)?;
    let is_truncated = Some(false);
    Ok(S3Response::new(ListBucketInventoryConfigurationsOutput { is_truncated, ..Default::default() }))
}

/// ListBucketMetricsConfigurations: none.
pub(super) fn metrics(
    req: &S3Request<ListBucketMetricsConfigurationsInput>,
) -> Answer<ListBucketMetricsConfigurationsOutput> {
    bucket_of(req)?;
    let is_truncated = Some(false);
    Ok(S3Response::new(ListBucketMetricsConfigurationsOutput { is_truncated, ..Default::default() }))
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
        for operation in LISTS {
            assert!(absent(operation).is_none() && absent_name(operation) == Some(operation));
        }
        for operation in SETTINGS {
            assert!(absent_name(operation).is_none() && setting_name(operation) == Some(operation));
        }
        assert_eq!(setting_name("PutBucketTagging"), None);
    }
}
