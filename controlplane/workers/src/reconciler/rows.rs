//! The rows of one phase of a run, in the order of their storage keys.
//!
//! Buckets come in the order of their prefixes; within one, keys are turned into that order by a stack
//! (`core/src/reconcile/order.rs`). Imported rows are merged in, by an index of their own. Rows whose storage keys are
//! hashed are gathered on the way, and compared in the second phase.

use std::collections::VecDeque;
use std::sync::Arc;

use s3o_core::config::ClusterConfig;
use s3o_core::ports::Reconciliation;
use s3o_core::reconcile::{
    KeyRange, KeyRows, KnownCopy, Order, OrderStep, RowsQuery, Run, RunPhase, prefixes,
};
use s3o_types::{BlobName, BucketId, Extent, StorageKey, VersionId};

use super::Stop;

/// Keys a page.
const KEYS: u16 = 500;
/// Copies of one key a page.
const PER_KEY: u16 = 32;
/// Imported or hashed rows a page.
const ROWS: u16 = 1000;

/// Rows, ascending.
pub(super) struct Rows {
    store: Arc<dyn Reconciliation>,
    run: Run,
    /// Buckets that are still to come, and the one that is read.
    buckets: VecDeque<(BucketId, String)>,
    current: Option<InBucket>,
    next_plain: Option<KnownCopy>,
    /// Imported rows in the first phase, hashed ones in the second.
    keyed: VecDeque<KnownCopy>,
    keyed_after: String,
    keyed_ended: bool,
}

struct InBucket {
    id: BucketId,
    name: String,
    order: Order<KnownCopy>,
    /// The last key that was read.
    after: String,
}

impl Rows {
    /// Behind the run's cursor.
    pub(super) fn new(store: Arc<dyn Reconciliation>, run: &Run, config: &ClusterConfig) -> Self {
        let mut buckets: Vec<(BucketId, String)> = match run.phase {
            RunPhase::Plain => {
                config.buckets.iter().map(|bucket| (bucket.id, bucket.name.as_str().to_owned())).collect()
            }
            RunPhase::Hashed => Vec::new(),
        };
        buckets.sort_unstable_by_key(|(_, name)| format!("{name}/"));
        let is_done = |name: &str| {
            let prefix = format!("{name}/");
            run.cursor > prefix && !run.cursor.starts_with(&prefix)
        };
        buckets.retain(|(_, name)| !is_done(name));
        Self {
            store,
            keyed_after: run.cursor.clone(),
            run: run.clone(),
            buckets: buckets.into(),
            current: None,
            next_plain: None,
            keyed: VecDeque::new(),
            keyed_ended: false,
        }
    }

    /// The next row; `None`: there are no others.
    pub(super) async fn next(&mut self) -> Result<Option<KnownCopy>, Stop> {
        if self.next_plain.is_none() {
            self.next_plain = self.plain().await?;
        }
        if self.keyed.is_empty() && !self.keyed_ended {
            self.read_keyed().await?;
        }
        let keyed_first = match (&self.next_plain, self.keyed.front()) {
            (Some(plain), Some(keyed)) => keyed.storage_key < plain.storage_key,
            (None, keyed) => keyed.is_some(),
            (Some(_), None) => false,
        };
        Ok(if keyed_first { self.keyed.pop_front() } else { self.next_plain.take() })
    }

    async fn read_keyed(&mut self) -> Result<(), Stop> {
        let page = match self.run.phase {
            RunPhase::Plain => {
                self.store.imported_rows(self.run.ask.backend, &self.keyed_after, ROWS).await?
            }
            RunPhase::Hashed => self.store.hashed_rows(&self.run, &self.keyed_after, ROWS).await?,
        };
        self.keyed_ended = page.len() < usize::from(ROWS);
        if let Some(last) = page.last() {
            self.keyed_after.clone_from(&last.storage_key);
        }
        self.keyed = page.into();
        Ok(())
    }

