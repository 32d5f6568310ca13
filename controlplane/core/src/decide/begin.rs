//! Begin: place the write, reserve its bytes, record the intent. No byte has moved yet.

use s3o_types::{BlobName, ErrorCode, Gen, Right, VersionId, storage_key::MAX_KEY_BYTES};

use super::{Batch, conditions, internal, upload};
use crate::call::{Begin, Outcome, PartOf, Refusal, Request};
use crate::intent::{Intent, Target};
use crate::outcome_log::LoggedOutcome;
use crate::placement::{self, Wanted};
use crate::usage::{Usage, signed};

pub(super) fn decide(batch: &mut Batch, request: &Request, begin: &Begin) -> Outcome {
    if let Some(outcome) = known(batch, request) {
        return outcome;
    }
    match place(batch, request, begin) {
        Ok(intent) => record(batch, intent),
        Err(refused) => refused,
    }
}

/// What a repeat of a Begin is answered: the outcome that its write has already, else its intent.
pub(super) fn known(batch: &Batch, request: &Request) -> Option<Outcome> {
    let logged = batch.logged(request.op).map(LoggedOutcome::replay);
    logged.or_else(|| batch.facts.intents.get(&request.op).map(begun))
}

fn begun(intent: &Intent) -> Outcome {
    Outcome::Begun {
        version: intent.version,
        targets: intent.targets.clone(),
        required_copies: intent.required_copies,
    }
}

fn place(batch: &mut Batch, request: &Request, begin: &Begin) -> Result<Intent, Outcome> {
    let Begin { bucket, key, size, conditions, kind, part, down, prefer, lock } = begin;
    check_key(key)?;
    batch.may(&request.access_key, Right::Write, (*bucket, key))?;
    let facts = batch.writable_bucket(*bucket)?.clone();
    if let Some(max) = facts.max_object_size.filter(|max| size > max) {
        let why = format!("the bucket takes objects of up to {max} bytes, this one has {size}");
        return Err(Refusal::new(ErrorCode::EntityTooLarge, why).into());
    }
    batch.check_lock(*bucket, lock)?;
    conditions::check(conditions, batch.facts.objects.get(&(*bucket, key.clone())))?;

    let required_copies = facts.ack.required(facts.replication_factor);
    let count = usize::from(required_copies);
    let spare = usize::from(facts.ack.targets(facts.replication_factor)).saturating_sub(count);
    let wanted = Wanted { size: *size, down, prefer, exclude: &[], count, spare };
    let backends = placement::choose(&batch.facts.backends, batch.facts.routing, wanted)?;

    let blob = match part {
        Some(part) => next_attempt(batch, begin, *part)?,
        None => BlobName::first(mint(batch)?),
    };
    let targets = backends.iter().map(|&at| Target::new(at, &facts.name, key, blob)).collect();
    Ok(Intent {
        op: request.op,
        session: request.session,
        bucket: *bucket,
        key: key.clone(),
        version: blob.version,
        size: *size,
        kind: *kind,
        upload: part.map(|part| part.upload),
        conditions: conditions.clone(),
        targets,
        required_copies,
        log_floor: batch.facts.log_head,
        begun: batch.facts.now,
        claimed_by: None,
    })
}

pub(super) fn mint(batch: &mut Batch) -> Result<VersionId, Outcome> {
    let seed = batch.facts.version_seeds.pop();
    let (sequence, random) =
        seed.ok_or_else(|| internal("fewer version numbers were drawn than writes began"))?;
    Ok(VersionId::mint(sequence, random))
}

/// The blob of the next attempt at a part. The attempt is counted in this transaction, and never given out
/// again: no storage key is written twice.
fn next_attempt(batch: &mut Batch, begin: &Begin, part: PartOf) -> Result<BlobName, Outcome> {
    let Begin { bucket, key, .. } = begin;
    let upload = upload::open(batch, *bucket, key, part.upload)?;
    let version = upload.row.version;
    let attempts = upload.attempts.entry(part.number).or_default();
    let Some(attempt) = Gen::of_client(*attempts) else {
        let why = format!("part {} was uploaded {attempts} times, which is the limit", part.number.get());
        return Err(Refusal::new(ErrorCode::InvalidArgument, why).into());
    };
    *attempts += 1;
    let counted = *attempts;
    batch.effects.uploads.attempts.insert((part.upload, part.number), counted);
    Ok(BlobName { version, extent: part.number, r#gen: attempt })
}

pub(super) fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.contains('\0') {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "a key must not be empty or contain U+0000"));
    }
    if key.len() > MAX_KEY_BYTES {
        let why = format!("the key has {} bytes, at most {MAX_KEY_BYTES} are allowed", key.len());
        return Err(Refusal::new(ErrorCode::KeyTooLong, why));
    }
    Ok(())
}

pub(super) fn record(batch: &mut Batch, intent: Intent) -> Outcome {
    for target in &intent.targets {
        batch.add_usage(target.backend, Usage { reserved: signed(intent.size), ..Usage::default() });
    }
    let outcome = begun(&intent);
    batch.facts.intents.insert(intent.op, intent.clone());
    batch.effects.add_intents.push(intent);
    outcome
}
