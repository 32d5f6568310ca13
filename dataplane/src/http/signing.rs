//! How a request says that it is signed, where S3 has another word for what is wrong with that than `s3s`. Signatures are
//! checked by `s3s` alone: nothing is let in here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};
use s3s::S3Error;

use crate::access::is_presigned;
use crate::pipeline::faults::invalid_argument;

/// What stands in `x-amz-content-sha256` instead of a hash: AWS Signature Version 4, "Signature calculations for the authorization header".
const WORDS: [&str; 6] = [
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
];

/// `None`: it is for `s3s` to say.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<S3Error> {
    let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let authorization = authorization.filter(|text| !text.is_empty());
    if authorization.is_some() && is_presigned(request.uri().query()) {
        return Some(invalid_argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
        ));
    }
    // The second is of version 2, of which `s3s` says that it is not taken.
    if authorization.is_some_and(|text| !text.starts_with(b"AWS4-") && !text.starts_with(b"AWS ")) {
        return Some(invalid_argument("Unsupported Authorization Type"));
    }
    hash(request.headers())
}

fn hash(headers: &HeaderMap) -> Option<S3Error> {
    let value = headers.get("x-amz-content-sha256")?;
    let is_known = value.to_str().is_ok_and(|text| WORDS.contains(&text) || is_hash(text));
    (!is_known).then(|| {
        invalid_argument(format!(
            "x-amz-content-sha256 must be {} or a valid sha256 value.",
            WORDS.join(", ")
        ))
    })
}

fn is_hash(text: &str) -> bool {
    let is_hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex || BASE64.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_hashes() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-content-sha256", HeaderValue::try_from(value).expect("a value"));
            hash(&headers).map(|error| error.code().as_str().to_owned())
        };
        let (hex, base64) = ("0a".repeat(32), BASE64.encode([7; 32]));
        for known in [WORDS[0], WORDS[5], hex.as_str(), base64.as_str()] {
            assert_eq!(of(known), None, "{known}");
        }
        for other in ["foo", "", "0a", "UNSIGNED", &hex[1..], "ü"] {
            assert_eq!(of(other).as_deref(), Some("InvalidArgument"), "{other}");
        }
        assert!(hash(&HeaderMap::new()).is_none());
    }

    #[test]
    fn one_mechanism_that_s3_has() {
        let of = |authorization: &str, uri: &str| {
            let request = Request::get(uri).header(AUTHORIZATION, authorization).body(());
            refusal(&request.expect("a request")).map(|error| error.code().as_str().to_owned())
        };
        assert_eq!(of("AWS4-HMAC-SHA256 Credential=a", "/b/k?x=X-Amz-Signature"), None);
        assert_eq!(of("AWS a:b", "/b/k"), None);
        for (authorization, uri) in [
            ("AWS4-HMAC-SHA256 Credential=a", "/b/k?X-Amz-Signature=0"),
            ("Basic YTpi", "/b/k"),
            ("Bearer a", "/b/k"),
            ("nonsense", "/b/k"),
        ] {
            assert_eq!(of(authorization, uri).as_deref(), Some("InvalidArgument"), "{authorization}");
        }
        let presigned = Request::get("/b/k?X-Amz-Signature=0").body(()).expect("a request");
        assert!(refusal(&presigned).is_none());
    }
}
