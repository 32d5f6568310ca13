//! ACLs as a bucket with "bucket owner enforced" has them: the owner may do everything, nobody else is in them, and
//! what would change that is refused.

use std::sync::Arc;

use s3o_types::VersionRef;
use s3s::dto::{
    AccessControlPolicy, BucketCannedACL, GetBucketAclInput, GetBucketAclOutput, GetObjectAclInput,
    GetObjectAclOutput, Grant, Grantee, ObjectCannedACL, Permission, PutBucketAclInput, PutBucketAclOutput,
    PutObjectAclInput, PutObjectAclOutput, Type,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::buckets::owner;
use super::locate::locate;
use super::{Answer, bucket_of, check_key, version};
use crate::control::Caller;
use crate::control::Want;
use crate::pipeline::faults::invalid_argument;
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// The one grant there is.
fn grants() -> Vec<Grant> {
    let grantee = Grantee {
        display_name: None,
        email_address: None,
        id: owner().id,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Some(Permission::from_static(Permission::FULL_CONTROL));
    vec![Grant { grantee: Some(grantee), permission }]
}

/// GetBucketAcl.
pub(super) fn of_bucket(req: &S3Request<GetBucketAclInput>) -> Answer<GetBucketAclOutput> {
    bucket_of(req)?;
    Ok(S3Response::new(GetBucketAclOutput { grants: Some(grants()), owner: Some(owner()) }))
}

/// GetObjectAcl.
pub(super) async fn of_object(
    plane: &Arc<Plane>,
    req: S3Request<GetObjectAclInput>,
) -> Answer<GetObjectAclOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let version = version::named(req.input.version_id.as_deref())?;
    exists(plane, &req, &caller, (&bucket, &req.input.key, version)).await?;
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(grants()),
        owner: Some(owner()),
        request_charged: None,
    }))
}

/// PutBucketAcl.
pub(super) fn set_of_bucket(req: &S3Request<PutBucketAclInput>) -> Answer<PutBucketAclOutput> {
    bucket_of(req)?;
    let input = &req.input;
    let others = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write.is_some()
        || input.grant_write_acp.is_some();
    check_acl(input.acl.as_ref().map(BucketCannedACL::as_str), others)?;
    check_policy(input.access_control_policy.as_ref())?;
    Ok(S3Response::new(PutBucketAclOutput::default()))
}

/// PutObjectAcl.
pub(super) async fn set_of_object(
    plane: &Arc<Plane>,
    req: S3Request<PutObjectAclInput>,
) -> Answer<PutObjectAclOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let input = &req.input;
    let version = version::named(input.version_id.as_deref())?;
    let others = input.grant_full_control.is_some()
        || input.grant_read.is_some()
        || input.grant_read_acp.is_some()
        || input.grant_write.is_some()
        || input.grant_write_acp.is_some();
    check_acl(input.acl.as_ref().map(ObjectCannedACL::as_str), others)?;
    check_policy(input.access_control_policy.as_ref())?;
    exists(plane, &req, &caller, (&bucket, &input.key, version)).await?;
    Ok(S3Response::new(PutObjectAclOutput::default()))
}

/// S3's canned ACLs (Amazon S3 User Guide, "Canned ACL").
const CANNED: [&str; 8] = [
    "private",
    "public-read",
    "public-read-write",
    "aws-exec-read",
    "authenticated-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
];

/// ACLs are S3's "bucket owner enforced": the two that change nothing are taken.
pub(super) fn check_acl(acl: Option<&str>, grants: bool) -> S3Result<()> {
    match acl {
        Some(other) if !CANNED.contains(&other) => {
            Err(invalid_argument("The x-amz-acl header names no canned ACL"))
        }
        None | Some("private" | "bucket-owner-full-control") if !grants => Ok(()),
        _ => Err(s3_error!(AccessControlListNotSupported)),
    }
}

/// Only the ACL that we answer with may be put. One without grants would take the owner's own right away.
fn check_policy(policy: Option<&AccessControlPolicy>) -> S3Result<()> {
    let Some(AccessControlPolicy { grants, owner: named }) = policy else { return Ok(()) };
    let ours = |grant: &Grant| {
        let Grant { grantee, permission } = grant;
        grantee.as_ref().is_some_and(|grantee| grantee.id == owner().id)
            && permission.as_ref().is_some_and(|p| p.as_str() == Permission::FULL_CONTROL)
    };
    let changes_nothing = named.as_ref().is_none_or(|named| named.id == owner().id)
        && grants.as_ref().is_some_and(|grants| !grants.is_empty() && grants.iter().all(ours));
    if changes_nothing { Ok(()) } else { Err(s3_error!(AccessControlListNotSupported)) }
}

async fn exists<T: Sync>(
    plane: &Plane,
    req: &S3Request<T>,
    caller: &Caller,
    (bucket, key, version): (&Bucket, &str, Option<VersionRef>),
) -> S3Result<()> {
    check_key(key)?;
    locate(plane, req, caller, (bucket, key, version), Want::Range(0, 0)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_acls() {
        let of = |acl, grants| check_acl(acl, grants).err().map(|error| error.code().as_str().to_owned());
        assert_eq!(of(None, false), None);
        assert_eq!(of(Some("bucket-owner-full-control"), false), None);
        for (acl, grants) in [(Some("public-read"), false), (Some("private"), true), (None, true)] {
            assert_eq!(of(acl, grants).as_deref(), Some("AccessControlListNotSupported"), "{acl:?}");
        }
        assert_eq!(of(Some("foo"), false).as_deref(), Some("InvalidArgument"));
    }

    #[test]
    fn only_what_changes_nothing_is_taken() {
        let policy = |grants| AccessControlPolicy { grants: Some(grants), owner: Some(owner()) };
        assert!(check_policy(None).is_ok());
        assert!(check_policy(Some(&policy(grants()))).is_ok());
        let mut stranger = grants();
        stranger[0].grantee.as_mut().expect("one").id = Some("stranger".to_owned());
        assert!(check_policy(Some(&policy(stranger))).is_err());
        let mut less = grants();
        less[0].permission = Some(Permission::from_static(Permission::READ));
        assert!(check_policy(Some(&policy(less))).is_err());
        assert!(check_policy(Some(&policy(Vec::new()))).is_err());
        assert!(check_policy(Some(&AccessControlPolicy { grants: None, owner: Some(owner()) })).is_err());
    }
}
