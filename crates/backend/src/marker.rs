//! The marker `.s3o/backend`: whose a backend is.
//!
//! Invariant: a marker is written only where none is, and believed only after it was read again.
//! One bucket configured twice, an edited endpoint or an unmounted folder shows here before anything
//! is deleted for being absent.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use s3o_blob::{AlgorithmSet, BodyHasher};
use s3o_types::storage_key::MARKER;
use s3o_types::{BackendId, Etag, EtagProof};
use serde::{Deserialize, Serialize};

use crate::client::BackendClient;
use crate::error::{BackendError, BackendErrorKind, Certainty};

/// A marker has about a hundred bytes; something larger is not ours.
const MAX_MARKER_BYTES: u64 = 4096;

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Which cluster's.
    pub cluster_id: String,
    /// Which of its backends.
    pub backend_id: BackendId,
}

/// What was found, and what the marker's ETag shows of this backend's ETags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkerCheck {
    /// It is ours.
    Ours(EtagProof),
    /// There was none; now there is ours.
    Created(EtagProof),
    /// Another cluster's, or another backend's of ours.
    Foreign {
        /// As the marker says; empty when it cannot be read.
        cluster_id: String,
        /// As the marker says; `None` when it cannot be read.
        backend_id: Option<BackendId>,
    },
}

/// What a marker says, or why it cannot be read, with what its ETag shows.
pub type FoundMarker = (Result<Marker, String>, EtagProof);

/// Reads the marker. `Ok(None)`: there is none.
pub async fn read_marker(client: &BackendClient) -> Result<Option<FoundMarker>, BackendError> {
    Ok(read(client).await?.map(|(found, _)| found))
}

/// The marker with the bytes that came for it.
pub(crate) async fn read(client: &BackendClient) -> Result<Option<(FoundMarker, u64)>, BackendError> {
    let got = match client.get(MARKER, None, None).await {
        Err(error) if error.kind == BackendErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if got.size > MAX_MARKER_BYTES {
        return Ok(Some(((Err(format!("a marker of {} bytes", got.size)), EtagProof::Opaque), 0)));
    }
    let bytes: BytesMut = got.body.try_collect().await?;
    let marker = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
    Ok(Some(((marker, proof_of(got.etag.as_ref(), &bytes)), bytes.len() as u64)))
}

/// Reads the marker, and writes ours if there is none.
pub async fn write_marker_if_absent(
    client: &BackendClient,
    cluster_id: &str,
    backend_id: BackendId,
) -> Result<MarkerCheck, BackendError> {
    let ours = Marker { cluster_id: cluster_id.to_owned(), backend_id };
    if let Some((found, proof)) = read_marker(client).await? {
        return Ok(compare(&ours, found, proof));
    }
    let text = serde_json::to_vec(&ours).map_err(|error| {
        BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, error.to_string())
    })?;
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let put = client.put_bytes(MARKER, headers, Bytes::from(text.clone())).await?;
    // Two clusters may have found none at the same time: what stands there now decides.
    match read_marker(client).await? {
        Some((found, proof)) => match compare(&ours, found, proof) {
            MarkerCheck::Ours(proof) if proof == proof_of(put.etag.as_ref(), &text) => {
                Ok(MarkerCheck::Created(proof))
            }
            MarkerCheck::Ours(_) => Ok(MarkerCheck::Created(EtagProof::Opaque)),
            foreign => Ok(foreign),
        },
        None => Err(BackendError::new(
            BackendErrorKind::Mismatch,
            Certainty::Unknown,
            "the marker was written and is not there",
        )),
    }
}

fn compare(ours: &Marker, found: Result<Marker, String>, proof: EtagProof) -> MarkerCheck {
    match found {
        Ok(found) if found == *ours => MarkerCheck::Ours(proof),
        Ok(found) => {
            MarkerCheck::Foreign { cluster_id: found.cluster_id, backend_id: Some(found.backend_id) }
        }
        Err(_) => MarkerCheck::Foreign { cluster_id: String::new(), backend_id: None },
    }
}

fn proof_of(etag: Option<&Etag>, bytes: &[u8]) -> EtagProof {
    let md5 = BodyHasher::digest(bytes, AlgorithmSet::NONE).etag();
    if etag.zip(md5).is_some_and(|(etag, md5)| etag.as_str().eq_ignore_ascii_case(md5.as_str())) {
        EtagProof::Md5
    } else {
        EtagProof::Opaque
    }
}
