//! A write: begin → stream → commit, or abort.
//!
//! Invariants: Begin is answered before a byte of the body is read; the intent lists every target
//! before anything is sent to it; a write whose Commit has no known outcome is neither aborted nor
//! acknowledged; a write that failed is aborted, also when its Commit was refused, and the client's error
//! does not wait for that where it cannot change; the write runs in its own tracked task, so that it is ended in order although the
//! client, and with it the handler, may be gone.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderName, HeaderValue};
use s3o_blob::{SelfDescription, to_blob_headers};
use s3o_proto::v1::WriteKind;
use s3o_types::{BackendId, Checksums, Conditions, ErrorCode, Etag, ObjectAttributes, Timestamp};
use s3s::{S3Error, S3Result, s3_error};
use tokio::sync::oneshot;

use super::body::Payload;
use super::faults;
use super::place;
use super::target::{self, Attempted, Ended};
use crate::control::{
    Caller, CommitRequest, Committed, End, Failure, Finished, Intent, PartOf, StoredCopy, Target,
};
use crate::failpoints::{Point, pause_at};
use crate::plane::Plane;
use crate::snapshot::Bucket;

pub(crate) use super::target::ServerSide;

/// Targets tried for one write, at most.
const MAX_TARGETS: usize = 4;

/// A write that is to be made.
pub(crate) struct Write {
    pub caller: Caller,
    pub bucket: Bucket,
    pub key: String,
    pub size: u64,
    pub conditions: Conditions,
    pub kind: WriteKind,
    /// The part that it is, where `kind` says so.
    pub part: Option<PartOf>,
    pub attributes: ObjectAttributes,
    pub payload: Payload,
    /// Kept in the place of the body's own: a copy has its source's.
    pub etag: Option<Etag>,
    pub checksums: Option<Checksums>,
    /// Where the source lies, for a copy: by backend.
    pub server_side: Vec<(BackendId, ServerSide)>,
}

/// A write that counts.
#[derive(Debug)]
pub(crate) struct Written {
    pub etag: Etag,
    pub checksums: Checksums,
    pub modified: Timestamp,
    /// What the client is told of its version; `None` in a bucket that was never versioned.
    pub version_id: Option<String>,
}

/// A verified copy, and what the body turned out to be.
struct Stored {
    copy: StoredCopy,
    md5: Etag,
    checksums: Checksums,
}

/// Where the client's answer goes; the write may go on after it.
type Answer = oneshot::Sender<S3Result<Written>>;

/// Makes the write, in a task of its own.
pub(crate) async fn write(plane: &Arc<Plane>, write: Write) -> S3Result<Written> {
    let running = Arc::clone(plane);
    let span = tracing::Span::current();
    let (answer, answered) = oneshot::channel();
    let task = plane
        .shutdown
        .spawn(tracing::Instrument::instrument(async move { run(&running, write, answer).await }, span));
    if let Ok(outcome) = answered.await {
        return outcome;
    }
    match task.await {
        Ok(_) => Err(faults::unavailable("The service is shutting down.")),
        Err(error) => {
            plane.metrics.panicked("write");
            tracing::error!(%error, "a write panicked");
            Err(s3_error!(InternalError))
        }
    }
}

async fn run(plane: &Plane, write: Write, answer: Answer) {
    let _lease = write.caller.control.open_ops().open(write.caller.op);
    let mut intent = match begin(plane, &write).await {
        Ok(intent) => intent,
        Err(error) => return tell(answer, Err(error)),
    };
    pause_at(Point::AfterBegin).await;
    let mut ends = Vec::new();
    match send(plane, &write, &mut intent, &mut ends).await {
        Ok(stored) => commit(&write, &intent, stored, ends, answer).await,
        Err(error) => {
            tell(answer, Err(error));
            let _ = abort(&write.caller, &intent, ends).await;
        }
    }
}

fn tell(answer: Answer, outcome: S3Result<Written>) {
    // The client may be gone.
    let _ = answer.send(outcome);
}

async fn begin(plane: &Plane, write: &Write) -> S3Result<Intent> {
    let Write { caller, bucket, key, size, conditions, kind, part, server_side, .. } = write;
    let down = plane.backends.down(Instant::now());
    let prefer: Vec<_> = server_side.iter().map(|(backend, _)| *backend).collect();
    let begun = caller.begin((bucket.id, key, *size), conditions, (*kind, *part), &down, &prefer).await;
    let begun = begun.map_err(|failure| {
        plane.metrics.early_rejection(&failure);
        faults::of_failure(failure)
    })?;
    let (key, conditions) = (key.clone(), conditions.clone());
    Ok(Intent {
        bucket: bucket.id,
        key,
        version: begun.version,
        size: *size,
        conditions,
        upload: part.map(|part| part.upload),
        targets: begun.targets,
    })
}

