//! Headers that a presigned URL has in its query: SDKs put them there, and S3 takes them from there.
//!
//! Not all: of what S3 does not read there, tags and checksums, nothing is taken. An SDK that signs a PUT before it knows
//! the body signs the checksum of none.

use http::{HeaderName, HeaderValue, Request};

use crate::access::{is_presigned, parameters};

const NAMES: [&str; 11] = [
    "x-amz-acl",
    "x-amz-bypass-governance-retention",
    "x-amz-checksum-mode",
    "x-amz-expected-bucket-owner",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging-directive",
    "x-amz-website-redirect-location",
];
const FAMILIES: [&str; 5] = [
    "x-amz-copy-source",
    "x-amz-grant-",
    "x-amz-meta-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption",
];

/// Those that the request does not have as headers. They are as good as these once its signature was checked.
pub(super) fn headers<B>(request: &Request<B>) -> Vec<(HeaderName, HeaderValue)> {
    let query = request.uri().query();
    if !is_presigned(query) {
        return Vec::new();
    }
    let header = |name: &str, value: &str| {
        let name = name.to_ascii_lowercase();
        let is_taken =
            NAMES.contains(&name.as_str()) || FAMILIES.iter().any(|family| name.starts_with(family));
        if !is_taken || request.headers().contains_key(name.as_str()) {
            return None;
        }
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    parameters(query).filter_map(|(name, value)| header(&name, &value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(query: &str, header: &'static str) -> Vec<(String, String)> {
        let uri = format!("/b/k?{query}");
        let request =
            Request::builder().uri(uri).header(header, "UNSIGNED-PAYLOAD").body(()).expect("a request");
        let headers = headers(&request).into_iter();
        let text = |value: HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
    }

    #[test]
    fn what_s3_reads_there_is_taken() {
        let query = "x-amz-meta-a=1+2&X-Amz-Storage-Class=GLACIER&x-amz-copy-source=b%2Fk&X-Amz-Signature=0";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all = [
            pair("x-amz-meta-a", "1 2"),
            pair("x-amz-storage-class", "GLACIER"),
            pair("x-amz-copy-source", "b/k"),
        ];
        assert_eq!(taken(query, "x-amz-content-sha256"), all);
        assert_eq!(taken(query, "x-amz-meta-a"), all[1..], "it is a header already");
    }

    #[test]
    fn nothing_else_is() {
        for query in [
            "x-amz-meta-a=1",
            "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-tagging=a&X-Amz-Date=1&x-id=PutObject&X-Amz-Signature=0",
            "x-amz-meta-a=%0A&X-Amz-Signature=0",
        ] {
            assert!(taken(query, "x-other").is_empty(), "{query}");
        }
    }
}
