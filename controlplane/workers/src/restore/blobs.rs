//! What the backends hold: all keys are staged, and blobs that no record names are asked what they are.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use s3o_backend::Backend;
use s3o_blob::{AlgorithmSet, BlobKind, BodyHasher, from_blob_headers};
use s3o_core::restore::{FoundKey, FoundObject, Revived, UnnamedBlob};
use s3o_types::{Etag, StorageKey, VersionId};

use super::{Restorer, text};
use crate::journal::read_chunks;
use crate::listing::Listing;

/// Versions whose blobs are asked for at once.
const UNNAMED: u32 = 500;
/// How long it is waited, each time, for writes of which it is not known whether somebody goes on with them.
const UNDECIDED: Duration = Duration::from_secs(2);
/// How many are told by name of what is not known.
const TOLD: usize = 500;

impl Restorer {
    /// Stages the keys of all backends. A listing that breaks off ends it: what is not seen would count as lost.
    pub(super) async fn stage_blobs(&mut self) -> Result<(), String> {
        for backend in self.backends.clone() {
            let mut listing = Listing::new(&backend, "", "", false);
            loop {
                let (entries, last) = listing.page().await?;
                let is_blob = |key: &str| StorageKey::parse(key) != StorageKey::Reserved;
                let found: Vec<FoundKey> = entries
                    .into_iter()
                    .filter(|entry| is_blob(&entry.key))
                    .map(|entry| FoundKey { storage_key: entry.key, size: entry.size, etag: entry.etag })
                    .collect();
                self.report.blobs += found.len() as u64;
                if !found.is_empty() {
                    self.restore.restore_found(backend.id(), found).await.map_err(text)?;
                }
                if last {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Makes objects of blobs that no record names and that may be of after the journal's end.
    pub(super) async fn revive(&mut self, from: VersionId) -> Result<(), String> {
        while self.restore.restore_undecided().await.map_err(text)? {
            tokio::time::sleep(UNDECIDED).await;
        }
        let mut after = VersionId::from_uuid(uuid::Uuid::nil());
        loop {
            let page = self.restore.restore_unnamed(after, from, UNNAMED).await.map_err(text)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.version;
            for blob in &page {
                match self.look(blob).await {
                    Ok(found) => {
                        match self.restore.restore_revive(found, self.has_gap).await.map_err(text)? {
                            Revived::Staged => self.report.revived += 1,
                            Revived::Older => {}
                            Revived::NoBucket => self.tell_unknown(blob, "its bucket is not there"),
                        }
                    }
                    Err(why) => self.tell_unknown(blob, &why),
                }
            }
        }
    }

    fn tell_unknown(&mut self, blob: &UnnamedBlob, why: &str) {
        self.report.unknown_versions += 1;
        if self.report.unknown.len() < TOLD {
            self.report.unknown.push(format!("{}: {why}", blob.storage_key));
        }
    }

    /// What a blob says of itself. `Err`: too little.
    async fn look(&self, blob: &UnnamedBlob) -> Result<FoundObject, String> {
        if blob.is_piece {
            return Err(
                "a part of an upload, or of an object of parts, of which only the journal knows the others"
                    .into(),
            );
        }
        let backend = self.backends.iter().find(|backend| backend.id() == blob.backend);
        let backend = backend.ok_or("its backend is not known")?;
        let head = backend.head(&blob.storage_key).await.map_err(|error| error.to_string())?;
        let stored = from_blob_headers(&head.headers).map_err(|error| error.to_string())?;
        let description = &stored.description;
        if description.incomplete || description.kind != BlobKind::Blob {
            return Err("it does not say all of its object's metadata".to_owned());
        }
        if !description.encoding.is_plain() || description.size != head.size {
            return Err(format!("it has {} bytes and says {}", head.size, description.size));
        }
        let (bucket_name, key) = match StorageKey::parse(&blob.storage_key) {
            StorageKey::Plain { bucket, key, blob: _ } => (bucket, key),
            _ => stored.bucket_key.clone().ok_or("it does not say its bucket and key")?,
        };
        let modified =
            head.last_modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(FoundObject {
            bucket_name,
            key,
            version: blob.version,
            size: head.size,
            etag: self.etag(backend, blob, head.etag.as_ref()).await?,
            modified_us: i64::try_from(modified.as_micros()).unwrap_or(i64::MAX),
            attributes: stored.attributes,
        })
    }

    /// The MD5 of its bytes: the backend's ETag where that is known to be it, else they are read.
    async fn etag(
        &self,
        backend: &Arc<Backend>,
        blob: &UnnamedBlob,
        etag: Option<&Etag>,
    ) -> Result<Etag, String> {
        if let Some(etag) = etag.filter(|etag| self.md5.contains(&backend.id()) && etag.md5().is_some()) {
            return Ok(etag.clone());
        }
        let mut hasher = BodyHasher::new(AlgorithmSet::default());
        read_chunks(backend, &blob.storage_key, |chunk| hasher.update(chunk)).await?;
        hasher.finish().etag().ok_or_else(|| "its MD5 was not computed".to_owned())
    }
}
