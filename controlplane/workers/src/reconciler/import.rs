//! Import: keys that others wrote to a backend become objects of a bucket. The bytes stay where they are.
//!
//! Invariants: what reads as one of our own storage keys is passed over, and so is what belongs to a sibling bucket; a key
//! that has a version, or a delete marker, keeps it: the ledger decides, under the key's lock.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use s3o_backend::{Backend, BackendErrorKind, ListEntry};
use s3o_blob::foreign_attributes;
use s3o_core::call::{Call, Import, Outcome};
use s3o_core::config::{BucketState, ClusterConfig};
use s3o_core::reconcile::{Candidate, CandidateKind, Run, key_in_bucket};
use s3o_runtime::audit;
use s3o_types::{BucketId, ErrorCode, Etag, StorageKey, Timestamp};

use super::looks::backend_version;
use super::{CONCURRENCY, Reconciler, Stop};
use crate::listing::Listing;

/// The chosen bucket's name, and those of the others.
struct Names<'a> {
    bucket: &'a str,
    siblings: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of(config: &'a ClusterConfig, bucket: BucketId) -> Result<Self, Stop> {
        let (chosen, others): (Vec<_>, Vec<_>) =
            config.buckets.iter().partition(|known| known.id == bucket && known.state == BucketState::Active);
        let chosen =
            chosen.first().ok_or_else(|| Stop::Failed("the bucket does not exist any more".into()))?;
        let siblings = others.iter().map(|other| other.name.as_str()).collect();
        Ok(Self { bucket: chosen.name.as_str(), siblings })
    }
}

impl Reconciler {
    pub(super) async fn import(
        &self,
        run: &mut Run,
        backend: &Arc<Backend>,
        bucket: BucketId,
        prefix: &str,
    ) -> Result<(), Stop> {
        let config = self.configs.current();
        let names = Names::of(&config, bucket)?;
        let mut listing = Listing::new(backend, prefix, &run.cursor, true);
        loop {
            let (page, last) = listing.page().await.map_err(Stop::Failed)?;
            let cursor = page.last().map(|entry| entry.key.clone());
            // A page that another bucket answered is not believed.
            self.gate.confirm(backend).await.map_err(Stop::Failed)?;
            self.import_page(run, backend, bucket, &names, page).await?;
            run.cursor = cursor.unwrap_or_else(|| run.cursor.clone());
            self.save(run).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn import_page(
        &self,
        run: &mut Run,
        backend: &Arc<Backend>,
        bucket: BucketId,
        names: &Names<'_>,
        page: Vec<ListEntry>,
    ) -> Result<(), Stop> {
        run.tally.listed += page.len() as u64;
        let mut entries = Vec::new();
        for entry in page {
            if StorageKey::parse(&entry.key) != StorageKey::Foreign {
                continue;
            }
            match key_in_bucket(&entry.key, names.bucket, &names.siblings) {
                Some(key) => entries.push((Candidate { foreign_key: entry.key.clone(), key }, entry)),
                None => run.tally.skipped += 1,
            }
        }
        let candidates: Vec<Candidate> = entries.iter().map(|(candidate, _)| candidate.clone()).collect();
        let kinds = self.store.candidates(backend.id(), bucket, &candidates).await?;
        let all = entries.len() as u64;
        let new = entries.into_iter().zip(kinds).filter(|(_, kind)| *kind == CandidateKind::New);
        let new: Vec<_> = new.map(|(entry, _)| entry).collect();
        run.tally.skipped += all - new.len() as u64;
        if run.ask.dry_run {
            run.tally.imported += new.len() as u64;
            return Ok(());
        }
        let looks = new.into_iter().map(|(candidate, entry)| {
            let backend = Arc::clone(backend);
            async move { describe(&backend, bucket, candidate, &entry).await }
        });
        let looks: Vec<_> = looks.collect();
        let mut looks = futures::stream::iter(looks).buffered(CONCURRENCY);
        while let Some(look) = looks.next().await {
            match look {
                Ok(Some(import)) => self.import_one(run, import).await,
                Ok(None) => run.tally.skipped += 1,
                Err(why) => {
                    tracing::warn!(backend = backend.name(), error = why, "a key could not be imported");
                    run.tally.ambiguous += 1;
                }
            }
        }
        Ok(())
    }

    async fn import_one(&self, run: &mut Run, import: Import) {
        let (backend, size) = (run.backend_name.clone(), import.size);
        let (key, foreign_key) = (import.key.clone(), import.foreign_key.clone());
        match self.submit(Call::Import(Box::new(import))).await {
            Outcome::Committed { .. } => {
                run.tally.imported += 1;
                audit!("reconcile.import", backend, key, foreign_key, size);
            }
            Outcome::Refused(refusal) if refusal.code == ErrorCode::PreconditionFailed => {
                run.tally.skipped += 1;
            }
            other => {
                tracing::warn!(backend, key, ?other, "a key could not be imported");
                run.tally.ambiguous += 1;
            }
        }
    }
}

/// What a foreign key would be as an object; `Ok(None)`: it is gone.
async fn describe(
    backend: &Backend,
    bucket: BucketId,
    candidate: Candidate,
    listed: &ListEntry,
) -> Result<Option<Import>, String> {
    let Candidate { foreign_key, key } = candidate;
    let head = match backend.head(&foreign_key).await {
        Ok(head) => head,
        Err(error) if error.kind == BackendErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{foreign_key}: {error}")),
    };
    let etag = head.etag.clone().or_else(|| listed.etag.clone());
    let etag = etag.ok_or_else(|| format!("{foreign_key}: the backend gives it no ETag to know it by"))?;
    let modified = head.last_modified.or(listed.last_modified).unwrap_or_else(SystemTime::now);
    Ok(Some(Import {
        bucket,
        key,
        backend: backend.id(),
        foreign_key,
        size: head.size,
        etag: object_etag(&etag, backend.etag_proof().is_md5() && !is_encrypted_by_key(&head.headers)),
        backend_etag: etag,
        backend_version: backend_version(&head),
        modified: timestamp(modified),
        attributes: foreign_attributes(&head.headers),
    }))
}

/// An object's ETag of 32 hexadecimal characters is taken for the MD5 of its bytes, by clients and by our own readers: one
/// that is not gets the form of an upload in one part.
fn object_etag(etag: &Etag, proven: bool) -> Etag {
    if etag.is_md5() && !proven { Etag::new(&format!("{}-1", etag.as_str())) } else { etag.clone() }
}

/// By a key of the backend's, or of the client's: then the ETag is no MD5 (Amazon S3 API reference, "Object").
fn is_encrypted_by_key(headers: &http::HeaderMap) -> bool {
    let how = headers.get("x-amz-server-side-encryption").and_then(|value| value.to_str().ok());
    how.is_some_and(|how| how.starts_with("aws:kms"))
        || headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

fn timestamp(at: SystemTime) -> Timestamp {
    let us = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Timestamp(i64::try_from(us).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_that_is_no_md5_does_not_look_like_one() {
        let md5 = Etag::new("827ccb0eea8a706c4c34a16891f84e7b");
        assert_eq!(object_etag(&md5, true), md5);
        assert_eq!(object_etag(&md5, false).as_str(), "827ccb0eea8a706c4c34a16891f84e7b-1");
        let parts = Etag::new("827ccb0eea8a706c4c34a16891f84e7b-3");
        assert_eq!(object_etag(&parts, false), parts);
    }
}
