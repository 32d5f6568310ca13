//! `x-amz-content-sha256` that is no hash and no word of S3's: `s3s` would blame the signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use s3s::S3Error;

use crate::pipeline::faults::invalid_argument;

/// AWS Signature Version 4, "Signature calculations for the authorization header".
const WORDS: [&str; 6] = [
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
];

/// `None`: there is none, or it is one that `s3s` reads.
pub(super) fn refusal(headers: &HeaderMap) -> Option<S3Error> {
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
    use http::HeaderValue;

    use super::*;

    #[test]
    fn words_and_hashes() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-content-sha256", HeaderValue::try_from(value).expect("a value"));
            refusal(&headers).map(|error| error.code().as_str().to_owned())
        };
        let (hex, base64) = ("0a".repeat(32), BASE64.encode([7; 32]));
        for known in [WORDS[0], WORDS[5], hex.as_str(), base64.as_str()] {
            assert_eq!(of(known), None, "{known}");
        }
        for other in ["foo", "", "0a", "UNSIGNED", &hex[1..], "ü"] {
            assert_eq!(of(other).as_deref(), Some("InvalidArgument"), "{other}");
        }
        assert!(refusal(&HeaderMap::new()).is_none());
    }
}
