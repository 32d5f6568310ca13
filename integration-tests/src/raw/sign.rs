//! AWS Signature Version 4, written a second time from its description (Amazon S3 API reference,
//! "Authenticating Requests"), so that a test can sign what no client library would send.
//!
//! Invariant: the signature is right for exactly the bytes of the request it is given, however odd.

use aws_lc_rs::{digest, hmac};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// Who signs.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Access key id.
    pub access_key: String,
    /// Its secret.
    pub secret: String,
    /// Region of the scope.
    pub region: String,
}

/// A signature with what the chunks of a streaming payload go on from.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Hexadecimal.
    pub text: String,
    /// `YYYYMMDDTHHMMSSZ`.
    pub stamp: String,
    /// `date/region/s3/aws4_request`.
    pub scope: String,
    /// Names of the signed headers.
    pub signed_headers: String,
    key: Vec<u8>,
}

/// Hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The time as signatures write it.
pub fn stamp(at: OffsetDateTime) -> String {
    at.format(STAMP).expect("the format has only fields that every time has")
}

impl Keys {
    /// `date/region/s3/aws4_request`.
    pub fn scope(&self, stamp: &str) -> String {
        format!("{}/{}/s3/aws4_request", &stamp[..8], self.region)
    }

    /// Signs a canonical request: `headers` are those to be signed, `query` is raw and without a signature.
    pub fn sign(
        &self,
        stamp: &str,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(String, String)],
        payload: &str,
    ) -> Signature {
        let mut lines: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| {
                (name.to_ascii_lowercase(), value.split_whitespace().collect::<Vec<_>>().join(" "))
            })
            .collect();
        lines.sort();
        let signed_headers = lines.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let header_text =
            lines.iter().fold(String::new(), |text, (name, value)| text + name + ":" + value + "\n");
        let canonical = format!(
            "{method}\n{path}\n{}\n{header_text}\n{signed_headers}\n{payload}",
            canonical_query(query)
        );
        let scope = self.scope(stamp);
        let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let mut key = mac(format!("AWS4{}", self.secret).as_bytes(), &stamp[..8]);
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        Signature {
            text: hex::encode(mac(&key, &to_sign)),
            stamp: stamp.to_owned(),
            scope,
            signed_headers,
            key,
        }
    }
}

impl Signature {
    /// Signs the next chunk of a streaming payload; the text becomes the new seed.
    pub fn chunk(&mut self, data: &[u8]) -> String {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            self.stamp,
            self.scope,
            self.text,
            sha256(b""),
            sha256(data)
        );
        self.text = hex::encode(mac(&self.key, &to_sign));
        self.text.clone()
    }

    /// Signs the trailer, `name:value\n` for each.
    pub fn trailer(&self, trailer: &str) -> String {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.stamp,
            self.scope,
            self.text,
            sha256(trailer.as_bytes())
        );
        hex::encode(mac(&self.key, &to_sign))
    }
}

fn canonical_query(query: &str) -> String {
    // By name first: `select` comes before `select-type`, although `=` comes after `-`.
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const STAMP: &str = "20130524T000000Z";

    /// "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk".
    #[test]
    fn a_get_as_in_the_reference() {
        let empty = sha256(b"");
        let headers = headers(&[
            ("Host", "examplebucket.s3.amazonaws.com"),
            ("Range", "bytes=0-9"),
            ("x-amz-content-sha256", &empty),
            ("x-amz-date", STAMP),
        ]);
        let signature = keys().sign(STAMP, "GET", "/test.txt", "", &headers, &empty);
        assert_eq!(signature.text, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    /// "… Transferring Payload in Multiple Chunks (Chunked Upload)".
    #[test]
    fn chunks_as_in_the_reference() {
        let payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
        let headers = headers(&[
            ("Host", "s3.amazonaws.com"),
            ("x-amz-date", STAMP),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", payload),
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("Content-Length", "66824"),
        ]);
        let mut signature =
            keys().sign(STAMP, "PUT", "/examplebucket/chunkObject.txt", "", &headers, payload);
        assert_eq!(signature.text, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
        let chunks = [vec![b'a'; 65_536], vec![b'a'; 1024], Vec::new()].map(|chunk| signature.chunk(&chunk));
        assert_eq!(
            chunks,
            [
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ]
        );
    }
}
