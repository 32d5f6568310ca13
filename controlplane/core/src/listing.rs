//! Listing requests and pages.

use s3o_types::{BucketId, Etag, Timestamp};

/// S3's largest page (S3 API reference, `ListObjectsV2`, `max-keys`).
pub const MAX_KEYS: u32 = 1000;

/// One page of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// Only keys that start with it.
    pub prefix: String,
    /// Keys that have it behind the prefix are rolled up to it; empty for none.
    pub delimiter: String,
    /// Only keys and common prefixes greater than this. A value that ends in the delimiter, behind the
    /// prefix, is a common prefix that has been listed: everything under it is passed over.
    pub after: String,
    /// 0 to [`MAX_KEYS`].
    pub max_keys: u32,
}

/// An entry, in ascending byte order over both kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry {
    /// A key.
    Object(ListedObject),
    /// Keys rolled up.
    CommonPrefix(String),
}

impl ListEntry {
    /// What `after` must be to go on behind this entry.
    pub fn position(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// A key of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// ETag.
    pub etag: Etag,
    /// Last-Modified.
    pub modified: Timestamp,
    /// As it was asked for; empty for STANDARD.
    pub storage_class: String,
    /// Algorithms of its additional checksums.
    pub checksum_algorithms: Vec<String>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// At most `max_keys`.
    pub entries: Vec<ListEntry>,
    /// `after` of the next page; `None` at the end.
    pub next: Option<String>,
}
