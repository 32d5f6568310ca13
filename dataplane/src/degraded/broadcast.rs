//! Asks all backends for the blobs of a key, and the chosen blob for its headers.
//!
//! Invariants: bounded: some backends at a time, some pages of each, some time for each; an answer that did not come, or
//! not to its end, is never taken for "nothing there".

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use s3o_backend::{Backend, BackendErrorKind, HeadDone, ListEntry};
use s3o_blob::{BlobKind, StoredBlob, from_blob_headers};
use s3o_types::{Checksums, Etag, EtagProof, StorageKey, Timestamp, VersionId};

use super::choose::{Answer, Choice, Known, Seen, blob_of, choose, plain_names};
use crate::control::{Located, LocatedCopy, LocatedExtent};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// Pages of a backend's listing that are read for one key.
const MAX_PAGES: usize = 8;
/// Keys of a page: S3's own limit.
const PAGE: u16 = 1000;

/// The latest version that is on the backends, or why none can be named.
pub(super) async fn find(plane: &Plane, bucket: &Bucket, key: &str, known: Known) -> Result<Located, Choice> {
    let backends = plane.backends.all();
    let prefix = StorageKey::prefix(&bucket.name, key);
    let questions = backends.iter().map(|backend| ask(plane, backend, &prefix)).collect();
    let answers = each(plane, questions).await;
    // One that this release cannot speak to, or that was added since the snapshot, may have it.
    let all = plane.snapshot.load().is_complete && plane.control.was_welcomed();
    match choose(&answers, all, known) {
        Choice::Found { version, size, etag, copies } => {
            let described = describe(plane, (bucket, key), size, &copies).await;
            let (blob, modified) = described.map_err(Choice::Unknown)?;
            let extents = vec![extent((bucket, key), size, &etag, &copies)];
            let attributes = blob.attributes;
            let (etag, checksums) = (etag.as_str().to_owned(), Checksums::default());
            Ok(located(version, size, (etag, checksums), modified, attributes, extents))
        }
        Choice::Absent => Err(no_import(plane, &backends, bucket, key).await),
        unknown @ Choice::Unknown(_) => Err(unknown),
    }
}

/// The answers to all questions, asked in their order, so many at a time.
async fn each<T>(plane: &Plane, questions: Vec<impl Future<Output = T>>) -> Vec<T> {
    futures::stream::iter(questions).buffered(plane.config.degraded.parallel).collect().await
}

/// All blobs of a key on one backend.
async fn ask(plane: &Plane, backend: &Arc<Backend>, prefix: &str) -> Answer {
    let mut answer = Answer { blobs: Vec::new(), whole: false };
    // One that is known to be down would cost each reader its patience.
    if !backend.health().is_readable(Instant::now()) {
        return answer;
    }
    let patience = plane.config.timeouts.call.get();
    let listed = tokio::time::timeout(patience, list(backend, prefix, &mut answer)).await;
    match listed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(backend = backend.name(), %error, "a backend cannot be asked"),
        Err(_) => tracing::warn!(backend = backend.name(), "a backend does not answer in time"),
    }
    answer
}

async fn list(
    backend: &Arc<Backend>,
    prefix: &str,
    answer: &mut Answer,
) -> Result<(), s3o_backend::BackendError> {
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = backend.list(prefix, after.as_deref(), PAGE).await?;
        answer.blobs.extend(page.entries.iter().filter_map(|entry| seen(backend, prefix, entry)));
        if !page.truncated {
            answer.whole = true;
            return Ok(());
        }
        let last = page.entries.last().map(|entry| entry.key.clone());
        // One that does not go on would be read for ever.
        if last.is_none() || last <= after {
            return Ok(());
        }
        after = last;
    }
    Ok(())
}

fn seen(backend: &Backend, prefix: &str, entry: &ListEntry) -> Option<Seen> {
    let proves = matches!(backend.etag_proof(), EtagProof::Md5 | EtagProof::Md5Trailer);
    let md5 = entry.etag.clone().filter(|etag| proves && etag.is_md5());
    Some(Seen { backend: backend.id(), blob: blob_of(prefix, &entry.key)?, size: entry.size, md5 })
}

