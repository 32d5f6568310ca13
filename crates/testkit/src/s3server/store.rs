//! What the server holds: blobs, rules and counters, behind one lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::{Digest as _, Md5};
use tokio::task::JoinSet;

use super::fault::{Fault, Operation, Rule, strike};

/// One stored blob.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its bytes.
    pub bytes: Bytes,
    /// MD5 in hexadecimal, of what was sent.
    pub etag: String,
    /// Content headers and user metadata.
    pub headers: HeaderMap,
    /// When it was stored, by this machine's clock.
    pub modified: SystemTime,
}

impl Blob {
    pub(super) fn new(bytes: Bytes, request: &HeaderMap) -> Self {
        let etag = hex::encode(Md5::digest(&bytes));
        Self::with_etag(bytes, etag, request)
    }

    pub(super) fn with_etag(bytes: Bytes, etag: String, request: &HeaderMap) -> Self {
        let kept = request.iter().filter(|(name, _)| is_kept(name));
        let headers: HeaderMap<HeaderValue> =
            kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { bytes, etag, headers, modified: SystemTime::now() }
    }
}

/// Whether S3 stores such a header.
fn is_kept(name: &HeaderName) -> bool {
    const CONTENT: [&str; 6] = [
        "content-type",
        "content-encoding",
        "content-disposition",
        "content-language",
        "cache-control",
        "expires",
    ];
    name.as_str().starts_with("x-amz-meta-") || CONTENT.contains(&name.as_str())
}

/// Bucket, then key.
pub(super) type Place = (String, String);

#[derive(Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<Place, Blob>,
    pub(super) rules: Vec<Rule>,
    pub(super) counts: HashMap<Operation, u64>,
    /// Bytes of bodies of PUTs that were taken, and of bodies that were sent.
    pub(super) moved: (u64, u64),
    /// Whether PUTs without a fault are hashed as they come and not kept.
    pub(super) discard: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// PUTs that complete late. Theirs is the only task that outlives a connection.
    late: Mutex<JoinSet<()>>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request and says what is to go wrong with it.
    pub(super) fn arrive(&self, operation: Operation, key: &str) -> Option<Fault> {
        let mut state = self.lock();
        *state.counts.entry(operation).or_default() += 1;
        strike(&mut state.rules, operation, key)
    }

    pub(super) fn store(&self, place: Place, blob: Blob) {
        self.lock().blobs.insert(place, blob);
    }

    pub(super) fn store_late(self: &Arc<Self>, place: Place, blob: Blob, delay: Duration) {
        let shared: Weak<Self> = Arc::downgrade(self);
        self.late.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            tokio::time::sleep(delay).await;
            if let Some(shared) = shared.upgrade() {
                shared.store(place, blob);
            }
        });
    }
}
