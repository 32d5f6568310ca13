//! What was done with bytes and rows for a request, beside the request's own audit line and with its id: `storage.…`
//! events, as in the monitoring reference.
//!
//! Invariant: an event is written when what it says has happened: a write when it counts, a read when a backend has begun
//! to answer, or the database has, where it alone is asked.

use s3o_proto::v1::WriteKind;
use s3o_runtime::audit;
use s3o_types::{BackendId, VersionRef};

use super::put::Write;
use crate::control::{Caller, LocatedCopy, LockChange, StoredCopy};
use crate::plane::Plane;

/// A write that counts, for each copy of it.
pub(super) fn stored(plane: &Plane, write: &Write, copies: &[StoredCopy]) {
    let Write { caller, bucket, key, size, kind, .. } = write;
    let (request_id, bucket) = (&caller.request_id, &bucket.name);
    for copy in copies {
        let backend = name(plane, copy.target.backend);
        match kind {
            WriteKind::Part => audit!("storage.UploadPart", request_id, bucket, key, backend, size),
            WriteKind::Copy => audit!("storage.CopyObject", request_id, bucket, key, backend, size),
            WriteKind::Put | WriteKind::Unspecified => {
                audit!("storage.PutObject", request_id, bucket, key, backend, size);
            }
        }
    }
}

/// A client's read, `size` bytes of which begin to come from a copy.
pub(super) fn read(plane: &Plane, caller: &Caller, key: &str, copy: &LocatedCopy, size: u64) {
    let (request_id, backend) = (&caller.request_id, name(plane, copy.backend));
    audit!("storage.GetObject", request_id, key, backend, size);
}

/// A client's question about an object, which the database alone answers; `size`: that of the object.
pub(crate) fn looked_at(caller: &Caller, bucket: &str, key: &str, size: u64) {
    audit!("storage.HeadObject", request_id = caller.request_id, bucket, key, size);
}

/// A page of a listing, and how many entries it has.
pub(crate) fn listed(caller: &Caller, bucket: &str, prefix: &str, entries: usize) {
    audit!("storage.ListObjects", request_id = caller.request_id, bucket, prefix, entries);
}

/// The same of versions.
pub(crate) fn listed_versions(caller: &Caller, bucket: &str, prefix: &str, entries: usize) {
    audit!("storage.ListObjectVersions", request_id = caller.request_id, bucket, prefix, entries);
}

/// A version that has other tags than before; without any, they were removed.
pub(crate) fn tagged(caller: &Caller, bucket: &str, (key, version): (&str, Option<VersionRef>), tags: usize) {
    let (request_id, version) = (&caller.request_id, named(version));
    audit!("storage.PutObjectTagging", request_id, bucket, key, version, tags);
}

/// An object that is gone, or the version that was named. Its blobs go later, and have events of their own. `bypass`: as in
/// [`locked`].
pub(crate) fn deleted(
    caller: &Caller,
    bucket: &str,
    (key, version): (&str, Option<VersionRef>),
    bypass: bool,
) {
    let (request_id, version) = (&caller.request_id, named(version));
    audit!("storage.DeleteObject", request_id, bucket, key, version, bypass);
}

/// Objects that are gone in one request. What a client meant to be no hindrance is told of one by one, by [`deleted`].
pub(crate) fn deleted_many(caller: &Caller, bucket: &str, deleted: usize, failed: usize) {
    audit!("storage.DeleteObjects", request_id = caller.request_id, bucket, deleted, failed);
}

/// A version that is kept otherwise than before; `bypass`: whether the client meant a governance retention to be no
/// hindrance.
pub(crate) fn locked(
    caller: &Caller,
    bucket: &str,
    (key, version): (&str, Option<VersionRef>),
    change: LockChange,
    bypass: bool,
) {
    let (request_id, version) = (&caller.request_id, named(version));
    match change {
        LockChange::Retention(retention) => {
            let mode = retention.map(|retention| retention.mode.as_str()).unwrap_or_default();
            let until_us = retention.map(|retention| retention.until.0).unwrap_or_default();
            audit!("storage.PutObjectRetention", request_id, bucket, key, version, mode, until_us, bypass);
        }
        LockChange::LegalHold(on) => {
            audit!("storage.PutObjectLegalHold", request_id, bucket, key, version, on);
        }
    }
}

/// An upload that was begun.
pub(crate) fn begun(caller: &Caller, bucket: &str, key: &str) {
    audit!("storage.CreateMultipartUpload", request_id = caller.request_id, bucket, key);
}

/// An upload that was given up by its client.
pub(crate) fn given_up(caller: &Caller, bucket: &str, key: &str) {
    audit!("storage.AbortMultipartUpload", request_id = caller.request_id, bucket, key);
}

/// An upload that became an object.
pub(crate) fn completed(caller: &Caller, bucket: &str, key: &str, size: u64) {
    audit!("storage.CompleteMultipartUpload", request_id = caller.request_id, bucket, key, size);
}

/// Empty where none was named.
fn named(version: Option<VersionRef>) -> String {
    version.map(|version| version.to_string()).unwrap_or_default()
}

/// Empty for a backend that this configuration does not have any more.
fn name(plane: &Plane, backend: BackendId) -> String {
    plane.backends.get(backend).map(|backend| backend.name().to_owned()).unwrap_or_default()
}
