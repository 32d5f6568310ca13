//! What this process knows of where objects are: the answers of Locate, and its own writes. Read only while the database
//! cannot be asked.
//!
//! Invariants: bounded in bytes, the least recently used go first; what is remembered of a key is never older than what
//! this process has acknowledged of it: an answer that was asked for before a change cannot replace it, whenever it comes.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use s3o_types::BucketId;

use crate::control::Located;

/// Locks, so that requests seldom wait for each other. A power of two.
const SHARDS: usize = 16;
/// What an entry takes besides its texts: itself, the location, a share of the tables.
const ENTRY_BYTES: usize = 768;
/// What an extent, a copy or a pair of texts takes besides its texts.
const ITEM_BYTES: usize = 96;

/// When a question was asked or an answer acknowledged, in the order of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What is remembered of a key.
#[derive(Debug, Clone)]
pub(crate) enum Remembered {
    /// Nothing: it may be there or not.
    Nothing,
    /// Its current version when it was last looked at, not too long ago.
    Fresh(Arc<Located>),
    /// The same, too long ago to be served without a look at the backends.
    Stale(Arc<Located>),
    /// What was there is not current any more, and what is there now, if anything, is not known.
    Changed,
}

#[derive(Debug)]
enum State {
    Known(Arc<Located>),
    Changed,
}

#[derive(Debug)]
struct Entry {
    bucket: BucketId,
    /// Compared at each look, since the table knows only its hash.
    key: Box<str>,
    state: State,
    at: Instant,
    touched: Ticket,
    bytes: usize,
}

struct Shard {
    entries: LruCache<u64, Entry>,
    bytes: usize,
    /// The greatest ticket of what had to go: an answer from before it may be older than what was forgotten.
    forgotten: Ticket,
}

/// See the module.
pub(crate) struct Locations {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    next: AtomicU64,
    bytes_each: usize,
    ttl: Duration,
}

impl Locations {
    /// One of `bytes` in all; none remembers nothing. A location is fresh for `ttl`.
    pub(crate) fn new(bytes: u64, ttl: Duration) -> Self {
        let shard = || Mutex::new(Shard { entries: LruCache::unbounded(), bytes: 0, forgotten: Ticket(0) });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            next: AtomicU64::new(1),
            bytes_each: usize::try_from(bytes).unwrap_or(usize::MAX) / SHARDS,
            ttl,
        }
    }

    /// To be drawn before a question is asked.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Locate's answer to a question asked at `asked`, of the key's current version.
    pub(crate) fn located(&self, bucket: BucketId, key: &str, asked: Ticket, located: &Arc<Located>) {
        self.change(bucket, key, |entry| match entry {
            Some(entry) if entry.touched > asked => None,
            Some(Entry { state: State::Known(known), .. }) if known.seq > located.seq => None,
            Some(Entry { state: State::Known(known), .. }) => {
                Some((State::Known(richer(known, located)), asked))
            }
            _ => Some((State::Known(Arc::clone(located)), asked)),
        });
    }

    /// Locate said, to a question asked at `asked`, that the key has no current version.
    pub(crate) fn absent(&self, bucket: BucketId, key: &str, asked: Ticket) {
        self.change(bucket, key, |entry| {
            // Keys of which nothing is known are not worth a place.
            entry.filter(|entry| entry.touched <= asked).map(|_| (State::Changed, asked))
        });
    }

    /// A write of our own counts; its Commit was sent at `asked`.
    pub(crate) fn committed(&self, bucket: BucketId, key: &str, asked: Ticket, located: Located) {
        let (now, located) = (self.ticket(), Arc::new(located));
        self.change(bucket, key, |entry| match entry {
            Some(Entry { state: State::Known(known), .. }) if known.seq > located.seq => None,
            // Which of the two came last cannot be told.
            Some(entry) if entry.touched > asked && matches!(entry.state, State::Changed) => {
                Some((State::Changed, now))
            }
            _ => Some((State::Known(Arc::clone(&located)), now)),
        });
    }

    /// The key has another version, or none, or its version other attributes; at least it may.
    pub(crate) fn changed(&self, bucket: BucketId, key: &str) {
        let now = self.ticket();
        self.change(bucket, key, |_| Some((State::Changed, now)));
    }

    /// What is known of a key at `now`.
    pub(crate) fn find(&self, bucket: BucketId, key: &str, now: Instant) -> Remembered {
        let hash = self.hash(bucket, key);
        let mut shard = self.shard(hash);
        let Some(entry) = shard.entries.get(&hash).filter(|entry| entry.is_of(bucket, key)) else {
            return Remembered::Nothing;
        };
        match &entry.state {
            State::Changed => Remembered::Changed,
            State::Known(located) if now.saturating_duration_since(entry.at) <= self.ttl => {
                Remembered::Fresh(Arc::clone(located))
            }
            State::Known(located) => Remembered::Stale(Arc::clone(located)),
        }
    }

    fn hash(&self, bucket: BucketId, key: &str) -> u64 {
        self.hasher.hash_one((bucket, key))
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The tables use the low bits.
        let index = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        bucket: BucketId,
        key: &str,
        decide: impl FnOnce(Option<&Entry>) -> Option<(State, Ticket)>,
    ) {
        if self.bytes_each == 0 {
            return;
        }
        let hash = self.hash(bucket, key);
        let mut shard = self.shard(hash);
        let forgotten = shard.forgotten;
        let Shard { entries, bytes, .. } = &mut *shard;
        let found = entries.get_mut(&hash).filter(|entry| entry.is_of(bucket, key));
        let Some((state, touched)) = decide(found.as_deref()) else { return };
        let weight = weight(key, &state);
        if let Some(entry) = found {
            *bytes = *bytes - entry.bytes + weight;
            *entry = Entry {
                key: std::mem::take(&mut entry.key),
                bucket,
                state,
                at: Instant::now(),
                touched,
                bytes: weight,
            };
        } else {
            if touched < forgotten {
                return;
            }
            let entry = Entry { bucket, key: key.into(), state, at: Instant::now(), touched, bytes: weight };
            *bytes += weight;
            // One with the same hash goes.
            let gone = entries.push(hash, entry);
            shard.forget(gone);
        }
        shard.shrink(self.bytes_each);
    }
}

