//! The first flight of a batch: locks, then everything its calls are decided from.
//!
//! Invariant: each statement has a snapshot of its own, taken when it runs. So what is read under a
//! lock comes after the statement that takes it; intents come before the log, so that whoever settled
//! an intent meanwhile is found there; the log's numbers are drawn after the locks; and calls that place
//! are read after the lock of slot 0, which orders them among replicas.
//!
//! A statement costs PostgreSQL and us far more than a row: those that can share a snapshot are one, and
//! what is hardly ever needed is fetched by a trip of its own (`late.rs`, docs/performance.md).

use std::collections::{BTreeSet, HashSet};

use s3o_core::call::{Call, Found, Request, Resolve};
use s3o_core::facts::Facts;
use s3o_core::intent::Intent;
use s3o_types::{BucketId, Extent, Op, VersionId};
use uuid::Uuid;

use super::effects::column;
use super::flight::Param;
use super::plan::{Part, Plan};
use super::{expiry, late, reads, uploads};
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::{PgTime, fifteen_bits};

/// How keys are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locking {
    /// Wait for them, up to `lock_timeout`.
    Wait,
    /// Take those that are free, look at once which, and read only for the calls that got theirs.
    Try,
}

/// What the first flight brought.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) facts: Facts,
    /// Keys that another transaction holds; empty unless they were tried.
    pub(crate) unlocked: HashSet<(BucketId, String)>,
    /// Operations whose intent another transaction holds; empty unless they were tried.
    pub(crate) held: HashSet<Op>,
    /// Whether it took one more round trip.
    pub(crate) late_trip: bool,
    /// Rows that this release cannot read, by the call that needs them.
    pub(crate) broken: Vec<(Subject, String)>,
}

/// Whom a broken row concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Op(Op),
    Key(BucketId, String),
    Everybody,
}

/// Opens the transaction and reads the facts.
pub(crate) async fn read(
    connection: &Connection,
    requests: &[&Request],
    locking: Locking,
) -> Result<Read, Failure> {
    let mut read = Read::default();
    let mut plan = Plan::new(connection);
    plan.text("BEGIN").await?;
    locks(&mut plan, requests, locking).await?;
    let mut requests = requests.to_vec();
    if locking == Locking::Try {
        // Whoever holds a key may hold its rows too: to wait for those would hold up the whole batch.
        plan.add(Part::Held, reads::HELD_INTENTS, both(ops(&requests))).await?;
        plan.land(&mut read).await?;
        requests.retain(|request| !read.is_held(request));
        plan = Plan::new(connection);
    }
    intents(&mut plan, &requests).await?;
    rows_of_calls(&mut plan, &requests).await?;
    rows_of_kinds(&mut plan, &requests).await?;
    if requests.iter().any(|request| request.call.places()) {
        plan.add(Part::Usage, reads::ROOM, Vec::new()).await?;
    }
    plan.land(&mut read).await?;
    late::read(connection, &requests, &mut read).await?;
    Ok(read)
}

impl Read {
    /// Whether another transaction holds what the call needs.
    pub(crate) fn is_held(&self, request: &Request) -> bool {
        let (bucket, key) = request.call.bucket_and_key();
        let key_is_held = || self.unlocked.contains(&(bucket, key.to_owned()));
        self.held.contains(&request.op)
            || (request.call.locks_key() && !self.unlocked.is_empty() && key_is_held())
    }
}

fn ops(requests: &[&Request]) -> (Vec<Uuid>, Vec<i32>) {
    requests.iter().map(|request| (request.op.id, request.op.item)).unzip()
}

fn keys(requests: &[&Request]) -> (Vec<i32>, Vec<String>) {
    requests
        .iter()
        .map(|request| {
            let (bucket, key) = request.call.bucket_and_key();
            (bucket.0, key.to_owned())
        })
        .unzip()
}

fn buckets(requests: &[&Request]) -> Vec<i32> {
    let ids: HashSet<i32> = requests.iter().map(|request| request.call.bucket_and_key().0.0).collect();
    ids.into_iter().collect()
}

async fn locks(plan: &mut Plan<'_>, requests: &[&Request], locking: Locking) -> Result<(), Failure> {
    let locked: Vec<&Request> = requests.iter().copied().filter(|r| r.call.locks_key()).collect();
    let (mut ids, mut names) = keys(&locked);
    if locking == Locking::Try && !locked.is_empty() {
        let tried = (std::mem::take(&mut ids), std::mem::take(&mut names));
        plan.add(Part::Locks, reads::TRY_LOCK_KEYS, vec![Box::new(tried.0), Box::new(tried.1)]).await?;
    }
    let by_place = requests.iter().copied().any(|request| placed(request).next().is_some());
    let params: Vec<Param> =
        vec![Box::new(ids), Box::new(names), Box::new(buckets(requests)), Box::new(by_place)];
    plan.add(Part::Nothing, reads::LOCKS, params).await
}

