//! Copies that gave wrong bytes a moment ago, or that were not there: read last until a worker has looked at them.
//!
//! Invariants: it never decides which bytes are right, only who is asked first; it is bounded, and a copy is told of once
//! in its time, however many readers meet it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use s3o_types::BackendId;

use crate::control::LocatedCopy;

/// A worker looks within seconds; then readers are not told of the copy any more.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Copies, at most: with more than that wrong, the order of reading is the least of the troubles.
const MOST: usize = 1024;

/// See the module.
#[derive(Default)]
pub(crate) struct Suspects {
    /// How many there are: read without the lock by every reader.
    count: AtomicUsize,
    noted: Mutex<HashMap<(BackendId, String), Instant>>,
}

impl Suspects {
    /// Notes a copy. Says whether that is new. With no place left it is not: the next reader that has one tells of it.
    pub(super) fn note(&self, copy: &LocatedCopy, now: Instant) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        let is_new = !noted.contains_key(&(copy.backend, copy.storage_key.clone()));
        let has_place = is_new && noted.len() < MOST;
        if has_place {
            noted.insert((copy.backend, copy.storage_key.clone()), now);
        }
        self.count.store(noted.len(), Ordering::Relaxed);
        has_place
    }

    /// Whether a copy was noted a moment ago.
    pub(super) fn contains(&self, copy: &LocatedCopy, now: Instant) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let at = noted.get(&(copy.backend, copy.storage_key.clone()));
        at.is_some_and(|at| now.duration_since(*at) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::Encoding;

    use super::*;

    fn copy(n: usize) -> LocatedCopy {
        LocatedCopy {
            backend: BackendId(1),
            storage_key: n.to_string(),
            backend_etag: String::new(),
            encoding: Encoding::default(),
            uncertain: false,
            foreign_key: false,
        }
    }

    #[test]
    fn told_of_once_and_forgotten_in_time() {
        let (suspects, now) = (Suspects::default(), Instant::now());
        assert!(!suspects.contains(&copy(1), now));
        assert!(suspects.note(&copy(1), now));
        assert!(!suspects.note(&copy(1), now));
        assert!(suspects.contains(&copy(1), now) && !suspects.contains(&copy(2), now));
        let later = now + REMEMBERED;
        assert!(!suspects.contains(&copy(1), later));
        assert!(suspects.note(&copy(1), later));
        let told = (0..2 * MOST).filter(|n| suspects.note(&copy(*n), later)).count();
        assert_eq!(suspects.noted.lock().expect("whole").len(), MOST);
        assert_eq!(told, MOST - 1, "what cannot be remembered is not told of again and again");
    }
}
