//! Whether a PUT that the backend acknowledged holds what was sent.
//!
//! Invariant: `Ok` means that size and MD5 were compared, by the ETag where that is known to be the
//! MD5, else by reading the blob back.

use futures::StreamExt as _;
use s3o_blob::{AlgorithmSet, BodyDigests, BodyHasher};
use s3o_types::EtagProof;

use crate::client::{BackendClient, GetDone, PutDone};
use crate::error::{BackendError, BackendErrorKind, Certainty};

/// Verifies a PUT before it is committed. The blob exists whatever comes out.
pub async fn verify_put(
    client: &BackendClient,
    storage_key: &str,
    put: &PutDone,
    digests: &BodyDigests,
    proof: EtagProof,
) -> Result<(), BackendError> {
    match by_etag(put, digests, proof) {
        Some(verdict) => verdict,
        None => read_back(client.get(storage_key, None, None).await, digests).await,
    }
}

/// What the backend's ETag says; `None` when it proves nothing and the blob must be read back.
pub(crate) fn by_etag(
    put: &PutDone,
    digests: &BodyDigests,
    proof: EtagProof,
) -> Option<Result<(), BackendError>> {
    match (proof, &put.etag) {
        (EtagProof::Md5, Some(etag)) if etag.is_md5() => {
            if etag.as_str().eq_ignore_ascii_case(digests.etag().as_str()) {
                return Some(Ok(()));
            }
            let message = format!("the backend's ETag is {etag}, the body's MD5 is {}", digests.etag());
            Some(Err(mismatch(message)))
        }
        // A backend that once proved its ETag and now gives something else proves nothing this time.
        _ => None,
    }
}

/// Reads the answer to a GET of the blob and compares it with what was sent.
pub(crate) async fn read_back(
    got: Result<GetDone, BackendError>,
    digests: &BodyDigests,
) -> Result<(), BackendError> {
    let unknown = |error: BackendError| BackendError { certainty: Certainty::Unknown, ..error };
    let mut got = got.map_err(unknown)?;
    let mut hasher = BodyHasher::new(AlgorithmSet::NONE);
    while let Some(chunk) = got.body.next().await {
        hasher.update(&chunk.map_err(unknown)?);
    }
    let found = hasher.finish();
    if (found.size, found.md5) == (digests.size, digests.md5) {
        return Ok(());
    }
    let what = |d: &BodyDigests| format!("{} bytes with MD5 {}", d.size, d.etag());
    Err(mismatch(format!("sent {}, read back {}", what(digests), what(&found))))
}

fn mismatch(message: String) -> BackendError {
    BackendError::new(BackendErrorKind::Mismatch, Certainty::Unknown, message)
}
