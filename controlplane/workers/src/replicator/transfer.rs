//! One copy, from one backend to another: begin → read and write → verify → commit, or abort.
//!
//! Invariants: the intent names the target before a byte is sent to it; the last bytes leave only when all are what
//! they should be, so that a bad copy is never completed; an attempt that failed ends in Abort, one whose Commit has no
//! known outcome is left to the reaper.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use s3o_backend::{Backend, BackendErrorKind, Certainty, GetDone, PutDone, UploadWatch};
use s3o_blob::{BodyDigests, Guard, SelfDescription, to_blob_headers};
use s3o_core::call::{
    Abort, BeginCopy, Call, CarriedIntent, Commit, ExtentOf, FinishedTarget, Outcome, StoredCopy,
};
use s3o_core::intent::{Target, TargetEnd};
use s3o_core::object::{CopyRow, CopyState, known_digest};
use s3o_core::ports::Ledger;
use s3o_core::replication::{CopiesPage, ExtentCopies, Standing};
use s3o_core::scrub::Verdict;
use s3o_runtime::{OpenOps, audit};
use s3o_types::{BackendId, BlobName, Conditions, Digest, DigestKind, Encoding, ObjectAttributes, Op};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::check::{Checker, expected, is_corruption, vouches};
use crate::harness::{new_op, request};
use crate::replicator::tried::{Failure, Tried};

const NO_SOURCE: &str = "no copy can be read";

pub(crate) struct Transfer {
    ledger: Arc<dyn Ledger>,
    backends: Arc<Backends>,
    checker: Checker,
    keep: DigestKind,
    session: Uuid,
    open_ops: OpenOps,
}

/// What was made.
pub(crate) struct Made {
    pub(crate) copy: CopyRow,
    /// Where its source is, if that was in doubt and is verified since: it was read whole, and right.
    pub(crate) vouched: Option<BackendId>,
}

/// A source that answers.
struct Source {
    copy: CopyRow,
    backend: Arc<Backend>,
    got: GetDone,
}

/// How an attempt ended at its target.
enum Sent {
    Stored(StoredCopy),
    Failed { end: TargetEnd, backend_version: Option<String>, why: String, blame: Blame },
}

/// Whose fault a failure is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    Source,
    /// Its bytes are others than they should be.
    CorruptSource,
    Target,
}

