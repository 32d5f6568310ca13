//! An object's attributes as the headers of its blob, and back.
//!
//! Invariants: what is sent fits S3's limit for user metadata; whatever of the client's attributes is
//! not sent makes the description say `incomplete`, so a reader without the database never takes the
//! headers for the whole truth; client metadata cannot pose as ours.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use s3o_types::{ObjectAttributes, StorageKey};

use crate::describe::{DescribeError, SelfDescription};

/// The self-description.
pub const META_DESCRIPTION: &str = "x-amz-meta-s3o";
/// Base64 of `bucket/key` on blobs whose storage key is hashed.
pub const META_KEY: &str = "x-amz-meta-s3o-key";

const META_PREFIX: &str = "x-amz-meta-";
/// Metadata names that begin so are ours.
const OUR_NAMES: &str = "s3o";
/// S3's limit for names and values of user metadata together (Amazon S3 User Guide, "Working with
/// object metadata"). We count the prefix too, since not every backend leaves it out.
const MAX_METADATA_BYTES: usize = 2048;
/// Headers of a blob that we choose, at most. S3 has no bound for their number, but many HTTP clients and servers, hyper among
/// them, read 100 in all.
const MAX_HEADERS: usize = 64;
/// What is left of S3's 8 KB of request headers for the content headers, with room for the signature.
const MAX_CONTENT_BYTES: usize = 4096;
/// Marks a value that is percent-encoded. Not RFC 2047: servers decode that by themselves, some
/// only on the way in, and then the round trip is lost.
const ENCODED: &str = "%s3o:";
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b' ');

/// What a blob's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its self-description.
    pub description: SelfDescription,
    /// The client's attributes, all of them unless the description says `incomplete`. A blob sent
    /// without a content type may come back with the backend's default.
    pub attributes: ObjectAttributes,
    /// Bucket and key, on blobs with a hashed storage key.
    pub bucket_key: Option<(String, String)>,
}

/// Why headers are not those of a blob of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// No self-description: not written by us.
    #[error("there is no {META_DESCRIPTION} header")]
    NoDescription,
    /// It cannot be read.
    #[error(transparent)]
    Description(#[from] DescribeError),
    /// The hashed blob's bucket and key cannot be read.
    #[error("broken {META_KEY} header")]
    BadKey,
}

/// The headers with which a blob of `bucket/key` is sent. `description.incomplete` is set on the way
/// when something must stay behind.
pub fn to_blob_headers(
    bucket: &str,
    key: &str,
    attributes: &ObjectAttributes,
    description: &SelfDescription,
) -> Result<Vec<(HeaderName, HeaderValue)>, DescribeError> {
    let mut description = description.clone();
    let mut out = Vec::new();
    let complete = content_headers(attributes, &mut out);
    // The description's room is set aside before the client's: at its longest, since `i=1` may come.
    let mut room = MAX_METADATA_BYTES - META_DESCRIPTION.len() - crate::describe::MAX_BYTES;
    if StorageKey::is_hashed(bucket, key) {
        let value = BASE64.encode(format!("{bucket}/{key}"));
        room = room.saturating_sub(META_KEY.len() + value.len());
        out.extend(HeaderValue::try_from(value).ok().map(|v| (HeaderName::from_static(META_KEY), v)));
    }
    let complete = user_metadata(attributes, room, &mut out) && complete;
    let elsewhere = !attributes.tags.is_empty()
        || attributes.headers.website_redirect.is_some()
        || attributes.headers.storage_class.is_some();
    description.incomplete |= !complete || elsewhere;
    description.lock = attributes.lock;
    let text = description.format()?;
    let value = HeaderValue::try_from(text).map_err(|_| DescribeError::Broken("not a header value"))?;
    out.push((HeaderName::from_static(META_DESCRIPTION), value));
    Ok(out)
}

/// Whether all content headers could be sent.
fn content_headers(attributes: &ObjectAttributes, out: &mut Vec<(HeaderName, HeaderValue)>) -> bool {
    let headers = &attributes.headers;
    let natively = [
        (CONTENT_TYPE, &headers.content_type),
        (CONTENT_ENCODING, &headers.content_encoding),
        (CONTENT_DISPOSITION, &headers.content_disposition),
        (CONTENT_LANGUAGE, &headers.content_language),
        (CACHE_CONTROL, &headers.cache_control),
        (EXPIRES, &headers.expires),
    ];
    let mut room = MAX_CONTENT_BYTES;
    let mut complete = true;
    for (name, value) in natively {
        let Some(value) = value else { continue };
        let fits = value.len() <= room && travels_as_it_is(value);
        match HeaderValue::try_from(value) {
            Ok(header) if fits => {
                room -= value.len();
                out.push((name, header));
            }
            _ => complete = false,
        }
    }
    complete
}

