//! A database made again, or brought up to date, from the journal and the blobs on the backends.
//!
//! Invariants: of a key's versions and markers the same rows stay as a database would have that was never lost: those that no
//! record removes, and of null ones the newest; nothing is deleted from any backend.

use s3o_types::{BackendId, Etag, VersionId};

/// A backend as its marker and its declaration say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBackend {
    /// Its id, which its marker says.
    pub id: BackendId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoint: String,
    /// The real bucket there.
    pub bucket: String,
}

/// A key that a backend lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// The key.
    pub storage_key: String,
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
}

/// A blob that no record of the journal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnnamedBlob {
    /// Where one copy is.
    pub backend: BackendId,
    /// The key there.
    pub storage_key: String,
    /// The version that it says.
    pub version: VersionId,
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
    /// Whether it is a piece of a version, or all of it for all its name says.
    pub is_piece: bool,
}

/// What a blob says of the object that it is, for one that no record names.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundObject {
    /// The virtual bucket.
    pub bucket_name: String,
    /// The object's key.
    pub key: String,
    /// The version.
    pub version: VersionId,
    /// Bytes.
    pub size: u64,
    /// The MD5 of the bytes.
    pub etag: Etag,
    /// When it was stored, in microseconds since 1970, by the backend's clock.
    pub modified_us: i64,
    /// Headers and metadata.
    pub attributes: s3o_types::ObjectAttributes,
}

/// What keys came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Keys looked at.
    pub keys: u64,
    /// Versions and markers that were not there.
    pub added: u64,
    /// Those that were there, and that the journal says were removed or replaced.
    pub removed: u64,
    /// Copies that were attached.
    pub copies: u64,
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        let Self { keys, added, removed, copies } = other;
        self.keys += keys;
        self.added += added;
        self.removed += removed;
        self.copies += copies;
    }
}

/// A version of which bytes are nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVersion {
    /// The virtual bucket.
    pub bucket_name: String,
    /// The object's key.
    pub key: String,
    /// The version.
    pub version: VersionId,
}

/// What was found, and what is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreReport {
    /// Files of the journal that were read, and records in them.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// The snapshot that was taken as the base.
    pub snapshot: Option<u64>,
    /// Segments that are on no backend.
    pub missing: Vec<u64>,
    /// Files that are not whole, and why.
    pub unreadable: Vec<String>,
    /// Keys on the backends.
    pub blobs: u64,
    /// What keys came to.
    pub applied: Applied,
    /// Objects made of blobs that no record names: they were written after the journal's end, some perhaps never
    /// acknowledged; such an object may also have been deleted since.
    pub revived: u64,
    /// Blobs of which it is not known what they are.
    pub unknown_blobs: u64,
    /// The first of them, and why.
    pub unknown: Vec<String>,
    /// Versions of which bytes are on no backend, the first of them.
    pub lost: Vec<LostVersion>,
}

/// Where keys are gone on with.
pub type KeyPlace = (i32, String);
