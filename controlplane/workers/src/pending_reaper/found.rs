//! What stands at the targets of expired intents, by HEAD.
//!
//! Invariant: `Found::Nothing` is said only by a backend whose marker was ours before and after the
//! 404, or of one that is forgotten and cannot be asked; what a blob's headers do not prove is left out of [`Found::Blob`], and then the ledger drops
//! the write, which was never acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use s3o_backend::{Backend, BackendErrorKind, HeadDone};
use s3o_blob::{BlobKind, StoredBlob, from_blob_headers};
use s3o_core::call::{Found, TargetId};
use s3o_core::intent::{Intent, Target, WriteKind};
use s3o_types::{BackendId, Encoding, Etag, EtagProof};

use crate::marker_gate::MarkerGate;

/// One intent's targets; `Err`: at least one could not be asked.
pub(super) type Answer = Result<Vec<(TargetId, Found)>, String>;
/// Backends that were looked at, and those of them that may be asked.
type Checked = BTreeMap<BackendId, Result<Arc<Backend>, String>>;

/// What each intent's targets hold, in the order of the batch.
pub(super) async fn ask(gate: &MarkerGate, batch: &[Intent], at_once: usize) -> Vec<Answer> {
    let ids: BTreeSet<BackendId> =
        batch.iter().flat_map(|intent| intent.targets.iter().map(|target| target.backend)).collect();
    let checks = ids.into_iter().map(|id| async move { (id, gate.open(id).await) });
    let checked: Checked = join_all(checks).await.into_iter().collect();
    let checked = &checked;
    let heads = batch.iter().map(|intent| async move {
        let targets = intent.targets.iter().map(|target| look(gate, checked, target, intent.kind));
        join_all(targets).await.into_iter().collect::<Answer>()
    });
    // Collected first: a stream over the lazy iterator would borrow it for all lifetimes.
    let heads: Vec<_> = heads.collect();
    let answers: Vec<Answer> = stream::iter(heads).buffered(at_once).collect().await;
    let doubts = doubts(gate, checked, &answers).await;
    answers.into_iter().map(|answer| believe(&doubts, answer?)).collect()
}

/// Those backends that said 404 and whose marker cannot be read, or is not ours, after that.
async fn doubts(gate: &MarkerGate, checked: &Checked, answers: &[Answer]) -> BTreeMap<BackendId, String> {
    let found = answers.iter().flatten().flatten();
    let said_404: BTreeSet<BackendId> =
        found.filter(|(_, found)| *found == Found::Nothing).map(|(target, _)| target.backend).collect();
    let again: Vec<&Arc<Backend>> =
        checked.values().flatten().filter(|backend| said_404.contains(&backend.id())).collect();
    let again = again.into_iter().map(|backend| async move { (backend.id(), gate.confirm(backend).await) });
    join_all(again).await.into_iter().filter_map(|(id, ours)| Some((id, ours.err()?))).collect()
}

fn believe(doubts: &BTreeMap<BackendId, String>, found: Vec<(TargetId, Found)>) -> Answer {
    let mut nothing = found.iter().filter(|(_, found)| *found == Found::Nothing);
    let doubt = nothing.find_map(|(target, _)| doubts.get(&target.backend));
    doubt.cloned().map_or(Ok(found), Err)
}

/// Asks one target. `Err`: no definite answer.
async fn look(
    gate: &MarkerGate,
    checked: &Checked,
    target: &Target,
    kind: WriteKind,
) -> Result<(TargetId, Found), String> {
    let backend = match checked.get(&target.backend) {
        Some(Ok(backend)) => backend,
        // Nobody will ever know, nor need to: the write was never acknowledged.
        Some(Err(_)) if gate.is_forgotten(target.backend) => return Ok((target.id(), Found::Nothing)),
        Some(Err(why)) => return Err(why.clone()),
        None => return Err(format!("backend {} was not looked at", target.backend.0)),
    };
    let known = backend.spec().place;
    if known < target.place {
        // This replica does not know yet that the backend moved: what it would find is the past.
        return Err(format!("backend {}: its new place is not known here yet", backend.name()));
    }
    match backend.head(&target.storage_key).await {
        Ok(head) => Ok((target.id(), describe(&head, kind, backend.etag_proof()))),
        Err(error) if error.kind == BackendErrorKind::NotFound => Ok((target.id(), Found::Nothing)),
        Err(error) => Err(format!("backend {}: {error}", backend.name())),
    }
}

/// A blob by its headers.
fn describe(head: &HeadDone, kind: WriteKind, proof: EtagProof) -> Found {
    let stored_size = head.size;
    let backend_version =
        head.headers.get("x-amz-version-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    // Not by our pen, or by a newer release's: it can be deleted as what the intent named, but not be
    // made an object.
    let Ok(StoredBlob { description, attributes, bucket_key: _ }) = from_blob_headers(&head.headers) else {
        return Found::Blob { stored_size, size: stored_size, etag: None, attributes: None, backend_version };
    };
    let plain = description.kind == BlobKind::Blob && description.encoding == Encoding::default();
    // Both kinds send the whole object in one request; a kind that does not has another ETag.
    let in_one = matches!(kind, WriteKind::Put | WriteKind::Copy);
    let proven = |etag: &Etag| plain && in_one && proof.is_md5() && etag.is_md5();
    Found::Blob {
        stored_size,
        size: description.size,
        etag: head.etag.clone().filter(proven),
        attributes: (!description.incomplete).then_some(attributes),
        backend_version,
    }
}
