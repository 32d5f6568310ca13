//! Abort: the writer gives up. A write that was committed stays committed, and the writer learns it.

use super::settle::{end_intent, ends, ends_in_place, lose, queue_forgotten};
use super::{Batch, Slot, Subject};
use crate::call::{Abort, Outcome};
use crate::cleanup::Reason;
use crate::outcome_log::Logged;

pub(super) fn decide(batch: &mut Batch, slot: Slot, abort: &Abort) -> Outcome {
    if let Some(outcome) = batch.logged(slot.op) {
        return outcome.replay();
    }
    let ends = ends(&abort.targets);
    let Some(intent) = batch.facts.intents.get(&slot.op).cloned() else {
        return lose(batch, slot, &abort.intent, &ends);
    };
    // A claim of the reaper does not stand in the way: the writer knows better how its targets ended,
    // and the reaper will find the outcome.
    let ends = ends_in_place(batch, ends, &[&intent.targets, &abort.intent.targets]);
    queue_forgotten(batch, &intent, &abort.intent, &ends);
    end_intent(batch, &intent, &ends, &[], Reason::Aborted);
    let subject =
        Subject { bucket: intent.bucket, key: &intent.key, version: Some(intent.version), object: None };
    batch.log(slot, Logged::Aborted, subject)
}