/// Whether all user metadata could be sent.
fn user_metadata(
    attributes: &ObjectAttributes,
    mut room: usize,
    out: &mut Vec<(HeaderName, HeaderValue)>,
) -> bool {
    let mut complete = true;
    for (name, value) in &attributes.metadata {
        let header = metadata_header(name, value);
        match header {
            Some((name, value)) if name.as_str().len() + value.len() <= room && out.len() < MAX_HEADERS => {
                room -= name.as_str().len() + value.len();
                out.push((name, value));
            }
            _ => complete = false,
        }
    }
    complete
}

fn metadata_header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    // Only names that come back as they went: header names lose their case.
    if name.is_empty() || name.starts_with(OUR_NAMES) || name.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let name = HeaderName::try_from(format!("{META_PREFIX}{name}")).ok()?;
    Some((name, HeaderValue::try_from(encode_value(value)).ok()?))
}

/// Whether every server keeps such a value byte for byte.
fn travels_as_it_is(value: &str) -> bool {
    let visible = value.bytes().all(|b| (0x20..0x7f).contains(&b));
    // Some servers drop empty values, collapse inner blanks, or decode what looks like RFC 2047.
    visible && !value.is_empty() && value.trim() == value && !value.contains("  ") && !value.contains("=?")
}

fn encode_value(value: &str) -> String {
    if travels_as_it_is(value) && !value.starts_with(ENCODED) {
        return value.to_owned();
    }
    format!("{ENCODED}{}", utf8_percent_encode(value, ESCAPED)).replace("=?", "=%3F")
}

fn decode_value(value: &str) -> Option<String> {
    match value.strip_prefix(ENCODED) {
        None => Some(value.to_owned()),
        Some(encoded) => Some(percent_decode_str(encoded).decode_utf8().ok()?.into_owned()),
    }
}

/// Reads the headers of a blob that a backend answered to GET or HEAD.
pub fn from_blob_headers(headers: &HeaderMap) -> Result<StoredBlob, HeadersError> {
    let description = headers.get(META_DESCRIPTION).ok_or(HeadersError::NoDescription)?;
    let description = description.to_str().map_err(|_| DescribeError::Broken("not ASCII"))?;
    let mut description = SelfDescription::parse(description)?;
    let bucket_key = headers.get(META_KEY).map(decode_key).transpose()?;
    let mut attributes = read_content_headers(headers);
    attributes.lock = description.lock;
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(META_PREFIX) else { continue };
        if name.starts_with(OUR_NAMES) {
            continue;
        }
        match std::str::from_utf8(value.as_bytes()).ok().and_then(decode_value) {
            Some(value) => {
                attributes.metadata.insert(name.to_owned(), value);
            }
            None => description.incomplete = true,
        }
    }
    Ok(StoredBlob { description, attributes, bucket_key })
}

fn read_content_headers(headers: &HeaderMap) -> ObjectAttributes {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut attributes = ObjectAttributes::default();
    attributes.headers.content_type = text(CONTENT_TYPE);
    attributes.headers.content_encoding = text(CONTENT_ENCODING);
    attributes.headers.content_disposition = text(CONTENT_DISPOSITION);
    attributes.headers.content_language = text(CONTENT_LANGUAGE);
    attributes.headers.cache_control = text(CACHE_CONTROL);
    attributes.headers.expires = text(EXPIRES);
    attributes
}

/// The attributes of an object that somebody else stored: headers and metadata as they are. A value that is no UTF-8 is
/// read as far as it is.
pub fn foreign_attributes(headers: &HeaderMap) -> ObjectAttributes {
    let mut attributes = read_content_headers(headers);
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(META_PREFIX)?;
        Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    attributes.metadata.extend(metadata);
    attributes
}

fn decode_key(value: &HeaderValue) -> Result<(String, String), HeadersError> {
    let bytes = BASE64.decode(value.as_bytes()).map_err(|_| HeadersError::BadKey)?;
    let text = String::from_utf8(bytes).map_err(|_| HeadersError::BadKey)?;
    let (bucket, key) = text.split_once('/').ok_or(HeadersError::BadKey)?;
    Ok((bucket.to_owned(), key.to_owned()))
}
