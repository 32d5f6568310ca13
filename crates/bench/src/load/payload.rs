//! How an upload's body is signed: three ways that clients have.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::keys;
use crate::sign::sha256;

/// A chunk of the `trailer` framing.
const CHUNK: usize = 64 * 1024;

/// How a body is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payload {
    /// `UNSIGNED-PAYLOAD`.
    #[default]
    Unsigned,
    /// The body's SHA-256.
    Signed,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER` with CRC64NVME, as current SDKs send it over TLS.
    Trailer,
}

impl Payload {
    /// As it stands on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signed => "signed",
            Self::Trailer => "trailer",
        }
    }
}

/// A body made ready once and sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// As it travels.
    pub(crate) wire: Bytes,
    /// `x-amz-content-sha256`.
    pub(crate) sha256: HeaderValue,
    /// Further headers; `x-amz-*` in order.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The bodies of one size, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    /// What is to be read back.
    pub(crate) plain: Vec<Bytes>,
    pub(crate) uploads: Vec<Upload>,
}

impl Payloads {
    /// `seed` decides their content.
    pub(crate) fn new(payload: Payload, size: usize, seed: u64) -> Self {
        let plain = keys::bodies(size, seed);
        let uploads = plain.iter().map(|body| upload(payload, body)).collect();
        Self { plain, uploads }
    }

    /// The body of the `n`th object.
    pub(crate) fn plain(&self, n: u64) -> Bytes {
        self.plain[place(n, self.plain.len())].clone()
    }

    /// The same, as it is sent.
    pub(crate) fn upload(&self, n: u64) -> &Upload {
        &self.uploads[place(n, self.uploads.len())]
    }
}

fn place(n: u64, len: usize) -> usize {
    usize::try_from(n % len as u64).unwrap_or(0)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn upload(payload: Payload, body: &Bytes) -> Upload {
    match payload {
        Payload::Unsigned => Upload {
            wire: body.clone(),
            sha256: HeaderValue::from_static("UNSIGNED-PAYLOAD"),
            headers: vec![],
        },
        Payload::Signed => Upload { wire: body.clone(), sha256: value(&sha256(body)), headers: vec![] },
        Payload::Trailer => Upload {
            wire: framed(body),
            sha256: HeaderValue::from_static("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            headers: vec![
                (HeaderName::from_static("x-amz-decoded-content-length"), body.len().into()),
                (
                    HeaderName::from_static("x-amz-trailer"),
                    HeaderValue::from_static("x-amz-checksum-crc64nvme"),
                ),
                (CONTENT_ENCODING, HeaderValue::from_static("aws-chunked")),
            ],
        },
    }
}

/// The `aws-chunked` framing with its trailer.
fn framed(body: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(body.len() + body.len() / CHUNK * 16 + 100);
    for chunk in body.chunks(CHUNK) {
        let _ = write!(framed, "{:x}\r\n", chunk.len());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, body);
    let _ = write!(framed, "0\r\nx-amz-checksum-crc64nvme:{}\r\n\r\n", BASE64.encode(crc.to_be_bytes()));
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing() {
        let framed = framed(b"123456789");
        // CRC-64/NVME's check value is ae8b14860a799888.
        assert_eq!(&framed[..], b"9\r\n123456789\r\n0\r\nx-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n\r\n");
        let long = super::framed(&vec![1; CHUNK + 1]);
        assert!(long.starts_with(b"10000\r\n") && long[CHUNK + 9..].starts_with(b"1\r\n\x01\r\n0\r\n"));
    }

    #[test]
    fn an_object_has_the_body_that_was_uploaded() {
        let payloads = Payloads::new(Payload::Unsigned, 100, 1);
        for n in [0, 15, 16, u64::MAX] {
            assert_eq!(payloads.plain(n), payloads.upload(n).wire);
        }
    }
}