impl Shard {
    fn shrink(&mut self, to: usize) {
        while self.bytes > to {
            let gone = self.entries.pop_lru();
            if gone.is_none() {
                return;
            }
            self.forget(gone);
        }
    }

    fn forget(&mut self, gone: Option<(u64, Entry)>) {
        if let Some((_, entry)) = gone {
            self.bytes -= entry.bytes;
            self.forgotten = self.forgotten.max(entry.touched);
        }
    }
}

impl Entry {
    fn is_of(&self, bucket: BucketId, key: &str) -> bool {
        self.bucket == bucket && *self.key == *key
    }
}

/// The newer location, with the extents of the one before where it is of the same version and only that one has all:
/// HEAD and ranges bring only some.
fn richer(known: &Arc<Located>, newer: &Arc<Located>) -> Arc<Located> {
    let keeps = known.version == newer.version && known.has(0, known.size) && !newer.has(0, newer.size);
    if !keeps {
        return Arc::clone(newer);
    }
    if known.attributes == newer.attributes && known.seq == newer.seq {
        return Arc::clone(known);
    }
    Arc::new(Located { extents: known.extents.clone(), ..Located::clone(newer) })
}

fn weight(key: &str, state: &State) -> usize {
    let State::Known(located) = state else { return ENTRY_BYTES / 3 + key.len() };
    let pairs = |(name, value): (&String, &String)| ITEM_BYTES + name.len() + value.len();
    let copies: usize = located
        .extents
        .iter()
        .map(|extent| {
            let of_copy = |copy: &crate::control::LocatedCopy| {
                2 * ITEM_BYTES + copy.storage_key.len() + copy.backend_etag.len()
            };
            let checksums: usize = extent.checksums.values.iter().map(pairs).sum();
            ITEM_BYTES + checksums + extent.copies.iter().map(of_copy).sum::<usize>()
        })
        .sum();
    let attributes = &located.attributes;
    let texts = attributes.metadata.iter().chain(&attributes.tags).chain(&located.checksums.values);
    ENTRY_BYTES + key.len() + copies + texts.map(pairs).sum::<usize>()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
