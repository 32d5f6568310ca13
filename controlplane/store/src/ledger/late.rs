//! The late trips of a batch: what is hardly ever needed, and what can be asked for only once the first flight has
//! landed. Each trip is one statement, and there is none where nobody needs it.
//!
//! Invariant: they read under the locks that the first flight has taken. Sums come after versions: what is summed up is
//! what they have found.

use std::collections::{BTreeMap, HashSet};

use s3o_core::call::{Call, CarriedIntent, Request};
use s3o_core::intent::Target;
use s3o_types::{BucketId, Op};
use uuid::Uuid;

use super::facts::{Read, asks};
use super::plan::{Part, Plan};
use super::{reads, versions};
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::fifteen_bits;

/// Adds to what the first flight brought.
pub(super) async fn read(
    connection: &Connection,
    requests: &[&Request],
    read: &mut Read,
) -> Result<(), Failure> {
    named(connection, requests, read).await?;
    versions::read(connection, requests, read).await?;
    sums(connection, requests, read).await?;
    scopes(connection, requests, read).await
}

fn carried(request: &Request) -> Option<&CarriedIntent> {
    match &request.call {
        Call::Commit(commit) => Some(&commit.intent),
        Call::Abort(abort) => Some(&abort.intent),
        _ => None,
    }
}

/// Which blobs of carried intents copies name: asked only for targets that no intent knows, which are those of
/// writes whose intent is gone, or was forgotten in part.
async fn named(connection: &Connection, requests: &[&Request], read: &mut Read) -> Result<(), Failure> {
    let unknown = |op: &Op, target: &Target| {
        let known = read.facts.intents.get(op);
        !known.is_some_and(|intent| intent.targets.iter().any(|t| t.id() == target.id()))
    };
    let carried = requests.iter().filter_map(|request| Some((request.op, carried(request)?)));
    let blobs: Vec<(Uuid, &Target)> = carried
        .flat_map(|(op, c)| c.targets.iter().map(move |target| (op, c.version.to_uuid(), target)))
        .filter(|(op, _, target)| unknown(op, target))
        .map(|(_, version, target)| (version, target))
        .collect();
    if blobs.is_empty() {
        return Ok(());
    }
    let versions: Vec<Uuid> = blobs.iter().map(|(version, _)| *version).collect();
    let extents: Vec<i16> = blobs.iter().map(|(_, target)| fifteen_bits(target.extent.get())).collect();
    let backends: Vec<i32> = blobs.iter().map(|(_, target)| target.backend.0).collect();
    let mut plan = Plan::new(connection);
    plan.add(Part::Named, reads::NAMED, vec![Box::new(versions), Box::new(extents), Box::new(backends)])
        .await?;
    read.late_trip = true;
    plan.land(read).await
}

/// What is in the versions of many extents that calls may take away.
async fn sums(connection: &Connection, requests: &[&Request], read: &mut Read) -> Result<(), Failure> {
    let of_key = |request: &&Request| {
        let (bucket, key) = request.call.bucket_and_key();
        let place = (bucket, key.to_owned());
        let noncurrent = read.facts.versions.get(&place).into_iter().flat_map(BTreeMap::values);
        read.facts.objects.get(&place).into_iter().chain(noncurrent.map(|noncurrent| &noncurrent.object))
    };
    let displacing = requests.iter().filter(|request| request.call.displaces());
    let versions: Vec<Uuid> = displacing
        .flat_map(of_key)
        .filter(|current| current.row.has_many_extents())
        .map(|current| current.row.version.to_uuid())
        .collect();
    if versions.is_empty() {
        return Ok(());
    }
    let mut plan = Plan::new(connection);
    plan.add(Part::Sums, reads::SUMS, vec![Box::new(versions)]).await?;
    read.late_trip = true;
    plan.land(read).await
}

/// Whether the call makes use of a right that no grant to a whole bucket has.
const fn bypasses(call: &Call) -> bool {
    match call {
        Call::Delete(delete) => delete.bypass_governance,
        Call::SetLock(set) => set.bypass_governance,
        _ => false,
    }
}

/// What those may do who may not write everything, or who want more than that: few, and fetched by a trip of its own.
async fn scopes(connection: &Connection, requests: &[&Request], read: &mut Read) -> Result<(), Failure> {
    let asking = requests.iter().filter(|request| asks(&request.call));
    let asking = asking.map(|request| {
        let asker = (request.access_key.clone(), request.call.bucket_and_key().0);
        (asker, bypasses(&request.call))
    });
    let restricted: HashSet<(String, BucketId)> = asking
        .filter(|(asker, bypasses)| *bypasses || !read.facts.writers.contains(asker))
        .map(|(asker, _)| asker)
        .collect();
    if restricted.is_empty() {
        return Ok(());
    }
    let (keys, buckets): (Vec<String>, Vec<i32>) =
        restricted.into_iter().map(|(key, bucket)| (key, bucket.0)).unzip();
    let mut plan = Plan::new(connection);
    plan.add(Part::Scopes, reads::SCOPES, vec![Box::new(keys), Box::new(buckets)]).await?;
    read.late_trip = true;
    plan.land(read).await
}
