//! A copy as the source of another one: what its bytes must be, and what is done when they are not.
//!
//! Invariant: a copy is marked as missing only after its backend has shown our marker and said 404 twice, and as
//! quarantined only after it was read wrong twice; the ledger keeps the last one that may be good.

use std::sync::Arc;

use futures::StreamExt as _;
use s3o_backend::{Backend, BackendErrorKind};
use s3o_blob::{AlgorithmSet, BodyFault, Expected, Guard};
use s3o_core::object::{CopyRow, CopyState};
use s3o_core::replication::CopiesPage;
use s3o_types::{Checksums, Etag, EtagProof};

use crate::marker_gate::MarkerGate;

/// What is known of an extent's bytes: its MD5, or the object's checksums; else what its backend said when it was
/// stored, where that is an MD5.
pub(super) fn expected(page: &CopiesPage, copy: &CopyRow, proof: EtagProof) -> Expected {
    let (known, checksums) = match copy.piece {
        Some(_) => (copy.md5, Checksums::default()),
        None => (page.object.etag.md5(), whole(&page.object.checksums)),
    };
    // How an imported blob was stored is not known.
    let proven = proof.is_md5() && copy.foreign_key.is_none();
    let stored = || copy.backend_etag.as_ref().filter(|_| proven).and_then(Etag::md5);
    let md5 = known.or_else(|| if checksums.values.is_empty() { stored() } else { None });
    Expected { md5, checksums, also: AlgorithmSet::NONE, ..Expected::of_size(copy.stored_size) }
}

/// Those of the bytes, not of the parts that they once came in (`…-3`).
fn whole(checksums: &Checksums) -> Checksums {
    let values = checksums.values.iter().filter(|(_, value)| !value.contains('-'));
    Checksums { values: values.map(|(name, value)| (name.clone(), value.clone())).collect() }
}

/// A second look at a copy that could not be read, or was wrong: what it is, if that is certain.
pub(super) async fn look_again(gate: &MarkerGate, page: &CopiesPage, copy: &CopyRow) -> Option<CopyState> {
    let backend = gate.open(copy.backend).await.ok()?;
    let key = copy.storage_key(&page.bucket_name);
    match backend.get(&key, None, None).await {
        Err(error) if error.kind == BackendErrorKind::NotFound => {
            gate.confirm(&backend).await.is_ok().then_some(CopyState::Missing)
        }
        Err(_) => None,
        Ok(got) if got.size != copy.stored_size => Some(CopyState::Quarantined),
        Ok(got) => is_wrong(page, copy, &backend, got.body).await.then_some(CopyState::Quarantined),
    }
}

async fn is_wrong(
    page: &CopiesPage,
    copy: &CopyRow,
    backend: &Arc<Backend>,
    body: s3o_backend::DownloadBody,
) -> bool {
    let (mut guard, verdict) = Guard::new(body, expected(page, copy, backend.etag_proof()));
    while let Some(chunk) = guard.next().await {
        if chunk.is_err() {
            break;
        }
    }
    verdict.fault().is_some_and(is_corruption)
}

/// Whether the bytes are others than they should be, and did not just fail to come.
pub(super) const fn is_corruption(fault: &BodyFault) -> bool {
    matches!(
        fault,
        BodyFault::BadMd5 | BodyFault::BadSha256 | BodyFault::BadChecksum(_) | BodyFault::LongBody { .. }
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
}