    /// The next row of a bucket's own grammar.
    async fn plain(&mut self) -> Result<Option<KnownCopy>, Stop> {
        loop {
            let Some(mut current) = self.current.take() else {
                let Some((id, name)) = self.buckets.pop_front() else { return Ok(None) };
                self.current = Some(self.enter(id, name).await?);
                continue;
            };
            match current.order.step() {
                OrderStep::Row(key, row) => {
                    self.current = Some(current);
                    // Keys that are prefixes of the cursor are read again from their first version on.
                    if key > self.run.cursor {
                        return Ok(Some(row));
                    }
                }
                OrderStep::Keys => {
                    self.read_keys(&mut current).await?;
                    self.current = Some(current);
                }
                OrderStep::More(path, last) => {
                    let keys = self.read_more(&current, path, &last).await?;
                    current.order.give_rows(keys);
                    self.current = Some(current);
                }
                OrderStep::End => {}
            }
        }
    }

    fn query(&self, id: BucketId, name: &str, keys: KeyRange) -> RowsQuery {
        let (backend, bucket_name) = (self.run.ask.backend, name.to_owned());
        RowsQuery { backend, bucket: id, bucket_name, keys, after: None, per_key: PER_KEY }
    }

    /// Begins a bucket, or goes on in it: keys that are prefixes of the cursor may have rows behind it.
    async fn enter(&self, id: BucketId, name: String) -> Result<InBucket, Stop> {
        let prefix = format!("{name}/");
        let after = self.run.cursor.strip_prefix(&prefix).unwrap_or_default().to_owned();
        let mut order = Order::default();
        let waiting = prefixes(&self.run.cursor, &prefix);
        if !waiting.is_empty() {
            let page = self.store.rows(self.query(id, &name, KeyRange::These(waiting))).await?;
            let keys = self.keep_plain(id, &name, page.keys).await?;
            order.give_keys(keys, false);
        }
        Ok(InBucket { id, name, order, after })
    }

    async fn read_keys(&self, current: &mut InBucket) -> Result<(), Stop> {
        let range = KeyRange::After(current.after.clone(), KEYS);
        let page = self.store.rows(self.query(current.id, &current.name, range)).await?;
        if let Some(last) = page.keys.last() {
            key_of(&last.path).clone_into(&mut current.after);
        }
        let keys = self.keep_plain(current.id, &current.name, page.keys).await?;
        current.order.give_keys(keys, !page.more);
        Ok(())
    }

    async fn read_more(
        &self,
        current: &InBucket,
        path: String,
        last: &str,
    ) -> Result<KeyRows<KnownCopy>, Stop> {
        let after = blob_of(last);
        let range = KeyRange::These(vec![key_of(&path).to_owned()]);
        let query = RowsQuery { after, ..self.query(current.id, &current.name, range) };
        let page = self.store.rows(query).await?;
        Ok(page.keys.into_iter().next().unwrap_or_else(|| KeyRows {
            path,
            rows: VecDeque::new(),
            more: false,
        }))
    }

    /// Gathers the rows of hashed storage keys, and keeps the others.
    async fn keep_plain(
        &self,
        id: BucketId,
        name: &str,
        keys: Vec<KeyRows<KnownCopy>>,
    ) -> Result<Vec<KeyRows<KnownCopy>>, Stop> {
        let (hashed, plain): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|keys| StorageKey::is_hashed(name, key_of(&keys.path)));
        let mut gathered: Vec<KnownCopy> = Vec::new();
        for mut keys in hashed {
            loop {
                let last = keys.rows.back().map(|(key, _)| key.clone());
                gathered.extend(keys.rows.drain(..).map(|(_, row)| row));
                if gathered.len() >= usize::from(ROWS) {
                    self.store.gather_hashed(&self.run, std::mem::take(&mut gathered)).await?;
                }
                let Some(last) = last.filter(|_| keys.more) else { break };
                let range = KeyRange::These(vec![key_of(&keys.path).to_owned()]);
                let query = RowsQuery { after: blob_of(&last), ..self.query(id, name, range) };
                let Some(next) = self.store.rows(query).await?.keys.pop() else { break };
                keys = next;
            }
        }
        if !gathered.is_empty() {
            self.store.gather_hashed(&self.run, gathered).await?;
        }
        Ok(plain)
    }
}

/// Without the bucket's name.
fn key_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(_, key)| key)
}

/// The blob that a storage key names.
fn blob_of(storage_key: &str) -> Option<(VersionId, Extent)> {
    let (_, name) = storage_key.rsplit_once('~')?;
    BlobName::parse(name).map(|blob| (blob.version, blob.extent))
}
