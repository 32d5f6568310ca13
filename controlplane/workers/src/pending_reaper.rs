//! Settles intents whose lease ran out: looks whether the blob is there, and lets the ledger decide.
//!
//! Invariant: the claim fences the write before the first look; a target that gives no definite
//! answer settles nothing, and the intent is let go to be looked at again.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use s3o_backend::{Backend, BackendErrorKind, HeadDone};
use s3o_blob::headers::from_blob_headers;
use s3o_core::call::{Call, Found, Outcome, Request, Resolution, Resolve, TargetId};
use s3o_core::cleanup::Claim;
use s3o_core::intent::{Intent, Target};
use s3o_core::ports::{Ledger, Queues};
use s3o_core::worker::Counts;
use s3o_runtime::audit;
use s3o_types::EtagProof;
use tracing::info;
use uuid::Uuid;

use crate::Deps;
use crate::backends::Backends;
use crate::harness::Worker;
use crate::marker_gate::MarkerGate;

/// A HEAD may take a minute, a queue of them a few.
const CLAIM_US: i64 = 5 * 60 * 1_000_000;
/// Intents a claim.
const BATCH: u32 = 256;

pub(crate) struct PendingReaper {
    ledger: Arc<dyn Ledger>,
    queues: Arc<dyn Queues>,
    backends: Arc<Backends>,
    gate: MarkerGate,
    owner: Uuid,
    concurrency: usize,
    resolved: Family<[(&'static str, &'static str); 1], Counter>,
}

impl PendingReaper {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        let resolved = Family::default();
        let help = "Pending PUT intents resolved by status";
        deps.metrics.register("pending_intents_resolved", help, resolved.clone());
        Self {
            ledger: deps.ledger.clone(),
            queues: deps.queues.clone(),
            backends,
            gate: MarkerGate::new(deps.configs.clone()),
            owner,
            concurrency: deps.settings.reaper_concurrency.max(1),
            resolved,
        }
    }

    /// Settles one intent; `Err` says why nothing definite is known.
    async fn settle(&self, intent: &Intent) -> Result<Resolution, String> {
        let mut found = Vec::with_capacity(intent.targets.len());
        for target in &intent.targets {
            found.push((target.id(), self.look(target).await?));
        }
        match self.ledger.submit(self.request(intent, found)).await {
            Outcome::Resolved(resolution) => Ok(resolution),
            Outcome::Refused(refusal) => Err(refusal.message),
            other => Err(format!("unexpected outcome {other:?}")),
        }
    }

    fn request(&self, intent: &Intent, found: Vec<(TargetId, Found)>) -> Request {
        Request {
            op: intent.op,
            session: intent.session,
            access_key: String::new(),
            source: "pending_reaper".to_owned(),
            request_id: format!("reap-{}", intent.op),
            bulk: false,
            call: Call::Resolve(Box::new(Resolve { intent: intent.clone(), owner: self.owner, found })),
        }
    }

    async fn look(&self, target: &Target) -> Result<Found, String> {
        let Some(backend) = self.backends.get(target.backend) else {
            return Err(format!("backend {} is not configured", target.backend.0));
        };
        self.gate.is_ours(&backend).await.map_err(|why| format!("{}: {why}", backend.name()))?;
        match backend.head(&target.storage_key).await {
            Ok(head) => Ok(blob(&backend, &head)),
            Err(error) if error.kind == BackendErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(format!("{}: {error}", backend.name())),
        }
    }

    fn count(&self, intent: &Intent, resolution: Resolution) -> &'static str {
        let (op, bucket, key) = (intent.op.to_string(), intent.bucket.0, intent.key.as_str());
        let status = match resolution {
            Resolution::Promoted => {
                audit!("pending_reaper.promoted", request_id = %op, bucket, key);
                "promoted"
            }
            Resolution::Dropped => {
                audit!("pending_reaper.dropped", request_id = %op, bucket, key);
                "dropped"
            }
            Resolution::Superseded => {
                audit!("pending_reaper.superseded", request_id = %op, bucket, key);
                "dropped"
            }
            Resolution::AlreadyResolved => "already_resolved",
        };
        self.resolved.get_or_create(&[("status", status)]).inc();
        status
    }

    async fn look_and_settle(&self, intents: Vec<Intent>) -> Vec<(Intent, Result<Resolution, String>)> {
        let settled = futures::stream::iter(intents).map(|intent| async move {
            let result = self.settle(&intent).await;
            (intent, result)
        });
        settled.buffer_unordered(self.concurrency).collect().await
    }

    async fn settle_all(&self, intents: Vec<Intent>, counts: &mut Counts) -> Vec<s3o_types::Op> {
        let mut ambiguous = Vec::new();
        for (intent, result) in self.look_and_settle(intents).await {
            let status = match result {
                Ok(resolution) => self.count(&intent, resolution),
                Err(why) => {
                    info!(op = %intent.op, key = intent.key, error = why, "an expired intent stays: no definite answer");
                    self.resolved.get_or_create(&[("status", "ambiguous")]).inc();
                    ambiguous.push(intent.op);
                    "ambiguous"
                }
            };
            *counts.entry(status.to_owned()).or_default() += 1;
        }
        ambiguous
    }
}

/// What a HEAD tells. Only what is proven becomes an ETag or a version's attributes.
fn blob(backend: &Backend, head: &HeadDone) -> Found {
    let stored = from_blob_headers(&head.headers).ok();
    let etag = head.etag.clone().filter(|etag| backend.etag_proof() == EtagProof::Md5 && etag.is_md5());
    let size = stored.as_ref().map_or(0, |stored| stored.description.size);
    Found::Blob {
        stored_size: head.size,
        size,
        etag,
        attributes: stored.filter(|s| !s.description.incomplete).map(|s| s.attributes),
        backend_version: None,
    }
}

#[async_trait]
impl Worker for PendingReaper {
    async fn tick(&self) -> Result<Counts, String> {
        self.gate.reset().await;
        let mut counts = Counts::new();
        loop {
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: BATCH };
            let intents =
                self.queues.claim_expired_intents(claim).await.map_err(|error| error.to_string())?;
            let full = intents.len() == BATCH as usize;
            let ambiguous = self.settle_all(intents, &mut counts).await;
            let stuck = !ambiguous.is_empty();
            if stuck {
                let released = self.queues.release_intents(self.owner, ambiguous).await;
                released.map_err(|error| error.to_string())?;
            }
            // What was let go would only be claimed again.
            if stuck || !full {
                return Ok(counts);
            }
        }
    }
}
