//! The writes under way, so that the lease of those that take long is renewed by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// An intent older than two minutes must be listed to stay alive (DESIGN §4); listed from here on.
const LISTED_AFTER: Duration = Duration::from_mins(1);

/// The set. Clones share it.
#[derive(Clone, Default)]
pub struct OpenOps(Arc<Mutex<HashMap<Uuid, Instant>>>);

/// A write under way; dropping it ends that.
pub struct OpenOp {
    ops: OpenOps,
    op: Uuid,
}

impl OpenOps {
    /// Holds the lease of `op` until the guard is dropped.
    #[must_use = "the lease ends with the guard"]
    pub fn open(&self, op: Uuid) -> OpenOp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(op, Instant::now());
        OpenOp { ops: self.clone(), op }
    }

    /// Whether any write is under way.
    pub fn any(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Those that are open for over a minute.
    pub fn long_open(&self) -> Vec<Uuid> {
        self.long_open_at(Instant::now())
    }

    fn long_open_at(&self, now: Instant) -> Vec<Uuid> {
        let ops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ops.iter()
            .filter(|(_, since)| now.duration_since(**since) > LISTED_AFTER)
            .map(|(op, _)| *op)
            .collect()
    }
}

impl Drop for OpenOp {
    fn drop(&mut self) {
        self.ops.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_after_a_minute_until_dropped() {
        let (ops, op, start) = (OpenOps::default(), Uuid::from_u128(1), Instant::now());
        let guard = ops.open(op);
        assert!(ops.any() && ops.long_open_at(start).is_empty());
        let later = start + Duration::from_secs(62);
        assert_eq!(ops.long_open_at(later), [op]);
        drop(guard);
        assert!(ops.long_open_at(later).is_empty() && !ops.any());
    }
}
