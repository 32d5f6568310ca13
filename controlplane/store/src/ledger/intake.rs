//! Rows of the first flight, each put where it belongs among the facts.
//!
//! Invariant: a row that cannot be read concerns as few calls as its columns still tell.

use std::collections::{BTreeMap, HashMap, HashSet};

use s3o_core::config::Routing;
use s3o_core::facts::{BackendFacts, BucketFacts, CurrentObject, Facts, FoundBlob};
use s3o_core::intent::Intent;
use s3o_core::object::{CopyRow, ObjectRow};
use s3o_core::outcome_log::{Logged, LoggedOutcome};
use s3o_types::{BackendId, BlobName, BucketId, Consumption, Op, Place, Seq};

use super::facts::{Read, Subject};
use super::plan::Part;
use super::{expiry, uploads, versions};
use crate::overview::usage;
use crate::rows::{
    Cells, CopyRecord, IntentRecord, ObjectRecord, bucket_lock, bucket_state, corrupt, removal, scope, small,
    told,
};

pub(super) type Broken = (Subject, String);

/// `Err`: a row that this release cannot read, and whom it concerns.
pub(super) fn take(read: &mut Read, part: Part, cells: Cells<'_>) -> Result<(), Broken> {
    let all = |why: String| (Subject::Everybody, why);
    let facts = &mut read.facts;
    match part {
        Part::Nothing => Ok(()),
        Part::Locks => {
            if !cells.get::<bool>("locked").map_err(all)? {
                let key = (BucketId(cells.get("bucket").map_err(all)?), cells.get("key").map_err(all)?);
                read.unlocked.insert(key);
            }
            Ok(())
        }
        Part::Held => {
            read.held.insert(IntentRecord(cells).op().map_err(all)?);
            Ok(())
        }
        Part::Intents => take_intent(&mut facts.intents, cells),
        Part::Calls => take_call(facts, cells),
        Part::Buckets => take_bucket(facts, cells).map_err(all),
        Part::Uploads => uploads::take(&mut facts.uploads, cells),
        Part::Parts => uploads::take_part(&mut facts.uploads, cells).map_err(all),
        Part::Attempts => uploads::take_attempts(&mut facts.uploads, cells).map_err(all),
        Part::Versions => versions::take(&mut facts.versions, cells),
        Part::Sums => take_sum(facts, cells).map_err(all),
        Part::Extents => take_extent(facts, cells),
        Part::Scopes => take_scope(facts, cells).map_err(all),
        Part::Named => take_named(&mut facts.named_blobs, cells).map_err(all),
        Part::Places => {
            let id = BackendId(cells.get("id").map_err(all)?);
            facts.places.insert(id, Place::from_number(cells.get("place").map_err(all)?));
            Ok(())
        }
        Part::Found => {
            let op = Op { id: cells.get("op").map_err(all)?, item: cells.get("item").map_err(all)? };
            let found = FoundBlob {
                is_named: cells.get("is_named").map_err(all)?,
                version_is_there: cells.get("version_is_there").map_err(all)?,
            };
            facts.found_blobs.insert(op, found);
            Ok(())
        }
        Part::Overtaken => {
            let op = Op { id: cells.get("op").map_err(all)?, item: cells.get("item").map_err(all)? };
            facts.overtaken.insert(op);
            Ok(())
        }
        Part::Lifecycle => expiry::take_rules(&mut facts.lifecycle, cells),
        Part::Standing => expiry::take_standing(&mut facts.standings, cells).map_err(all),
        Part::Removals => {
            let id = BackendId(cells.get("id").map_err(all)?);
            let removal = removal(cells).map_err(all)?;
            facts.removals.extend(removal.map(|removal| (id, removal)));
            Ok(())
        }
        Part::Numbers => take_number(facts, cells).map_err(all),
        Part::Usage => {
            facts.routing = cells.word::<Routing>("routing").map_err(all)?;
            let backend = backend(cells).map_err(|why| all(corrupt("backends", "?", why).to_string()))?;
            facts.backends.push(backend);
            Ok(())
        }
    }
}

