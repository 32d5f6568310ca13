//! What went wrong, counted, with the first few in words.

use std::sync::{Mutex, PoisonError};

/// Failures in words, at most.
const KEPT: usize = 3;

/// Failures of an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Failed {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl Failed {
    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(KEPT);
    }
}

/// Collects them from all workers.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Failed>);

impl Failures {
    pub(crate) fn note(&self, why: String) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.count += 1;
        if failed.first.len() < KEPT {
            failed.first.push(why);
        }
    }

    pub(crate) fn read(&self) -> Failed {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
