//! `pending_reaper`: settles intents whose lease ran out. Each is claimed (the claim fences its writer
//! off), each of its targets is asked with a HEAD at its own storage key (`found.rs`), and what was
//! found goes to the ledger, which decides.
//!
//! Invariant: the ledger hears of an intent only when every target gave a definite answer, by a backend
//! whose marker was ours before the first HEAD and, where one said 404, after the last. Anything else
//! is ambiguous: the claim is let go and the intent stays.

mod found;

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use s3o_core::call::{Call, Found, Outcome, Request, Resolution, Resolve, TargetId};
use s3o_core::cleanup::Claim;
use s3o_core::intent::Intent;
use s3o_core::ports::{Ledger, Queues};
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::Op;
use tracing::{debug, info};
use uuid::Uuid;

use crate::backends::Backends;
use crate::metrics::{Counters, label};
use crate::runner::{Wake, Worker};
use crate::workers::Shared;

/// Intents claimed at a time.
const BATCH: u32 = 64;
/// Intents asked about, and settled, at a time.
const AT_ONCE: usize = 16;
/// Batches in one tick: a bound for a tick that meets a mountain.
const ROUNDS: u32 = 100;
/// How long a claim lasts, in microseconds: longer than a batch of HEADs that all run into the
/// client's 60 s.
const CLAIM_US: i64 = 10 * 60 * 1_000_000;

pub(crate) struct PendingReaper {
    ledger: Arc<dyn Ledger>,
    queues: Arc<dyn Queues>,
    backends: Arc<Backends>,
    owner: Uuid,
    resolved: Counters,
    /// What is dropped is queued there.
    cleanup: Wake,
}

impl PendingReaper {
    pub(crate) fn new(shared: &Shared, cleanup: Wake) -> Arc<dyn Worker> {
        let resolved = Counters::default();
        let help = "Pending PUT intents resolved by status";
        shared.metrics.register("pending_intents_resolved", help, resolved.clone());
        Arc::new(Self {
            ledger: Arc::clone(&shared.ledger),
            queues: Arc::clone(&shared.queues),
            backends: Arc::clone(&shared.backends),
            owner: shared.owner,
            resolved,
            cleanup,
        })
    }
}

#[async_trait]
impl Worker for PendingReaper {
    async fn tick(&self, stop: &Shutdown) -> Result<Counts, String> {
        let mut counts = Counts::new();
        let mut ambiguous = Vec::new();
        let drained = self.drain(stop, &mut counts, &mut ambiguous).await;
        // Let go at the end: let go at once, they would be claimed again by this very tick.
        if !ambiguous.is_empty() {
            self.count(&mut counts, "ambiguous", ambiguous.len());
            self.queues.release_intents(self.owner, ambiguous).await.map_err(|error| error.to_string())?;
        }
        if counts.contains_key("dropped") {
            self.cleanup.wake();
        }
        drained.map(|()| counts)
    }
}

impl PendingReaper {
    async fn drain(
        &self,
        stop: &Shutdown,
        counts: &mut Counts,
        ambiguous: &mut Vec<Op>,
    ) -> Result<(), String> {
        for _ in 0..ROUNDS {
            if stop.is_stopping() {
                break;
            }
            let claim = Claim { owner: self.owner, lasts_us: CLAIM_US, limit: BATCH };
            let batch = self.queues.claim_expired_intents(claim).await.map_err(|error| error.to_string())?;
            if batch.is_empty() {
                break;
            }
            self.settle(batch, counts, ambiguous).await;
        }
        Ok(())
    }

    async fn settle(&self, batch: Vec<Intent>, counts: &mut Counts, ambiguous: &mut Vec<Op>) {
        let found = found::ask(&self.backends, &batch, AT_ONCE).await;
        let settle = |(intent, found): (Intent, Result<_, String>)| async move {
            let op = intent.op;
            match found {
                Ok(found) => (op, self.resolve(intent, found).await),
                Err(why) => (op, Err(why)),
            }
        };
        let settled: Vec<_> =
            stream::iter(batch.into_iter().zip(found)).map(settle).buffer_unordered(AT_ONCE).collect().await;
        for (op, result) in settled {
            match result {
                Ok(word) => self.count(counts, word, 1),
                Err(why) => {
                    info!(%op, why, "an expired intent could not be settled yet");
                    ambiguous.push(op);
                }
            }
        }
    }

    fn count(&self, counts: &mut Counts, word: &'static str, n: usize) {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.resolved.get_or_create(&label("status", word)).inc_by(n);
        *counts.entry(word.to_owned()).or_default() += n;
    }

    async fn resolve(&self, intent: Intent, found: Vec<(TargetId, Found)>) -> Result<&'static str, String> {
        let told = About {
            op: intent.op,
            request_id: Uuid::now_v7().to_string(),
            bucket: intent.bucket.0,
            key: intent.key.clone(),
            version: intent.version.to_string(),
        };
        let request = Request {
            op: intent.op,
            session: intent.session,
            access_key: String::new(),
            source: String::new(),
            request_id: told.request_id.clone(),
            bulk: false,
            call: Call::Resolve(Box::new(Resolve { intent, owner: self.owner, found })),
        };
        match self.ledger.submit(request).await {
            Outcome::Resolved(resolution) => Ok(tell(&told, resolution)),
            Outcome::Refused(refusal) => Err(refusal.message),
            other => Err(format!("the ledger answered {other:?} to a Resolve")),
        }
    }
}

/// What the audit says of a settled intent.
struct About {
    op: Op,
    request_id: String,
    bucket: i32,
    key: String,
    version: String,
}

/// Tells the audit, and the word for the metric.
fn tell(about: &About, resolution: Resolution) -> &'static str {
    let About { op, request_id, bucket, key, version } = about;
    match resolution {
        Resolution::Promoted => {
            audit!("pending_reaper.promoted", request_id, %op, bucket, key, version);
            "promoted"
        }
        Resolution::Dropped => {
            audit!("pending_reaper.dropped", request_id, %op, bucket, key, version);
            "dropped"
        }
        Resolution::Superseded => {
            audit!("pending_reaper.superseded", request_id, %op, bucket, key, version);
            "dropped"
        }
        Resolution::AlreadyResolved => {
            debug!(%op, "settled by somebody else");
            "already_resolved"
        }
    }
}