fn take_intent(intents: &mut HashMap<Op, Intent>, cells: Cells<'_>) -> Result<(), Broken> {
    let op = IntentRecord(cells).op().map_err(|why| (Subject::Everybody, why))?;
    let broken = |why| (Subject::Op(op), corrupt("intents", op, why).to_string());
    intents.insert(op, Intent::try_from(IntentRecord(cells)).map_err(broken)?);
    Ok(())
}

/// The outcome that the call has already, and its key's object; either may be missing.
fn take_call(facts: &mut Facts, cells: Cells<'_>) -> Result<(), Broken> {
    let all = |why: String| (Subject::Everybody, why);
    if cells.get::<Option<i64>>("n").map_err(all)?.is_some() {
        take_outcome(&mut facts.outcomes, cells)?;
    }
    if cells.get::<Option<i64>>("seq").map_err(all)?.is_some() {
        take_object(&mut facts.objects, cells)?;
    }
    Ok(())
}

fn take_outcome(outcomes: &mut HashMap<Op, LoggedOutcome>, cells: Cells<'_>) -> Result<(), Broken> {
    let all = |why: String| (Subject::Everybody, why);
    let op = Op { id: cells.get("op").map_err(all)?, item: cells.get("item").map_err(all)? };
    let read = || {
        let code: i16 = cells.get("outcome")?;
        let unknown = || format!("outcome {code} is not known to this release");
        let logged = Logged::from_code(code).ok_or_else(unknown)?;
        let version = told(cells, "l_version", "l_is_null")?;
        Ok::<_, String>(LoggedOutcome { logged, seq: Seq(cells.get("n")?), at: cells.time("at")?, version })
    };
    let broken = |why| (Subject::Op(op), corrupt("changes", op, why).to_string());
    outcomes.insert(op, read().map_err(broken)?);
    Ok(())
}

/// One row a copy, or one without a copy.
fn take_object(
    objects: &mut HashMap<(BucketId, String), CurrentObject>,
    cells: Cells<'_>,
) -> Result<(), Broken> {
    let all = |why: String| (Subject::Everybody, why);
    let key: (BucketId, String) =
        (BucketId(cells.get("bucket").map_err(all)?), cells.get("key").map_err(all)?);
    let broken = |table: &str, why: String| {
        let subject = Subject::Key(key.0, key.1.clone());
        (subject, corrupt(table, format!("{}/{}", key.0.0, key.1), why).to_string())
    };
    let row = ObjectRow::try_from(ObjectRecord(cells)).map_err(|why| broken("objects", why))?;
    let copy = if CopyRecord(cells).is_present().map_err(|why| broken("copies", why))? {
        Some(CopyRow::try_from(CopyRecord(cells)).map_err(|why| broken("copies", why))?)
    } else {
        None
    };
    let entry =
        objects.entry(key).or_insert_with(|| CurrentObject { row, copies: Vec::new(), sums: Vec::new() });
    // Several calls of a batch may be on one key.
    entry.copies.extend(copy.filter(|copy| !entry.copies.contains(copy)));
    Ok(())
}

/// One row a copy.
fn take_extent(facts: &mut Facts, cells: Cells<'_>) -> Result<(), Broken> {
    let all = |why: String| (Subject::Everybody, why);
    let (bucket, key) = (BucketId(cells.get("c_bucket").map_err(all)?), cells.get("c_key").map_err(all)?);
    let read = || {
        let version = s3o_types::VersionId::from_uuid(cells.get("t_version")?);
        let extent = small(cells.get("t_extent")?, s3o_types::Extent::new)?;
        let attempts: Option<i16> = cells.get("attempts")?;
        let attempts = u16::try_from(attempts.unwrap_or(0)).map_err(|error| format!("attempts: {error}"))?;
        Ok::<_, String>((
            (version, extent),
            attempts,
            CopyRow::try_from(CopyRecord(cells))?,
            cells.word("b_state")?,
        ))
    };
    let broken = |why| (Subject::Key(bucket, key), corrupt("copies", bucket.0, why).to_string());
    let (extent, attempts, copy, state) = read().map_err(broken)?;
    let entry = facts.extents.entry(extent).or_default();
    entry.attempts = attempts;
    entry.copies.push((copy, state));
    Ok(())
}

