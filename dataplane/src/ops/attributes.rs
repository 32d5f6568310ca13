//! An object's attributes as a client says them.
//!
//! Invariant: what is taken is stored and comes back as it was; what breaks S3's limits is refused,
//! never shortened.

use std::collections::BTreeMap;

use http::StatusCode;
use s3o_types::ContentHeaders;
use s3s::dto::Metadata;
use s3s::{S3Result, s3_error};

use crate::pipeline::faults;

/// S3's limit for user metadata: names and values together (Amazon S3 User Guide, "Working with object
/// metadata").
const MAX_METADATA_BYTES: usize = 2048;
/// The classes that S3 knows. They are stored and shown, and change nothing.
const STORAGE_CLASSES: [&str; 10] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "OUTPOSTS",
    "SNOW",
];

/// User metadata, within S3's limit.
pub(super) fn metadata(metadata: Option<Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<_, _> = metadata
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(s3_error!(MetadataTooLarge));
    }
    // RFC 2047 can say what no header can hold: PostgreSQL has no U+0000, a backend no line break.
    if metadata.values().any(|value| value.chars().any(|c| c.is_control() && c != '\t')) {
        return Err(faults::invalid_argument("User metadata must not contain control characters."));
    }
    Ok(metadata)
}

/// `x-amz-storage-class`: one of S3's.
pub(super) fn storage_class(class: Option<&str>) -> S3Result<Option<String>> {
    match class {
        None => Ok(None),
        Some(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        Some(_) => Err(s3_error!(InvalidStorageClass)),
    }
}

/// `Content-Type` without the white space that no header has around its value.
pub(super) fn content_type(said: Option<String>) -> Option<String> {
    said.map(|said| said.trim().to_owned())
}

/// `Content-Encoding` without `aws-chunked`, which is about the transfer and not about the object.
pub(super) fn content_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let is_transfer = |token: &&str| token.trim().eq_ignore_ascii_case("aws-chunked");
    let kept: Vec<_> = encoding.split(',').filter(|token| !is_transfer(token)).collect();
    Some(kept.join(",").trim()).filter(|kept| !kept.is_empty()).map(str::to_owned)
}

/// Builds [`ContentHeaders`] from the fields that PutObject and CopyObject have in common.
macro_rules! content_headers {
    ($input:expr) => {
        s3o_types::ContentHeaders {
            content_type: $crate::ops::attributes::content_type($input.content_type.take()),
            content_encoding: $crate::ops::attributes::content_encoding($input.content_encoding.take()),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take(),
            website_redirect: $input.website_redirect_location.take(),
            storage_class: $crate::ops::attributes::storage_class(
                $input.storage_class.as_ref().map(|class| class.as_str()),
            )?,
        }
    };
}
pub(super) use content_headers;

/// Builds [`s3o_types::ObjectAttributes`] from what PutObject and CreateMultipartUpload say alike.
macro_rules! object_attributes {
    ($input:expr) => {{
        let headers = $crate::ops::attributes::content_headers!($input);
        $crate::ops::attributes::check_redirect(&headers)?;
        let metadata = $crate::ops::attributes::metadata($input.metadata.take())?;
        let tags = $crate::ops::tags::of_header($input.tagging.as_deref())?;
        let lock = $crate::ops::object_lock::lock_of_write!($input);
        s3o_types::ObjectAttributes { headers, metadata, tags, lock }
    }};
}
pub(super) use object_attributes;

/// Refuses what no write takes, by the fields that PutObject, CopyObject and CreateMultipartUpload have in common;
/// `customer`: whether a key of the customer's is named.
macro_rules! check_write {
    ($input:expr, customer: $customer:expr) => {{
        let grants = $input.grant_full_control.is_some()
            || $input.grant_read.is_some()
            || $input.grant_read_acp.is_some()
            || $input.grant_write_acp.is_some();
        $crate::ops::acl::check_acl($input.acl.as_ref().map(s3s::dto::ObjectCannedACL::as_str), grants)?;
        let encryption = $input.server_side_encryption.is_some() || $input.ssekms_key_id.is_some();
        $crate::ops::refuse_unsupported(&[
            (encryption, "Server-side encryption"),
            ($customer, "Encryption with customer keys"),
        ])?
    }};
}
pub(super) use check_write;

/// Whether a redirect is one that S3 takes: a path or a URL.
pub(super) fn check_redirect(headers: &ContentHeaders) -> S3Result<()> {
    let fine = |target: &String| {
        target.starts_with('/') || target.starts_with("http://") || target.starts_with("https://")
    };
    match &headers.website_redirect {
        Some(target) if !fine(target) => Err(faults::custom(
            "InvalidRedirectLocation",
            StatusCode::BAD_REQUEST,
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transfer_leaves_no_trace() {
        let of = |text: &str| content_encoding(Some(text.to_owned()));
        assert_eq!(of("aws-chunked"), None);
        assert_eq!(of("gzip, aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(of("AWS-Chunked,gzip").as_deref(), Some("gzip"));
        assert_eq!(of("aws-chunked, gzip, br").as_deref(), Some("gzip, br"));
        for kept in ["gzip", "gzip,br", "gzip, br", "gzip ,br"] {
            assert_eq!(of(kept).as_deref(), Some(kept), "as it came");
        }
        assert_eq!((of(""), of(" aws-chunked ")), (None, None));
    }

    #[test]
    fn white_space_is_no_part_of_a_type() {
        let of = |text: &str| content_type(Some(text.to_owned()));
        assert_eq!(
            of(" multipart/form-data; boundary=x").as_deref(),
            Some("multipart/form-data; boundary=x")
        );
        assert_eq!((of("text/plain").as_deref(), content_type(None)), (Some("text/plain"), None));
    }

    #[test]
    fn limits() {
        assert!(
            metadata(Some(Metadata::from_iter([("A".to_owned(), "x".repeat(2047))])))
                .expect("just fits")
                .contains_key("a")
        );
        assert!(metadata(Some(Metadata::from_iter([("a".to_owned(), "x".repeat(2048))]))).is_err());
        assert!(storage_class(Some("STANDARD_IA")).is_ok());
        assert!(storage_class(Some("CARDBOARD")).is_err());
    }
}
