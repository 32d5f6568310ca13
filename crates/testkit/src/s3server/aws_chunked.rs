//! The other end of `aws-chunked` with an unsigned trailer (Amazon S3 API reference, "Signature
//! calculations for trailing headers").
//!
//! Invariant: a body is taken only whole, with the length that was said and the checksum that stands behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::aws_chunked::{BrokenFraming, CRC64NVME, Decoder};

/// A body and the checksum it was sent with, base64; `None` for one that was sent plain. `Err`: S3 would
/// answer 400.
pub(super) fn decode(
    headers: &mut HeaderMap,
    body: Bytes,
    compares: bool,
) -> Result<(Bytes, Option<String>), ()> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    if !is("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER") {
        return Ok((body, None));
    }
    if !is("x-amz-trailer", CRC64NVME) {
        return Err(());
    }
    let (decoded, sent) = parse(&body).map_err(drop)?;
    let crc = BASE64.encode(checksum(CrcAlgorithm::Crc64Nvme, &decoded).to_be_bytes());
    if (compares && sent != crc) || !is("x-amz-decoded-content-length", &decoded.len().to_string()) {
        return Err(());
    }
    let own =
        headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()?.strip_prefix("aws-chunked,"));
    match own.and_then(|own| own.parse().ok()) {
        Some(own) => headers.insert(CONTENT_ENCODING, own),
        None => headers.remove(CONTENT_ENCODING),
    };
    Ok((decoded, Some(crc)))
}

fn parse(body: &Bytes) -> Result<(Bytes, String), BrokenFraming> {
    let (mut decoder, mut decoded) = (Decoder::default(), BytesMut::new());
    decoder.push(body, |data| decoded.extend_from_slice(data))?;
    Ok((decoded.freeze(), decoder.end()?))
}
