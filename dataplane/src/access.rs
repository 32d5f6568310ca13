//! May this key do that: grants come from the snapshot.
//!
//! Invariants: no operation runs without a signature that covers `host`; a bucket that the key has no
//! grant for is refused with AccessDenied, one that does not exist with NoSuchBucket, as S3 does; an operation
//! that this release does not have answers NotImplemented to whoever is authenticated.

use std::sync::Arc;

use http::HeaderMap;
use s3o_types::Right;
use s3s::access::{S3Access, S3AccessContext};
use s3s::{S3Request, S3Result, s3_error};

use crate::http::request::RequestInfo;
use crate::ops::bucket_settings::{absent, absent_name};
use crate::plane::Plane;
use crate::snapshot::{Bucket, Key};

/// What an operation does to its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It names no bucket.
    Nothing,
    /// A grant on the bucket, whichever.
    Bucket,
    /// The right to the key that is named.
    Key(Right),
    /// The right to some key of the bucket; to which ones the operation checks by [`allowed`].
    Some(Right),
}

/// Whoever is asking, and the bucket that was asked for. In the request's extensions.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub access_key: String,
    /// Absent where the operation names none.
    pub bucket: Option<Bucket>,
}

/// The check before every operation.
pub(crate) struct Grants(pub Arc<Plane>);

#[async_trait::async_trait]
impl S3Access for Grants {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        };
        let access_key = credentials.access_key.clone();
        if !signs("host", cx.headers(), cx.uri().query()) {
            return Err(s3_error!(AccessDenied, "The host header must be signed"));
        }
        let operation = cx.s3_op().name();
        // Tools create a bucket before they copy to it, and take "it is yours" for an answer.
        if operation == "CreateBucket" {
            let bucket = cx.s3_path().get_bucket_name().unwrap_or_default();
            return Err(match granted(&self.0, &access_key, bucket, Need::Some(Right::Write), "") {
                Ok(_) => s3_error!(BucketAlreadyOwnedByYou),
                Err(_) => s3_error!(AccessDenied, "Buckets are made by the cluster's operator"),
            });
        }
        let Some((name, need)) = known(operation) else {
            return Err(s3_error!(NotImplemented, "{operation} is not implemented"));
        };
        let bucket = if need == Need::Nothing {
            None
        } else {
            let path = cx.s3_path();
            let bucket = path.get_bucket_name().unwrap_or_default();
            Some(granted(&self.0, &access_key, bucket, need, path.get_object_key().unwrap_or_default())?)
        };
        if let Some(info) = cx.extensions_mut().get::<Arc<RequestInfo>>() {
            info.note(name, &access_key, bucket.as_ref().map(|bucket| bucket.name.as_str()));
        }
        if let Some(variant) = streaming_variant(cx.headers()) {
            self.0.metrics.streaming_request(variant);
        }
        if let Some(nothing) = absent(name) {
            return Err(nothing);
        }
        cx.extensions_mut().insert(Tenant { access_key, bucket });
        Ok(())
    }
}

/// The bucket, if the access key may use it so.
fn granted(plane: &Plane, access_key: &str, bucket: &str, need: Need, key: &str) -> S3Result<Bucket> {
    let snapshot = plane.snapshot.load();
    let bucket = snapshot.buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
    let may = |granted: &Key| match need {
        Need::Nothing => true,
        Need::Bucket => !granted.scopes(bucket.id).is_empty(),
        Need::Key(right) => granted.may(bucket.id, right, key),
        Need::Some(right) => granted.may_somewhere(bucket.id, right),
    };
    let allowed = snapshot.keys.get(access_key).is_some_and(may);
    if allowed { Ok(bucket.clone()) } else { Err(s3_error!(AccessDenied)) }
}

/// The bucket of a copy's source, if the access key may read the source.
pub(crate) fn readable(plane: &Plane, access_key: &str, bucket: &str, key: &str) -> S3Result<Bucket> {
    granted(plane, access_key, bucket, Need::Key(Right::Read), key)
}

/// Whether whoever asks has a right to a key of the bucket, or to list all keys under a prefix.
pub(crate) fn allowed<T>(
    plane: &Plane,
    req: &S3Request<T>,
    bucket: &Bucket,
    right: Right,
    key: &str,
) -> S3Result<()> {
    let access_key = req.extensions.get::<Tenant>().map(|tenant| tenant.access_key.as_str());
    let snapshot = plane.snapshot.load();
    let granted = access_key.and_then(|access_key| snapshot.keys.get(access_key));
    let may = granted.is_some_and(|granted| granted.may(bucket.id, right, key));
    if may { Ok(()) } else { Err(s3_error!(AccessDenied)) }
}

