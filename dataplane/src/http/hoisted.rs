//! Headers that a presigned URL has in its query: SDKs put them there, and S3 takes them from there.
//!
//! All that begin with `x-amz-`, so that no condition and no lock is passed over, but for what signs the URL and what S3 does not
//! read there: tags, and what is said of the body. An SDK that signs a PUT before it knows the body signs the checksum of none.

use http::{HeaderName, HeaderValue, Request};

use crate::access::{is_presigned, parameters};

/// Sig V4's own parameters (Amazon S3 API reference, "Authenticating Requests: Using Query Parameters"), and those that are left.
const NOT_TAKEN: [&str; 13] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expires",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-tagging",
    "x-amz-trailer",
    "x-amz-user-agent",
];
/// Of these only what asks for a checksum, and for which.
const CHECKSUMS: &str = "x-amz-checksum-";
const ABOUT_CHECKSUMS: [&str; 3] = ["x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"];

fn is_taken(name: &str) -> bool {
    let is_left =
        NOT_TAKEN.contains(&name) || name.starts_with(CHECKSUMS) && !ABOUT_CHECKSUMS.contains(&name);
    name.starts_with("x-amz-") && !is_left
}

/// Those that the request does not have as headers. They are as good as these once its signature was checked.
pub(super) fn headers<B>(request: &Request<B>) -> Vec<(HeaderName, HeaderValue)> {
    let query = request.uri().query();
    if !is_presigned(query) {
        return Vec::new();
    }
    let header = |name: &str, value: &str| {
        let name = name.to_ascii_lowercase();
        if !is_taken(&name) || request.headers().contains_key(name.as_str()) {
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
    fn whatever_is_asked_for_is_taken() {
        for name in [
            "x-amz-bucket-object-lock-enabled",
            "x-amz-checksum-algorithm",
            "x-amz-expected-bucket-owner",
            "x-amz-if-match-size",
            "x-amz-object-lock-mode",
            "x-amz-part-number-marker",
            "x-amz-write-offset-bytes",
        ] {
            let query = format!("{name}=1&X-Amz-Signature=0");
            assert_eq!(taken(&query, "x-other"), [(name.to_owned(), "1".to_owned())]);
        }
    }

    #[test]
    fn nothing_else_is() {
        for query in [
            "x-amz-meta-a=1",
            "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-tagging=a&X-Amz-Date=1&x-id=PutObject&X-Amz-Signature=0",
            "X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=0",
            "versionId=1&partNumber=1&X-Amz-Signature=0",
            "x-amz-meta-a=%0A&X-Amz-Signature=0",
        ] {
            assert!(taken(query, "x-other").is_empty(), "{query}");
        }
    }
}
