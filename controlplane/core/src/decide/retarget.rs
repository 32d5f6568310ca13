//! Retarget: one more place for a write whose target failed, named before anything is sent to it.
//! The failed target stays in the intent: it may hold a blob.

use s3o_types::{BackendId, BlobName, ErrorCode, Op};

use super::{Batch, busy};
use crate::call::{CarriedIntent, Outcome, Refusal, Retarget};
use crate::intent::{Intent, Target};
use crate::outcome_log::lost;
use crate::placement::{self, Wanted};
use crate::usage::{Usage, signed};

pub(super) fn decide(batch: &mut Batch, op: Op, retarget: &Retarget) -> Outcome {
    if let Some(outcome) = batch.logged(op) {
        return outcome.replay();
    }
    let Some(intent) = batch.facts.intents.get(&op).cloned() else {
        return lost("the write's intent is gone");
    };
    if intent.claimed_by.is_some() {
        return busy("the write's lease ran out and it is being cleaned up");
    }
    if let Some(added) = intent.targets.iter().find(|t| !carries(&retarget.intent, t)) {
        return Outcome::Retargeted(added.clone());
    }
    match replacement(batch, &intent, retarget) {
        Ok(target) => record(batch, op, &intent, target),
        Err(refusal) => refusal.into(),
    }
}

/// By name: a caller that does not count places carries a target without its own.
fn carries(carried: &CarriedIntent, target: &Target) -> bool {
    carried.targets.iter().any(|known| known.id() == target.id())
}

fn replacement(batch: &Batch, intent: &Intent, retarget: &Retarget) -> Result<Target, Refusal> {
    let bucket = batch.writable_bucket(intent.bucket)?;
    let exclude: Vec<BackendId> =
        intent.targets.iter().map(|t| t.backend).chain(std::iter::once(retarget.failed)).collect();
    let wanted = Wanted {
        size: intent.size,
        down: &retarget.down,
        prefer: &[],
        exclude: &exclude,
        count: 1,
        spare: 0,
    };
    let chosen = placement::choose(&batch.facts.backends, batch.facts.routing, wanted)?;
    let at = chosen.first().copied().ok_or_else(|| {
        Refusal::new(ErrorCode::InternalError, "placement answered with fewer backends than asked for")
    })?;
    // The same piece in the same attempt, on a backend that has not been tried.
    let piece = intent.targets.first().map(|target| (target.extent, target.r#gen)).unwrap_or_default();
    let blob = BlobName { version: intent.version, extent: piece.0, r#gen: piece.1 };
    Ok(Target::new(at, &bucket.name, &intent.key, blob))
}

fn record(batch: &mut Batch, op: Op, intent: &Intent, target: Target) -> Outcome {
    batch.add_usage(target.backend, Usage { reserved: signed(intent.size), ..Usage::default() });
    if let Some(row) = batch.facts.intents.get_mut(&op) {
        row.targets.push(target.clone());
    }
    batch.effects.add_targets.push((op, target.clone()));
    Outcome::Retargeted(target)
}
