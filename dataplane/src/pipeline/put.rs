//! A write: begin → stream → commit, or abort.
//!
//! Invariants: Begin is answered before a byte of the body is read; the intent lists every target
//! before anything is sent to it; a write whose Commit has no known outcome is neither aborted nor
//! acknowledged; a write that failed is aborted, also when its Commit was refused, and the client's error
//! does not wait for that where it cannot change; the write runs in its own tracked task, so that it is ended in order although the
//! client, and with it the handler, may be gone; a copy, which no body ends, is cut and does not count then.

use std::sync::Arc;
use std::time::Instant;

use s3o_proto::v1::WriteKind;
use s3o_types::{
    BackendId, Checksums, Conditions, DegradedReads, Encoding, ErrorCode, Etag, ObjectAttributes, Timestamp,
};
use s3s::{S3Error, S3Result, s3_error};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::audit;
use super::body::Payload;
use super::copies::Sent;
use super::faults;
use super::send::{finished, send, stored};
use super::task::to_its_end;
use crate::control::{
    Caller, CommitRequest, Committed, End, Failure, Finished, Intent, Located, LocatedCopy, LocatedExtent,
    PartOf, StoredCopy,
};
use crate::degraded::cache::Ticket;
use crate::failpoints::{Point, pause_at};
use crate::plane::Plane;
use crate::snapshot::Bucket;

pub(crate) use super::target::ServerSide;

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

/// Where the client's answer goes; the write may go on after it.
type Answer = oneshot::Sender<S3Result<Written>>;

/// Makes the write, in a task of its own.
pub(crate) async fn write(plane: &Arc<Plane>, write: Write) -> S3Result<Written> {
    let running = Arc::clone(plane);
    let (answer, answered) = oneshot::channel();
    let gone = CancellationToken::new();
    let _waits = gone.clone().drop_guard();
    let ended = to_its_end(plane, async move { run(&running, write, answer, &gone).await });
    if let Ok(outcome) = answered.await {
        return outcome;
    }
    ended.await?;
    // What comes to its end has answered before.
    Err(s3_error!(InternalError))
}

/// `gone`: nobody waits for the answer any more.
async fn run(plane: &Plane, write: Write, answer: Answer, gone: &CancellationToken) {
    let _lease = write.caller.control.open_ops().open(write.caller.op);
    let chosen = Instant::now();
    let (mut intent, required) = match begin(plane, &write).await {
        Ok(begun) => begun,
        Err(error) => return tell(answer, Err(error)),
    };
    pause_at(Point::AfterBegin).await;
    let mut ends = Vec::new();
    // Who asked for a copy and has given up may ask again, or have put something else there since.
    let gone = (!write.payload.is_clients()).then_some(gone);
    match send(plane, &write, (&mut intent, chosen), required, gone, &mut ends).await {
        Ok(sent) if gone.is_some_and(CancellationToken::is_cancelled) => {
            ends.extend(sent.copies.into_iter().map(stored));
            let _ = abort(&write.caller, &intent, ends).await;
        }
        Ok(sent) => commit(plane, write, &intent, sent, ends, answer).await,
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

/// The intent, and how many verified copies the bucket's ack level asks for.
async fn begin(plane: &Plane, write: &Write) -> S3Result<(Intent, usize)> {
    let Write { caller, bucket, key, size, conditions, kind, part, server_side, .. } = write;
    let down = plane.backends.down(Instant::now());
    let prefer: Vec<_> = server_side.iter().map(|(backend, _)| *backend).collect();
    let begun = caller
        .begin((bucket.id, key, *size), conditions, (*kind, *part), (&down, &prefer), &write.attributes.lock)
        .await;
    let begun = begun.map_err(|failure| {
        plane.metrics.early_rejection(&failure);
        faults::of_failure(failure)
    })?;
    let (key, conditions) = (key.clone(), conditions.clone());
    let intent = Intent {
        bucket: bucket.id,
        key,
        version: begun.version,
        size: *size,
        conditions,
        upload: part.map(|part| part.upload),
        targets: begun.targets,
    };
    Ok((intent, begun.required_copies))
}

async fn commit(
    plane: &Plane,
    write: Write,
    intent: &Intent,
    sent: Sent,
    failed: Vec<Finished>,
    answer: Answer,
) {
    let Sent { copies, md5, checksums } = sent;
    let etag = write.etag.clone().unwrap_or(md5);
    let checksums = write.checksums.clone().unwrap_or(checksums);
    let attributes = &write.attributes;
    let request = CommitRequest {
        intent,
        etag: &etag,
        attributes,
        checksums: &checksums,
        copies: &copies,
        failed: &failed,
        copied: write.payload.copied(),
    };
    let asked = plane.locations.ticket();
    match write.caller.commit(&request).await {
        Ok(committed) => {
            audit::stored(plane, &write, &copies);
            pause_at(Point::AfterCommit).await;
            let Committed { modified, version_id, .. } = committed.clone();
            remember(plane, write, intent, (&etag, &checksums), (asked, committed), copies);
            tell(answer, Ok(Written { etag, checksums, modified, version_id }));
        }
        Err(Failure::Refused { code, message }) => {
            let ends = failed.into_iter().chain(copies.iter().cloned().map(stored)).collect();
            let error = faults::of_failure(Failure::Refused { code, message });
            if is_final(code) {
                tell(answer, Err(error));
                let _ = abort(&write.caller, intent, ends).await;
                return;
            }
            let outcome = match abort(&write.caller, intent, ends).await {
                Ok(Some(Committed { modified, version_id, .. })) => {
                    audit::stored(plane, &write, &copies);
                    plane.locations.changed(write.bucket.id, &write.key);
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

/// Keeps where the object is, for reads without the database. A part is none.
fn remember(
    plane: &Plane,
    write: Write,
    intent: &Intent,
    (etag, checksums): (&Etag, &Checksums),
    (asked, committed): (Ticket, Committed),
    copies: Vec<StoredCopy>,
) {
    let Write { bucket, key, size, mut attributes, part, .. } = write;
    if part.is_some() || bucket.degraded_reads == DegradedReads::Refused {
        return;
    }
    let copy = |copy: StoredCopy| LocatedCopy {
        backend: copy.target.backend,
        storage_key: copy.target.storage_key,
        backend_etag: copy.backend_etag,
        encoding: Encoding::default(),
        uncertain: false,
        foreign_key: false,
    };
    let digest = copies.first().and_then(|copy| copy.digest);
    let copies = copies.into_iter().map(copy).collect();
    let whole = LocatedExtent { offset: 0, size, copies, digest, md5: None, checksums: Checksums::default() };
    let Committed { modified, seq, version_id } = committed;
    // As the control plane has it, which decided at that time.
    attributes.lock = bucket.lock.map_or(attributes.lock, |lock| lock.of_new(attributes.lock, modified));
    let located = Located {
        version: intent.version,
        seq,
        size,
        etag: etag.as_str().to_owned(),
        modified,
        attributes,
        checksums: checksums.clone(),
        extents: vec![whole],
        parts: None,
        version_id,
    };
    plane.locations.committed(bucket.id, &key, asked, located);
}

/// Whether a refused Commit will never be decided otherwise. With the others an earlier sending may
/// have been decided while its answer was lost.
fn is_final(code: ErrorCode) -> bool {
    !matches!(code, ErrorCode::ServiceUnavailable | ErrorCode::InternalError)
}

fn unknown_outcome() -> S3Error {
    faults::unavailable("It is not known whether the object was stored. Please try again.")
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
