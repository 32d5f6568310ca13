//! AWS Signature Version 4 with a key that is derived once, so that a request costs two hashes and one
//! MAC: what is signed while it is measured must not be what is measured.
//!
//! Invariant: the signature covers method, path, query, host, date, payload hash and every `x-amz-*` header.

use aws_lc_rs::{digest, hmac};
use http::{HeaderName, HeaderValue};

/// Signs one target's requests for as long as its stamp is young enough (S3: 15 minutes).
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    key: hmac::Key,
    credential: String,
    scope: String,
    stamp: String,
    host: String,
}

/// Hexadecimal SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &hmac::Key, text: &str) -> hmac::Tag {
    hmac::sign(key, text.as_bytes())
}

impl Signer {
    /// `stamp` is `YYYYMMDDTHHMMSSZ`.
    pub(crate) fn new(access_key: &str, secret: &str, region: &str, host: &str, stamp: String) -> Self {
        let date = stamp.get(..8).unwrap_or_default();
        let scope = format!("{date}/{region}/s3/aws4_request");
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
        for part in [date, region, "s3", "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, mac(&key, part).as_ref());
        }
        Self { key, credential: format!("{access_key}/{scope}"), scope, stamp, host: host.to_owned() }
    }

    /// The date to send with what it signs.
    pub(crate) fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The `Authorization` header. `path` and `query` are encoded as they travel, the query sorted;
    /// `amz` are the further `x-amz-*` headers, in order, all greater than `x-amz-date`.
    pub(crate) fn authorization(
        &self,
        method: &str,
        path: &str,
        query: &str,
        payload: &str,
        amz: &[(HeaderName, HeaderValue)],
    ) -> HeaderValue {
        let Self { host, stamp, scope, credential, .. } = self;
        let mut headers = format!("host:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{stamp}\n");
        let mut names = String::from("host;x-amz-content-sha256;x-amz-date");
        for (name, value) in amz.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-")) {
            headers.extend([name.as_str(), ":", value.to_str().unwrap_or_default(), "\n"]);
            names.extend([";", name.as_str()]);
        }
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}");
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let signature = hex::encode(mac(&self.key, &to_sign));
        let text =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Amazon S3 API reference, "GET Bucket (List Objects)", the example of a single chunk.
    #[test]
    fn a_list_as_in_the_reference() {
        let signer = Signer::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "us-east-1",
            "examplebucket.s3.amazonaws.com",
            "20130524T000000Z".to_owned(),
        );
        let header = signer.authorization("GET", "/", "max-keys=2&prefix=J", &sha256(b""), &[]);
        assert_eq!(
            header.to_str().expect("text"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }
}