/// Puts the body on a target, on another one when that fails. `ends` collects what became of those
/// that hold no copy in the end.
async fn send(
    plane: &Plane,
    write: &Write,
    intent: &mut Intent,
    ends: &mut Vec<Finished>,
) -> S3Result<Stored> {
    let mut current = 0;
    loop {
        let Some(target) = intent.targets.get(current).cloned() else {
            return Err(faults::unavailable("No backend took the object. Please try again."));
        };
        let end = match attempt(plane, write, &target).await {
            Attempted::Stored(copy, md5, digests) => {
                // Targets that were not needed.
                let unused = intent.targets.iter().skip(current + 1);
                ends.extend(unused.map(|target| finished(target.clone(), End::NotSent.into())));
                return Ok(Stored { copy, md5, checksums: digests.checksums });
            }
            Attempted::BodyFailed(end, fault) => {
                plane.metrics.body_fault(&fault);
                ends.push(finished(target, end));
                return Err(faults::of_body(&fault));
            }
            Attempted::BodyStalled(end) => {
                ends.push(finished(target, end));
                return Err(s3_error!(RequestTimeout));
            }
            Attempted::BackendFailed(end, error) => {
                tracing::warn!(backend = target.backend.0, ?end, %error, "a target failed");
                end
            }
        };
        ends.push(finished(target.clone(), end));
        current += 1;
        let another = current < MAX_TARGETS && write.payload.can_be_sent();
        if !another {
            return Err(faults::unavailable("A backend failed while it took the object. Please try again."));
        }
        if current == intent.targets.len() {
            let down = plane.backends.down(Instant::now());
            match write.caller.retarget(intent, target.backend, &down).await {
                Ok(target) => intent.targets.push(target),
                Err(failure) => {
                    tracing::warn!(?failure, "no other target");
                    return Err(faults::unavailable(
                        "A backend failed and no other took its place. Please try again.",
                    ));
                }
            }
        }
    }
}

async fn attempt(plane: &Plane, write: &Write, target: &Target) -> Attempted {
    let backend = match place::backend_of(plane, target).await {
        Ok(backend) => backend,
        Err(error) => return Attempted::BackendFailed(End::NotSent.into(), error),
    };
    // The attributes of an object that comes in parts are its upload's.
    let description =
        SelfDescription { incomplete: write.part.is_some(), ..SelfDescription::plain(write.size) };
    let mut headers = match to_blob_headers(&write.bucket.name, &write.key, &write.attributes, &description) {
        Ok(headers) => headers,
        Err(error) => {
            let (kind, certainty) =
                (s3o_backend::BackendErrorKind::Rejected, s3o_backend::Certainty::NotSent);
            let error = s3o_backend::BackendError::new(kind, certainty, error.to_string());
            return Attempted::BackendFailed(End::NotSent.into(), error);
        }
    };
    // Sent where it is known and the backend's quirks ask for it; nothing is buffered to find it out.
    if let Some(md5) = write.payload.md5()
        && let Ok(value) = HeaderValue::try_from(BASE64.encode(md5))
    {
        headers.push((HeaderName::from_static("content-md5"), value));
    }
    let near = write.server_side.iter().find(|(id, _)| *id == target.backend);
    if let Some((_, source)) = near {
        match target::copy(&backend, target, source, headers.clone()).await {
            // The backend will not copy, and nothing is at the target's key: then we do it.
            Attempted::BackendFailed(Ended { end: End::NotSent | End::Cut, .. }, error) => {
                tracing::info!(backend = backend.name(), %error, "no copy within the backend, streaming instead");
            }
            decided => return decided,
        }
    }
    target::stream(&backend, target, &write.payload, write.size, headers).await
}

async fn commit(write: &Write, intent: &Intent, stored: Stored, failed: Vec<Finished>, answer: Answer) {
    let Stored { copy, md5, checksums } = stored;
    let etag = write.etag.clone().unwrap_or(md5);
    let checksums = write.checksums.clone().unwrap_or(checksums);
    let (attributes, copies) = (&write.attributes, &[copy]);
    let request =
        CommitRequest { intent, etag: &etag, attributes, checksums: &checksums, copies, failed: &failed };
    match write.caller.commit(&request).await {
        Ok(Committed { modified, version_id }) => {
            pause_at(Point::AfterCommit).await;
            tell(answer, Ok(Written { etag, checksums, modified, version_id }));
        }
        Err(Failure::Refused { code, message }) => {
            let [copy] = copies;
            let ended = Ended { end: End::Stored, version: copy.backend_version.clone() };
            let ends = failed.into_iter().chain([finished(copy.target.clone(), ended)]).collect();
            let error = faults::of_failure(Failure::Refused { code, message });
            if is_final(code) {
                tell(answer, Err(error));
                let _ = abort(&write.caller, intent, ends).await;
                return;
            }
            let outcome = match abort(&write.caller, intent, ends).await {
                Ok(Some(Committed { modified, version_id })) => {
                    Ok(Written { etag, checksums, modified, version_id })
                }
                Ok(None) | Err(Failure::Refused { .. } | Failure::Marker { .. }) => Err(error),
                Err(Failure::Unknown) => Err(unknown_outcome()),
            };
            tell(answer, outcome);
        }
        // A marker is no outcome of a Commit.
        Err(Failure::Unknown | Failure::Marker { .. }) => {
            tracing::warn!(op = %write.caller.op, "commit without a known outcome: left to the reaper");
            tell(answer, Err(unknown_outcome()));
        }
    }
}

/// Whether a refused Commit will never be decided otherwise. With the others an earlier sending may
/// have been decided while its answer was lost.
fn is_final(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::ServiceUnavailable | ErrorCode::InternalError)
}

fn unknown_outcome() -> S3Error {
    faults::unavailable("It is not known whether the object was stored. Please try again.")
}

fn finished(target: Target, ended: Ended) -> Finished {
    Finished { target, end: ended.end, backend_version: ended.version }
}

/// Gives the write up: every target of the intent is named. The control plane has already settled a
/// refusal that it put on record, and then this only repeats it; every other refusal left the intent.
async fn abort(
    caller: &Caller,
    intent: &Intent,
    mut ends: Vec<Finished>,
) -> Result<Option<Committed>, Failure> {
    for target in &intent.targets {
        if !ends.iter().any(|finished| finished.target == *target) {
            ends.push(finished(target.clone(), End::NotSent.into()));
        }
    }
    let outcome = caller.abort(intent, &ends).await;
    if let Err(Failure::Unknown) = &outcome {
        tracing::warn!(op = %caller.op, "abort without an outcome: left to the reaper");
    }
    outcome
}
