//! `aws-chunked` with an unsigned trailer: how a checksum that is known only at the end reaches the
//! backend (Amazon S3 API reference, "Signature calculations for trailing headers").
//!
//! Invariants: the encoded length follows from the decoded one alone, so that it can be promised; the
//! trailer is asked for only after the last byte of the body, and without it the body does not end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};

use crate::upload::{BoxError, ByteStream};

/// Payload hash of such a body.
pub(crate) const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// The one checksum that is sent so: what new SDKs send by default, and what processors help with.
pub(crate) const CRC64NVME: &str = "x-amz-checksum-crc64nvme";

/// Bytes of a chunk but the last. S3 asks for 8 KiB at least; a larger one costs less framing, and
/// receivers stream unsigned chunks.
pub(crate) const CHUNK: u64 = 1024 * 1024;
/// Base64 of eight bytes.
const VALUE_LENGTH: u64 = 12;

/// Gives the checksum, base64, once the body has ended; `None` if it did not end well.
pub type Trailer = Box<dyn FnOnce() -> Option<String> + Send>;

/// Bytes that a body of `size` has when it is encoded.
pub(crate) const fn encoded_length(size: u64) -> u64 {
    let (full, rest) = (size / CHUNK, size % CHUNK);
    let last = if rest == 0 { 0 } else { framed(rest) };
    // The last chunk, `0\r\n`, the trailer, and the empty line.
    full * framed(CHUNK) + last + 3 + CRC64NVME.len() as u64 + 1 + VALUE_LENGTH + 4
}

const fn framed(length: u64) -> u64 {
    let digits = (length.ilog2() / 4 + 1) as u64;
    digits + 2 + length + 2
}

/// Headers that say so.
pub(crate) fn announce(headers: &mut HeaderMap, size: u64) -> Result<(), http::header::InvalidHeaderValue> {
    let encoding = match headers.get(CONTENT_ENCODING).map(HeaderValue::to_str) {
        // S3 takes the first away and keeps the object's own.
        Some(Ok(own)) => HeaderValue::try_from(format!("aws-chunked,{own}"))?,
        _ => HeaderValue::from_static("aws-chunked"),
    };
    headers.insert(CONTENT_ENCODING, encoding);
    headers.insert(HeaderName::from_static("x-amz-decoded-content-length"), size.into());
    headers.insert(HeaderName::from_static("x-amz-trailer"), HeaderValue::from_static(CRC64NVME));
    let algorithm = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
    headers.insert(algorithm, HeaderValue::from_static("CRC64NVME"));
    Ok(())
}

/// A body on its way into the encoding.
pub(crate) struct AwsChunked {
    source: ByteStream,
    /// Bytes of the body that have not come.
    left: u64,
    /// Of those, the ones that belong to the chunk that is open.
    in_chunk: u64,
    ready: VecDeque<Bytes>,
    trailer: Option<Trailer>,
    source_ended: bool,
}

impl AwsChunked {
    /// Encodes a body of `size` bytes.
    pub(crate) fn new(source: ByteStream, size: u64, trailer: Trailer) -> Self {
        let (in_chunk, ready) = (0, VecDeque::new());
        Self { source, left: size, in_chunk, ready, trailer: Some(trailer), source_ended: false }
    }

    fn take(&mut self, mut bytes: Bytes) -> Result<(), BoxError> {
        if bytes.len() as u64 > self.left {
            return Err("the body is longer than its content length".into());
        }
        while !bytes.is_empty() {
            if self.in_chunk == 0 {
                self.in_chunk = self.left.min(CHUNK);
                self.ready.push_back(Bytes::from(format!("{:x}\r\n", self.in_chunk)));
            }
            let length = usize::try_from(self.in_chunk).map_or(bytes.len(), |room| room.min(bytes.len()));
            self.ready.push_back(bytes.split_to(length));
            self.in_chunk -= length as u64;
            self.left -= length as u64;
            if self.in_chunk == 0 {
                self.ready.push_back(Bytes::from_static(b"\r\n"));
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BoxError> {
        if self.left > 0 {
            return Err("the body is shorter than its content length".into());
        }
        let value = self.trailer.take().and_then(|trailer| trailer());
        let value = value.filter(|value| value.len() as u64 == VALUE_LENGTH);
        let value = value.ok_or("the body has no checksum")?;
        self.ready.push_back(Bytes::from(format!("0\r\n{CRC64NVME}:{value}\r\n\r\n")));
        Ok(())
    }
}

impl Stream for AwsChunked {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if this.source_ended {
                return Poll::Ready(None);
            }
            let step = match ready!(this.source.as_mut().poll_next(cx)) {
                Some(Ok(bytes)) => this.take(bytes),
                Some(Err(error)) => Err(error),
                None => {
                    this.source_ended = true;
                    this.end()
                }
            };
            if let Err(error) = step {
                this.source_ended = true;
                this.ready.clear();
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _, stream};

    use super::*;

    async fn encode(sizes: &[usize], promised: u64) -> Result<Vec<u8>, BoxError> {
        let chunks: Vec<_> =
            sizes.iter().map(|&size| Ok::<_, BoxError>(Bytes::from(vec![b'x'; size]))).collect();
        let source: ByteStream = Box::pin(stream::iter(chunks));
        let body = AwsChunked::new(source, promised, Box::new(|| Some("rosUhgp5mIg=".to_owned())));
        Ok(body.try_collect::<Vec<_>>().await?.concat())
    }

    #[tokio::test]
    async fn a_small_body() {
        let encoded = encode(&[2, 3], 5).await.expect("encoded");
        assert_eq!(
            String::from_utf8_lossy(&encoded),
            "5\r\nxxxxx\r\n0\r\nx-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn the_length_is_as_promised() {
        let mib = 1024 * 1024;
        for size in [1, 15, 16, 4096, mib - 1, mib, mib + 1, 2 * mib, 3 * mib + 17] {
            let encoded = encode(&[size / 2, size - size / 2], size as u64).await.expect("encoded");
            assert_eq!(encoded.len() as u64, encoded_length(size as u64), "{size}");
        }
    }

    #[tokio::test]
    async fn what_is_not_as_promised_does_not_end() {
        assert!(encode(&[5], 4).await.is_err());
        assert!(encode(&[5], 6).await.is_err());
        let source: ByteStream = Box::pin(stream::iter([Ok(Bytes::from_static(b"x"))]));
        let mut body = AwsChunked::new(source, 1, Box::new(|| None));
        let mut last = None;
        while let Some(item) = body.next().await {
            last = Some(item.is_err());
        }
        assert_eq!(last, Some(true), "a body without a checksum");
    }

    #[test]
    fn the_objects_own_encoding_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        announce(&mut headers, 7).expect("headers");
        assert_eq!(headers[CONTENT_ENCODING], "aws-chunked,gzip");
        assert_eq!(headers["x-amz-decoded-content-length"], "7");
    }
}
