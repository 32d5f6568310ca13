//! Whether a backend can be trusted with a checksum behind the body.
//!
//! Invariant: the answer is yes only after the backend refused a wrong checksum, took the right one, said
//! it back with the MD5 as its ETag, and gave the body back as it was.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http::header::CONTENT_ENCODING;
use s3o_blob::{Algorithm, AlgorithmSet, BodyDigests, BodyHasher};
use s3o_types::storage_key::PROBE;

use crate::aws_chunked::CHUNK;
use crate::client::{BackendClient, PutDone};
use crate::error::BackendError;
use crate::upload::UploadWatch;

/// Bytes behind the first chunk, so that there are two.
const REST: usize = 5;

/// Asks the backend. `Err`: it could not be asked to the end.
pub async fn takes_trailers(client: &BackendClient) -> Result<bool, BackendError> {
    let body = body();
    let crc = AlgorithmSet::NONE.with(Algorithm::Crc64nvme);
    let digests = BodyHasher::digest(&body, crc);
    let wrong = BodyHasher::digest(b"something else", crc);
    let taken = match put(client, &body, &wrong).await {
        Ok(_) => false,
        Err(error) if is_refusal(&error) => match put(client, &body, &digests).await {
            Ok(put) => says_the_same(&put, &digests) && comes_back(client, &body).await?,
            Err(error) if is_refusal(&error) => false,
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    client.delete(PROBE, None).await?;
    Ok(taken)
}

fn body() -> Bytes {
    let size = usize::try_from(CHUNK).unwrap_or(0) + REST;
    Bytes::from((0..=u8::MAX).cycle().take(size).collect::<Vec<_>>())
}

/// An answer that is the client's fault: not one that would be another the next time.
fn is_refusal(error: &BackendError) -> bool {
    let refuses = |status| status == 501 || ((400..500).contains(&status) && !matches!(status, 408 | 429));
    error.status.is_some_and(refuses)
}

async fn put(client: &BackendClient, body: &Bytes, said: &BodyDigests) -> Result<PutDone, BackendError> {
    let value = said.checksum(Algorithm::Crc64nvme).map(str::to_owned);
    let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
    let (size, watch) = (body.len() as u64, UploadWatch::new());
    client.put_with_trailer(PROBE, size, Vec::new(), stream, Box::new(|| value), &watch).await
}

fn says_the_same(put: &PutDone, digests: &BodyDigests) -> bool {
    let crc = digests.checksum(Algorithm::Crc64nvme);
    let same_etag = match (&put.etag, digests.etag()) {
        (Some(etag), Some(md5)) => etag.as_str().eq_ignore_ascii_case(md5.as_str()),
        _ => false,
    };
    same_etag && crc.is_some() && put.crc64nvme.as_deref() == crc
}

async fn comes_back(client: &BackendClient, body: &Bytes) -> Result<bool, BackendError> {
    let got = client.get(PROBE, None, None).await?;
    // One that does not know the encoding keeps its name, and then every reader would be told of it.
    if got.size != body.len() as u64 || got.headers.contains_key(CONTENT_ENCODING) {
        return Ok(false);
    }
    let bytes: BytesMut = got.body.try_collect().await?;
    Ok(bytes == *body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{BackendErrorKind, Certainty};

    #[test]
    fn only_a_refusal_is_an_answer() {
        let with = |status| BackendError {
            status,
            ..BackendError::new(BackendErrorKind::Rejected, Certainty::Cut, "")
        };
        assert!(is_refusal(&with(Some(400))) && is_refusal(&with(Some(501))));
        assert!(!is_refusal(&with(None)) && !is_refusal(&with(Some(429))) && !is_refusal(&with(Some(503))));
    }
}
