//! Where an object is, and its wire form. Every field is named, so that a new one breaks the build instead of being passed
//! over.

use s3o_proto::v1;
use s3o_types::{BackendId, Checksums, Digest, Encoding, Etag, ObjectAttributes, Timestamp, VersionId};

use super::convert::{attributes_of, sorted, told, version_of};

/// A version of an object, most often the current one, and where its bytes are.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub version: VersionId,
    /// Its place in the key's order; 0 where it was found without the database.
    pub seq: i64,
    pub size: u64,
    pub etag: String,
    pub modified: Timestamp,
    pub attributes: ObjectAttributes,
    pub checksums: Checksums,
    /// From the beginning of what was asked for on, but perhaps not to its end.
    pub extents: Vec<LocatedExtent>,
    /// Of an object that was uploaded in parts: how many.
    pub parts: Option<u32>,
    /// What the client is told of the version; `None` in a bucket that was never versioned.
    pub version_id: Option<String>,
}

impl Located {
    /// Whether the extents that are known cover all bytes from `start` to `end` (exclusive).
    pub(crate) fn has(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for extent in &self.extents {
            if extent.offset <= at {
                at = at.max(extent.offset + extent.size);
            }
        }
        at >= end
    }

    /// Whether some blob of it has a name that only the database knows.
    pub(crate) fn has_foreign_copy(&self) -> bool {
        self.extents.iter().flat_map(|extent| &extent.copies).any(|copy| copy.foreign_key)
    }
}

/// A piece of a version.
#[derive(Debug, Clone)]
pub(crate) struct LocatedExtent {
    /// Where it begins in the object.
    pub offset: u64,
    pub size: u64,
    pub copies: Vec<LocatedCopy>,
    /// What was kept of all of its bytes when it was written, where it is known.
    pub digest: Option<Digest>,
    /// Their MD5, where somebody else vouches for it and nothing was kept.
    pub md5: Option<[u8; 16]>,
    /// What the client was told of the part that it is, where that is known.
    pub checksums: Checksums,
}

/// What all bytes of an extent are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// What was kept of them.
    Digest(Digest),
    /// Raw. It costs a reader far more than the other (ADR 0016).
    Md5([u8; 16]),
}

impl LocatedExtent {
    /// `None`: they can be compared with nothing.
    pub(crate) fn proof(&self) -> Option<Proof> {
        self.digest.map(Proof::Digest).or(self.md5.map(Proof::Md5))
    }
}

/// A blob that holds a piece.
#[derive(Debug, Clone)]
pub(crate) struct LocatedCopy {
    pub backend: BackendId,
    pub storage_key: String,
    pub backend_etag: String,
    pub encoding: Encoding,
    /// Not read since it was attached: last choice.
    pub uncertain: bool,
    /// Others may write at this key.
    pub foreign_key: bool,
}

/// `None` when it makes no sense.
pub(super) fn located_of(located: v1::Located) -> Option<Located> {
    let v1::Located {
        version,
        seq,
        size,
        etag,
        modified_us,
        attributes,
        checksums,
        extents,
        parts,
        version_id,
    } = located;
    Some(Located {
        version: version_of(&version)?,
        seq,
        size,
        etag: Etag::new(&etag).as_str().to_owned(),
        modified: Timestamp(modified_us),
        attributes: attributes_of(attributes),
        checksums: Checksums { values: sorted(checksums) },
        extents: extents.into_iter().map(extent_of).collect(),
        parts,
        version_id: told(version_id),
    })
}

fn extent_of(extent: v1::LocatedExtent) -> LocatedExtent {
    let v1::LocatedExtent { extent: _, offset, size, copies, digest, checksums } = extent;
    // One of a later release cannot be compared with.
    let digest = Digest::from_bytes(&digest).ok().flatten();
    LocatedExtent {
        offset,
        size,
        copies: copies.into_iter().map(copy_of).collect(),
        digest,
        md5: None,
        checksums: Checksums { values: sorted(checksums) },
    }
}

fn copy_of(copy: v1::LocatedCopy) -> LocatedCopy {
    // A state of a later release is at least not known to be verified.
    let uncertain = copy.state() != v1::CopyState::Verified;
    let v1::LocatedCopy {
        backend,
        storage_key,
        stored_size: _,
        backend_etag,
        encoding,
        state: _,
        foreign_key,
    } = copy;
    let v1::Encoding { cipher, key_id, chunk_size, compression } = encoding.unwrap_or_default();
    LocatedCopy {
        backend: BackendId(backend),
        storage_key,
        backend_etag,
        encoding: Encoding { cipher, key_id, chunk_size, compression },
        uncertain,
        foreign_key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_copy_states_are_uncertain() {
        let copy = v1::LocatedCopy { state: 99, ..Default::default() };
        assert!(copy_of(copy).uncertain);
    }
}
