//! Versions and copies as rows.

use std::str::FromStr;

use s3o_types::{
    BackendId, BlobName, BucketId, Checksums, Digest, Encoding, Etag, ObjectAttributes, Seq, StorageKey,
    Timestamp, VersionId, VersionRef,
};

use crate::versions::MarkerSeen;

/// A version: the current, undeleted one of its key, where nothing else is said.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectRow {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Its place in the key's order.
    pub seq: Seq,
    /// The write that made it.
    pub version: VersionId,
    /// Bytes.
    pub size: u64,
    /// The object's ETag.
    pub etag: Etag,
    /// Last-Modified.
    pub modified: Timestamp,
    /// Headers, metadata, tags.
    pub attributes: ObjectAttributes,
    /// Additional checksums.
    pub checksums: Checksums,
    /// The null version of a bucket that is not, or was not always, versioned.
    pub is_null: bool,
    /// How many parts it was uploaded in, each an extent; `None`: it came whole.
    pub parts: Option<u16>,
}

/// Versions of more extents are queued for deletion as one row, so that nobody waits for their blobs to be
/// queued one by one (DESIGN §4).
pub const MANY_EXTENTS: u16 = 16;

/// Copies of extents in one answer, at most. A reader of more asks again, so that the rows of a version that has more stay
/// for its readers, however few its extents are.
pub const EXTENT_ROWS: usize = 256;

impl ObjectRow {
    /// Whether its copies are too many to be read, written or queued within a client's call.
    pub fn has_many_extents(&self) -> bool {
        self.parts.is_some_and(|parts| parts > MANY_EXTENTS)
    }
}

/// A piece of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// How sure we are of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyState {
    /// Size and checksum were verified.
    Verified,
    /// Attached without having been read.
    Uncertain,
    /// Found to be wrong; kept until a good one replaces it.
    Quarantined,
    /// Found to be gone.
    Missing,
}

impl CopyState {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Uncertain => "uncertain",
            Self::Quarantined => "quarantined",
            Self::Missing => "missing",
        }
    }

    /// Whether a reader may try it.
    pub const fn readable(self) -> bool {
        matches!(self, Self::Verified | Self::Uncertain)
    }
}

impl FromStr for CopyState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "verified" => Ok(Self::Verified),
            "uncertain" => Ok(Self::Uncertain),
            "quarantined" => Ok(Self::Quarantined),
            "missing" => Ok(Self::Missing),
            other => {
                Err(format!("copy state `{other}` is none of verified, uncertain, quarantined, missing"))
            }
        }
    }
}

/// One blob of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyRow {
    /// Where.
    pub backend: BackendId,
    /// Which version, extent and attempt.
    pub blob: BlobName,
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// How sure.
    pub state: CopyState,
    /// Bytes on the backend.
    pub stored_size: u64,
    /// The backend's ETag.
    pub backend_etag: Option<Etag>,
    /// The backend's version id.
    pub backend_version: Option<String>,
    /// How the bytes are encoded.
    pub encoding: Encoding,
    /// Only imported objects have a key of their own; it may be written by others.
    pub foreign_key: Option<String>,
    /// Which bytes of the object; `None` for all of them.
    pub piece: Option<Piece>,
    /// The MD5 of a piece's bytes, where it is known; of a whole object its ETag says it.
    pub md5: Option<[u8; 16]>,
    /// What its bytes are checked against when they are read; the same for all copies of an extent. `None`: of before
    /// digests were kept, or made where no byte passed by.
    pub digest: Option<Digest>,
    /// What the client was told of the part that a piece is; the same for all copies of an extent. None of an object that
    /// came whole, of one whose upload asked for none, and of before they were kept.
    pub checksums: Checksums,
}

impl CopyRow {
    /// Whether the object begins in it: such copies are counted as objects, once a version and backend.
    pub fn is_first(&self) -> bool {
        self.piece.is_none_or(|piece| piece.offset == 0)
    }

    /// The full key on the backend.
    pub fn storage_key(&self, bucket_name: &str) -> String {
        self.foreign_key.clone().unwrap_or_else(|| StorageKey::format(bucket_name, &self.key, self.blob))
    }
}

/// The digest of an extent, from its copies: that of a verified one before others.
pub fn known_digest<'a>(copies: impl Iterator<Item = &'a CopyRow> + Clone) -> Option<Digest> {
    let verified = copies.clone().filter(|copy| copy.state == CopyState::Verified);
    verified.chain(copies).find_map(|copy| copy.digest)
}

/// The checksums of the part that an extent is, from its copies: those of whichever has any.
pub fn known_checksums<'a>(mut copies: impl Iterator<Item = &'a CopyRow>) -> Checksums {
    let known = copies.find(|copy| !copy.checksums.values.is_empty());
    known.map(|copy| copy.checksums.clone()).unwrap_or_default()
}

/// Asks where an object's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locate {
    /// The virtual bucket.
    pub bucket: BucketId,
    /// The object's key.
    pub key: String,
    /// Which version; `None`: the current one.
    pub version: Option<VersionRef>,
    /// Which bytes will be read.
    pub want: Want,
}

/// What Locate found.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// A version.
    Found(Box<Located>),
    /// A delete marker: the one that was named, or the newest row of a key without a current version.
    Marker(MarkerSeen),
    /// Neither.
    Nothing,
}

impl Lookup {
    /// The version, if it is one.
    pub fn found(self) -> Option<Located> {
        match self {
            Self::Found(located) => Some(*located),
            Self::Marker(_) | Self::Nothing => None,
        }
    }
}

/// Which extents a reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Want {
    /// All.
    All,
    /// From the first byte to the end (exclusive).
    Range(u64, u64),
    /// One part, by its place in their order, counted from 1.
    Part(s3o_types::Extent),
    /// A range of a version that was located before, current or not.
    Of(VersionId, u64, u64),
}

/// An object with the copies of each extent that the range covers.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The version.
    pub object: ObjectRow,
    /// How the client is told of it; `None` while the bucket was never versioned.
    pub told: Option<VersionRef>,
    /// In the order of their offsets, from the beginning of what is wanted on, but perhaps not to its end.
    pub extents: Vec<LocatedExtent>,
}

/// An extent and where its copies are.
#[derive(Debug, Clone, PartialEq)]
pub struct LocatedExtent {
    /// Its number.
    pub extent: s3o_types::Extent,
    /// Where its bytes stand in the object.
    pub offset: u64,
    /// How many.
    pub size: u64,
    /// Those of the part that it is, as far as any copy knows them, readable or not.
    pub checksums: Checksums,
    /// Readable copies with their full storage keys.
    pub copies: Vec<(CopyRow, String)>,
}
