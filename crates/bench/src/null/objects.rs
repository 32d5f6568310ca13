//! What is stored: by bucket and key, in shards, so that many connections seldom meet at a lock.
//!
//! Invariant: a key is in the shard of its hash and nowhere else.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderName, HeaderValue};

use super::content::Content;

/// More than cores that a machine for measuring has.
const SHARDS: usize = 32;

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) content: Content,
    /// What the PUT said and a GET repeats: metadata and content headers.
    pub(super) headers: Arc<[(HeaderName, HeaderValue)]>,
    /// HTTP date.
    pub(super) modified: HeaderValue,
}

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket([RwLock<BTreeMap<String, Object>>; SHARDS]);

impl Default for Bucket {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl Bucket {
    fn shard(&self, key: &str) -> &RwLock<BTreeMap<String, Object>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0);
        &self.0[index]
    }

    pub(super) fn get(&self, key: &str) -> Option<Object> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn put(&self, key: String, object: Object) {
        self.shard(&key).write().unwrap_or_else(PoisonError::into_inner).insert(key, object);
    }

    pub(super) fn delete(&self, key: &str) {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets every key that begins so.
    pub(super) fn clear(&self, prefix: &str) {
        for shard in &self.0 {
            shard.write().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !key.starts_with(prefix));
        }
    }

    /// The first `limit` keys after `after` that begin with `prefix`, in order.
    pub(super) fn list(&self, prefix: &str, after: &str, limit: usize) -> Vec<(String, Object)> {
        // A key that is equal to the prefix is one of its keys; one that is equal to `after` is not.
        let from = if after >= prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        let shards: Vec<_> =
            self.0.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner)).collect();
        let mut ranges: Vec<_> =
            shards.iter().map(|shard| shard.range::<str, _>((from, Bound::Unbounded))).collect();
        // The next key of each shard, least first.
        let mut heads: BinaryHeap<_> = ranges
            .iter_mut()
            .enumerate()
            .filter_map(|(index, range)| {
                range.next().map(|(key, object)| Reverse((key, index, ByKey(object))))
            })
            .collect();
        let mut found = Vec::with_capacity(limit.min(1001));
        while let Some(Reverse((key, index, ByKey(object)))) = heads.pop() {
            if found.len() == limit || !key.starts_with(prefix) {
                break;
            }
            found.push((key.clone(), object.clone()));
            heads.extend(ranges[index].next().map(|(key, object)| Reverse((key, index, ByKey(object)))));
        }
        found
    }
}

/// An object beside its key, which alone decides the order.
struct ByKey<'a>(&'a Object);

impl PartialEq for ByKey<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ByKey<'_> {}

impl PartialOrd for ByKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey<'_> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// All buckets; one that is named for the first time is made.
#[derive(Debug, Default)]
pub(super) struct Buckets(RwLock<HashMap<String, Arc<Bucket>>>);

impl Buckets {
    pub(super) fn get(&self, name: &str) -> Arc<Bucket> {
        if let Some(bucket) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(bucket);
        }
        let mut buckets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buckets.entry(name.to_owned()).or_default())
    }
}
