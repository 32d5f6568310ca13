//! A backend's listing, page after page.
//!
//! Invariants: a page that does not come is an error, after some tries; it is never taken for an empty one. Each page goes on
//! behind the one before it, or the listing ends with an error: a backend that does not know `start-after` would be listed for ever.

use std::sync::Arc;
use std::time::Duration;

use s3o_backend::{Backend, ListEntry};
use s3o_types::storage_key::RESERVED_PREFIX;

/// Keys a page: S3's most.
const PAGE: u16 = 1000;
/// Waits between tries.
const PAUSES: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];
/// Behind everything that we keep under our own prefix, before everything that is not.
const BEHIND_RESERVED: &str = ".s3o/~";

/// Where a listing is.
pub(crate) struct Listing {
    backend: Arc<Backend>,
    prefix: String,
    after: Option<String>,
    /// What is ours by its prefix is passed over.
    skips_reserved: bool,
}

impl Listing {
    /// From behind a key on; an empty one is before all.
    pub(crate) fn new(backend: &Arc<Backend>, prefix: &str, after: &str, skips_reserved: bool) -> Self {
        let after = (!after.is_empty()).then(|| after.to_owned());
        Self { backend: backend.clone(), prefix: prefix.to_owned(), after, skips_reserved }
    }

    /// The next page, and whether it is the last.
    pub(crate) async fn page(&mut self) -> Result<(Vec<ListEntry>, bool), String> {
        let page = self.tried().await?;
        let Some(last) = page.entries.last().map(|entry| entry.key.clone()) else {
            return if page.truncated {
                Err(format!("{} lists an empty page that is not the last", self.backend.name()))
            } else {
                Ok((Vec::new(), true))
            };
        };
        let mut entries = page.entries;
        if let Some(after) = self.after.as_ref().filter(|after| **after >= last) {
            let name = self.backend.name();
            return Err(format!(
                "{name} was asked for what is behind `{after}`, and its page ends with `{last}`"
            ));
        }
        self.after = Some(last);
        if self.skips_reserved {
            if self.after.as_ref().is_some_and(|after| after.starts_with(RESERVED_PREFIX)) {
                self.after = Some(BEHIND_RESERVED.to_owned());
            }
            entries.retain(|entry| !entry.key.starts_with(RESERVED_PREFIX));
        }
        Ok((entries, !page.truncated))
    }

    async fn tried(&self) -> Result<s3o_backend::ListDone, String> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.backend.list(&self.prefix, self.after.as_deref(), PAGE).await {
                Ok(page) => return Ok(page),
                Err(error) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(format!("listing {}: {error}", self.backend.name())),
                },
            }
        }
    }
}