/// Intents, locked; for calls that place, slot 0 then, and the intents as they are under it: while we waited,
/// the same Begin may have been decided through another replica, and even its Commit. From here on it would
/// wait for us; so whatever it left is seen now, and no intent is made twice.
async fn intents(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    // A Begin has no intent to lock, or one that it leaves as it is.
    let begins = |call: &Call| matches!(call, Call::Begin(_) | Call::BeginCopy(_));
    let locking: Vec<&Request> = requests.iter().copied().filter(|request| !begins(&request.call)).collect();
    if !locking.is_empty() {
        plan.add(Part::Intents, reads::INTENTS, both(ops(&locking))).await?;
    }
    let placing: Vec<&Request> = requests.iter().copied().filter(|request| request.call.places()).collect();
    if !placing.is_empty() {
        plan.add(Part::Nothing, reads::LOCK_ROOM, Vec::new()).await?;
        plan.add(Part::Intents, reads::INTENTS_AGAIN, both(ops(&placing))).await?;
    }
    Ok(())
}

/// The backends where the call says that its blobs are: what decides whether they count, and whether a
/// delete can reach them.
fn placed(request: &Request) -> impl Iterator<Item = i32> + '_ {
    let targets = match &request.call {
        Call::Commit(commit) => commit.intent.targets.as_slice(),
        Call::Abort(abort) => abort.intent.targets.as_slice(),
        Call::Resolve(resolve) => resolve.intent.targets.as_slice(),
        _ => &[],
    };
    let found = request.call.found_blob().map(|(backend, ..)| backend.0);
    targets.iter().map(|target| target.backend.0).chain(found)
}

fn both((ids, items): (Vec<Uuid>, Vec<i32>)) -> Vec<Param> {
    vec![Box::new(ids), Box::new(items)]
}

async fn rows_of_calls(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let ((ids, items), (bucket_ids, names)) = (ops(requests), keys(requests));
    let displaces: Vec<bool> = requests.iter().map(|request| request.call.displaces()).collect();
    let params: Vec<Param> =
        vec![Box::new(ids), Box::new(items), Box::new(bucket_ids), Box::new(names), Box::new(displaces)];
    plan.add(Part::Calls, reads::CALLS, params).await?;
    let writers: HashSet<&String> =
        requests.iter().filter(|r| asks(&r.call)).map(|r| &r.access_key).collect();
    let writers: Vec<String> = writers.into_iter().cloned().collect();
    let params: Vec<Param> = vec![Box::new(buckets(requests)), Box::new(writers)];
    plan.add(Part::Buckets, reads::BUCKETS_AND_WRITERS, params).await?;
    let count = i32::try_from(requests.len()).unwrap_or(i32::MAX);
    let mints = |call: &Call| {
        matches!(
            call,
            Call::Begin(_) | Call::CreateUpload(_) | Call::Delete(_) | Call::Import(_) | Call::Expire(_)
        )
    };
    let versions = requests.iter().any(|request| mints(&request.call));
    plan.add(Part::Numbers, reads::NUMBERS, vec![Box::new(count), Box::new(versions)]).await
}

async fn rows_of_kinds(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let places: HashSet<i32> = requests.iter().copied().flat_map(placed).collect();
    if !places.is_empty() {
        let ids: Vec<i32> = places.into_iter().collect();
        plan.add(Part::Places, reads::PLACES, vec![Box::new(ids)]).await?;
    }
    uploads::plan(plan, requests).await?;
    extents(plan, requests).await?;
    found(plan, requests).await?;
    expiry::plan(plan, requests).await?;
    removals(plan, requests).await?;
    overtaken(plan, requests).await
}

/// The extents whose copies workers change: under slot 0 where they begin one, else under their key's lock.
async fn extents(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let extents: HashSet<(VersionId, Extent, BucketId, &str)> = requests
        .iter()
        .filter_map(|request| {
            let ((version, extent), (bucket, key)) = (request.call.extent()?, request.call.bucket_and_key());
            Some((version, extent, bucket, key))
        })
        .collect();
    if extents.is_empty() {
        return Ok(());
    }
    let extents: Vec<_> = extents.into_iter().collect();
    let params: Vec<Param> = vec![
        column(&extents, |(version, ..)| version.to_uuid()),
        column(&extents, |(_, extent, ..)| fifteen_bits(extent.get())),
        column(&extents, |(_, _, bucket, _)| bucket.0),
        column(&extents, |(.., key)| (*key).to_owned()),
    ];
    plan.add(Part::Extents, reads::COPIES_OF_EXTENTS, params).await
}

