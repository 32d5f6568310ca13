//! Locate: concurrent readers share one statement, and readers of one key share its row.
//!
//! Invariant: a reader joins only a batch that has not been sent, so it sees every write that was
//! acknowledged before it asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use s3o_core::call::Refusal;
use s3o_core::object::{CopyRow, CopyState, Locate, Located, LocatedExtent, ObjectRow};
use s3o_types::{BucketId, ErrorCode, Extent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::flight::{Flight, Param};
use super::lane::{survive, unavailable};
use super::reads;
use crate::connection::{Connection, Connector, Profile};
use crate::error::Failure;
use crate::rows::{Cells, CopyRecord, ObjectRecord, corrupt};
use crate::stats::{LaneCounters, add};

/// Keys in one statement.
const BATCH_KEYS: usize = 256;

/// How long a reader waits for the database; then it is served degraded.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

const RECONNECT: Duration = Duration::from_millis(100);

pub(crate) type Found = Result<Option<Located>, Refusal>;

pub(crate) struct Reader {
    pub(crate) query: Locate,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Found>,
}

type Key = (BucketId, String);

/// What readers are told, by key.
type Answers = HashMap<Key, Result<Located, String>>;

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
            connection.prepare(reads::LOCATE).await?;
            self.connection = Some(connection);
        }
        let Some(connection) = &self.connection else {
            return Err(Failure::Lost("not connected".to_owned()));
        };
        let mut keys: Vec<Key> = readers.iter().map(|r| (r.query.bucket, r.query.key.clone())).collect();
        keys.sort_unstable();
        keys.dedup();
        add(&self.counters.transactions, 1);
        add(&self.counters.round_trips, 1);
        look_up(connection, &keys).await
    }
}

async fn look_up(connection: &Connection, keys: &[Key]) -> Result<Answers, Failure> {
    let (buckets, names): (Vec<i32>, Vec<String>) = keys.iter().map(|(b, k)| (b.0, k.clone())).unzip();
    let mut flight = Flight::new(connection);
    flight.add(reads::LOCATE, vec![Box::new(buckets) as Param, Box::new(names)]).await?;
    let answers = flight.land().await?;
    let mut found: HashMap<Key, Result<Rows, String>> = HashMap::new();
    for row in answers.iter().flatten() {
        let cells = Cells(row);
        let key: Key = (BucketId(row.get("bucket")), row.get("key"));
        let entry = found.entry(key).or_insert_with(|| {
            let bucket: Option<String> = cells.get("bucket_name")?;
            let bucket = bucket.ok_or("its bucket has no row")?;
            Ok(Rows { bucket, object: ObjectRow::try_from(ObjectRecord(cells))?, copies: vec![] })
        });
        if let Err(why) = entry.as_mut().map_err(|why| why.clone()).and_then(|Rows { copies, .. }| {
            if CopyRecord(cells).is_present()? {
                copies.push(CopyRow::try_from(CopyRecord(cells))?);
            }
            Ok(())
        }) {
            *entry = Err(why);
        }
    }
    Ok(found.into_iter().map(|(key, read)| located(key, read)).collect())
}

/// What was read of one key.
struct Rows {
    bucket: String,
    object: ObjectRow,
    copies: Vec<CopyRow>,
}

fn located(key: Key, read: Result<Rows, String>) -> (Key, Result<Located, String>) {
    let located = read.and_then(|Rows { bucket, object, mut copies }| {
        // This release writes whole objects: one extent, numbered 0.
        if copies.iter().any(|copy| copy.blob.extent != Extent::ZERO) {
            return Err("it has several extents, which this release cannot read".to_owned());
        }
        copies.retain(|copy| copy.state.readable());
        copies.sort_by_key(|copy| (copy.state != CopyState::Verified, copy.backend));
        let copies = copies.into_iter().map(|copy| {
            let storage_key = copy.storage_key(&bucket);
            (copy, storage_key)
        });
        let whole =
            LocatedExtent { extent: Extent::ZERO, offset: 0, size: object.size, copies: copies.collect() };
        Ok(Located { object, extents: vec![whole] })
    });
    let named = located.map_err(|why| corrupt("objects", format!("{}/{}", key.0.0, key.1), why).to_string());
    (key, named)
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
        let key = (reader.query.bucket, reader.query.key);
        let found = match answers.get(&key) {
            None => Ok(None),
            Some(Ok(located)) => Ok(Some(located.clone())),
            Some(Err(why)) => {
                tracing::error!(why, "a row cannot be read");
                Err(Refusal::new(ErrorCode::InternalError, why.clone()))
            }
        };
        let _ = reader.reply.send(found);
    }
}
