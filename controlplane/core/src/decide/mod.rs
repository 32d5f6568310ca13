//! The outcome of every call, as pure functions of the facts. One file a call.
//!
//! Invariants: a call whose outcome is in the log gets that outcome and changes nothing; bytes move
//! between used, reserved and orphaned, and only Begin and Retarget raise their sum (but for a write
//! whose intent the database forgot, and for blobs that were found on a backend: they are there already); every blob that stops being named by an intent, a copy or a part of
//! an upload is named by a cleanup entry of the same transaction, or its copy row stays and its version is
//! queued as one.

mod abort;
mod abort_upload;
mod begin;
mod change_copy;
mod commit;
mod complete_upload;
mod conditions;
mod create_upload;
mod delete;
mod expire;
mod give_up;
mod import;
mod lock;
mod part;
mod replica;
mod resolve;
mod retarget;
mod set_lock;
mod set_tags;
mod settle;
mod settle_blob;
mod upload;
mod versions;

use std::borrow::Borrow;

use s3o_types::{BackendId, ErrorCode, Op, Right, Rights, Seq, VersionId, VersionRef};

use crate::call::{Call, Outcome, Refusal, Request};
use crate::effects::Effects;
use crate::facts::{BucketFacts, Facts};
use crate::outcome_log::{Change, Logged, LoggedOutcome};
use crate::usage::Usage;

/// A decided batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// One a request, in their order.
    pub outcomes: Vec<Outcome>,
    /// What to write.
    pub effects: Effects,
}

/// Decides a batch. The caller has seen to it that no two requests that lock a key name the same one.
pub fn decide<R: Borrow<Request>>(facts: Facts, requests: &[R]) -> Decision {
    let mut batch = Batch { facts, effects: Effects::default() };
    let numbered = requests.iter().map(Borrow::borrow).enumerate();
    let outcomes = numbered.map(|(index, request)| batch.decide(index, request)).collect();
    Decision { outcomes, effects: batch.effects }
}

/// The facts, as they become while items are decided one after the other, and what was decided.
struct Batch {
    facts: Facts,
    effects: Effects,
}

/// A number of the change log, handed to the one rule that may use it.
#[derive(Clone, Copy)]
struct Slot {
    op: Op,
    seq: Seq,
}

impl Batch {
    fn decide(&mut self, index: usize, request: &Request) -> Outcome {
        let Some(&seq) = self.facts.seqs.get(index) else {
            return internal("fewer change-log numbers were drawn than calls came");
        };
        let slot = Slot { op: request.op, seq };
        match &request.call {
            Call::Begin(begin) => begin::decide(self, request, begin),
            Call::Retarget(retarget) => retarget::decide(self, request.op, retarget),
            Call::Commit(commit) => commit::decide(self, slot, commit),
            Call::Abort(abort) => abort::decide(self, slot, abort),
            Call::Delete(delete) => delete::decide(self, slot, &request.access_key, delete),
            Call::SetTags(set) => set_tags::decide(self, slot, &request.access_key, set),
            Call::SetLock(set) => set_lock::decide(self, slot, &request.access_key, set),
            Call::CreateUpload(create) => create_upload::decide(self, request, create),
            Call::CompleteUpload(complete) => {
                complete_upload::decide(self, slot, &request.access_key, complete)
            }
            Call::AbortUpload(abort) => abort_upload::decide(self, slot, &request.access_key, abort),
            Call::Resolve(resolve) => resolve::decide(self, slot, resolve),
            Call::BeginCopy(begin) => replica::begin(self, request, begin),
            Call::ChangeCopy(change) => change_copy::decide(self, slot, change),
            Call::SettleBlob(settle) => settle_blob::decide(self, slot, settle),
            Call::Import(import) => import::decide(self, slot, import),
            Call::Expire(expire) => expire::decide(self, slot, expire),
            Call::GiveUp(give_up) => give_up::decide(self, slot, give_up),
        }
    }

    fn logged(&self, op: Op) -> Option<LoggedOutcome> {
        self.facts.outcomes.get(&op).copied()
    }

    /// The bucket, if it can be written to.
    fn writable_bucket(&self, bucket: s3o_types::BucketId) -> Result<&BucketFacts, Refusal> {
        self.facts
            .buckets
            .get(&bucket)
            .filter(|facts| facts.state == crate::config::BucketState::Active)
            .ok_or_else(|| Refusal::new(ErrorCode::NoSuchBucket, "the bucket does not exist"))
    }

    fn may(
        &self,
        access_key: &str,
        right: Right,
        (bucket, key): (s3o_types::BucketId, &str),
    ) -> Result<(), Refusal> {
        let asking = (access_key.to_owned(), bucket);
        let scoped = || {
            let scopes = self.facts.scopes.get(&asking);
            scopes.is_some_and(|scopes| scopes.iter().any(|scope| scope.allows(right, key)))
        };
        // What they may do to a whole bucket has always meant the usual rights.
        let usual = Rights::ALL.contains(right) && self.facts.writers.contains(&asking);
        let allowed = usual || scoped();
        allowed.then_some(()).ok_or_else(|| {
            let why = format!("the access key has no right to {} here", right.as_str());
            Refusal::new(ErrorCode::AccessDenied, why)
        })
    }

    fn add_usage(&mut self, backend: BackendId, delta: Usage) {
        *self.effects.usage.entry(backend).or_default() += delta;
        if let Some(facts) = self.facts.backends.iter_mut().find(|facts| facts.id == backend) {
            facts.usage += delta;
        }
    }

    /// Appends the outcome; from here on a repeat in this batch finds it too.
    fn log(&mut self, slot: Slot, logged: Logged, subject: Subject<'_>) -> Outcome {
        let told = subject.object.as_ref().and_then(|row| self.told(row.bucket, row.version, row.is_null));
        self.log_version(slot, logged, subject, told)
    }

    /// The same, where the client is told of a version that the key does not have by this change.
    fn log_version(
        &mut self,
        slot: Slot,
        logged: Logged,
        subject: Subject<'_>,
        told: Option<VersionRef>,
    ) -> Outcome {
        let Subject { bucket, key, version, object } = subject;
        let outcome = LoggedOutcome { logged, seq: slot.seq, at: self.facts.now, version: told };
        self.facts.outcomes.insert(slot.op, outcome);
        self.effects.changes.push(Change {
            seq: slot.seq,
            op: slot.op,
            logged,
            bucket,
            key: key.to_owned(),
            version,
            told,
            object,
        });
        outcome.replay()
    }
}

/// What a change-log row is about.
struct Subject<'a> {
    bucket: s3o_types::BucketId,
    key: &'a str,
    version: Option<VersionId>,
    object: Option<crate::object::ObjectRow>,
}

fn internal(why: &str) -> Outcome {
    Refusal::new(ErrorCode::InternalError, why).into()
}

fn busy(why: &str) -> Outcome {
    Refusal::new(ErrorCode::ServiceUnavailable, why).into()
}

#[cfg(test)]
mod tests;
