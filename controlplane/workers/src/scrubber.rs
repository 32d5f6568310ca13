//! Reads copies to find those that went wrong while nobody read them.
//!
//! First the versions that wait for it (a reader got wrong bytes, or a copy was attached unread), all copies of each;
//! then every backend's copies in turn, some bytes an hour (docs/adr/0016).
//!
//! Invariant: it never takes a copy away: what is wrong is marked, and stays until the replicator has made another one
//! from one that is good.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use s3o_core::call::Refusal;
use s3o_core::cleanup::Claim;
use s3o_core::object::{CopyRow, Locate, Want, known_digest};
use s3o_core::ports::{Configs, Ledger, ObjectScrub, Overview, Replication, Scrubs};
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyItem, CopyTask, ExtentCopies, ReplicationEntry, ReplicationItem,
    ReplicationResult,
};
use s3o_core::scrub::{
    SCRUB_BATCH, ScrubBatch, ScrubObject, ScrubPace, ScrubProgress, ScrubbedCopy, Verdict,
};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::{BackendId, ErrorCode, Extent};
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::check::Checker;
use crate::harness::{Run, Worker};
use crate::version_queue::VersionQueue;

/// Versions a claim.
const BATCH: u32 = 16;
/// A claim of a backend's copies; it ends with the process's session, if not before.
const CLAIM_US: i64 = 60 * 60 * 1_000_000;

pub(crate) struct Scrubber {
    ledger: Arc<dyn Ledger>,
    configs: Arc<dyn Configs>,
    replication: Arc<dyn Replication>,
    scrubs: Arc<dyn Scrubs>,
    overview: Arc<dyn Overview>,
    queue: VersionQueue,
    checker: Checker,
    pace: ScrubPace,
    owner: Uuid,
    shutdown: Shutdown,
    metrics: Metrics,
}

type ByOperation = Family<[(&'static str, &'static str); 1], Counter>;

struct Metrics {
    checks: ByOperation,
    errors: ByOperation,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new = Self { checks: Family::default(), errors: Family::default() };
        let help = "Integrity hash verifications performed";
        metrics.register("integrity_checks", help, new.checks.clone());
        metrics.register("integrity_errors", "Hash mismatches detected", new.errors.clone());
        new
    }

    fn count(&self, verdict: &Verdict) {
        let labels = [("operation", "scrub")];
        if matches!(verdict, Verdict::Good | Verdict::Corrupt | Verdict::Refused(_)) {
            self.checks.get_or_create(&labels).inc();
        }
        if *verdict == Verdict::Corrupt {
            self.errors.get_or_create(&labels).inc();
        }
    }
}