impl Transfer {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, session: Uuid, open_ops: OpenOps) -> Self {
        Self {
            ledger: deps.ledger.clone(),
            checker: Checker::new(deps, backends.clone(), session, "replicator"),
            keep: deps.settings.digest,
            backends,
            session,
            open_ops,
        }
    }

    /// Makes one more copy of an extent.
    pub(crate) async fn copy(
        &self,
        page: &CopiesPage,
        extent: &ExtentCopies,
        standing: &Standing,
        tried: &Tried,
    ) -> Result<Made, Failure> {
        if self.in_order(extent, standing, tried).is_empty() {
            return Err(NO_SOURCE.to_owned().into());
        }
        let op = new_op();
        let _lease = self.open_ops.open(op.id);
        // Before a source is asked, which may cost money, there is a place for the copy.
        let (intent, target) = self.begin(op, page, extent, (standing, tried)).await?;
        let source = match self.open(page, extent, (standing, tried)).await {
            Ok(source) => source,
            Err(why) => {
                let end = TargetEnd::NotSent;
                let ended = FinishedTarget { target: target.id(), end, backend_version: None };
                self.abort(op, intent, ended).await;
                return Err(why.into());
            }
        };
        let (copy, from) = (source.copy.clone(), source.backend.name().to_owned());
        let known = digest_of(extent);
        let readable = extent.copies.iter().filter(|(copy, _)| copy.state.readable());
        match self.send(page, source, &target, (known, readable.count() == 1)).await {
            Sent::Stored(stored) => {
                let digest = stored.digest;
                let row = self.commit(op, page, intent, stored, &copy).await?;
                report(op, &row, &from, &self.checker.name(row.backend));
                Ok(Made { copy: row, vouched: self.vouch(&copy, digest).await })
            }
            Sent::Failed { end, backend_version, why, blame } => {
                let ended = FinishedTarget { target: target.id(), end, backend_version };
                self.abort(op, intent, ended).await;
                if blame == Blame::CorruptSource {
                    self.checker.look_again(page, &copy, known).await;
                }
                let (of_source, of_target) = (Some(copy.backend), Some(target.backend));
                Err(match blame {
                    Blame::Source | Blame::CorruptSource => Failure { why, source: of_source, target: None },
                    Blame::Target => Failure { why, source: None, target: of_target },
                })
            }
        }
    }

    /// As the scrubber would: `digest` was kept, so something vouches for the bytes.
    async fn vouch(&self, source: &CopyRow, digest: Option<Digest>) -> Option<BackendId> {
        let digest = digest.filter(|_| source.state == CopyState::Uncertain)?;
        let verdict = self.checker.vouch(source, Some(digest)).await;
        (verdict == Verdict::Good).then_some(source.backend)
    }

    /// The best source that answers. Those that say 404 are looked at again.
    async fn open(
        &self,
        page: &CopiesPage,
        extent: &ExtentCopies,
        (standing, tried): (&Standing, &Tried),
    ) -> Result<Source, String> {
        let mut why = NO_SOURCE.to_owned();
        for copy in self.in_order(extent, standing, tried) {
            let Some(backend) = self.backends.get(copy.backend) else { continue };
            let if_match = copy.foreign_key.as_ref().and(copy.backend_etag.as_ref());
            match backend.get(&copy.storage_key(&page.bucket_name), None, if_match).await {
                Ok(got) if got.size == copy.stored_size => return Ok(Source { copy, backend, got }),
                Ok(got) => {
                    let (size, is) = (copy.stored_size, got.size);
                    why = format!("{}: the blob has {is} bytes and should have {size}", backend.name());
                    self.checker.look_again(page, &copy, digest_of(extent)).await;
                }
                Err(error) => {
                    why = format!("{}: {error}", backend.name());
                    if error.kind == BackendErrorKind::NotFound {
                        self.checker.look_again(page, &copy, digest_of(extent)).await;
                    }
                }
            }
        }
        Err(why)
    }

    /// Verified before uncertain, up before down, those whose month is not used up before others, fast before slow.
    fn in_order(&self, extent: &ExtentCopies, standing: &Standing, tried: &Tried) -> Vec<CopyRow> {
        let now = Instant::now();
        let usable = |copy: &&CopyRow| {
            copy.state.readable() && copy.encoding.is_plain() && !tried.sources.contains(&copy.backend)
        };
        let mut copies: Vec<CopyRow> =
            extent.copies.iter().map(|(copy, _)| copy).filter(usable).cloned().collect();
        copies.sort_by_cached_key(|copy| {
            let backend = self.backends.get(copy.backend);
            let is_up = backend.as_ref().is_some_and(|backend| backend.health().is_readable(now));
            let latency = backend.and_then(|backend| backend.health().latency()).unwrap_or_default();
            let sure = copy.state == CopyState::Verified;
            let is_spent = standing.spent.contains(&copy.backend);
            (Reverse(sure), standing.unhealthy.contains(&copy.backend), !is_up, is_spent, latency)
        });
        copies
    }

    async fn begin(
        &self,
        op: Op,
        page: &CopiesPage,
        extent: &ExtentCopies,
        (standing, tried): (&Standing, &Tried),
    ) -> Result<(CarriedIntent, Target), String> {
        let (bucket, key, version) = (page.object.bucket, page.object.key.clone(), page.object.version);
        let of = ExtentOf { bucket, key: key.clone(), version, extent: extent.extent };
        let mut down = self.backends.down();
        down.extend(&standing.unhealthy);
        down.extend(&tried.targets);
        let call = Call::BeginCopy(BeginCopy { of, down });
        let (version, targets) = match self.submit(op, call).await {
            Outcome::Begun { version, targets, required_copies: _ } => (version, targets),
            Outcome::Refused(refusal) => return Err(refusal.message),
            other => return Err(format!("unexpected outcome {other:?}")),
        };
        let target = targets.first().cloned().ok_or("a copy was begun without a target")?;
        let size = extent.copies.first().map_or(0, |(copy, _)| copy.stored_size);
        let conditions = Conditions::default();
        let intent =
            CarriedIntent { bucket, key, version, size, conditions, upload: None, replica: true, targets };
        Ok((intent, target))
    }

    /// `alone`: no other copy could contradict the source, so that its bytes are taken at its word.
    async fn send(
        &self,
        page: &CopiesPage,
        source: Source,
        target: &Target,
        (known, alone): (Option<Digest>, bool),
    ) -> Sent {
        let backend = match self.at_place(target) {
            Ok(backend) => backend,
            Err(why) => return not_sent(why),
        };
        let Source { copy, backend: from, got } = source;
        // An imported object has an ETag that may be no MD5, so no copy of ours tells it.
        let incomplete = copy.piece.is_some() || copy.foreign_key.is_some();
        let description = SelfDescription { incomplete, ..SelfDescription::plain(copy.stored_size) };
        let attributes = &page.object.attributes;
        let headers = match to_blob_headers(&page.bucket_name, &page.object.key, attributes, &description) {
            Ok(headers) => headers,
            Err(error) => return not_sent(error.to_string()),
        };
        let mut expected = expected(page, &copy, known, from.etag_proof());
        expected.keep =
            (alone || vouches(&expected)).then_some(known.map_or(self.keep, |known| known.kind()));
        let (guard, verdict) = Guard::new(got.body, expected);
        let (key, watch) = (&target.storage_key, UploadWatch::new());
        let put = backend.put_watched(key, copy.stored_size, headers, guard, None, &watch).await;
        match (put, verdict.get()) {
            (Ok(put), Some(Ok(digests))) => stored(&backend, target, put, digests.clone()).await,
            (Ok(put), _) => Sent::Failed {
                end: TargetEnd::Unknown,
                backend_version: put.version_id,
                why: format!("{}: the backend answered before it had the body", backend.name()),
                blame: Blame::Target,
            },
            (Err(error), verdict) => {
                let fault = verdict.and_then(|verdict| verdict.as_ref().err());
                let why = match fault {
                    Some(fault) => format!("{}: {fault}", from.name()),
                    None => format!("{}: {error}", backend.name()),
                };
                let blame = match fault {
                    Some(fault) if is_corruption(fault) => Blame::CorruptSource,
                    Some(_) => Blame::Source,
                    // Nothing came for too long.
                    None if error.kind == BackendErrorKind::Body => Blame::Source,
                    None => Blame::Target,
                };
                Sent::Failed { end: end_of(error.certainty), backend_version: None, why, blame }
            }
        }
    }

    /// The target's backend, if this replica knows it where the target is.
    fn at_place(&self, target: &Target) -> Result<Arc<Backend>, String> {
        let backend = self.backends.get(target.backend);
        backend
            .filter(|backend| backend.spec().place == target.place)
            .ok_or_else(|| format!("{} is being reconfigured", self.checker.name(target.backend)))
    }

    async fn commit(
        &self,
        op: Op,
        page: &CopiesPage,
        intent: CarriedIntent,
        stored: StoredCopy,
        like: &CopyRow,
    ) -> Result<CopyRow, String> {
        let row = CopyRow {
            backend: stored.target.backend,
            blob: BlobName {
                version: intent.version,
                extent: stored.target.extent,
                r#gen: stored.target.r#gen,
            },
            state: CopyState::Verified,
            backend_etag: stored.backend_etag.clone(),
            backend_version: stored.backend_version.clone(),
            encoding: Encoding::default(),
            foreign_key: None,
            digest: like.digest.or(stored.digest),
            ..like.clone()
        };
        let ended = FinishedTarget {
            target: stored.target,
            end: TargetEnd::Stored,
            backend_version: stored.backend_version.clone(),
        };
        let commit = Commit {
            intent: intent.clone(),
            etag: page.object.etag.clone(),
            attributes: ObjectAttributes::default(),
            checksums: s3o_types::Checksums::default(),
            copies: vec![stored],
            failed: vec![],
            copied: vec![],
        };
        match self.submit(op, Call::Commit(Box::new(commit))).await {
            Outcome::Committed { .. } => Ok(row),
            Outcome::Refused(refusal) => {
                // On record already, or not decided: then this settles it.
                self.abort(op, intent, ended).await;
                Err(refusal.message)
            }
            other => Err(format!("unexpected outcome {other:?}")),
        }
    }

    async fn abort(&self, op: Op, intent: CarriedIntent, ended: FinishedTarget) {
        let abort = Abort { intent, targets: vec![ended] };
        if let Outcome::Refused(refusal) = self.submit(op, Call::Abort(abort)).await {
            tracing::debug!(%op, error = refusal.message, "a copy was not given up: left to the reaper");
        }
    }

    async fn submit(&self, op: Op, call: Call) -> Outcome {
        self.ledger.submit(request(self.session, "replicator", op, format!("replicate-{op}"), call)).await
    }
}

