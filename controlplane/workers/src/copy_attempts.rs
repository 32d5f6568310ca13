//! Forgets how often copies of versions were begun that are gone: a worker may have begun one at the moment when its version
//! was deleted.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use s3o_core::ports::Maintenance;
use s3o_core::worker::Counts;
use s3o_types::VersionId;

use crate::harness::Worker;

/// Pages in a tick: a million versions, some seconds of one connection.
const PAGES: u32 = 1000;

pub(crate) struct CopyAttempts {
    maintenance: Arc<dyn Maintenance>,
    /// Where this process's look has come to; another one looks by itself, and twice is as good as once.
    place: Mutex<Option<VersionId>>,
}

impl CopyAttempts {
    pub(crate) fn new(maintenance: Arc<dyn Maintenance>) -> Self {
        Self { maintenance, place: Mutex::default() }
    }
}

#[async_trait]
impl Worker for CopyAttempts {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        for _ in 0..PAGES {
            let after = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
            let pruned = self.maintenance.prune_copy_attempts(after).await;
            let (next, pruned) = pruned.map_err(|error| error.to_string())?;
            *counts.entry("pruned".to_owned()).or_default() += pruned;
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = next;
            if next.is_none() {
                break;
            }
        }
        Ok(counts)
    }
}
