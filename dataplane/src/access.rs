//! May this key do that: grants come from the snapshot.
//!
//! Invariants: no operation runs without a signature that covers `host`; a bucket that the key has no
//! grant for is refused with AccessDenied, one that does not exist with NoSuchBucket, as S3 does; an operation
//! that this release does not have answers NotImplemented to whoever is authenticated.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use s3o_types::Right;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::Credentials;
use s3s::{S3Request, S3Result, s3_error};

use crate::control::{Caller, Failure};
use crate::http::request::RequestInfo;
use crate::ops::bucket_settings::{absent, absent_name, setting_name};
use crate::ops::buckets::OWNER;
use crate::pipeline::faults;
use crate::plane::Plane;
use crate::snapshot::{Bucket, Key};

/// What an operation does to its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It names no bucket.
    Nothing,
    /// It names one that is not there yet.
    NoBucket,
    /// A grant on the bucket, whichever.
    Bucket,
    /// The right to the key that is named; to the whole bucket where none is.
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

/// The access key by which a request was signed, as `s3s` has found. In the extensions of a request whose signature was
/// checked before it came to `s3s`, and only there.
#[derive(Clone)]
pub(crate) struct Signer(String);

impl Signer {
    /// `credentials` are those that `s3s` has checked.
    pub(crate) fn of(
        credentials: Option<&Credentials>,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> S3Result<Self> {
        let Some(credentials) = credentials else {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        };
        if !signs("host", headers, query) {
            return Err(s3_error!(AccessDenied, "The host header must be signed"));
        }
        Ok(Self(credentials.access_key.clone()))
    }
}

/// In the extensions of a request of which only the grant is asked for, before its body is read. It goes no further than that.
#[derive(Clone, Default)]
pub(crate) struct OnlyGrant(Arc<AtomicBool>);

impl OnlyGrant {
    /// Whether the operation may be done; else the answer says why not.
    pub(crate) fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The check before every operation.
pub(crate) struct Grants(pub Arc<Plane>);

#[async_trait::async_trait]
impl S3Access for Grants {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let checked = cx.extensions_mut().remove::<Signer>();
        let Signer(access_key) = match checked {
            Some(signer) => signer,
            None => Signer::of(cx.credentials(), cx.headers(), cx.uri().query())?,
        };
        let operation = cx.s3_op().name();
        let Some((name, need)) = known(operation) else {
            return Err(s3_error!(NotImplemented, "{operation} is not implemented"));
        };
        let path = cx.s3_path();
        let named = path.get_bucket_name().unwrap_or_default().to_owned();
        let key = path.get_object_key().unwrap_or_default().to_owned();
        let bucket = match need {
            Need::Nothing => None,
            Need::NoBucket => {
                may_create(&self.0, &access_key, &named)?;
                None
            }
            Need::Bucket | Need::Key(_) | Need::Some(_) => {
                let info = cx.extensions_mut().get::<Arc<RequestInfo>>().map(AsRef::as_ref);
                Some(found(&self.0, &self.0.caller_for(info, &access_key), &named, need, &key).await?)
            }
        };
        check_owner(cx.headers())?;
        if let Some(info) = cx.extensions_mut().get::<Arc<RequestInfo>>() {
            info.note(name, &access_key, Some(named.as_str()).filter(|_| need != Need::Nothing));
        }
        self.0.refuse_degraded(name)?;
        if let Some(nothing) = absent(name) {
            return Err(nothing);
        }
        if let Some(OnlyGrant(given)) = cx.extensions_mut().get() {
            given.store(true, Ordering::Relaxed);
            return Err(s3_error!(AccessDenied));
        }
        if let Some(variant) = streaming_variant(cx.headers()) {
            self.0.metrics.streaming_request(variant);
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
        Need::Nothing | Need::NoBucket => true,
        Need::Bucket => !granted.scopes(bucket.id).is_empty(),
        Need::Key(right) => granted.may(bucket.id, right, key),
        Need::Some(right) => granted.may_somewhere(bucket.id, right),
    };
    let allowed = snapshot.keys.get(access_key).is_some_and(may);
    if allowed { Ok(bucket.clone()) } else { Err(s3_error!(AccessDenied)) }
}

/// The same; a bucket that is not known here may have been made through another data plane a moment ago, so that
/// the control plane is asked before it is said that there is none.
async fn found(plane: &Arc<Plane>, caller: &Caller, bucket: &str, need: Need, key: &str) -> S3Result<Bucket> {
    let access_key = &caller.access_key;
    if plane.snapshot.load().buckets.contains_key(bucket) {
        return granted(plane, access_key, bucket, need, key);
    }
    match plane.catch_up(caller).await {
        // Of a release that makes no buckets.
        Ok(()) | Err(Failure::Refused { .. } | Failure::Marker { .. }) => {
            granted(plane, access_key, bucket, need, key)
        }
        Err(Failure::Unknown) => {
            Err(faults::unavailable("The bucket cannot be looked up now. Please try again."))
        }
    }
}

/// Tools create a bucket before they copy to it, and are told that it is theirs ([`creates_buckets`]).
fn may_create(plane: &Plane, access_key: &str, bucket: &str) -> S3Result<()> {
    if creates_buckets(plane, access_key) || is_writable(plane, access_key, bucket) {
        return Ok(());
    }
    Err(s3_error!(AccessDenied, "The access key may not create buckets"))
}

/// Whether the access key may make buckets.
pub(crate) fn creates_buckets(plane: &Plane, access_key: &str) -> bool {
    plane.snapshot.load().keys.get(access_key).is_some_and(|key| key.create_buckets)
}

/// Whether there is such a bucket and the access key may write somewhere in it.
pub(crate) fn is_writable(plane: &Plane, access_key: &str, bucket: &str) -> bool {
    granted(plane, access_key, bucket, Need::Some(Right::Write), "").is_ok()
}

/// The bucket, if the access key may write the key.
pub(crate) async fn writable(
    plane: &Arc<Plane>,
    caller: &Caller,
    bucket: &str,
    key: &str,
) -> S3Result<Bucket> {
    found(plane, caller, bucket, Need::Key(Right::Write), key).await
}

/// The bucket of a copy's source, if the access key may read the source.
pub(crate) async fn readable(
    plane: &Arc<Plane>,
    caller: &Caller,
    bucket: &str,
    key: &str,
) -> S3Result<Bucket> {
    found(plane, caller, bucket, Need::Key(Right::Read), key).await
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

/// Whoever says who owns a bucket, or a copy's source, wants nothing done to that of another; all of them have one owner.
fn check_owner(headers: &HeaderMap) -> S3Result<()> {
    let said = ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"];
    let mut said = said.into_iter().flat_map(|name| headers.get_all(name));
    if said.all(|owner| owner.as_bytes() == OWNER.as_bytes()) { Ok(()) } else { Err(s3_error!(AccessDenied)) }
}

fn known(operation: &str) -> Option<(&'static str, Need)> {
    Some(match operation {
        "ListBuckets" => ("ListBuckets", Need::Nothing),
        "CreateBucket" => ("CreateBucket", Need::NoBucket),
        "DeleteBucket" => ("DeleteBucket", Need::Key(Right::Configure)),
        "PutBucketCors" => ("PutBucketCors", Need::Key(Right::Configure)),
        "DeleteBucketCors" => ("DeleteBucketCors", Need::Key(Right::Configure)),
        "PutBucketLifecycleConfiguration" => ("PutBucketLifecycleConfiguration", Need::Key(Right::Configure)),
        "DeleteBucketLifecycle" => ("DeleteBucketLifecycle", Need::Key(Right::Configure)),
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
        // It says of each key whether it may be deleted.
        "DeleteObjects" => ("DeleteObjects", Need::Bucket),
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
        "GetObjectLockConfiguration" => ("GetObjectLockConfiguration", Need::Bucket),
        "PutObjectLockConfiguration" => ("PutObjectLockConfiguration", Need::Key(Right::Configure)),
        "GetObjectRetention" => ("GetObjectRetention", Need::Key(Right::Read)),
        "PutObjectRetention" => ("PutObjectRetention", Need::Key(Right::Write)),
        "GetObjectLegalHold" => ("GetObjectLegalHold", Need::Key(Right::Read)),
        "PutObjectLegalHold" => ("PutObjectLegalHold", Need::Key(Right::Write)),
        "GetBucketAcl" => ("GetBucketAcl", Need::Bucket),
        "PutBucketAcl" => ("PutBucketAcl", Need::Some(Right::Write)),
        "GetObjectAcl" => ("GetObjectAcl", Need::Key(Right::Read)),
        "PutObjectAcl" => ("PutObjectAcl", Need::Key(Right::Write)),
        "GetBucketOwnershipControls" => ("GetBucketOwnershipControls", Need::Bucket),
        "GetPublicAccessBlock" => ("GetPublicAccessBlock", Need::Bucket),
        "GetBucketRequestPayment" => ("GetBucketRequestPayment", Need::Bucket),
        "GetBucketLogging" => ("GetBucketLogging", Need::Bucket),
        "GetBucketCors" => ("GetBucketCors", Need::Bucket),
        "GetBucketLifecycleConfiguration" => ("GetBucketLifecycleConfiguration", Need::Bucket),
        "GetBucketAccelerateConfiguration" => ("GetBucketAccelerateConfiguration", Need::Bucket),
        "GetBucketNotificationConfiguration" => ("GetBucketNotificationConfiguration", Need::Bucket),
        other => match setting_name(other) {
            Some(name) => (name, Need::Key(Right::Configure)),
            None => (absent_name(other)?, Need::Bucket),
        },
    })
}

/// Whether `wanted` is among the signed headers, of the presigned URL or else of the header: the one that
/// `s3s` checks, which is the URL's where there are both. `s3s` lets `host` be missing, and then a request
/// could be replayed against another bucket's host.
pub(crate) fn signs(wanted: &str, headers: &HeaderMap, query: Option<&str>) -> bool {
    let lists_it = |list: &str| list.split(';').any(|name| name.trim().eq_ignore_ascii_case(wanted));
    if is_presigned(query) {
        let mut signed = parameters(query).filter(|(name, _)| name == "X-Amz-SignedHeaders");
        // Twice would let the signature be checked with one list and this with the other.
        return match (signed.next(), signed.next()) {
            (Some((_, list)), None) => lists_it(&list),
            _ => false,
        };
    }
    let authorization = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let mut parts = authorization.unwrap_or_default().split([',', ' ']);
    parts.find_map(|part| part.trim().strip_prefix("SignedHeaders=")).is_some_and(lists_it)
}

/// Whether a query has what `s3s` takes for a signature.
pub(crate) fn is_presigned(query: Option<&str>) -> bool {
    parameters(query).any(|(name, _)| name == "X-Amz-Signature")
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let text = text.replace('+', " ");
        return percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned().into();
    }
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

/// Names and values of a query, decoded as `s3s` decodes what a signature covers: `+` is a space.
pub(crate) fn parameters(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(move |(name, value)| (decoded(name), decoded(value)))
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
        fn signs_host(headers: &HeaderMap, query: Option<&str>) -> bool {
            signs("host", headers, query)
        }
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
        let presigned = |headers: &HeaderMap, list: &str| {
            signs_host(headers, Some(&format!("a=b&{list}&X-Amz-Signature=00")))
        };
        let none = HeaderMap::new();
        assert!(presigned(&none, "X-Amz-SignedHeaders=host%3Bx-amz-date"));
        assert!(presigned(&none, "X-Amz%2DSignedHeaders=host"));
        assert!(!presigned(&none, "X-Amz-SignedHeaders=x-amz-date"));
        assert!(!presigned(&none, "X-Amz-SignedHeaders=host&X-Amz-SignedHeaders=date"));
        assert!(!presigned(&none, "X-Amz-SignedHeaders=date&X-Amz%2DSignedHeaders=host"));
        assert!(
            !presigned(&with(good), "X-Amz-SignedHeaders=date"),
            "the URL's signature is the one checked"
        );
        assert!(!signs_host(&with(good), Some("X-Amz-SignedHeaders=date&X-Amz%2DSignature=00")));
        assert!(!signs_host(&none, Some("X-Amz-SignedHeaders=host")), "nothing is signed");
        assert!(!signs_host(&none, None));
    }

    #[test]
    fn the_owner_is_the_one_that_is_expected() {
        let said = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            check_owner(&headers.collect::<HeaderMap>()).is_ok()
        };
        assert!(said(&[]) && said(&[("x-amz-expected-bucket-owner", OWNER)]));
        assert!(!said(&[("x-amz-expected-bucket-owner", "123456789012")]));
        assert!(!said(&[("x-amz-expected-bucket-owner", OWNER), ("x-amz-source-expected-bucket-owner", "")]));
    }

