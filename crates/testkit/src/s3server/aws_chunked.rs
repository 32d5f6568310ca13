//! The other end of `aws-chunked` with an unsigned trailer (Amazon S3 API reference, "Signature
//! calculations for trailing headers").
//!
//! Invariant: a body is taken only whole, with the length that was said and the checksum that stands behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf as _, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, checksum};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

const NAME: &str = "x-amz-checksum-crc64nvme";

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
    if !is("x-amz-trailer", NAME) {
        return Err(());
    }
    let (decoded, sent) = parse(body).ok_or(())?;
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

fn parse(mut body: Bytes) -> Option<(Bytes, String)> {
    let mut decoded = BytesMut::new();
    loop {
        let length = usize::from_str_radix(&line(&mut body)?, 16).ok()?;
        if length == 0 {
            let trailer = line(&mut body)?;
            let value = trailer.strip_prefix(NAME)?.strip_prefix(':')?.to_owned();
            return (line(&mut body)?.is_empty() && body.is_empty()).then(|| (decoded.freeze(), value));
        }
        if body.len() < length + 2 {
            return None;
        }
        decoded.extend_from_slice(&body.split_to(length));
        if !line(&mut body)?.is_empty() {
            return None;
        }
    }
}

fn line(body: &mut Bytes) -> Option<String> {
    let end = body.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8(body.split_to(end).to_vec()).ok()?;
    body.advance(2);
    Some(line)
}
