//! An object's attributes as headers of an answer, the same for GET and HEAD.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use s3o_blob::ChecksumKind;
use s3o_types::{Checksums, ContentHeaders, Timestamp};
use s3s::dto::{Timestamp as S3Timestamp, TimestampFormat};

use super::object_lock;
use super::range::Slice;
use crate::control::Located;
use crate::http::queries::ResponseExpires;

/// What S3 says of objects that were stored without a type.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// The `response-…` parameters of a request. They are only ever signed: nothing runs without.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_disposition: Option<String>,
    pub content_language: Option<String>,
    pub cache_control: Option<String>,
    pub expires: Option<String>,
}

/// `response-expires`: a date, or the text that is none.
pub(super) fn expires(extensions: &Extensions, date: Option<&S3Timestamp>) -> Option<String> {
    let text = extensions.get::<ResponseExpires>().map(|ResponseExpires(text)| text.clone());
    text.or_else(|| date.and_then(http_date))
}

/// All headers of a GET or HEAD. `slice`: the range that was asked for.
pub(super) fn of_object(
    located: &Located,
    slice: Option<Slice>,
    checksums: bool,
    overrides: &Overrides,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let stored = &located.attributes.headers;
    let default_type = Some(DEFAULT_TYPE.to_owned());
    let pairs = [
        (
            CONTENT_TYPE,
            overrides.content_type.as_ref().or(stored.content_type.as_ref()).or(default_type.as_ref()),
        ),
        (CONTENT_ENCODING, overrides.content_encoding.as_ref().or(stored.content_encoding.as_ref())),
        (CONTENT_DISPOSITION, overrides.content_disposition.as_ref().or(stored.content_disposition.as_ref())),
        (CONTENT_LANGUAGE, overrides.content_language.as_ref().or(stored.content_language.as_ref())),
        (CACHE_CONTROL, overrides.cache_control.as_ref().or(stored.cache_control.as_ref())),
        (EXPIRES, overrides.expires.as_ref().or(stored.expires.as_ref())),
        (HeaderName::from_static("x-amz-website-redirect-location"), stored.website_redirect.as_ref()),
        // S3 does not say STANDARD.
        (
            HeaderName::from_static("x-amz-storage-class"),
            stored.storage_class.as_ref().filter(|c| *c != "STANDARD"),
        ),
    ];
    for (name, value) in pairs {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            headers.insert(name, value);
        }
    }
    identity(&mut headers, &located.etag, located.modified);
    version(&mut headers, located);
    object_lock::add_headers(&mut headers, &located.attributes.lock);
    metadata(&mut headers, located);
    let length = slice.map_or(located.size, Slice::len);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(value) =
        slice.and_then(|slice| HeaderValue::try_from(slice.content_range(located.size)?).ok())
    {
        headers.insert(CONTENT_RANGE, value);
    }
    if checksums && slice.is_none() {
        add_checksums(&mut headers, &located.checksums);
    }
    headers
}

/// What is said where one of an object's parts is asked for: how many they are, and what is known of that one. Its checksum is
/// its own, but the kind is the object's (S3 User Guide, "Checking object integrity": GetObject and HeadObject with a number).
pub(super) fn add_part(headers: &mut HeaderMap, located: &Located, checksums: bool) {
    let Some(parts) = located.parts else {
        // It came whole, and that is its first part.
        if checksums {
            add_checksums(headers, &located.checksums);
        }
        return;
    };
    headers.insert("x-amz-mp-parts-count", HeaderValue::from(parts));
    let part = located.extents.first().filter(|_| checksums).map(|part| &part.checksums);
    if let Some(part) = part.filter(|part| !part.values.is_empty() && is_composite(&located.checksums)) {
        add_checksums(headers, part);
        let kind = ChecksumKind::Composite.as_str();
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
    }
}

/// Whether an object's checksum is one of its parts' checksums: S3 tells those of parts of such objects alone (seen of AWS: it
/// lists no part, and says no checksum of one, where the checksum is that of the whole object).
pub(super) fn is_composite(checksums: &Checksums) -> bool {
    let kind = checksums.values.values().next().map(|value| ChecksumKind::of_value(value));
    kind == Some(ChecksumKind::Composite)
}

/// ETag and Last-Modified: on 304 and 412 too.
pub(super) fn identity(headers: &mut HeaderMap, etag: &str, modified: Timestamp) {
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        headers.insert(ETAG, value);
    }
    last_modified(headers, modified);
}

