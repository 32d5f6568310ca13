//! One attempt to put a body on one target.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use s3o_backend::{Backend, BackendError, BackendErrorKind, Certainty, PutDone, Trailer, UploadWatch};
use s3o_blob::{BodyDigests, BodyFault};
use s3o_types::{Etag, EtagProof};

use super::body::{Outgoing, Payload};
use crate::control::{End, StoredCopy, Target};
use crate::failpoints::{Point, pause_at};

/// From how many bytes on an MD5 costs more than the framing of a trailer: docs/performance.md.
const TRAILER_FROM: u64 = 16 * 1024;

/// A copy's source where it can be copied without passing through us.
#[derive(Debug, Clone)]
pub(crate) struct ServerSide {
    pub source_key: String,
    /// What the source is known to be.
    pub digests: BodyDigests,
}

/// What is at a target's key.
#[derive(Debug)]
pub(crate) struct Ended {
    pub end: End,
    /// The backend's version id, empty where it gave none.
    pub version: String,
}

impl Ended {
    fn unknown(put: PutDone) -> Self {
        Self { end: End::Unknown, version: put.version_id.unwrap_or_default() }
    }
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        Self { end, version: String::new() }
    }
}

/// How an attempt ended.
pub(crate) enum Attempted {
    /// The backend holds the verified blob, whose MD5 is this ETag.
    Stored(StoredCopy, Etag, BodyDigests),
    /// The backend failed; another may do better.
    BackendFailed(Ended, BackendError),
    /// The body failed: no backend would do better.
    BodyFailed(Ended, BodyFault),
    /// The client stopped sending.
    BodyStalled(Ended),
}

/// Streams the payload to the target and verifies what is there then.
pub(crate) async fn stream(
    backend: &Arc<Backend>,
    target: &Target,
    payload: &Payload,
    size: u64,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Attempted {
    let takes_trailers = size >= TRAILER_FROM && backend.etag_proof() == EtagProof::Md5Trailer;
    let Outgoing { body, verdict, by_trailer } = payload.attempt(takes_trailers);
    let (key, watch) = (&target.storage_key, UploadWatch::new());
    let digests = verdict.clone();
    let trailer: Trailer = Box::new(move || digests.digests().and_then(|digests| digests.hop.clone()));
    let put = backend.put_watched(key, size, headers, body, by_trailer.then_some(trailer), &watch).await;
    match (put, verdict.get()) {
        // An answer without the whole body having been read would be a backend that lies.
        (Ok(put), Some(Ok(digests))) => {
            pause_at(Point::AfterBackendPut).await;
            verify(backend, target, put, digests.clone()).await
        }
        (Ok(put), Some(Err(fault))) => Attempted::BodyFailed(Ended::unknown(put), fault.clone()),
        (Ok(put), None) => {
            let message = "the backend answered before it had the body";
            let error = BackendError::new(BackendErrorKind::Server, Certainty::Unknown, message);
            Attempted::BackendFailed(Ended::unknown(put), error)
        }
        (Err(error), Some(Err(fault))) if matches!(payload, Payload::Client(_)) => {
            Attempted::BodyFailed(end_of(error.certainty).into(), fault.clone())
        }
        (Err(error), None) if error.kind == BackendErrorKind::Body => {
            Attempted::BodyStalled(end_of(error.certainty).into())
        }
        (Err(error), _) => Attempted::BackendFailed(end_of(error.certainty).into(), error),
    }
}

/// Has the backend copy one of its own blobs, and verifies the copy.
pub(crate) async fn copy(
    backend: &Arc<Backend>,
    target: &Target,
    source: &ServerSide,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Attempted {
    match backend.copy(&source.source_key, &target.storage_key, source.digests.size, headers).await {
        Ok(put) => {
            pause_at(Point::AfterBackendPut).await;
            verify(backend, target, put, source.digests.clone()).await
        }
        Err(error) => Attempted::BackendFailed(end_of(error.certainty).into(), error),
    }
}

async fn verify(backend: &Arc<Backend>, target: &Target, put: PutDone, digests: BodyDigests) -> Attempted {
    match backend.verify_put(&target.storage_key, &put, &digests).await {
        Ok(etag) => {
            let backend_etag = put.etag.as_ref().map(|etag| etag.as_str().to_owned()).unwrap_or_default();
            let backend_version = put.version_id.unwrap_or_default();
            let copy = StoredCopy {
                target: target.clone(),
                stored_size: digests.size,
                backend_etag,
                backend_version,
            };
            Attempted::Stored(copy, etag, digests)
        }
        Err(error) => {
            let version = put.version_id.unwrap_or_default();
            Attempted::BackendFailed(Ended { end: End::Stored, version }, error)
        }
    }
}

fn end_of(certainty: Certainty) -> End {
    match certainty {
        Certainty::NotSent => End::NotSent,
        Certainty::Cut => End::Cut,
        Certainty::Unknown => End::Unknown,
    }
}