/// What the version's own headers say, from the first copy that answers, and when that copy was written.
async fn describe(
    plane: &Plane,
    (bucket, key): (&Bucket, &str),
    size: u64,
    copies: &[Seen],
) -> Result<(StoredBlob, Timestamp), &'static str> {
    for copy in copies {
        let Some(backend) = plane.backends.get(copy.backend) else { continue };
        let storage_key = StorageKey::format(&bucket.name, key, copy.blob);
        let head = tokio::time::timeout(plane.config.timeouts.call.get(), backend.head(&storage_key)).await;
        match head {
            Ok(Ok(head)) => {
                let blob = read(&head, (&bucket.name, key), size)?;
                return Ok((blob, head.last_modified.map(timestamp).unwrap_or_default()));
            }
            Ok(Err(error)) => tracing::warn!(backend = backend.name(), storage_key, %error, "no headers"),
            Err(_) => tracing::warn!(backend = backend.name(), storage_key, "no headers in time"),
        }
    }
    Err("no copy answers")
}

/// The headers, if they say everything of a whole object of this name and size.
fn read(head: &HeadDone, named: (&str, &str), size: u64) -> Result<StoredBlob, &'static str> {
    let blob = from_blob_headers(&head.headers).map_err(|_| "the blob does not describe itself")?;
    let is_named = |(bucket, key): &(String, String)| (bucket.as_str(), key.as_str()) == named;
    let hashed = StorageKey::is_hashed(named.0, named.1);
    if hashed && !blob.bucket_key.as_ref().is_some_and(is_named) {
        return Err("the blob is another key's");
    }
    let description = &blob.description;
    if description.kind != BlobKind::Blob || !description.encoding.is_plain() {
        return Err("this release cannot read the blob by itself");
    }
    if description.incomplete {
        return Err("only the metadata service has all its metadata");
    }
    if head.size != size || description.size != size {
        return Err("the blob has another size than it says");
    }
    Ok(blob)
}

fn timestamp(time: std::time::SystemTime) -> Timestamp {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Of digests nothing is known here. The ETag is what a backend has computed when the bytes came, so that what has changed on
/// its disks since is found, on this copy or on another.
fn extent((bucket, key): (&Bucket, &str), size: u64, etag: &Etag, copies: &[Seen]) -> LocatedExtent {
    let copy = |seen: &Seen| LocatedCopy {
        backend: seen.backend,
        storage_key: StorageKey::format(&bucket.name, key, seen.blob),
        backend_etag: seen.md5.as_ref().map(|etag| etag.as_str().to_owned()).unwrap_or_default(),
        encoding: s3o_types::Encoding::default(),
        uncertain: false,
        foreign_key: false,
    };
    let copies = copies.iter().map(copy).collect();
    LocatedExtent { offset: 0, size, copies, digest: None, md5: etag.md5(), checksums: Checksums::default() }
}

fn located(
    version: VersionId,
    size: u64,
    (etag, checksums): (String, Checksums),
    modified: Timestamp,
    attributes: s3o_types::ObjectAttributes,
    extents: Vec<LocatedExtent>,
) -> Located {
    Located {
        version,
        seq: 0,
        size,
        etag,
        modified,
        attributes,
        checksums,
        extents,
        parts: None,
        version_id: None,
    }
}

/// The last question before "there is no such object": does something lie where an imported one may?
async fn no_import(plane: &Plane, backends: &[Arc<Backend>], bucket: &Bucket, key: &str) -> Choice {
    let patience = plane.config.timeouts.call.get();
    let names = plain_names(&bucket.name, key);
    let questions = backends.iter().map(|backend| lacks(backend, &names, patience)).collect();
    if each(plane, questions).await.into_iter().all(|is_absent| is_absent) {
        return Choice::Absent;
    }
    Choice::Unknown("a backend may have it under a name of its own")
}

/// Whether a backend says of each name that there is nothing.
async fn lacks(backend: &Arc<Backend>, names: &[String], patience: Duration) -> bool {
    for name in names {
        let head = tokio::time::timeout(patience, backend.head(name)).await;
        if !matches!(head, Ok(Err(error)) if error.kind == BackendErrorKind::NotFound) {
            return false;
        }
    }
    true
}
