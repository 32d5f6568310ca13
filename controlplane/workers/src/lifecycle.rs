//! Removes what expires by the rules of buckets: current versions, noncurrent ones, delete markers, uploads that nobody
//! finishes.
//!
//! Invariants: one replica goes through a bucket at a time, page by page, and holds nothing between two of them; what a
//! page finds due is removed by the ledger, which decides it again under the key's lock. A pass that was left, by a
//! restart or a failure, goes on with the page at which it stood.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use s3o_core::call::{Call, Expire, Expiring, Outcome};
use s3o_core::cleanup::Claim;
use s3o_core::config::BucketState;
use s3o_core::lifecycle::Place;
use s3o_core::ports::{Configs, Ledger, Lifecycle as Passes, PortError};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::{BucketId, ErrorCode};
use uuid::Uuid;

use crate::Deps;
use crate::harness::{Worker, new_op, request};

/// Longer than a page of which every call takes all its patience; each page renews it.
const CLAIM_US: i64 = 60 * 60 * 1_000_000;
/// Calls at a time: they share transactions of the lane for bulk calls.
const CONCURRENCY: usize = 32;

/// How the worker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleSettings {
    /// Between two passes.
    pub interval: Duration,
    /// Rows that are looked at at once.
    pub batch: u32,
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self { interval: Duration::from_hours(1), batch: 1000 }
    }
}

#[derive(Clone, Default)]
struct Metrics {
    deleted: Counter,
    failed: Counter,
    runs: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    fn new(metrics: &s3o_runtime::Metrics) -> Self {
        let new = Self::default();
        let help = "Objects deleted by lifecycle expiration";
        metrics.register("lifecycle_deleted", help, new.deleted.clone());
        let help = "Objects that failed lifecycle deletion";
        metrics.register("lifecycle_failed", help, new.failed.clone());
        metrics.register("lifecycle_runs", "Lifecycle worker executions", new.runs.clone());
        new
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Expired,
    Aborted,
    /// It was changed since the look, and is due no more.
    Kept,
    Failed(String),
    /// The database could not be asked.
    Away(String),
}

pub(crate) struct Lifecycle {
    passes: Arc<dyn Passes>,
    ledger: Arc<dyn Ledger>,
    configs: Arc<dyn Configs>,
    owner: Uuid,
    batch: u32,
    shutdown: Shutdown,
    metrics: Metrics,
}

impl Lifecycle {
    pub(crate) fn new(deps: &Deps, owner: Uuid) -> Self {
        Self {
            passes: deps.lifecycle.clone(),
            ledger: deps.ledger.clone(),
            configs: deps.configs.clone(),
            owner,
            batch: deps.settings.lifecycle.batch,
            shutdown: deps.shutdown.clone(),
            metrics: Metrics::new(&deps.metrics),
        }
    }

    const fn claim(&self) -> Claim {
        Claim { owner: self.owner, lasts_us: CLAIM_US, limit: 1, due_for_us: 0 }
    }

    /// Those of which something may expire, as the database has them now.
    async fn buckets(&self) -> Result<Vec<(BucketId, String)>, PortError> {
        let config = self.configs.newest().await?;
        let expiring = config
            .buckets
            .iter()
            .filter(|bucket| bucket.state == BucketState::Active && !bucket.lifecycle.is_empty());
        Ok(expiring.map(|bucket| (bucket.id, bucket.name.as_str().to_owned())).collect())
    }

    /// Goes through a bucket to its end, or until it is another's. An error leaves it where it is.
    async fn pass(&self, (bucket, name): &(BucketId, String), counts: &mut Counts) -> Result<(), String> {
        let text = |error: PortError| error.to_string();
        let mut place: Option<Place> = self.passes.claim_pass(*bucket, self.claim()).await.map_err(text)?;
        let mut first_error = None;
        while let Some(after) = place {
            if self.shutdown.is_stopping() {
                return Ok(());
            }
            let page = self.passes.due(*bucket, &after, self.batch).await.map_err(text)?;
            self.remove(name, page.due, counts, &mut first_error).await?;
            let ours =
                self.passes.save_pass(*bucket, self.claim(), page.next.as_ref()).await.map_err(text)?;
            place = page.next.filter(|_| ours);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// What could not be removed is met again by the next pass. Without the database the page is looked at again.
    async fn remove(
        &self,
        bucket: &str,
        due: Vec<Expire>,
        counts: &mut Counts,
        first_error: &mut Option<String>,
    ) -> Result<(), String> {
        let mut away = None;
        let mut ends = futures::stream::iter(due.into_iter().map(|expire| self.expire(bucket, expire)))
            .buffer_unordered(CONCURRENCY);
        while let Some(end) = ends.next().await {
            let status = match end {
                End::Expired => {
                    self.metrics.deleted.inc();
                    "expired"
                }
                End::Aborted => "uploads_aborted",
                End::Kept => "kept",
                End::Failed(why) => {
                    self.metrics.failed.inc();
                    first_error.get_or_insert(why);
                    "failed"
                }
                End::Away(why) => {
                    away.get_or_insert(why);
                    continue;
                }
            };
            *counts.entry(status.to_owned()).or_default() += 1;
        }
        away.map_or(Ok(()), Err)
    }

    async fn expire(&self, bucket: &str, expire: Expire) -> End {
        let op = new_op();
        let (key, what, request_id) = (expire.key.clone(), expire.what, format!("lifecycle-{op}"));
        let request = request(self.owner, "lifecycle", op, request_id.clone(), Call::Expire(expire));
        match self.ledger.submit(request).await {
            Outcome::Deleted { .. } => {
                let version = match what {
                    Expiring::Current(version) | Expiring::Noncurrent { version, .. } => version.to_string(),
                    Expiring::Upload(_) => String::new(),
                };
                audit!("storage.DeleteObject", request_id, bucket, key, version);
                End::Expired
            }
            Outcome::UploadAborted => {
                audit!("storage.MultipartCleanup", request_id, bucket, key);
                End::Aborted
            }
            Outcome::Refused(refusal)
                if matches!(refusal.code, ErrorCode::PreconditionFailed | ErrorCode::NoSuchUpload) =>
            {
                End::Kept
            }
            Outcome::Refused(refusal) if refusal.code == ErrorCode::ServiceUnavailable => {
                End::Away(refusal.message)
            }
            Outcome::Refused(refusal) => End::Failed(format!("{bucket}/{key}: {}", refusal.message)),
            other => End::Failed(format!("{bucket}/{key}: unexpected outcome {other:?}")),
        }
    }

    async fn run(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        let mut first_error = None;
        for bucket in self.buckets().await.map_err(|error| error.to_string())? {
            if self.shutdown.is_stopping() {
                break;
            }
            // The other buckets need not wait for what is wrong with one.
            if let Err(why) = self.pass(&bucket, &mut counts).await {
                first_error.get_or_insert(why);
            }
        }
        first_error.map_or(Ok(counts), Err)
    }
}

#[async_trait]
impl Worker for Lifecycle {
    async fn tick(&self) -> Result<Counts, String> {
        let ran = self.run().await;
        let status = if ran.is_ok() { "success" } else { "error" };
        self.metrics.runs.get_or_create(&[("status", status)]).inc();
        ran
    }
}
