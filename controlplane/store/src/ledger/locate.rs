//! Locate: concurrent readers share one statement, and readers of one key share its row. Objects that were
//! uploaded in parts take one statement more, for the extents that are wanted (`extents.rs`).
//!
//! Invariant: a reader joins only a batch that has not been sent, so it sees every write that was
//! acknowledged before it asked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use s3o_core::call::Refusal;
use s3o_core::object::{
    CopyRow, CopyState, Locate, Located, LocatedExtent, Lookup, ObjectRow, Want, known_checksums,
};
use s3o_core::versions::MarkerSeen;
use s3o_types::{BucketId, ErrorCode, Extent, VersionId, VersionRef};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::effects::column;
use super::extents;
use super::flight::{Flight, Param};
use super::lane::{survive, unavailable};
use super::lookups;
use crate::connection::{Connection, Connector, Profile};
use crate::error::Failure;
use crate::rows::{Cells, CopyRecord, ObjectRecord, corrupt, told};
use crate::stats::{LaneCounters, add};

/// Keys in one statement.
const BATCH_KEYS: usize = 256;

/// How long a reader waits for the database; then it is served degraded.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How often a version that goes while it is looked up is looked for.
const MAX_LOOKS: usize = 4;

const RECONNECT: Duration = Duration::from_millis(100);

pub(crate) type Found = Result<Lookup, Refusal>;

pub(crate) struct Reader {
    pub(crate) query: Locate,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Found>,
}

/// A key, and which version of it is meant.
type Key = (BucketId, String, Option<VersionRef>);

/// What readers are told; nothing of what does not exist.
type Answers = HashMap<Locate, Result<Lookup, String>>;

pub(crate) struct LocateLane {
    pub(crate) connector: Connector,
    pub(crate) counters: Arc<LaneCounters>,
    pub(crate) stop: CancellationToken,
    pub(crate) connection: Option<Connection>,
}

impl LocateLane {
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Reader>) {
        let mut readers = Vec::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                n = queue.recv_many(&mut readers, BATCH_KEYS) => if n == 0 { break },
            }
            // As in the other lanes: readers of one message come one after the other.
            yield_now().await;
            while readers.len() < BATCH_KEYS
                && let Ok(reader) = queue.try_recv()
            {
                readers.push(reader);
            }
            readers.retain(|reader| !reader.reply.is_closed());
            self.serve(std::mem::take(&mut readers)).await;
        }
        queue.close();
        while let Ok(reader) = queue.try_recv() {
            let _ = reader.reply.send(Err(unavailable("the control plane is shutting down")));
        }
    }

    async fn serve(&mut self, mut readers: Vec<Reader>) {
        add(&self.counters.batches, 1);
        add(&self.counters.items, readers.len());
        loop {
            readers = expire(readers);
            if readers.is_empty() {
                return;
            }
            let counters = self.counters.clone();
            match survive(self.ask(&readers), &counters).await {
                Ok(answers) => return answer(readers, &answers),
                Err(failure) if failure.is_passing() && !self.stop.is_cancelled() => {
                    self.connection = None;
                    add(&self.counters.reconnects, 1);
                    tokio::select! {
                        () = sleep(RECONNECT) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
                Err(failure) if failure.is_passing() => {
                    let refused = || Err(unavailable("the control plane is shutting down"));
                    return readers.into_iter().for_each(|reader| drop(reader.reply.send(refused())));
                }
                Err(failure) => {
                    self.connection = None;
                    tracing::error!(%failure, "objects cannot be located");
                    let refused =
                        || Err(Refusal::new(ErrorCode::InternalError, "the object cannot be located"));
                    return readers.into_iter().for_each(|reader| drop(reader.reply.send(refused())));
                }
            }
        }
    }

    async fn ask(&mut self, readers: &[Reader]) -> Result<Answers, Failure> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let mut connection = self.connector.open(Profile::Lookup).await?;
            connection.prepare(lookups::LOCATE).await?;
            connection.prepare(lookups::LOCATE_VERSION).await?;
            connection.prepare(lookups::EXTENTS).await?;
            self.connection = Some(connection);
        }
        let Some(connection) = &self.connection else {
            return Err(Failure::Lost("not connected".to_owned()));
        };
        let mut queries: Vec<Locate> = readers.iter().map(|reader| reader.query.clone()).collect();
        queries.sort_unstable();
        queries.dedup();
        let mut found = Answers::new();
        // A version may be gone between its row and its extents: then it is looked for again.
        for _ in 0..MAX_LOOKS {
            add(&self.counters.transactions, 1);
            let again = look_up(connection, &queries, &self.counters, &mut found).await?;
            if again.is_empty() {
                return Ok(found);
            }
            queries = again;
        }
        let why = || Err("its extents cannot be found".to_owned());
        found.extend(queries.into_iter().map(|query| (query, why())));
        Ok(found)
    }
}