    #[test]
    fn only_what_exists_is_known() {
        assert_eq!(known("GetObject").map(|(_, need)| need), Some(Need::Key(Right::Read)));
        assert_eq!(known("CopyObject").map(|(_, need)| need), Some(Need::Key(Right::Write)));
        assert_eq!(known("PutObjectTagging").map(|(_, need)| need), Some(Need::Key(Right::Write)));
        assert_eq!(known("GetBucketTagging").map(|(_, need)| need), Some(Need::Bucket));
        assert_eq!(known("DeleteObjects").map(|(_, need)| need), Some(Need::Bucket));
        assert_eq!(known("UploadPartCopy").map(|(_, need)| need), Some(Need::Key(Right::Write)));
        assert_eq!(known("PutBucketVersioning").map(|(_, need)| need), Some(Need::Key(Right::Configure)));
        assert_eq!(known("PutBucketCors").map(|(_, need)| need), Some(Need::Key(Right::Configure)));
        assert_eq!(known("DeleteBucketLifecycle").map(|(_, need)| need), Some(Need::Key(Right::Configure)));
        assert_eq!(known("PutBucketLogging").map(|(_, need)| need), Some(Need::Key(Right::Configure)));
        assert_eq!(known("ListBucketMetricsConfigurations").map(|(_, need)| need), Some(Need::Bucket));
        assert_eq!(known("PutBucketPolicy"), None);
        assert_eq!(known("PostObject"), None, "forms do not come by `s3s`");
    }
}