async fn stored(backend: &Arc<Backend>, target: &Target, put: PutDone, digests: BodyDigests) -> Sent {
    match backend.verify_put(&target.storage_key, &put, &digests).await {
        Ok(_) => Sent::Stored(StoredCopy {
            target: target.id(),
            stored_size: digests.size,
            backend_etag: put.etag,
            backend_version: put.version_id,
            encoding: Encoding::default(),
            digest: digests.digest,
        }),
        Err(error) => Sent::Failed {
            end: TargetEnd::Stored,
            backend_version: put.version_id,
            why: format!("{}: {error}", backend.name()),
            blame: Blame::Target,
        },
    }
}

fn digest_of(extent: &ExtentCopies) -> Option<Digest> {
    known_digest(extent.copies.iter().map(|(copy, _)| copy))
}

fn not_sent(why: String) -> Sent {
    Sent::Failed { end: TargetEnd::NotSent, backend_version: None, why, blame: Blame::Target }
}

const fn end_of(certainty: Certainty) -> TargetEnd {
    match certainty {
        Certainty::NotSent => TargetEnd::NotSent,
        Certainty::Cut => TargetEnd::Cut,
        Certainty::Unknown => TargetEnd::Unknown,
    }
}

fn report(op: Op, row: &CopyRow, from: &str, to: &str) {
    let (bucket, key, size) = (row.bucket.0, row.key.as_str(), row.stored_size);
    let version = row.blob.version.to_string();
    audit!("replication.copy", request_id = %op, bucket, key, version, size, from, to);
}