/// Answers the queries; gives back those whose version went while they were looked up.
async fn look_up(
    connection: &Connection,
    queries: &[Locate],
    counters: &LaneCounters,
    found: &mut Answers,
) -> Result<Vec<Locate>, Failure> {
    let keys: BTreeSet<Key> = queries
        .iter()
        .filter(|query| !matches!(query.want, Want::Of(..)))
        .map(|query| (query.bucket, query.key.clone(), query.version))
        .collect();
    let rows = if keys.is_empty() { HashMap::new() } else { rows(connection, &keys, counters).await? };
    let (mut in_parts, mut again) = (Vec::new(), Vec::new());
    for query in queries {
        // Whatever the key's current version is by now, and whoever else asks for it.
        if matches!(query.want, Want::Of(..)) {
            in_parts.push((query, None));
            continue;
        }
        match rows.get(&(query.bucket, query.key.clone(), query.version)) {
            Some(Ok(Row::Object(of))) if of.object.parts.is_some() => {
                in_parts.push((query, Some((&of.object, of.told))));
            }
            Some(Ok(Row::Marker(marker))) => {
                found.insert(query.clone(), Ok(Lookup::Marker(*marker)));
            }
            // It came whole: what was read is all there is.
            Some(Ok(Row::Object(of))) => {
                let located = whole((**of).clone()).map(|located| Lookup::Found(Box::new(located)));
                found.insert(query.clone(), located.map_err(|why| named(query, &why)));
            }
            Some(Err(why)) => {
                found.insert(query.clone(), Err(named(query, why)));
            }
            None => {}
        }
    }
    let mut pieces = extents::read(connection, &in_parts, counters).await?;
    for (n, (query, object)) in in_parts.into_iter().enumerate() {
        let read = pieces.remove(&n);
        match extents::located(query, object, read) {
            Some(located) => {
                let located = located.map(|located| Lookup::Found(Box::new(located)));
                found.insert(query.clone(), located.map_err(|why| named(query, &why)));
            }
            // Of a version that is not the current one any more there may be nothing left.
            None if object.is_some() => again.push(query.clone()),
            None => {}
        }
    }
    Ok(again)
}

fn named(query: &Locate, why: &str) -> String {
    corrupt("objects", format!("{}/{}", query.bucket.0, query.key), why).to_string()
}

async fn rows(
    connection: &Connection,
    keys: &BTreeSet<Key>,
    counters: &LaneCounters,
) -> Result<HashMap<Key, Result<Row, String>>, Failure> {
    let (versions, current): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|(_, _, named)| named.is_some());
    let id = |(_, _, named): &&Key| match named {
        Some(VersionRef::Id(version)) => Some(version.to_uuid()),
        Some(VersionRef::Null) | None => None,
    };
    let place = |keys: &[&Key]| -> Vec<Param> {
        vec![column(keys, |(bucket, _, _)| bucket.0), column(keys, |(_, key, _)| key.clone())]
    };
    let mut flight = Flight::new(connection);
    if !current.is_empty() {
        flight.add(lookups::LOCATE, place(&current)).await?;
    }
    if !versions.is_empty() {
        let mut params = place(&versions);
        params.push(column(&versions, id));
        flight.add(lookups::LOCATE_VERSION, params).await?;
    }
    add(&counters.round_trips, 1);
    let answers = flight.land().await?;
    let mut found: HashMap<Key, Result<Row, String>> = HashMap::new();
    for row in answers.iter().flatten() {
        let cells = Cells(row);
        let named = match row.get::<_, Option<Uuid>>("t_version") {
            Some(version) => Some(VersionRef::Id(VersionId::from_uuid(version))),
            None => row.get::<_, bool>("t_null").then_some(VersionRef::Null),
        };
        let key: Key = (BucketId(row.get("t_bucket")), row.get("t_key"), named);
        let entry = found.entry(key).or_insert_with(|| read_row(cells));
        if let Err(why) = entry.as_mut().map_err(|why| why.clone()).and_then(|row| add_copy(row, cells)) {
            *entry = Err(why);
        }
    }
    Ok(found)
}

