//! One copy, read whole: what its bytes must be, and what is done when they are not.
//!
//! Invariants: a copy is marked as missing only after its backend has shown our marker and said 404 twice, and as
//! quarantined only after it was read wrong twice; the ledger keeps the last one that may be good; a digest is kept only
//! of bytes that something else has vouched for.

use std::sync::Arc;

use futures::StreamExt as _;
use s3o_backend::{Backend, BackendErrorKind, DownloadBody};
use s3o_blob::{BodyFault, Expected, Guard};
use s3o_core::call::{Call, ChangeCopy, CopyChange, ExtentOf, Outcome};
use s3o_core::object::{CopyRow, CopyState};
use s3o_core::ports::{Configs, Ledger};
use s3o_core::replication::CopiesPage;
use s3o_core::scrub::Verdict;
use s3o_types::{BackendId, Checksums, Digest, DigestKind, Etag, EtagProof};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::{new_op, request};
use crate::marker_gate::MarkerGate;

/// Reads copies and tells the ledger what they are.
pub(crate) struct Checker {
    ledger: Arc<dyn Ledger>,
    configs: Arc<dyn Configs>,
    gate: MarkerGate,
    session: Uuid,
    /// The worker, for the log.
    source: &'static str,
    keep: DigestKind,
}

/// What a look found, and the digest to keep where none was known.
type Look = (Verdict, Option<Digest>);

