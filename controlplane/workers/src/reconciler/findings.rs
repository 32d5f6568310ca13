//! What a batch of storage keys comes to: copies that are gone, copies that are back, blobs that no row names.
//!
//! Order: all looks first, then the marker once more, then the ledger. A look that came before a marker that is not ours
//! counts for nothing.

use std::sync::Arc;

use futures::StreamExt as _;
use s3o_backend::Backend;
use s3o_core::call::{BlobFate, Call, ChangeCopy, CopyChange, ExtentOf, Outcome, SettleBlob};
use s3o_core::object::CopyState;
use s3o_core::reconcile::{KnownCopy, Listed, LossLimit, LostCopy, Run, Seen, Stray, StrayKind, differs};
use s3o_runtime::audit;
use s3o_types::{BlobName, ErrorCode, StorageKey};

use super::looks::{Look, StrayBlob, at_copies, at_stray};
use super::{BucketIds, CONCURRENCY, Reconciler, Stop};

/// A batch, sorted by what has to be done.
#[derive(Default)]
struct Sorted {
    /// Rows whose blobs are not listed, or otherwise than the rows say.
    suspects: Vec<KnownCopy>,
    /// Blobs that no row of the merge names.
    strays: Vec<StrayBlob>,
    /// Those of copies that were missing.
    returned: Vec<StrayBlob>,
    /// Blobs that are where they should be.
    found: Vec<BlobName>,
}

impl Sorted {
    fn add(&mut self, run: &mut Run, buckets: &BucketIds, seen: Seen) {
        match seen {
            Seen::RowOnly(row) => {
                run.tally.rows += 1;
                if row.state.readable() {
                    self.suspects.push(*row);
                }
            }
            Seen::Both(row, listed) => {
                run.tally.rows += 1;
                run.tally.listed += 1;
                run.tally.own_bytes += listed.size;
                self.add_both(*row, &listed);
            }
            Seen::BlobOnly(listed) => {
                run.tally.listed += 1;
                self.add_blob(run, buckets, listed);
            }
        }
    }

    fn add_both(&mut self, row: KnownCopy, listed: &Listed) {
        match (row.state, differs(&row, listed.size, listed.etag.as_ref())) {
            (CopyState::Missing, false) if !row.imported => self.returned.push(StrayBlob {
                storage_key: row.storage_key,
                blob: row.blob,
                of: Some((row.bucket, row.key)),
                uncounted: 0,
            }),
            (state, true) if state.readable() => self.suspects.push(row),
            (_, false) => self.found.push(row.blob),
            (_, true) => {}
        }
    }

    fn add_blob(&mut self, run: &mut Run, buckets: &BucketIds, listed: Listed) {
        let stray = match StorageKey::parse(&listed.key) {
            StorageKey::Reserved => return,
            StorageKey::Foreign => None,
            StorageKey::Hashed { digest: _, blob } => Some((blob, None)),
            StorageKey::Plain { bucket, key, blob } => {
                let id = buckets.get(&bucket).and_then(|bearer| bearer.of(blob));
                id.map(|id| (blob, Some((id, key))))
            }
        };
        if let Some((blob, of)) = stray {
            run.tally.own_bytes += listed.size;
            self.strays.push(StrayBlob { storage_key: listed.key, blob, of, uncounted: listed.size });
        } else {
            run.tally.unmanaged += 1;
            run.tally.unmanaged_bytes += listed.size;
        }
    }
}

impl Reconciler {
    pub(super) async fn deal_with(
        &self,
        run: &mut Run,
        backend: &Arc<Backend>,
        buckets: &BucketIds,
        batch: Vec<Seen>,
    ) -> Result<(), Stop> {
        let mut sorted = Sorted::default();
        batch.into_iter().for_each(|seen| sorted.add(run, buckets, seen));
        let Sorted { suspects, strays, returned, found } = sorted;
        if !found.is_empty() && !run.ask.dry_run && self.metrics.lost.get() > 0 {
            self.store.note_found(backend.id(), found).await?;
        }
        if suspects.is_empty() && strays.is_empty() && returned.is_empty() {
            return Ok(());
        }
        let looks = at_copies(backend, suspects).await;
        let mut unplaced = self.unnamed(run, backend, strays).await?;
        unplaced.extend(returned);
        let settles = self.look_at_strays(run, backend, buckets, unplaced).await;
        // Whatever a backend said before it showed another marker, or none, is of another bucket.
        self.gate.confirm(backend).await.map_err(Stop::Failed)?;
        self.mark(run, looks).await?;
        for settle in settles {
            self.settle(run, settle).await?;
        }
        Ok(())
    }

    async fn look_at_strays(
        &self,
        run: &mut Run,
        backend: &Arc<Backend>,
        buckets: &BucketIds,
        strays: Vec<StrayBlob>,
    ) -> Vec<(SettleBlob, u64)> {
        let looks = strays.into_iter().map(|stray| {
            let backend = Arc::clone(backend);
            async move { (at_stray(&backend, buckets, &stray).await, stray.uncounted) }
        });
        let looks: Vec<_> = looks.collect();
        let looks: Vec<_> = futures::stream::iter(looks).buffered(CONCURRENCY).collect().await;
        let mut settles = Vec::new();
        for (look, uncounted) in looks {
            match look {
                Ok(Some(settle)) => {
                    settles.push((settle, uncounted));
                    continue;
                }
                Ok(None) => run.tally.left_alone += 1,
                Err(()) => run.tally.ambiguous += 1,
            }
            run.tally.unknown_bytes += uncounted;
        }
        settles
    }

