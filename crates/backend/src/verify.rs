//! Whether a PUT that the backend acknowledged holds what was sent, and its MD5.
//!
//! Invariant: `Ok` means that size and a digest were compared: the MD5, by the ETag where that is known to
//! be one; or the CRC-64/NVME, by a backend that is known to refuse a wrong one; else by reading the blob back.

use futures::StreamExt as _;
use s3o_blob::{Algorithm, AlgorithmSet, BodyDigests, BodyHasher};
use s3o_types::{Etag, EtagProof};

use crate::client::{BackendClient, GetDone, PutDone};
use crate::error::{BackendError, BackendErrorKind, Certainty};

/// Verifies a PUT before it is committed; gives the MD5 as an ETag. The blob exists whatever comes out.
pub async fn verify_put(
    client: &BackendClient,
    storage_key: &str,
    put: &PutDone,
    digests: &BodyDigests,
    proof: EtagProof,
) -> Result<Etag, BackendError> {
    match by_answer(put, digests, proof) {
        Some(verdict) => verdict,
        None => read_back(client.get(storage_key, None, None).await, digests).await,
    }
}

/// What the backend's answer says; `None` when it proves nothing and the blob must be read back.
pub(crate) fn by_answer(
    put: &PutDone,
    digests: &BodyDigests,
    proof: EtagProof,
) -> Option<Result<Etag, BackendError>> {
    // A backend that once proved its ETag and now gives something else proves nothing this time.
    let etag = put.etag.as_ref().filter(|etag| proof.is_md5() && etag.is_md5())?;
    match (digests.etag(), &digests.hop) {
        (Some(md5), _) if etag.as_str().eq_ignore_ascii_case(md5.as_str()) => Some(Ok(md5)),
        (Some(md5), _) => {
            Some(Err(mismatch(format!("the backend's ETag is {etag}, the body's MD5 is {md5}"))))
        }
        (None, Some(crc)) if proof == EtagProof::Md5Trailer => match &put.crc64nvme {
            Some(answered) if answered == crc => Some(Ok(Etag::new(&etag.as_str().to_ascii_lowercase()))),
            Some(answered) => {
                Some(Err(mismatch(format!("the backend's CRC-64/NVME is {answered}, the body's is {crc}"))))
            }
            None => None,
        },
        _ => None,
    }
}

/// Reads the answer to a GET of the blob and compares it with what was sent.
pub(crate) async fn read_back(
    got: Result<GetDone, BackendError>,
    digests: &BodyDigests,
) -> Result<Etag, BackendError> {
    let unknown = |error: BackendError| BackendError { certainty: Certainty::Unknown, ..error };
    let mut got = got.map_err(unknown)?;
    let hop = AlgorithmSet::NONE.with(Algorithm::Crc64nvme);
    let mut hasher = BodyHasher::new(if digests.md5.is_some() { AlgorithmSet::NONE } else { hop });
    while let Some(chunk) = got.body.next().await {
        hasher.update(&chunk.map_err(unknown)?);
    }
    let found = hasher.finish();
    let crc = found.checksum(Algorithm::Crc64nvme);
    let is_same = match (&digests.md5, &digests.hop) {
        (Some(md5), _) => found.md5.as_ref() == Some(md5),
        (None, Some(sent)) => crc == Some(sent.as_str()),
        (None, None) => false,
    };
    match found.etag() {
        Some(etag) if is_same && found.size == digests.size => Ok(etag),
        _ => Err(mismatch(format!("sent {}, read back {}", shown(digests, None), shown(&found, crc)))),
    }
}

fn shown(digests: &BodyDigests, crc: Option<&str>) -> String {
    let md5 = digests.etag().map_or_else(|| "unknown".to_owned(), |etag| etag.to_string());
    let crc = crc.or(digests.hop.as_deref()).unwrap_or("unknown");
    format!("{} bytes with MD5 {md5}, CRC-64/NVME {crc}", digests.size)
}

fn mismatch(message: String) -> BackendError {
    BackendError::new(BackendErrorKind::Mismatch, Certainty::Unknown, message)
}
