//! One attempt to put a body on one target: what is said of it there, and how it ended.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue};
use s3o_backend::{Backend, BackendError, BackendErrorKind, Certainty, PutDone, Trailer};
use s3o_blob::{BodyDigests, BodyFault, SelfDescription, to_blob_headers};
use s3o_types::{Checksums, Etag};
use tokio_util::sync::CancellationToken;

use super::body::Outgoing;
use super::place;
use super::put::Write;
use crate::control::{End, StoredCopy, Target};
use crate::failpoints::{Point, pause_at};
use crate::plane::Plane;

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

/// What is said of a blob to its backend.
type Headers = Vec<(HeaderName, HeaderValue)>;

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
    plane: &Plane,
    write: &Write,
    target: &Target,
    outgoing: Outgoing,
    cut: &CancellationToken,
) -> Attempted {
    let (backend, headers) = match prepare(plane, write, target).await {
        Ok(prepared) => prepared,
        Err(error) => return Attempted::BackendFailed(End::NotSent.into(), error),
    };
    let size = write.size;
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
            verify(&backend, target, put, digests.clone(), cut).await
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
    plane: &Plane,
    write: &Write,
    target: &Target,
    source: &ServerSide,
    cut: &CancellationToken,
) -> Attempted {
    let (backend, headers) = match prepare(plane, write, target).await {
        Ok(prepared) => prepared,
        Err(error) => return Attempted::BackendFailed(End::NotSent.into(), error),
    };
    let size = source.digests.size;
    let copied = tokio::select! {
        biased;
        copied = backend.copy(&source.source_key, &target.storage_key, size, headers) => copied,
        () = cut.cancelled() => return Attempted::GivenUp(End::Unknown.into()),
    };
    match copied {
        Ok(put) => {
            pause_at(Point::AfterBackendPut).await;
            verify(&backend, target, put, source.digests.clone(), cut).await
        }
        Err(error) => Attempted::BackendFailed(end_of(error.certainty).into(), error),
    }
}

/// Where the blob goes, and what is said of it there.
async fn prepare(
    plane: &Plane,
    write: &Write,
    target: &Target,
) -> Result<(Arc<Backend>, Headers), BackendError> {
    Ok((place::backend_of(plane, target).await?, headers_of(write)?))
}

fn headers_of(write: &Write) -> Result<Headers, BackendError> {
    // The attributes of an object that comes in parts are its upload's. An ETag that is not the MD5 of the bytes is on
    // no backend.
    let other_etag = write.etag.as_ref().is_some_and(|etag| !etag.is_md5());
    let incomplete = write.part.is_some() || other_etag;
    let description = SelfDescription { incomplete, ..SelfDescription::plain(write.size) };
    let headers = to_blob_headers(&write.bucket.name, &write.key, &write.attributes, &description);
    let mut headers = headers.map_err(|error| {
        BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, error.to_string())
    })?;
    // Sent where it is known and the backend's quirks ask for it; nothing is buffered to find it out.
    if let Some(md5) = write.payload.md5()
        && let Ok(value) = HeaderValue::try_from(BASE64.encode(md5))
    {
        headers.push((HeaderName::from_static("content-md5"), value));
    }
    Ok(headers)
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