    /// Those that nothing names.
    async fn unnamed(
        &self,
        run: &mut Run,
        backend: &Backend,
        strays: Vec<StrayBlob>,
    ) -> Result<Vec<StrayBlob>, Stop> {
        if strays.is_empty() {
            return Ok(strays);
        }
        let asked: Vec<Stray> = strays
            .iter()
            .map(|stray| Stray { storage_key: stray.storage_key.clone(), blob: stray.blob })
            .collect();
        let kinds = self.store.strays(backend.id(), &asked, self.young_us()).await?;
        let mut unnamed = Vec::new();
        for (stray, kind) in strays.into_iter().zip(kinds) {
            match kind {
                StrayKind::Unnamed => unnamed.push(stray),
                StrayKind::Named => {}
                StrayKind::Young => {
                    run.tally.left_alone += 1;
                    run.tally.unknown_bytes += stray.uncounted;
                }
                StrayKind::Unborn => {
                    run.tally.unknown_bytes += stray.uncounted;
                    let key = stray.storage_key;
                    tracing::error!(
                        backend = backend.name(),
                        key,
                        "a blob is newer than the database: was that restored?"
                    );
                    run.tally.left_alone += 1;
                }
            }
        }
        Ok(unnamed)
    }

    /// Tells the ledger what is gone, or another than it should be.
    async fn mark(&self, run: &mut Run, looks: Vec<(KnownCopy, Look)>) -> Result<(), Stop> {
        let limit = LossLimit { expected: run.expected, lifted: run.ask.accept_losses };
        let mut lost = Vec::new();
        let mut stopped = Ok(());
        for (copy, look) in looks {
            let is = match look {
                Look::Fine => continue,
                Look::Unclear => {
                    run.tally.ambiguous += 1;
                    run.tally.unknown_bytes += copy.stored_size;
                    continue;
                }
                Look::Not(state, bytes) => (state, bytes),
            };
            if !limit.allows_another(run.tally.marked + run.tally.lost) && !run.ask.dry_run {
                stopped = Err(too_many(run));
                break;
            }
            lost.extend(self.mark_one(run, copy, is).await?);
        }
        if !lost.is_empty() && !run.ask.dry_run {
            self.metrics.lost.inc_by(i64::try_from(lost.len()).unwrap_or(i64::MAX));
            self.store.note_lost(lost).await?;
        }
        stopped
    }

    /// `Some`: it cannot be marked, since it is the last that may be good. `bytes` are counted and are not there, or the
    /// other way round.
    async fn mark_one(
        &self,
        run: &mut Run,
        copy: KnownCopy,
        (state, bytes): (CopyState, u64),
    ) -> Result<Option<LostCopy>, Stop> {
        if run.ask.dry_run {
            run.tally.marked += 1;
            run.tally.drift_bytes += bytes;
            return Ok(None);
        }
        let KnownCopy { storage_key, bucket, key, blob, .. } = copy;
        let (backend, name) = (run.ask.backend, run.backend_name.as_str());
        let of = ExtentOf { bucket, key: key.clone(), version: blob.version, extent: blob.extent };
        let change = ChangeCopy { of, backend, r#gen: blob.r#gen, change: CopyChange::Mark(state) };
        match self.submit(Call::ChangeCopy(change)).await {
            Outcome::CopyChanged => {
                run.tally.marked += 1;
                run.tally.drift_bytes += bytes;
                audit!("reconcile.mark", backend = name, key = storage_key, state = state.as_str());
            }
            // Overwritten or deleted since the row was read.
            Outcome::Refused(refusal) if refusal.code == ErrorCode::NoSuchKey => {
                run.tally.unknown_bytes += bytes;
            }
            Outcome::Refused(refusal) if refusal.code == ErrorCode::PreconditionFailed => {
                run.tally.lost += 1;
                run.tally.drift_bytes += bytes;
                tracing::error!(backend = name, key = storage_key, "an object's last copy is not there");
                audit!("reconcile.lost", backend = name, key = storage_key);
                return Ok(Some(LostCopy { bucket, key, blob, backend }));
            }
            other => {
                tracing::warn!(backend = name, key = storage_key, ?other, "a copy was not marked");
                run.tally.ambiguous += 1;
                run.tally.unknown_bytes += bytes;
            }
        }
        Ok(None)
    }

    async fn settle(&self, run: &mut Run, (settle, uncounted): (SettleBlob, u64)) -> Result<(), Stop> {
        if run.ask.dry_run {
            run.tally.orphaned += 1;
            run.tally.drift_bytes += uncounted;
            return Ok(());
        }
        let (backend, key) = (run.backend_name.clone(), settle.storage_key.clone());
        let size = settle.stored_size;
        match self.submit(Call::SettleBlob(Box::new(settle))).await {
            Outcome::BlobSettled(BlobFate::Attached) => {
                run.tally.attached += 1;
                run.tally.drift_bytes += uncounted;
                audit!("reconcile.attach", backend, key, size);
            }
            Outcome::BlobSettled(BlobFate::Queued) => {
                run.tally.orphaned += 1;
                run.tally.drift_bytes += uncounted;
                audit!("reconcile.orphan", backend, key, size);
            }
            Outcome::BlobSettled(BlobFate::Kept) => {
                run.tally.left_alone += 1;
                run.tally.unknown_bytes += uncounted;
            }
            other => {
                tracing::warn!(backend, key, ?other, "a blob without a row was left alone");
                run.tally.ambiguous += 1;
                run.tally.unknown_bytes += uncounted;
            }
        }
        Ok(())
    }
}

fn too_many(run: &Run) -> Stop {
    let found = run.tally.marked + run.tally.lost;
    Stop::Failed(format!(
        "{found} of {} copies are gone and there are more: that is over 1 %, so that nothing more is marked. If the \
         backend has lost that much, run it again and accept the losses",
        run.expected
    ))
}
