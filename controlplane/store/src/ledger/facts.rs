//! The first flight of a batch: locks, then everything its calls are decided from.
//!
//! Invariant: each statement has a snapshot of its own, taken when it runs. So what is read under a
//! lock comes after the statement that takes it; intents come before the log, so that whoever settled
//! an intent meanwhile is found there; the log's numbers are drawn after the locks; and the usage of
//! backends comes last, its sums after the lock of slot 0.

use std::collections::HashSet;

use s3o_core::call::{Call, CarriedIntent, Found, Request, Resolve};
use s3o_core::facts::Facts;
use s3o_core::intent::{Intent, Target};
use s3o_types::{BucketId, Op};
use uuid::Uuid;

use super::flight::{Flight, Param};
use super::intake::take;
use super::reads;
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::{Cells, PgTime};

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

/// Which statements a flight has, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Nothing,
    Locks,
    Held,
    Intents,
    Outcomes,
    Objects,
    Buckets,
    Writers,
    Named,
    Places,
    Overtaken,
    Numbers,
    Versions,
    Usage,
    Routing,
}

struct Plan<'a> {
    flight: Flight<'a>,
    parts: Vec<Part>,
}

impl<'a> Plan<'a> {
    const fn new(connection: &'a Connection) -> Self {
        Self { flight: Flight::new(connection), parts: Vec::new() }
    }

    /// Waits for the answers and takes them in.
    async fn land(self, read: &mut Read) -> Result<(), Failure> {
        let answers = self.flight.land().await?;
        for (part, rows) in self.parts.into_iter().zip(&answers) {
            for row in rows {
                if let Err(broken) = take(read, part, Cells(row)) {
                    read.broken.push(broken);
                }
            }
        }
        Ok(())
    }

    async fn add(&mut self, part: Part, sql: &'static str, params: Vec<Param>) -> Result<(), Failure> {
        self.flight.add(sql, params).await?;
        self.parts.push(part);
        Ok(())
    }

    async fn text(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.flight.add_text(sql).await?;
        self.parts.push(Part::Nothing);
        Ok(())
    }
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
    rows_of_calls(&mut plan, &requests).await?;
    rows_of_kinds(&mut plan, &requests).await?;
    room(&mut plan, &requests).await?;
    plan.land(&mut read).await?;
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
    if !locked.is_empty() {
        let (ids, names) = keys(&locked);
        let (part, sql) = match locking {
            Locking::Wait => (Part::Nothing, reads::LOCK_KEYS),
            Locking::Try => (Part::Locks, reads::TRY_LOCK_KEYS),
        };
        plan.add(part, sql, vec![Box::new(ids), Box::new(names)]).await?;
    }
    let lock = vec![Box::new(buckets(requests)) as Param];
    plan.add(Part::Nothing, reads::LOCK_BUCKETS, lock).await?;
    if requests.iter().copied().any(|request| placed(request).next().is_some()) {
        plan.add(Part::Nothing, reads::LOCK_PLACES, Vec::new()).await?;
    }
    Ok(())
}

/// The backends where the call says that its blobs are: what decides whether they count.
fn placed(request: &Request) -> impl Iterator<Item = i32> + '_ {
    let targets = match &request.call {
        Call::Commit(commit) => commit.intent.targets.as_slice(),
        Call::Resolve(resolve) => resolve.intent.targets.as_slice(),
        _ => &[],
    };
    targets.iter().map(|target| target.backend.0)
}

fn both((ids, items): (Vec<Uuid>, Vec<i32>)) -> Vec<Param> {
    vec![Box::new(ids), Box::new(items)]
}

async fn rows_of_calls(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    plan.add(Part::Intents, reads::INTENTS, both(ops(requests))).await?;
    plan.add(Part::Outcomes, reads::OUTCOMES, both(ops(requests))).await?;
    let (ids, names) = keys(requests);
    plan.add(Part::Objects, reads::OBJECTS, vec![Box::new(ids), Box::new(names)]).await?;
    plan.add(Part::Buckets, reads::BUCKETS, vec![Box::new(buckets(requests))]).await
}

fn carried(request: &Request) -> Option<&CarriedIntent> {
    match &request.call {
        Call::Commit(commit) => Some(&commit.intent),
        Call::Abort(abort) => Some(&abort.intent),
        _ => None,
    }
}

async fn rows_of_kinds(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let asks = |call: &Call| matches!(call, Call::Begin(_) | Call::Delete(_) | Call::SetTags(_));
    let writers: Vec<&Request> = requests.iter().copied().filter(|r| asks(&r.call)).collect();
    if !writers.is_empty() {
        let names: Vec<String> = writers.iter().map(|r| r.access_key.clone()).collect();
        let (ids, _) = keys(&writers);
        plan.add(Part::Writers, reads::WRITERS, vec![Box::new(names), Box::new(ids)]).await?;
    }
    let carried = requests.iter().copied().filter_map(carried);
    let blobs: Vec<(Uuid, &Target)> =
        carried.flat_map(|c| c.targets.iter().map(|target| (c.version.to_uuid(), target))).collect();
    if !blobs.is_empty() {
        let versions: Vec<Uuid> = blobs.iter().map(|(version, _)| *version).collect();
        let extents: Vec<i16> = blobs.iter().map(|(_, target)| fifteen(target.extent.get())).collect();
        let backends: Vec<i32> = blobs.iter().map(|(_, target)| target.backend.0).collect();
        let params: Vec<Param> = vec![Box::new(versions), Box::new(extents), Box::new(backends)];
        plan.add(Part::Named, reads::NAMED, params).await?;
    }
    let places: HashSet<i32> = requests.iter().copied().flat_map(placed).collect();
    if !places.is_empty() {
        let ids: Vec<i32> = places.into_iter().collect();
        plan.add(Part::Places, reads::PLACES, vec![Box::new(ids)]).await?;
    }
    overtaken(plan, requests).await
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

/// Numbers for every call; room on the backends for those that place.
async fn room(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let count = i32::try_from(requests.len()).unwrap_or(i32::MAX);
    plan.add(Part::Numbers, reads::NUMBERS, vec![Box::new(count)]).await?;
    let places = |call: &Call| matches!(call, Call::Begin(_) | Call::Retarget(_));
    if !requests.iter().any(|request| places(&request.call)) {
        return Ok(());
    }
    plan.add(Part::Versions, reads::VERSIONS, vec![Box::new(count)]).await?;
    plan.add(Part::Routing, reads::ROUTING, Vec::new()).await?;
    plan.add(Part::Nothing, reads::LOCK_ROOM, Vec::new()).await?;
    // While we waited, the same Begin may have been decided through another replica, and even its Commit.
    // From here on it would wait for us; so whatever it left is seen now, and no intent is made twice.
    plan.add(Part::Intents, reads::INTENTS_AGAIN, both(ops(requests))).await?;
    plan.add(Part::Outcomes, reads::OUTCOMES, both(ops(requests))).await?;
    plan.add(Part::Usage, reads::ROOM, Vec::new()).await
}

/// Fifteen bits always fit.
fn fifteen(n: u16) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// What a lane prepares when it connects.
pub(crate) async fn prepare(connection: &mut Connection) -> Result<(), Failure> {
    for sql in reads::ALL {
        connection.prepare(sql).await?;
    }
    Ok(())
}