fn take_scope(facts: &mut Facts, cells: Cells<'_>) -> Result<(), String> {
    let (bucket, scope) = scope(cells)?;
    let asking = (cells.get("access_key_id")?, bucket);
    facts.scopes.entry(asking).or_default().push(scope);
    Ok(())
}

fn take_sum(facts: &mut Facts, cells: Cells<'_>) -> Result<(), String> {
    let version = s3o_types::VersionId::from_uuid(cells.get("version")?);
    let backend = BackendId(cells.get("backend")?);
    let sum = (backend, cells.unsigned("bytes")?, cells.unsigned("objects")?);
    let noncurrent = facts.versions.values_mut().flat_map(BTreeMap::values_mut);
    let known = facts.objects.values_mut().chain(noncurrent.map(|noncurrent| &mut noncurrent.object));
    for current in known.filter(|current| current.row.version == version) {
        current.sums.push(sum);
    }
    Ok(())
}

/// The bucket, and who of those that asked may write to it.
fn take_bucket(facts: &mut Facts, cells: Cells<'_>) -> Result<(), String> {
    let id = BucketId(cells.get("id")?);
    let writers: Vec<String> = cells.get("writers")?;
    facts.writers.extend(writers.into_iter().map(|access_key| (access_key, id)));
    let factor: i16 = cells.get("replication_factor")?;
    let bucket = BucketFacts {
        name: cells.get("name")?,
        state: bucket_state(cells)?,
        ack: cells.word("ack")?,
        replication_factor: u16::try_from(factor).map_err(|error| error.to_string())?,
        max_object_size: cells.optional_unsigned("max_object_size")?,
        versioning: cells.word("versioning")?,
        lock: bucket_lock(cells)?,
    };
    facts.buckets.insert(id, bucket);
    Ok(())
}

fn take_named(named: &mut HashSet<(BackendId, BlobName)>, cells: Cells<'_>) -> Result<(), String> {
    let blob = BlobName {
        version: s3o_types::VersionId::from_uuid(cells.get("version")?),
        extent: small(cells.get("extent")?, s3o_types::Extent::new)?,
        r#gen: small(cells.get("gen")?, s3o_types::Gen::new)?,
    };
    named.insert((BackendId(cells.get("backend")?), blob));
    Ok(())
}

fn take_number(facts: &mut Facts, cells: Cells<'_>) -> Result<(), String> {
    let seq = Seq(cells.get("n")?);
    facts.now = cells.time("now")?;
    facts.log_head = facts.log_head.max(seq);
    facts.seqs.push(seq);
    if let Some(n) = cells.optional_unsigned("version")? {
        facts.version_seeds.push((n, rand::random()));
    }
    Ok(())
}

fn backend(cells: Cells<'_>) -> Result<BackendFacts, String> {
    Ok(BackendFacts {
        id: BackendId(cells.get("id")?),
        place: Place::from_number(cells.get("place")?),
        state: cells.word("state")?,
        attached: cells.get("attached")?,
        priority: cells.get("priority")?,
        position: cells.get("position")?,
        quota_bytes: cells.optional_unsigned("quota_bytes")?,
        max_object_size: cells.optional_unsigned("max_object_size")?,
        usage: usage(cells)?,
        limits: cells.json("usage_limits")?,
        month: Consumption {
            api_requests: cells.unsigned("api_requests")?,
            egress_bytes: cells.unsigned("egress_bytes")?,
            ingress_bytes: cells.unsigned("ingress_bytes")?,
        },
    })
}
