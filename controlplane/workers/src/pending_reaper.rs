//! Settles intents whose lease ran out: looks whether the blob is there, and lets the ledger decide.
//!
//! Invariant: the claim fences the write before the first look; a target that gives no definite
//! answer settles nothing, and the intent is let go to be looked at again.

mod found;

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use s3o_core::call::{Call, Found, Outcome, Request, Resolution, Resolve, TargetId};
use s3o_core::cleanup::Claim;
use s3o_core::intent::Intent;
use s3o_core::ports::{Ledger, Queues};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::Op;
use tracing::info;
use uuid::Uuid;

use crate::backends::Backends;
use crate::harness::{Worker, request};
use crate::marker_gate::MarkerGate;
use crate::{Deps, IntentsResolved};

/// Longer than a batch of HEADs that each take the client's 60 s, 8 at a time.
const CLAIM_US: i64 = 15 * 60 * 1_000_000;
/// Intents a claim.
const BATCH: u32 = 64;

pub(crate) struct PendingReaper {
    ledger: Arc<dyn Ledger>,
    queues: Arc<dyn Queues>,
    gate: MarkerGate,
    owner: Uuid,
    concurrency: usize,
    shutdown: Shutdown,
    resolved: IntentsResolved,
}

impl PendingReaper {
    pub(crate) fn new(deps: &Deps, backends: Arc<Backends>, owner: Uuid) -> Self {
        Self {
            ledger: deps.ledger.clone(),
            queues: deps.queues.clone(),
            gate: MarkerGate::new(deps.configs.clone(), backends),
            owner,
            concurrency: deps.settings.reaper_concurrency.max(1),
            shutdown: deps.shutdown.clone(),
            resolved: deps.intents_resolved.clone(),
        }
    }

    /// Settles one intent by what was found; `Err` says why nothing definite is known.
    async fn settle(&self, intent: &Intent, found: found::Answer) -> Result<Resolution, String> {
        match self.ledger.submit(self.request(intent, found?)).await {
            Outcome::Resolved(resolution) => Ok(resolution),
            Outcome::Refused(refusal) => Err(refusal.message),
            other => Err(format!("unexpected outcome {other:?}")),
        }
    }

    fn request(&self, intent: &Intent, found: Vec<(TargetId, Found)>) -> Request {
        let call = Call::Resolve(Box::new(Resolve { intent: intent.clone(), owner: self.owner, found }));
        let id = format!("reap-{}", intent.op);
        request(intent.session, "pending_reaper", intent.op, id, call)
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
        let found = found::ask(&self.gate, &intents, self.concurrency).await;
        let settled = intents.into_iter().zip(found).map(|(intent, found)| async move {
            let result = self.settle(&intent, found).await;
            (intent, result)
        });
        futures::stream::iter(settled).buffer_unordered(self.concurrency).collect().await
    }

    async fn drain(&self, counts: &mut Counts, ambiguous: &mut Vec<Op>) -> Result<(), String> {
        while !self.shutdown.is_stopping() {
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: BATCH, due_for_us: 0 };
            let intents =
                self.queues.claim_expired_intents(claim).await.map_err(|error| error.to_string())?;
            if intents.is_empty() {
                break;
            }
            ambiguous.append(&mut self.settle_all(intents, counts).await);
        }
        Ok(())
    }

    async fn settle_all(&self, intents: Vec<Intent>, counts: &mut Counts) -> Vec<Op> {
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

#[async_trait]
impl Worker for PendingReaper {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        let mut ambiguous = Vec::new();
        let drained = self.drain(&mut counts, &mut ambiguous).await;
        // Let go at the end: let go at once, they would be claimed again by this very tick, and those
        // behind them never.
        if !ambiguous.is_empty() {
            let released = self.queues.release_intents(self.owner, ambiguous).await;
            released.map_err(|error| error.to_string())?;
        }
        drained.map(|()| counts)
    }
}