/// How long an answer is good for: on 304 too, which stands for the one that the client has (RFC 9110, 15.4.5).
pub(super) fn freshness(headers: &mut HeaderMap, stored: &ContentHeaders) {
    for (name, value) in [(CACHE_CONTROL, &stored.cache_control), (EXPIRES, &stored.expires)] {
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Last-Modified alone: of a delete marker there is nothing else.
pub(crate) fn last_modified(headers: &mut HeaderMap, modified: Timestamp) {
    if let Some(value) =
        timestamp(modified).as_ref().and_then(http_date).and_then(|date| HeaderValue::try_from(date).ok())
    {
        headers.insert(LAST_MODIFIED, value);
    }
}

/// Which version it is, in a bucket that was ever versioned.
pub(super) fn version(headers: &mut HeaderMap, located: &Located) {
    if let Some(value) = located.version_id.as_deref().and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert("x-amz-version-id", value);
    }
}

/// `x-amz-checksum-…` of a part, whose kind S3 does not say.
pub(super) fn add_part_checksums(headers: &mut HeaderMap, checksums: &Checksums) {
    add_checksums(headers, checksums);
    headers.remove("x-amz-checksum-type");
}

/// `x-amz-checksum-…` of an object.
pub(super) fn add_checksums(headers: &mut HeaderMap, checksums: &Checksums) {
    for (name, value) in &checksums.values {
        let name = HeaderName::try_from(format!("x-amz-checksum-{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            let kind = ChecksumKind::of_value(value.to_str().unwrap_or_default()).as_str();
            headers.insert(name, value);
            headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
        }
    }
}

fn metadata(headers: &mut HeaderMap, located: &Located) {
    let mut missing = 0_u32;
    for (name, value) in &located.attributes.metadata {
        let name = HeaderName::try_from(format!("x-amz-meta-{name}"));
        match (name, HeaderValue::try_from(metadata_value(value))) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            _ => missing += 1,
        }
    }
    if missing > 0 {
        headers.insert("x-amz-missing-meta", HeaderValue::from(missing));
    }
    if !located.attributes.tags.is_empty() {
        headers.insert("x-amz-tagging-count", HeaderValue::from(located.attributes.tags.len()));
    }
}

/// What is not ASCII travels as S3 sends it: encoded by RFC 2047.
fn metadata_value(value: &str) -> String {
    if value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return value.to_owned();
    }
    format!("=?UTF-8?B?{}?=", BASE64.encode(value))
}

/// The database's time as `s3s` has it.
pub(super) fn timestamp(timestamp: Timestamp) -> Option<S3Timestamp> {
    let nanos = i128::from(timestamp.0) * 1000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().map(S3Timestamp::from)
}

/// When something was written, as S3 says it in documents: in whole seconds, which is what `Last-Modified` has.
pub(super) fn whole_seconds(at: Timestamp) -> Option<S3Timestamp> {
    timestamp(Timestamp(at.0 - at.0.rem_euclid(1_000_000)))
}

pub(super) fn http_date(timestamp: &S3Timestamp) -> Option<String> {
    let mut text = Vec::new();
    timestamp.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use s3o_types::{ObjectAttributes, VersionId};

    use super::*;

    fn located() -> Located {
        let mut attributes = ObjectAttributes::default();
        attributes.metadata.insert("plain".to_owned(), "a b".to_owned());
        attributes.metadata.insert("umlaut".to_owned(), "ü".to_owned());
        attributes.headers.storage_class = Some("STANDARD".to_owned());
        Located {
            seq: 0,
            version: VersionId::mint(1, 2),
            size: 10,
            etag: "e".to_owned(),
            modified: Timestamp(784_111_777_500_000),
            attributes,
            checksums: Checksums { values: [("crc32".to_owned(), "AAAAAA==".to_owned())].into() },
            extents: Vec::new(),
            parts: None,
            version_id: None,
        }
    }

    #[test]
    fn whole() {
        let headers = of_object(&located(), None, true, &Overrides::default());
        assert_eq!(headers[CONTENT_TYPE], "binary/octet-stream");
        assert_eq!(headers[ETAG], "\"e\"");
        assert_eq!(headers[LAST_MODIFIED], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(headers[CONTENT_LENGTH], "10");
        assert_eq!(headers["x-amz-meta-plain"], "a b");
        assert_eq!(headers["x-amz-meta-umlaut"], "=?UTF-8?B?w7w=?=");
        assert_eq!(headers["x-amz-checksum-crc32"], "AAAAAA==");
        assert!(!headers.contains_key("x-amz-storage-class"));
        assert!(!headers.contains_key(CONTENT_RANGE));
    }

    #[test]
    fn part_and_overrides() {
        let overrides = Overrides { content_type: Some("text/plain".to_owned()), ..Default::default() };
        let headers = of_object(&located(), Some(Slice { start: 2, end: 4 }), true, &overrides);
        assert_eq!(headers[CONTENT_TYPE], "text/plain");
        assert_eq!(headers[CONTENT_RANGE], "bytes 2-3/10");
        assert_eq!(headers[CONTENT_LENGTH], "2");
        assert!(!headers.contains_key("x-amz-checksum-crc32"), "it is that of the whole object");
        let mut first = of_object(&located(), Some(Slice::all(10)), true, &Overrides::default());
        add_part(&mut first, &located(), true);
        assert_eq!(first[CONTENT_RANGE], "bytes 0-9/10");
        assert_eq!(first["x-amz-checksum-crc32"], "AAAAAA==", "the first part is all of it");
        assert!(!first.contains_key("x-amz-mp-parts-count"));
    }
}
