//! Memory for sending small bodies again when a backend fails, from one bounded pool.
//!
//! Invariant: what is kept never exceeds the pool; when it is empty a request goes on without, it never
//! waits.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The pool. One permit is one byte.
pub(crate) struct ReplayPool {
    bytes: Arc<Semaphore>,
    largest: u64,
}

/// The chunks of one body that have been handed out.
pub(crate) struct Replay {
    chunks: Vec<Bytes>,
    _reserved: OwnedSemaphorePermit,
}

impl ReplayPool {
    /// Of `bytes` in all, for bodies up to `largest`.
    pub(crate) fn new(bytes: u64, largest: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { bytes: Arc::new(Semaphore::new(bytes)), largest }
    }

    /// Room for a body of `size` bytes, if there is any now.
    pub(crate) fn reserve(&self, size: u64) -> Option<Replay> {
        if size > self.largest {
            return None;
        }
        let permits = u32::try_from(size).ok()?;
        let reserved = Arc::clone(&self.bytes).try_acquire_many_owned(permits).ok()?;
        Some(Replay { chunks: Vec::new(), _reserved: reserved })
    }
}

impl Replay {
    /// Keeps a chunk. Copied: a small slice would hold on to the whole buffer it was read into.
    pub(crate) fn keep(&mut self, chunk: &Bytes) {
        self.chunks.push(Bytes::copy_from_slice(chunk));
    }

    /// The chunk at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Bytes> {
        self.chunks.get(index).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_given_back() {
        let pool = ReplayPool::new(100, 60);
        assert!(pool.reserve(61).is_none(), "too large for one");
        let first = pool.reserve(60).expect("room");
        assert!(pool.reserve(60).is_none(), "no room, and no waiting");
        assert!(pool.reserve(0).is_some());
        drop(first);
        assert!(pool.reserve(60).is_some());
    }
}
