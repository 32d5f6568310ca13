//! What a backend's answer to a PUT proves, where its ETags seem to be MD5s.
//!
//! Invariants: a checksum behind the body is trusted only after the backend refused a wrong one, took the right
//! one, said it back with the MD5 as its ETag, and gave the body back as it was; what the probe stores is
//! deleted whatever comes out.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http::header::{CONTENT_ENCODING, HeaderValue};
use s3o_blob::{Algorithm, AlgorithmSet, BodyDigests, BodyHasher};
use s3o_types::EtagProof;
use s3o_types::storage_key::PROBE;

use crate::aws_chunked::CHUNK;
use crate::client::{BackendClient, PutDone};
use crate::error::{BackendError, BackendErrorKind};
use crate::upload::UploadWatch;

/// Bytes behind the first chunk, so that there are two.
const REST: usize = 5;

/// The object's own encoding, which must be left when the framing's is taken away.
pub(crate) const OWN_ENCODING: &str = "gzip";

/// Asks the backend. `Err`: it could not be asked to the end.
pub async fn probe_puts(client: &BackendClient) -> Result<EtagProof, BackendError> {
    let body = body();
    let crc = AlgorithmSet::NONE.with(Algorithm::Crc64nvme);
    let digests = BodyHasher::digest(&body, crc);
    let wrong = BodyHasher::digest(b"something else", crc);
    match put(client, &body, &wrong).await {
        Ok(put) => {
            // It compares nothing.
            client.delete(PROBE, put.version_id.as_deref()).await?;
            return Ok(EtagProof::Md5);
        }
        Err(error) if is_refusal(&error) => {}
        Err(error) => return Err(error),
    }
    let put = match put(client, &body, &digests).await {
        Ok(put) => put,
        Err(error) if is_refusal(&error) => return Ok(EtagProof::Md5),
        Err(error) => return Err(error),
    };
    let proof = judge(client, &put, &body, &digests).await;
    client.delete(PROBE, put.version_id.as_deref()).await?;
    proof
}

/// A body of more than one chunk.
pub(crate) fn body() -> Bytes {
    let size = usize::try_from(CHUNK).unwrap_or(0) + REST;
    Bytes::from((0..=u8::MAX).cycle().take(size).collect::<Vec<_>>())
}

/// An answer to what was asked: not one about credentials or the bucket, nor one that would be another the
/// next time.
pub(crate) fn is_refusal(error: &BackendError) -> bool {
    error.status == Some(501) || (error.status.is_some() && error.kind == BackendErrorKind::Rejected)
}

async fn put(client: &BackendClient, body: &Bytes, said: &BodyDigests) -> Result<PutDone, BackendError> {
    let value = said.checksum(Algorithm::Crc64nvme).map(str::to_owned);
    let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
    let (size, watch) = (body.len() as u64, UploadWatch::new());
    let headers = vec![(CONTENT_ENCODING, HeaderValue::from_static(OWN_ENCODING))];
    client.put_watched(PROBE, size, headers, stream, Some(Box::new(|| value)), &watch).await
}

async fn judge(
    client: &BackendClient,
    put: &PutDone,
    body: &Bytes,
    digests: &BodyDigests,
) -> Result<EtagProof, BackendError> {
    let crc = digests.checksum(Algorithm::Crc64nvme);
    if crc.is_none() || put.crc64nvme.as_deref() != crc || !comes_back(client, body).await? {
        return Ok(EtagProof::Md5);
    }
    // It understood the body, so an ETag that is not its MD5 is none at all: encrypted by key, say.
    let is_md5 = match (&put.etag, digests.etag()) {
        (Some(etag), Some(md5)) => etag.as_str().eq_ignore_ascii_case(md5.as_str()),
        _ => false,
    };
    Ok(if is_md5 { EtagProof::Md5Trailer } else { EtagProof::Opaque })
}

async fn comes_back(client: &BackendClient, body: &Bytes) -> Result<bool, BackendError> {
    let got = client.get(PROBE, None, None).await?;
    // One that does not know the framing keeps its name, and then every reader would be told of it.
    let encoding = got.headers.get(CONTENT_ENCODING);
    if got.size != body.len() as u64 || encoding.is_none_or(|encoding| encoding != OWN_ENCODING) {
        return Ok(false);
    }
    let bytes: BytesMut = got.body.try_collect().await?;
    Ok(bytes == *body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Certainty;

    #[test]
    fn only_a_refusal_is_an_answer() {
        let with = |kind, status| BackendError { status, ..BackendError::new(kind, Certainty::Cut, "") };
        assert!(is_refusal(&with(BackendErrorKind::Rejected, Some(400))));
        assert!(is_refusal(&with(BackendErrorKind::Server, Some(501))));
        assert!(!is_refusal(&with(BackendErrorKind::Denied, Some(403))));
        assert!(!is_refusal(&with(BackendErrorKind::Rejected, None)));
        assert!(!is_refusal(&with(BackendErrorKind::Server, Some(503))));
    }
}
