//! Begin: place the write, reserve its bytes, record the intent. No byte has moved yet.

use s3o_types::{ErrorCode, VersionId, storage_key::MAX_KEY_BYTES};

use super::{Batch, conditions, internal};
use crate::call::{Begin, Outcome, Refusal, Request};
use crate::intent::{Intent, Target};
use crate::placement::{self, Wanted};
use crate::usage::{Usage, signed};

pub(super) fn decide(batch: &mut Batch, request: &Request, begin: &Begin) -> Outcome {
    if let Some(outcome) = batch.logged(request.op) {
        return outcome.replay();
    }
    if let Some(intent) = batch.facts.intents.get(&request.op) {
        return begun(intent);
    }
    match place(batch, request, begin) {
        Ok(intent) => record(batch, intent),
        Err(refused) => refused,
    }
}

fn begun(intent: &Intent) -> Outcome {
    Outcome::Begun {
        version: intent.version,
        targets: intent.targets.clone(),
        required_copies: intent.required_copies,
    }
}

fn place(batch: &mut Batch, request: &Request, begin: &Begin) -> Result<Intent, Outcome> {
    let Begin { bucket, key, size, conditions, kind, down, prefer } = begin;
    check_key(key)?;
    batch.may_write(&request.access_key, *bucket)?;
    let facts = batch.writable_bucket(*bucket)?.clone();
    if let Some(max) = facts.max_object_size.filter(|max| size > max) {
        let why = format!("the bucket takes objects of up to {max} bytes, this one has {size}");
        return Err(Refusal::new(ErrorCode::EntityTooLarge, why).into());
    }
    conditions::check(conditions, batch.facts.objects.get(&(*bucket, key.clone())))?;

    let required_copies = facts.ack.required(facts.replication_factor);
    let wanted = Wanted { size: *size, down, prefer, exclude: &[], count: usize::from(required_copies) };
    let backends = placement::choose(&batch.facts.backends, batch.facts.routing, wanted)?;

    let Some((sequence, random)) = batch.facts.version_seeds.pop() else {
        return Err(internal("fewer version numbers were drawn than writes began"));
    };
    let version = VersionId::mint(sequence, random);
    let targets = backends.iter().map(|&at| Target::whole(at, &facts.name, key, version)).collect();
    Ok(Intent {
        op: request.op,
        session: request.session,
        bucket: *bucket,
        key: key.clone(),
        version,
        size: *size,
        kind: *kind,
        conditions: conditions.clone(),
        targets,
        required_copies,
        log_floor: batch.facts.log_head,
        begun: batch.facts.now,
        claimed_by: None,
    })
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.contains('\0') {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "a key must not be empty or contain U+0000"));
    }
    if key.len() > MAX_KEY_BYTES {
        let why = format!("the key has {} bytes, at most {MAX_KEY_BYTES} are allowed", key.len());
        return Err(Refusal::new(ErrorCode::KeyTooLong, why));
    }
    Ok(())
}

fn record(batch: &mut Batch, intent: Intent) -> Outcome {
    for target in &intent.targets {
        batch.add_usage(target.backend, Usage { reserved: signed(intent.size), ..Usage::default() });
    }
    let outcome = begun(&intent);
    batch.facts.intents.insert(intent.op, intent.clone());
    batch.effects.add_intents.push(intent);
    outcome
}