fn known(operation: &str) -> Option<(&'static str, Need)> {
    Some(match operation {
        "ListBuckets" => ("ListBuckets", Need::Nothing),
        "HeadBucket" => ("HeadBucket", Need::Bucket),
        "GetBucketLocation" => ("GetBucketLocation", Need::Bucket),
        "GetBucketVersioning" => ("GetBucketVersioning", Need::Bucket),
        "PutBucketVersioning" => ("PutBucketVersioning", Need::Key(Right::Configure)),
        "GetObject" => ("GetObject", Need::Key(Right::Read)),
        "HeadObject" => ("HeadObject", Need::Key(Right::Read)),
        "ListObjects" => ("ListObjects", Need::Some(Right::List)),
        "ListObjectsV2" => ("ListObjectsV2", Need::Some(Right::List)),
        "ListObjectVersions" => ("ListObjectVersions", Need::Some(Right::List)),
        "PutObject" => ("PutObject", Need::Key(Right::Write)),
        "CopyObject" => ("CopyObject", Need::Key(Right::Write)),
        "DeleteObject" => ("DeleteObject", Need::Key(Right::Delete)),
        "DeleteObjects" => ("DeleteObjects", Need::Some(Right::Delete)),
        "CreateMultipartUpload" => ("CreateMultipartUpload", Need::Key(Right::Write)),
        "UploadPart" => ("UploadPart", Need::Key(Right::Write)),
        "UploadPartCopy" => ("UploadPartCopy", Need::Key(Right::Write)),
        "CompleteMultipartUpload" => ("CompleteMultipartUpload", Need::Key(Right::Write)),
        "AbortMultipartUpload" => ("AbortMultipartUpload", Need::Key(Right::Write)),
        "ListParts" => ("ListParts", Need::Key(Right::List)),
        "ListMultipartUploads" => ("ListMultipartUploads", Need::Some(Right::List)),
        "GetObjectAttributes" => ("GetObjectAttributes", Need::Key(Right::Read)),
        "GetObjectTagging" => ("GetObjectTagging", Need::Key(Right::Read)),
        "PutObjectTagging" => ("PutObjectTagging", Need::Key(Right::Write)),
        "DeleteObjectTagging" => ("DeleteObjectTagging", Need::Key(Right::Write)),
        "GetBucketAcl" => ("GetBucketAcl", Need::Bucket),
        "PutBucketAcl" => ("PutBucketAcl", Need::Some(Right::Write)),
        "GetObjectAcl" => ("GetObjectAcl", Need::Key(Right::Read)),
        "PutObjectAcl" => ("PutObjectAcl", Need::Key(Right::Write)),
        "GetBucketOwnershipControls" => ("GetBucketOwnershipControls", Need::Bucket),
        "GetPublicAccessBlock" => ("GetPublicAccessBlock", Need::Bucket),
        "GetBucketRequestPayment" => ("GetBucketRequestPayment", Need::Bucket),
        "GetBucketLogging" => ("GetBucketLogging", Need::Bucket),
        "GetBucketCors" => ("GetBucketCors", Need::Bucket),
        "GetBucketAccelerateConfiguration" => ("GetBucketAccelerateConfiguration", Need::Bucket),
        "GetBucketNotificationConfiguration" => ("GetBucketNotificationConfiguration", Need::Bucket),
        other => (absent_name(other)?, Need::Bucket),
    })
}

/// Whether `wanted` is among the signed headers, of the header or of the presigned URL. `s3s` lets
/// `host` be missing, and then a request could be replayed against another bucket's host.
pub(crate) fn signs(wanted: &str, headers: &HeaderMap, query: Option<&str>) -> bool {
    let lists_it = |list: &str| list.split(';').any(|name| name.trim().eq_ignore_ascii_case(wanted));
    if let Some(authorization) =
        headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok())
    {
        let signed =
            authorization.split([',', ' ']).find_map(|part| part.trim().strip_prefix("SignedHeaders="));
        return signed.is_some_and(lists_it);
    }
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let signed: Vec<_> =
        pairs.filter(|(name, _)| *name == "X-Amz-SignedHeaders").map(|(_, value)| value).collect();
    // Twice would let the signature be checked with one list and this with the other.
    let [signed] = signed.as_slice() else { return false };
    percent_encoding::percent_decode_str(signed).decode_utf8().is_ok_and(|list| lists_it(&list))
}

fn streaming_variant(headers: &HeaderMap) -> Option<&'static str> {
    match headers.get("x-amz-content-sha256")?.to_str().ok()? {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Some("signed"),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Some("signed_trailer"),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Some("unsigned_trailer"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn host_must_be_signed() {
        let signs_host = |headers: &HeaderMap, query| signs("host", headers, query);
        let with = |authorization: &'static str| {
            HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static(authorization))])
        };
        let good =
            "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";
        assert!(signs_host(&with(good), None));
        let tight =
            "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request,SignedHeaders=x-amz-date;Host,Signature=00";
        assert!(signs_host(&with(tight), None));
        let without =
            "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request, SignedHeaders=x-amz-date, Signature=00";
        assert!(!signs_host(&with(without), Some("X-Amz-SignedHeaders=host")));
        assert!(signs_host(&HeaderMap::new(), Some("a=b&X-Amz-SignedHeaders=host%3Bx-amz-date")));
        assert!(!signs_host(&HeaderMap::new(), Some("X-Amz-SignedHeaders=x-amz-date")));
        assert!(!signs_host(&HeaderMap::new(), Some("X-Amz-SignedHeaders=host&X-Amz-SignedHeaders=date")));
        assert!(!signs_host(&HeaderMap::new(), None));
    }

    #[test]
    fn only_what_exists_is_known() {
        assert_eq!(known("GetObject").map(|(_, need)| need), Some(Need::Key(Right::Read)));
        assert_eq!(known("CopyObject").map(|(_, need)| need), Some(Need::Key(Right::Write)));
        assert_eq!(known("PutObjectTagging").map(|(_, need)| need), Some(Need::Key(Right::Write)));
        assert_eq!(known("GetBucketTagging").map(|(_, need)| need), Some(Need::Bucket));
        assert_eq!(known("DeleteObjects").map(|(_, need)| need), Some(Need::Some(Right::Delete)));
        assert_eq!(known("UploadPartCopy").map(|(_, need)| need), Some(Need::Key(Right::Write)));
        assert_eq!(known("PutBucketVersioning").map(|(_, need)| need), Some(Need::Key(Right::Configure)));
        assert_eq!(known("PutBucketCors"), None);
        assert_eq!(known("PostObject"), None);
    }
}
