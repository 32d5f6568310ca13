//! A write: begin → stream → commit, or abort.
//!
//! Invariants: Begin is answered before a byte of the body is read; the intent lists every target
//! before anything is sent to it; a write whose Commit has no known outcome is neither aborted nor
//! acknowledged; the write runs in its own tracked task, so that it is ended in order although the
//! client, and with it the handler, may be gone.

use std::sync::Arc;
use std::time::Instant;

use s3o_blob::{BodyDigests, SelfDescription, to_blob_headers};
use s3o_proto::v1::WriteKind;
use s3o_types::{BackendId, Checksums, Conditions, Etag, ObjectAttributes, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::body::Payload;
use super::faults;
use super::target::{self, Attempted};
use crate::control::{Caller, CommitRequest, End, Failure, Finished, Intent, StoredCopy};
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
}

/// Makes the write, in a task of its own.
pub(crate) async fn write(plane: &Arc<Plane>, write: Write) -> S3Result<Written> {
    let running = Arc::clone(plane);
    let span = tracing::Span::current();
    let task = plane
        .shutdown
        .spawn(tracing::Instrument::instrument(async move { run(&running, write).await }, span));
    match task.await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(faults::unavailable("The service is shutting down.")),
        Err(error) => {
            plane.metrics.panicked("write");
            tracing::error!(%error, "a write panicked");
            Err(s3_error!(InternalError))
        }
    }
}

async fn run(plane: &Plane, write: Write) -> S3Result<Written> {
    let _lease = write.caller.control.open_ops().open(write.caller.op);
    let mut intent = begin(plane, &write).await?;
    pause_at(Point::AfterBegin).await;
    let mut ends = Vec::new();
    match send(plane, &write, &mut intent, &mut ends).await {
        Ok((copy, digests)) => commit(&write, &intent, copy, &digests, ends).await,
        Err(error) => {
            abort(&write.caller, &intent, ends).await;
            Err(error)
        }
    }
}

async fn begin(plane: &Plane, write: &Write) -> S3Result<Intent> {
    let Write { caller, bucket, key, size, conditions, kind, server_side, .. } = write;
    let down = plane.backends.down(Instant::now());
    let prefer: Vec<_> = server_side.iter().map(|(backend, _)| *backend).collect();
    let begun = caller.begin((bucket.id, key, *size), conditions, *kind, &down, &prefer).await;
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
) -> S3Result<(StoredCopy, BodyDigests)> {
    let mut current = 0;
    loop {
        let Some(target) = intent.targets.get(current).cloned() else {
            return Err(faults::unavailable("No backend took the object. Please try again."));
        };
        let end = match attempt(plane, write, &target).await {
            Attempted::Stored(copy, digests) => {
                // Targets that were not needed.
                let unused = intent.targets.iter().skip(current + 1);
                ends.extend(unused.map(|target| Finished { target: target.clone(), end: End::NotSent }));
                return Ok((copy, digests));
            }
            Attempted::BodyFailed(end, fault) => {
                plane.metrics.body_fault(&fault);
                ends.push(Finished { target, end });
                return Err(faults::of_body(&fault));
            }
            Attempted::BodyStalled(end) => {
                ends.push(Finished { target, end });
                return Err(s3_error!(RequestTimeout));
            }
            Attempted::BackendFailed(end, error) => {
                tracing::warn!(backend = target.backend.0, ?end, %error, "a target failed");
                end
            }
        };
        ends.push(Finished { target: target.clone(), end });
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

async fn attempt(plane: &Plane, write: &Write, target: &crate::control::Target) -> Attempted {
    let Some(backend) = plane.backends.get(target.backend) else {
        let message = format!("backend {} is not in this configuration", target.backend.0);
        let (kind, certainty) = (s3o_backend::BackendErrorKind::Connection, s3o_backend::Certainty::NotSent);
        return Attempted::BackendFailed(
            End::NotSent,
            s3o_backend::BackendError::new(kind, certainty, message),
        );
    };
    let description = SelfDescription::plain(write.size);
    let headers = match to_blob_headers(&write.bucket.name, &write.key, &write.attributes, &description) {
        Ok(headers) => headers,
        Err(error) => {
            let (kind, certainty) =
                (s3o_backend::BackendErrorKind::Rejected, s3o_backend::Certainty::NotSent);
            let error = s3o_backend::BackendError::new(kind, certainty, error.to_string());
            return Attempted::BackendFailed(End::NotSent, error);
        }
    };
    let near = write.server_side.iter().find(|(id, _)| *id == target.backend);
    if let Some((_, source)) = near {
        match target::copy(&backend, target, source, headers.clone()).await {
            // The backend will not copy, and nothing is at the target's key: then we do it.
            Attempted::BackendFailed(End::NotSent | End::Cut, error) => {
                tracing::info!(backend = backend.name(), %error, "no copy within the backend, streaming instead");
            }
            decided => return decided,
        }
    }
    target::stream(&backend, target, &write.payload, write.size, headers).await
}

async fn commit(
    write: &Write,
    intent: &Intent,
    copy: StoredCopy,
    digests: &BodyDigests,
    failed: Vec<Finished>,
) -> S3Result<Written> {
    let etag = write.etag.clone().unwrap_or_else(|| digests.etag());
    let checksums = write.checksums.clone().unwrap_or_else(|| digests.checksums.clone());
    let (attributes, copies) = (&write.attributes, &[copy]);
    let request =
        CommitRequest { intent, etag: &etag, attributes, checksums: &checksums, copies, failed: &failed };
    match write.caller.commit(&request).await {
        Ok(modified) => {
            pause_at(Point::AfterCommit).await;
            Ok(Written { etag, checksums, modified })
        }
        // The control plane has settled the blobs of a refused commit in the same transaction.
        Err(failure @ Failure::Refused { .. }) => Err(faults::of_failure(failure)),
        Err(Failure::Unknown) => {
            tracing::warn!(op = %write.caller.op, "commit without a known outcome: left to the reaper");
            Err(unknown_outcome())
        }
    }
}

fn unknown_outcome() -> S3Error {
    faults::unavailable("It is not known whether the object was stored. Please try again.")
}

/// Gives the write up: every target of the intent is named.
async fn abort(caller: &Caller, intent: &Intent, mut ends: Vec<Finished>) {
    for target in &intent.targets {
        if !ends.iter().any(|finished| finished.target == *target) {
            ends.push(Finished { target: target.clone(), end: End::NotSent });
        }
    }
    if let Err(failure) = caller.abort(intent, &ends).await {
        tracing::warn!(op = %caller.op, ?failure, "abort without an outcome: left to the reaper");
    }
}
