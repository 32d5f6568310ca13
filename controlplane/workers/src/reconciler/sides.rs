//! Both sides of the comparison, read as the merge asks for them.
//!
//! Invariant: no more than a page of each side is held.

use std::sync::Arc;

use s3o_backend::Backend;
use s3o_core::config::ClusterConfig;
use s3o_core::ports::Reconciliation;
use s3o_core::reconcile::{Listed, Merge, MergeStep, Run, RunPhase, Seen};
use s3o_types::storage_key::LONG_PREFIX;

use super::Stop;
use super::rows::Rows;
use crate::listing::Listing;

/// Storage keys that are dealt with at a time.
const BATCH: usize = 1000;

pub(super) struct Sides {
    merge: Merge,
    rows: Rows,
    listing: Listing,
}

pub(super) fn storage_key(seen: &Seen) -> &str {
    match seen {
        Seen::Both(row, _) | Seen::RowOnly(row) => &row.storage_key,
        Seen::BlobOnly(listed) => &listed.key,
    }
}

impl Sides {
    pub(super) fn new(
        store: Arc<dyn Reconciliation>,
        run: &Run,
        backend: &Arc<Backend>,
        config: &ClusterConfig,
    ) -> Self {
        let listing = match run.phase {
            RunPhase::Plain => Listing::new(backend, "", &run.cursor, true),
            RunPhase::Hashed => Listing::new(backend, LONG_PREFIX, &run.cursor, false),
        };
        Self { merge: Merge::default(), rows: Rows::new(store, run, config), listing }
    }

    /// The next storage keys, and whether they are the last.
    pub(super) async fn batch(&mut self) -> Result<(Vec<Seen>, bool), Stop> {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            match self.merge.step() {
                MergeStep::Seen(seen) => batch.push(seen),
                MergeStep::Row => self.merge.give_row(self.rows.next().await?),
                MergeStep::Listing => {
                    let (page, last) = self.listing.page().await.map_err(Stop::Failed)?;
                    let listed = page.into_iter().map(|entry| Listed {
                        key: entry.key,
                        size: entry.size,
                        etag: entry.etag,
                    });
                    let given = self.merge.give_listing(listed.collect(), last);
                    given.map_err(|error| Stop::Failed(error.to_string()))?;
                }
                MergeStep::End => return Ok((batch, true)),
            }
        }
        Ok((batch, false))
    }
}
