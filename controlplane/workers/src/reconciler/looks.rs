//! Second looks: what a backend says of single keys, when it is asked for them.
//!
//! Invariant: a 404 counts only where the marker was ours after it; whoever asks sees to that.

use std::sync::Arc;

use futures::StreamExt as _;
use s3o_backend::{Backend, BackendErrorKind, HeadDone};
use s3o_blob::{BlobKind, from_blob_headers};
use s3o_core::call::{ExtentOf, SettleBlob};
use s3o_core::object::CopyState;
use s3o_core::reconcile::{KnownCopy, differs};
use s3o_types::{BlobName, BucketId, StorageKey};

use super::{BucketIds, CONCURRENCY};

/// What a key is, asked for by itself.
#[derive(Debug)]
pub(super) enum Look {
    /// As the row says.
    Fine,
    /// A definite 404, or other bytes: what the copy is then, and by how many bytes it is not what is counted.
    Not(CopyState, u64),
    /// No definite answer.
    Unclear,
}

/// Looks at many, some at a time, in their order.
pub(super) async fn at_copies(backend: &Arc<Backend>, copies: Vec<KnownCopy>) -> Vec<(KnownCopy, Look)> {
    let looks = copies.into_iter().map(|copy| {
        let backend = Arc::clone(backend);
        async move {
            let look = at_copy(&backend, &copy).await;
            (copy, look)
        }
    });
    // Collected first: a stream over the lazy iterator would borrow it for all lifetimes.
    let looks: Vec<_> = looks.collect();
    futures::stream::iter(looks).buffered(CONCURRENCY).collect().await
}

async fn at_copy(backend: &Backend, copy: &KnownCopy) -> Look {
    match backend.head(&copy.storage_key).await {
        Ok(head) if differs(copy, head.size, head.etag.as_ref()) => {
            Look::Not(CopyState::Quarantined, head.size.abs_diff(copy.stored_size))
        }
        Ok(_) => Look::Fine,
        Err(error) if error.kind == BackendErrorKind::NotFound => {
            Look::Not(CopyState::Missing, copy.stored_size)
        }
        Err(error) => {
            tracing::debug!(backend = backend.name(), key = copy.storage_key, %error, "a second look failed");
            Look::Unclear
        }
    }
}

/// The backend's version id, where its bucket keeps versions.
pub(super) fn backend_version(head: &HeadDone) -> Option<String> {
    head.headers.get("x-amz-version-id").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A blob that no row names, and whose it is by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StrayBlob {
    pub(super) storage_key: String,
    pub(super) blob: BlobName,
    /// Bucket and key, where the key says them; else the blob's headers do.
    pub(super) of: Option<(BucketId, String)>,
    /// Its bytes, where no row counts them.
    pub(super) uncounted: u64,
}

/// What there is to be decided of a stray blob; `Ok(None)`: it is gone, or its headers do not say whose it is.
pub(super) async fn at_stray(
    backend: &Backend,
    buckets: &BucketIds,
    stray: &StrayBlob,
) -> Result<Option<SettleBlob>, ()> {
    let head = match backend.head(&stray.storage_key).await {
        Ok(head) => head,
        Err(error) if error.kind == BackendErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(()),
    };
    let stored = from_blob_headers(&head.headers).ok();
    let by_headers = || {
        let (bucket, key) = stored.as_ref()?.bucket_key.clone()?;
        let id = buckets.get(&bucket)?.of(stray.blob)?;
        (StorageKey::format(&bucket, &key, stray.blob) == stray.storage_key).then_some((id, key))
    };
    let Some((bucket, key)) = stray.of.clone().or_else(by_headers) else { return Ok(None) };
    let plain = stored.as_ref().filter(|stored| stored.description.kind == BlobKind::Blob);
    let of = ExtentOf { bucket, key, version: stray.blob.version, extent: stray.blob.extent };
    Ok(Some(SettleBlob {
        of,
        r#gen: stray.blob.r#gen,
        backend: backend.id(),
        storage_key: stray.storage_key.clone(),
        stored_size: head.size,
        backend_version: backend_version(&head),
        encoding: plain.map(|stored| stored.description.encoding.clone()),
        backend_etag: head.etag,
    }))
}