fn read_row(cells: Cells<'_>) -> Result<Row, String> {
    if cells.get::<Option<i64>>("seq")?.is_none() {
        let version =
            told(cells, "m_version", "m_is_null")?.ok_or("a row that is neither version nor marker")?;
        return Ok(Row::Marker(MarkerSeen { version, modified: cells.time("m_modified")? }));
    }
    let object = ObjectRow::try_from(ObjectRecord(cells))?;
    let versioned: bool = cells.get("versioned")?;
    let told = versioned.then(|| VersionRef::of(object.version, object.is_null));
    let rows = Rows { bucket: cells.get("bucket_name")?, told, object, copies: vec![] };
    Ok(Row::Object(Box::new(rows)))
}

fn add_copy(row: &mut Row, cells: Cells<'_>) -> Result<(), String> {
    if let Row::Object(rows) = row
        && CopyRecord(cells).is_present()?
    {
        rows.copies.push(CopyRow::try_from(CopyRecord(cells))?);
    }
    Ok(())
}

/// What was read of one key.
enum Row {
    Object(Box<Rows>),
    Marker(MarkerSeen),
}

/// A version of a key.
#[derive(Clone)]
struct Rows {
    bucket: String,
    told: Option<VersionRef>,
    object: ObjectRow,
    copies: Vec<CopyRow>,
}

/// An object that is one blob.
fn whole(rows: Rows) -> Result<Located, String> {
    let Rows { bucket, told, object, copies } = rows;
    if copies.iter().any(|copy| copy.piece.is_some()) {
        return Err("it is one blob, and has pieces".to_owned());
    }
    let extent = LocatedExtent {
        extent: Extent::ZERO,
        offset: 0,
        size: object.size,
        checksums: known_checksums(copies.iter()),
        copies: readable(copies, &bucket),
    };
    Ok(Located { object, told, extents: vec![extent] })
}

/// The copies that a reader may try, verified ones first, with their storage keys.
pub(super) fn readable(mut copies: Vec<CopyRow>, bucket: &str) -> Vec<(CopyRow, String)> {
    copies.retain(|copy| copy.state.readable());
    copies.sort_by_key(|copy| (copy.state != CopyState::Verified, copy.backend));
    let named = copies.into_iter().map(|copy| {
        let storage_key = copy.storage_key(bucket);
        (copy, storage_key)
    });
    named.collect()
}

fn expire(readers: Vec<Reader>) -> Vec<Reader> {
    let now = Instant::now();
    let (late, left): (Vec<Reader>, Vec<Reader>) = readers.into_iter().partition(|r| r.deadline <= now);
    for reader in late {
        let _ = reader.reply.send(Err(unavailable("the database did not answer in time")));
    }
    left
}

fn answer(readers: Vec<Reader>, answers: &Answers) {
    for reader in readers {
        let found = match answers.get(&reader.query) {
            None => Ok(Lookup::Nothing),
            Some(Ok(lookup)) => Ok(lookup.clone()),
            Some(Err(why)) => {
                tracing::error!(why, "a row cannot be read");
                Err(Refusal::new(ErrorCode::InternalError, why.clone()))
            }
        };
        let _ = reader.reply.send(found);
    }
}
