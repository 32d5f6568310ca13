//! Reconcile: what a backend lists, against what the tables say is there.
//!
//! Invariants: both sides are read in the order of their storage keys, page by page, and no more than a page of each is
//! held; nothing here believes anything: what differs is looked at a second time by whoever asked, and decided by the
//! ledger under the key's lock (`decide/change_copy.rs`, `decide/settle_blob.rs`, `decide/import.rs`).

mod merge;
mod order;
mod run;

pub use merge::{Merge, MergeStep, NotAscending, Seen};
pub use order::{KeyRows, Order, OrderStep, prefixes};
pub use run::{AskRun, LossLimit, Run, RunKind, RunPhase, RunState, RunTally};

use s3o_types::{BackendId, BlobName, BucketId, Etag, Extent, VersionId};

use crate::object::CopyState;

/// A copy that the tables say is on a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownCopy {
    /// The full key on the backend.
    pub storage_key: String,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which version, extent and attempt.
    pub blob: BlobName,
    /// As far as it is known.
    pub state: CopyState,
    /// Bytes that should be there.
    pub stored_size: u64,
    /// The backend's ETag, where it is kept.
    pub backend_etag: Option<Etag>,
    /// Whether it was imported: others may write there.
    pub imported: bool,
}

impl KnownCopy {
    /// The extent of which it is a copy.
    pub const fn extent(&self) -> (VersionId, Extent) {
        (self.blob.version, self.blob.extent)
    }
}

/// A bucket that is gone and whose name no other has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneBucket {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: BucketId,
    /// The last number of a version that was given out while it was there. What bears its name and a greater one is
    /// somebody else's, who made a bucket of the name in a time that the database has lost.
    pub until: u64,
}

/// A key of a backend's listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The storage key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
}

/// Whether what is listed cannot be what the row is about. An imported blob may have been written by others: there the
/// ETag counts too. Of our own blobs it does not: some backends change it with their encryption keys.
pub fn differs(known: &KnownCopy, size: u64, etag: Option<&Etag>) -> bool {
    let other_etag = || known.backend_etag.as_ref().zip(etag).is_some_and(|(ours, theirs)| ours != theirs);
    known.stored_size != size || (known.imported && other_etag())
}

/// Asks for the next copies of a bucket on a backend, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsQuery {
    /// On which backend.
    pub backend: BackendId,
    /// Of which bucket.
    pub bucket: BucketId,
    /// Its name.
    pub bucket_name: String,
    /// Which keys.
    pub keys: KeyRange,
    /// Only blobs behind this one: by version, then by extent.
    pub after: Option<(VersionId, Extent)>,
    /// Copies of one key, at most.
    pub per_key: u16,
}

/// Keys whose copies are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// The next ones behind a key, so many at most.
    After(String, u16),
    /// These, where they exist.
    These(Vec<String>),
}

/// The answer: of each key that was looked at its copies, ascending; none for a key without any there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowsPage {
    /// In the order of the keys.
    pub keys: Vec<KeyRows<KnownCopy>>,
    /// Whether keys follow; only where a range was asked for.
    pub more: bool,
}

/// A blob of ours that no row of the listing's merge names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The full key on the backend.
    pub storage_key: String,
    /// Which version, extent and attempt.
    pub blob: BlobName,
}

/// What the tables say of a stray blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StrayKind {
    /// A copy, an intent, a part of an upload, a queued deletion or a dead letter names it.
    Named,
    /// Nothing does, but its version is so new that it may have been in flight a moment ago.
    Young,
    /// Its version was never minted by this database: that is older than the backend, or the blob is another cluster's.
    Unborn,
    /// Nothing names it, and nobody can hold it any more.
    Unnamed,
}

/// A copy whose blob is gone and that cannot be marked, since no other one may be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCopy {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which blob.
    pub blob: BlobName,
    /// Where it should be.
    pub backend: BackendId,
}

/// A foreign key that may become an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The key on the backend.
    pub foreign_key: String,
    /// The key that the object would have.
    pub key: String,
}

/// Why a foreign key is, or is not, imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// Nothing stands against it.
    New,
    /// The key has a version, or a delete marker, already.
    KeyTaken,
    /// It was imported before, or waits for its deletion.
    Known,
}

/// The key that a foreign one gets in `bucket`; `None`: it is none of the bucket's. What begins with the bucket's own
/// name and a slash loses both, as an earlier gateway may have written it; what begins with the name of a sibling is
/// that bucket's.
pub fn key_in_bucket(foreign_key: &str, bucket: &str, siblings: &[&str]) -> Option<String> {
    let under = |name: &str| foreign_key.strip_prefix(name).and_then(|rest| rest.strip_prefix('/'));
    let key = match under(bucket) {
        Some(rest) => rest,
        None if siblings.iter().any(|name| under(name).is_some()) => return None,
        None => foreign_key,
    };
    (!key.is_empty()).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_keys_by_bucket() {
        let key = |foreign| key_in_bucket(foreign, "photos", &["docs"]);
        assert_eq!(key("2024/cat.jpg").as_deref(), Some("2024/cat.jpg"));
        assert_eq!(key("photos/cat.jpg").as_deref(), Some("cat.jpg"));
        assert_eq!(key("docs/cat.jpg"), None);
        assert_eq!(key("docs-2/cat.jpg").as_deref(), Some("docs-2/cat.jpg"));
        assert_eq!(key("photos/"), None);
        assert_eq!(key("docs").as_deref(), Some("docs"));
    }

    #[test]
    fn an_etag_counts_of_imported_blobs_only() {
        let (ours, theirs) = (Etag::new("a"), Etag::new("b"));
        let mut known = KnownCopy {
            storage_key: "x".into(),
            bucket: BucketId(1),
            key: "x".into(),
            blob: BlobName::first(VersionId::mint(1, 1)),
            state: CopyState::Verified,
            stored_size: 5,
            backend_etag: Some(ours),
            imported: false,
        };
        assert!(!differs(&known, 5, Some(&theirs)));
        assert!(differs(&known, 4, None));
        known.imported = true;
        assert!(differs(&known, 5, Some(&theirs)));
        assert!(!differs(&known, 5, None));
    }
}
