//! One attempt to put a body on one target.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use s3o_backend::{Backend, BackendError, BackendErrorKind, Certainty, PutDone, Trailer};
use s3o_blob::{BodyDigests, BodyFault};
use s3o_types::{Checksums, Etag};
use tokio_util::sync::CancellationToken;

use super::body::Outgoing;
use crate::control::{End, StoredCopy, Target};
use crate::failpoints::{Point, pause_at};

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
    /// The backend holds the verified blob, whose MD5 is this ETag, and whose checksums are these.
    Stored(StoredCopy, Etag, Checksums),
    /// The backend failed; another may do better.
    BackendFailed(Ended, BackendError),
    /// The body failed: no backend would do better.
    BodyFailed(Ended, BodyFault),
    /// The client stopped sending.
    BodyStalled(Ended),
    /// It was cut from outside.
    GivenUp(Ended),
}

/// Streams the body to the target and verifies what is there then, unless it is `cut` before.
pub(super) async fn stream(
    backend: &Arc<Backend>,
    target: &Target,
    outgoing: Outgoing,
    size: u64,
    headers: Vec<(HeaderName, HeaderValue)>,
    cut: &CancellationToken,
) -> Attempted {
    let Outgoing { body, watch, seat, verdict, by_trailer } = outgoing;
    let digests = verdict.clone();
    let trailer: Trailer = Box::new(move || digests.digests().and_then(|digests| digests.hop.clone()));
    let trailer = by_trailer.then_some(trailer);
    let put = tokio::select! {
        biased;
        put = backend.put_watched(&target.storage_key, size, headers, body, trailer, &watch) => Some(put),
        () = cut.cancelled() => None,
    };
    // The connection may hold on to the body for a while; nobody waits for it.
    seat.leave();
    let Some(put) = put else { return Attempted::GivenUp(end_of(watch.certainty()).into()) };
    match (put, verdict.get()) {
        // An answer without the whole body having been read would be a backend that lies.
        (Ok(put), Some(Ok(digests))) => {
            pause_at(Point::AfterBackendPut).await;
            verify(backend, target, put, digests.clone(), cut).await
        }
        (Ok(put), Some(Err(fault))) => Attempted::BodyFailed(Ended::unknown(put), fault.clone()),
        (Ok(put), None) => {
            let message = "the backend answered before it had the body";
            let error = BackendError::new(BackendErrorKind::Server, Certainty::Unknown, message);
            Attempted::BackendFailed(Ended::unknown(put), error)
        }
        (Err(error), Some(Err(fault))) => {
            Attempted::BodyFailed(end_of(error.certainty).into(), fault.clone())
        }
        (Err(error), None) if error.kind == BackendErrorKind::Body => {
            Attempted::BodyStalled(end_of(error.certainty).into())
        }
        (Err(error), _) => Attempted::BackendFailed(end_of(error.certainty).into(), error),
    }
}

/// Has the backend copy one of its own blobs, and verifies the copy, unless it is `cut` before.
pub(super) async fn copy(
    backend: &Arc<Backend>,
    target: &Target,
    source: &ServerSide,
    headers: Vec<(HeaderName, HeaderValue)>,
    cut: &CancellationToken,
) -> Attempted {
    let size = source.digests.size;
    let copied = tokio::select! {
        biased;
        copied = backend.copy(&source.source_key, &target.storage_key, size, headers) => copied,
        () = cut.cancelled() => return Attempted::GivenUp(End::Unknown.into()),
    };
    match copied {
        Ok(put) => {
            pause_at(Point::AfterBackendPut).await;
            verify(backend, target, put, source.digests.clone(), cut).await
        }
        Err(error) => Attempted::BackendFailed(end_of(error.certainty).into(), error),
    }
}

async fn verify(
    backend: &Arc<Backend>,
    target: &Target,
    put: PutDone,
    digests: BodyDigests,
    cut: &CancellationToken,
) -> Attempted {
    let stored = |put: PutDone| Ended { end: End::Stored, version: put.version_id.unwrap_or_default() };
    let verified = tokio::select! {
        biased;
        verified = backend.verify_put(&target.storage_key, &put, &digests) => verified,
        () = cut.cancelled() => return Attempted::GivenUp(stored(put)),
    };
    match verified {
        Ok(etag) => {
            let backend_etag = put.etag.as_ref().map(|etag| etag.as_str().to_owned()).unwrap_or_default();
            let backend_version = put.version_id.unwrap_or_default();
            let copy = StoredCopy {
                target: target.clone(),
                stored_size: digests.size,
                backend_etag,
                backend_version,
                digest: digests.digest,
            };
            Attempted::Stored(copy, etag, digests.checksums)
        }
        Err(error) => Attempted::BackendFailed(stored(put), error),
    }
}

fn end_of(certainty: Certainty) -> End {
    match certainty {
        Certainty::NotSent => End::NotSent,
        Certainty::Cut => End::Cut,
        Certainty::Unknown => End::Unknown,
    }
}