impl Checker {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, session: Uuid, source: &'static str) -> Self {
        Self {
            ledger: deps.ledger.clone(),
            configs: deps.configs.clone(),
            gate: MarkerGate::new(deps.configs.clone(), backends),
            session,
            source,
            keep: deps.settings.digest,
        }
    }

    /// Reads a copy, twice where it is not what it should be, and marks it. `known` is the extent's digest; `alone`
    /// says that there is no other copy that could contradict this one.
    pub(crate) async fn check(
        &self,
        page: &CopiesPage,
        copy: &CopyRow,
        known: Option<Digest>,
        alone: bool,
    ) -> Verdict {
        let (first, digest) = self.look(page, copy, known, alone).await;
        match first {
            Verdict::Good => self.vouch(copy, known.is_none().then_some(digest).flatten()).await,
            Verdict::Corrupt | Verdict::Gone => self.look_again(page, copy, known).await,
            Verdict::Unproven | Verdict::Unread(_) | Verdict::Refused(_) => first,
        }
    }

    /// A second look at a copy that could not be read, or was wrong. It is marked as what it certainly is.
    pub(crate) async fn look_again(
        &self,
        page: &CopiesPage,
        copy: &CopyRow,
        known: Option<Digest>,
    ) -> Verdict {
        let (verdict, _) = self.look(page, copy, known, false).await;
        let state = match verdict {
            Verdict::Corrupt => CopyState::Quarantined,
            Verdict::Gone => CopyState::Missing,
            Verdict::Good | Verdict::Unproven => {
                return Verdict::Unread("it was wrong, and then right".to_owned());
            }
            Verdict::Unread(_) | Verdict::Refused(_) => return verdict,
        };
        let backend = self.name(copy.backend);
        let (key, state_name) = (copy.key.as_str(), state.as_str());
        match self.change(copy, CopyChange::Mark(state)).await {
            Ok(()) => tracing::error!(backend, key, state = state_name, "a copy is not what it was"),
            Err(why) => tracing::error!(backend, key, state = state_name, why, "a copy is bad and stays"),
        }
        verdict
    }

    /// A copy that was read whole and right. Nothing is written where that was known.
    pub(crate) async fn vouch(&self, copy: &CopyRow, digest: Option<Digest>) -> Verdict {
        let digest = digest.filter(|_| copy.digest.is_none());
        if copy.state == CopyState::Verified && digest.is_none() {
            return Verdict::Good;
        }
        match self.change(copy, CopyChange::Verify(digest)).await {
            Ok(()) => Verdict::Good,
            Err(why) => Verdict::Refused(why),
        }
    }

    /// Whether a backend says of its copies what may be believed now; `Err` says why not.
    pub(crate) async fn can_ask(&self, backend: BackendId) -> Result<(), String> {
        self.gate.open(backend).await.map(|_| ())
    }

    async fn look(&self, page: &CopiesPage, copy: &CopyRow, known: Option<Digest>, alone: bool) -> Look {
        let backend = match self.gate.open(copy.backend).await {
            Ok(backend) => backend,
            Err(why) => return (Verdict::Unread(why), None),
        };
        if !copy.encoding.is_plain() {
            return (Verdict::Unread("this release cannot read its encoding".to_owned()), None);
        }
        let key = copy.storage_key(&page.bucket_name);
        let if_match = copy.foreign_key.as_ref().and(copy.backend_etag.as_ref());
        match backend.get(&key, None, if_match).await {
            Err(error) if error.kind == BackendErrorKind::NotFound => match self.gate.confirm(&backend).await
            {
                Ok(()) => (Verdict::Gone, None),
                Err(why) => (Verdict::Unread(why), None),
            },
            Err(error) => (Verdict::Unread(error.to_string()), None),
            Ok(got) if got.size != copy.stored_size => (Verdict::Corrupt, None),
            Ok(got) => self.read(page, copy, (known, alone), &backend, got.body).await,
        }
    }

    async fn read(
        &self,
        page: &CopiesPage,
        copy: &CopyRow,
        (known, alone): (Option<Digest>, bool),
        backend: &Arc<Backend>,
        body: DownloadBody,
    ) -> Look {
        let mut expected = expected(page, copy, known, backend.etag_proof());
        let is_proof = alone || vouches(&expected);
        if known.is_none() && is_proof {
            expected.keep = Some(self.keep);
        }
        let (mut guard, verdict) = Guard::new(body, expected);
        guard.skip_md5(true);
        while let Some(chunk) = guard.next().await {
            if chunk.is_err() {
                break;
            }
        }
        match verdict.get() {
            Some(Ok(digests)) if is_proof => (Verdict::Good, digests.digest),
            Some(Ok(_)) => (Verdict::Unproven, None),
            Some(Err(fault)) if is_corruption(fault) => (Verdict::Corrupt, None),
            Some(Err(fault)) => (Verdict::Unread(fault.to_string()), None),
            None => (Verdict::Unread("it was not read to its end".to_owned()), None),
        }
    }

    /// Has a copy changed by the ledger.
    pub(crate) async fn change(&self, copy: &CopyRow, change: CopyChange) -> Result<(), String> {
        let of = ExtentOf {
            bucket: copy.bucket,
            key: copy.key.clone(),
            version: copy.blob.version,
            extent: copy.blob.extent,
        };
        let op = new_op();
        let call = Call::ChangeCopy(ChangeCopy { of, backend: copy.backend, r#gen: copy.blob.r#gen, change });
        let request = request(self.session, self.source, op, format!("{}-{op}", self.source), call);
        match self.ledger.submit(request).await {
            Outcome::CopyChanged => Ok(()),
            Outcome::Refused(refusal) => Err(refusal.message),
            other => Err(format!("unexpected outcome {other:?}")),
        }
    }

    /// The backend's name, as operators know it.
    pub(crate) fn name(&self, id: BackendId) -> String {
        let config = self.configs.current();
        let backend = config.backends.iter().find(|backend| backend.spec.id == id);
        backend.map_or_else(|| format!("backend {}", id.0), |backend| backend.spec.name.clone())
    }
}

/// What is known of an extent's bytes: its digest; else its MD5, or the object's checksums; else what its backend said
/// when it was stored, where that is an MD5.
pub(crate) fn expected(
    page: &CopiesPage,
    copy: &CopyRow,
    digest: Option<Digest>,
    proof: EtagProof,
) -> Expected {
    if digest.is_some() {
        return Expected { digest, ..Expected::of_size(copy.stored_size) };
    }
    let (known, checksums) = match copy.piece {
        Some(_) => (copy.md5, Checksums::default()),
        None => (page.object.etag.md5(), whole(&page.object.checksums)),
    };
    // How an imported blob was stored is not known.
    let proven = proof.is_md5() && copy.foreign_key.is_none();
    let stored = || copy.backend_etag.as_ref().filter(|_| proven).and_then(Etag::md5);
    let md5 = known.or_else(|| if checksums.values.is_empty() { stored() } else { None });
    Expected { md5, checksums, ..Expected::of_size(copy.stored_size) }
}

/// Whether bytes that pass are certainly those that were written.
pub(crate) fn vouches(expected: &Expected) -> bool {
    expected.digest.is_some() || expected.md5.is_some() || !expected.checksums.values.is_empty()
}

/// Those of the bytes, not of the parts that they once came in (`…-3`).
fn whole(checksums: &Checksums) -> Checksums {
    let values = checksums.values.iter().filter(|(_, value)| !value.contains('-'));
    Checksums { values: values.map(|(name, value)| (name.clone(), value.clone())).collect() }
}

/// Whether the bytes are others than they should be, and did not just fail to come.
pub(crate) const fn is_corruption(fault: &BodyFault) -> bool {
    matches!(
        fault,
        BodyFault::BadMd5
            | BodyFault::BadSha256
            | BodyFault::BadChecksum(_)
            | BodyFault::BadDigest(_)
            | BodyFault::LongBody { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_parts_say_nothing_of_the_bytes() {
        let values = [("crc32", "AAAAAA=="), ("sha256", "abc=-3")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let kept: Vec<String> = whole(&Checksums { values }).values.into_keys().collect();
        assert_eq!(kept, ["crc32"]);
    }

    #[test]
    fn a_size_alone_vouches_for_nothing() {
        assert!(!vouches(&Expected::of_size(3)));
        assert!(vouches(&Expected { md5: Some([0; 16]), ..Expected::of_size(3) }));
        assert!(vouches(&Expected { digest: Some(Digest::Crc64Nvme([0; 8])), ..Expected::of_size(3) }));
    }
}