impl Scrubber {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        let helps = [
            "Versions whose copies are to be read",
            "Versions whose copies could not be read",
            "Scrubber executions",
            "Scrubber cycle time",
        ];
        Self {
            ledger: deps.ledger.clone(),
            configs: deps.configs.clone(),
            replication: deps.replication.clone(),
            scrubs: deps.scrubs.clone(),
            overview: deps.overview.clone(),
            queue: VersionQueue::new(deps, CopyTask::Verify, owner, "scrub", helps),
            checker: Checker::new(deps, backends, owner, "scrubber"),
            pace: deps.settings.scrub_pace,
            owner,
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    /// Reads one copy of an extent.
    async fn check(&self, page: &CopiesPage, extent: &ExtentCopies, copy: &CopyRow) -> Verdict {
        let known = known_digest(extent.copies.iter().map(|(copy, _)| copy));
        let verdict = self.checker.check(page, copy, known, extent.copies.len() == 1).await;
        self.metrics.count(&verdict);
        if !matches!(verdict, Verdict::Good | Verdict::Unproven) {
            let (backend, key, version) = (copy.backend.0, copy.key.as_str(), copy.blob.version.to_string());
            let (found, why) = (verdict.as_str(), verdict.why());
            audit!("scrub.copy", bucket = copy.bucket.0, key, version, backend, found, why);
        }
        verdict
    }

    /// Some extents of a version; `None`: it is gone.
    async fn page(
        &self,
        entry: &ReplicationEntry,
        after: Option<Extent>,
    ) -> Result<Option<CopiesPage>, String> {
        let query = CopiesQuery { entry: entry.clone(), after };
        self.replication.copies(query).await.map_err(|error| error.to_string())
    }

    /// Whether everything that has copies of a version can be asked now; `Err` says what cannot.
    async fn can_ask(&self, entry: &ReplicationEntry) -> Result<(), String> {
        let (mut after, mut asked) = (None, BTreeSet::new());
        loop {
            let Some(page) = self.page(entry, after).await? else { return Ok(()) };
            for (copy, _) in page.extents.iter().flat_map(|extent| &extent.copies) {
                if asked.insert(copy.backend) {
                    self.checker.can_ask(copy.backend).await?;
                }
            }
            after = page.extents.last().map(|extent| extent.extent);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// All extents of a version, page by page, until `each` breaks off. Where some could not be read before, none is read while that
    /// may be so again, of whichever page: a backend that is away would have the others read at each try.
    async fn pages(
        &self,
        entry: &ReplicationEntry,
        has_failed: bool,
        each: &mut (dyn FnMut(&CopyRow, &str, Verdict) + Send),
    ) -> Result<(), String> {
        if has_failed {
            self.can_ask(entry).await?;
        }
        let mut after = None;
        loop {
            let Some(page) = self.page(entry, after).await? else { return Ok(()) };
            for extent in &page.extents {
                for (copy, _) in &extent.copies {
                    if self.shutdown.is_stopping() {
                        return Err("the process was stopping".to_owned());
                    }
                    let verdict = self.check(&page, extent, copy).await;
                    each(copy, &page.bucket_name, verdict);
                }
            }
            after = page.extents.last().map(|extent| extent.extent);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// A version that waits: afterwards it is looked at whether it has the copies that it should.
    async fn tend(&self, item: &ReplicationItem, counts: &mut Counts) -> ReplicationResult {
        let mut unread = None;
        let mut each = |_: &CopyRow, _: &str, verdict: Verdict| {
            *counts.entry(verdict.as_str().to_owned()).or_default() += 1;
            if let Verdict::Unread(why) = verdict {
                unread = Some(why);
            }
        };
        match self.pages(&item.entry, item.attempts > 0, &mut each).await {
            Err(why) => ReplicationResult::Failed(why),
            Ok(()) => unread.map_or(ReplicationResult::HandedOver(CopyTask::Add), ReplicationResult::Failed),
        }
    }

    async fn waiting(&self, counts: &mut Counts) -> Result<(), String> {
        let run = Run::begin();
        while !self.shutdown.is_stopping() {
            let items = self.queue.claim(BATCH, &run).await?;
            if items.is_empty() {
                break;
            }
            for item in items {
                let result = self.tend(&item, counts).await;
                if let ReplicationResult::Failed(why) = &result {
                    self.queue.errors.inc();
                    tracing::warn!(
                        key = item.entry.key,
                        error = why,
                        "a version's copies are to be read still"
                    );
                }
                self.queue.finish(vec![(item, result)]).await?;
            }
        }
        Ok(())
    }

    /// What is due of each backend, until none has more or its bytes are used up. Not of those whose month is used up: it
    /// can wait for the next one.
    async fn rounds(&self, counts: &mut Counts) -> Result<(), String> {
        let mut ended: BTreeSet<BackendId> = BTreeSet::new();
        let spent = self.overview.spent(&self.configs.current()).await.map_err(|error| error.to_string())?;
        while self.pace.bytes_per_hour > 0 && !self.shutdown.is_stopping() {
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: SCRUB_BATCH, due_for_us: 0 };
            let claimed = self.scrubs.claim_scrub(claim, self.pace, &spent).await;
            let Some(batch) = claimed.map_err(|error| error.to_string())? else { break };
            let progress = self.read(batch, counts).await;
            self.scrubs.finish_scrub(self.owner, progress).await.map_err(|error| error.to_string())?;
            // However short the rest between two rounds is: one a tick.
            if progress.is_last && !ended.insert(progress.backend) {
                break;
            }
        }
        Ok(())
    }

    async fn read(&self, batch: ScrubBatch, counts: &mut Counts) -> ScrubProgress {
        let ScrubBatch { backend, copies, upto, is_last } = batch;
        let mut progress = ScrubProgress { backend, after: None, copies: 0, bytes: 0, is_last: false };
        for item in copies {
            if self.shutdown.is_stopping() {
                return progress;
            }
            match self.read_one(backend, &item).await {
                Ok(Some(verdict)) => {
                    *counts.entry(verdict.as_str().to_owned()).or_default() += 1;
                    // It waits for its next turn, and others go on.
                    progress.bytes += item.size;
                }
                Ok(None) => {}
                // The database is away: the same copies again, later.
                Err(error) => {
                    tracing::warn!(error, "the scrubber's round is broken off");
                    return progress;
                }
            }
            progress.copies += 1;
            progress.after = Some((item.entry.version, item.extent));
        }
        ScrubProgress { after: upto.or(progress.after), is_last, ..progress }
    }

    /// `Ok(None)`: the copy is gone by now, with its version or by itself.
    async fn read_one(&self, backend: BackendId, item: &CopyItem) -> Result<Option<Verdict>, String> {
        let page = self.replication.copies(item.query()).await.map_err(|error| error.to_string())?;
        let Some(page) = page else { return Ok(None) };
        let Some((extent, copy)) = page.copy_on(item.extent, backend) else { return Ok(None) };
        Ok(Some(self.check(&page, extent, copy).await))
    }

    async fn run(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        self.waiting(&mut counts).await?;
        self.rounds(&mut counts).await?;
        if !counts.is_empty() {
            let of = |what: &str| counts.get(what).copied().unwrap_or_default();
            let (good, corrupt, gone) = (of("good"), of("corrupt"), of("gone"));
            audit!("scrub.complete", good, corrupt, gone, unread = of("unread"));
        }
        Ok(counts)
    }
}

#[async_trait]
impl Worker for Arc<Scrubber> {
    async fn tick(&self) -> Result<Counts, String> {
        // It holds a page of copies on its way.
        self.queue.counted(Box::pin(self.run())).await
    }
}

#[async_trait]
impl ObjectScrub for Scrubber {
    async fn scrub_object(
        &self,
        object: ScrubObject,
        mut tell: Box<dyn FnMut(ScrubbedCopy) + Send>,
    ) -> Result<(), Refusal> {
        let ScrubObject { bucket, key, version } = object;
        let config = self.configs.current();
        let row = config.buckets.iter().find(|row| row.name.as_str() == bucket);
        let row = row
            .ok_or_else(|| Refusal::new(ErrorCode::NoSuchBucket, format!("there is no bucket `{bucket}`")))?;
        let query = Locate { bucket: row.id, key: key.clone(), version, want: Want::Range(0, 0) };
        let located = self.ledger.locate(query).await?.found();
        let located = located
            .ok_or_else(|| Refusal::new(ErrorCode::NoSuchKey, format!("there is no object `{key}`")))?;
        let entry =
            ReplicationEntry { version: located.object.version, bucket: row.id, key, task: CopyTask::Verify };
        let mut each = |copy: &CopyRow, bucket: &str, verdict: Verdict| {
            tell(ScrubbedCopy {
                version: copy.blob.version,
                extent: copy.blob.extent,
                backend: self.checker.name(copy.backend),
                storage_key: copy.storage_key(bucket),
                size: copy.stored_size,
                verdict,
            });
        };
        self.pages(&entry, false, &mut each)
            .await
            .map_err(|why| Refusal::new(ErrorCode::ServiceUnavailable, why))
    }
}