/// How the backends are given up that calls let copies go from.
async fn removals(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let given_up = requests.iter().filter_map(|request| match &request.call {
        Call::GiveUp(give_up) => Some(give_up.backend.0),
        _ => None,
    });
    let ids: Vec<i32> = given_up.collect::<BTreeSet<_>>().into_iter().collect();
    if ids.is_empty() {
        return Ok(());
    }
    plan.add(Part::Removals, reads::REMOVALS, vec![Box::new(ids)]).await
}

/// What names the blobs that were found on backends.
async fn found(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let found: Vec<_> = requests
        .iter()
        .filter_map(|request| {
            let (backend, storage_key, blob) = request.call.found_blob()?;
            let (bucket, key) = request.call.bucket_and_key();
            Some((request.op, bucket.0, key.to_owned(), backend.0, storage_key.to_owned(), blob))
        })
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let params: Vec<Param> = vec![
        column(&found, |(op, ..)| op.id),
        column(&found, |(op, ..)| op.item),
        column(&found, |(_, bucket, ..)| *bucket),
        column(&found, |(_, _, key, ..)| key.clone()),
        column(&found, |(.., blob)| blob.map(|blob| blob.version.to_uuid())),
        column(&found, |(.., blob)| blob.map(|blob| fifteen_bits(blob.extent.get()))),
        column(&found, |(.., blob)| blob.map(|blob| fifteen_bits(blob.r#gen.get()))),
        column(&found, |(_, _, _, backend, ..)| *backend),
        column(&found, |(_, _, _, _, storage_key, _)| storage_key.clone()),
    ];
    plan.add(Part::Found, reads::FOUND, params).await
}

/// Calls whose caller must have a right.
pub(super) const fn asks(call: &Call) -> bool {
    match call {
        Call::Begin(_)
        | Call::Delete(_)
        | Call::SetTags(_)
        | Call::SetLock(_)
        | Call::CreateUpload(_)
        | Call::CompleteUpload(_)
        | Call::AbortUpload(_) => true,
        Call::Retarget(_)
        | Call::Commit(_)
        | Call::Abort(_)
        | Call::Resolve(_)
        | Call::BeginCopy(_)
        | Call::ChangeCopy(_)
        | Call::SettleBlob(_)
        | Call::Import(_)
        | Call::Expire(_)
        | Call::GiveUp(_) => false,
    }
}

/// Only then does it matter what came after it: for all others the log is not read. The statement leaves
/// those out that are too old.
fn may_be_promoted(resolve: &Resolve) -> bool {
    let whole = |found: &Found| match found {
        Found::Blob { stored_size, size, etag, attributes, backend_version: _ } => {
            let bytes = resolve.intent.size;
            *stored_size == bytes && *size == bytes && etag.is_some() && attributes.is_some()
        }
        Found::Nothing => false,
    };
    resolve.intent.conditions.is_empty() && resolve.found.iter().any(|(_, found)| whole(found))
}

async fn overtaken(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let intent = |request: &Request| match &request.call {
        Call::Resolve(resolve) => may_be_promoted(resolve).then(|| resolve.intent.clone()),
        _ => None,
    };
    let intents: Vec<Intent> = requests.iter().copied().filter_map(intent).collect();
    if intents.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = intents.iter().map(|intent| intent.op.id).collect();
    let items: Vec<i32> = intents.iter().map(|intent| intent.op.item).collect();
    let floors: Vec<i64> = intents.iter().map(|intent| intent.log_floor.0).collect();
    let buckets: Vec<i32> = intents.iter().map(|intent| intent.bucket.0).collect();
    let names: Vec<String> = intents.iter().map(|intent| intent.key.clone()).collect();
    let begun: Vec<PgTime> = intents.iter().map(|intent| PgTime(intent.begun)).collect();
    let params: Vec<Param> = vec![
        Box::new(ids),
        Box::new(items),
        Box::new(floors),
        Box::new(buckets),
        Box::new(names),
        Box::new(begun),
    ];
    // One pass over the recent log, hashed against the batch: the only join here that may hash.
    plan.text("SET LOCAL enable_hashjoin = on").await?;
    plan.add(Part::Overtaken, reads::OVERTAKEN, params).await?;
    plan.text("SET LOCAL enable_hashjoin = off").await
}

/// What a lane prepares when it connects.
pub(crate) async fn prepare(connection: &mut Connection) -> Result<(), Failure> {
    for sql in reads::ALL {
        connection.prepare(sql).await?;
    }
    Ok(())
}
