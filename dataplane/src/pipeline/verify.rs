//! An extent on its way to a reader: its last chunk leaves only when all of its bytes are known to be right.
//!
//! Invariant: a reader that gets as many bytes as it was promised got those that were written. At most one chunk is
//! held. What was held of an extent that came in one chunk was seen by nobody: then another copy may be read.

use bytes::Bytes;
use s3o_blob::{AlgorithmSet, BodyHasher, DigestHasher};
use s3o_types::Digest;

use crate::control::Proof;

/// What is computed, and what it is to be.
enum Hashing {
    Digest(DigestHasher, Digest),
    Md5(Box<BodyHasher>, [u8; 16]),
}

impl Hashing {
    fn new(known: Proof) -> Self {
        match known {
            Proof::Digest(known) => Self::Digest(DigestHasher::new(known.kind()), known),
            Proof::Md5(known) => Self::Md5(Box::new(BodyHasher::new(AlgorithmSet::NONE)), known),
        }
    }

    fn update(&mut self, chunk: &[u8]) {
        match self {
            Self::Digest(hasher, _) => hasher.update(chunk),
            Self::Md5(hasher, _) => hasher.update(chunk),
        }
    }

    fn matches(self) -> bool {
        match self {
            Self::Digest(hasher, known) => hasher.finish() == known,
            Self::Md5(hasher, known) => hasher.finish().md5 == Some(known),
        }
    }
}

/// See the module.
pub(super) struct ExtentCheck {
    hashing: Hashing,
    held: Option<Bytes>,
    /// Bytes of it have left.
    seen: bool,
}

/// The bytes are not those that were written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Some of them have left.
    pub seen: bool,
}

impl ExtentCheck {
    /// Of an extent of which nothing was read yet.
    pub(super) fn new(known: Proof) -> Self {
        Self { hashing: Hashing::new(known), held: None, seen: false }
    }

    /// Takes a chunk in; gives out the one held before.
    pub(super) fn take(&mut self, chunk: Bytes) -> Option<Bytes> {
        self.hashing.update(&chunk);
        let before = self.held.replace(chunk);
        self.seen |= before.is_some();
        before
    }

    /// All bytes were taken in: the last chunk, if they are right.
    pub(super) fn conclude(self) -> Result<Option<Bytes>, Wrong> {
        if self.hashing.matches() { Ok(self.held) } else { Err(Wrong { seen: self.seen }) }
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::DigestKind;

    use super::*;

    fn digest(bytes: &[u8], kind: DigestKind) -> Proof {
        let mut hasher = DigestHasher::new(kind);
        hasher.update(bytes);
        Proof::Digest(hasher.finish())
    }

    fn md5(bytes: &[u8]) -> Proof {
        Proof::Md5(BodyHasher::digest(bytes, AlgorithmSet::NONE).md5.expect("an MD5"))
    }

    /// What leaves of some chunks, and how it ends.
    fn read(known: Proof, chunks: &[&'static [u8]]) -> (Vec<Bytes>, Result<(), Wrong>) {
        let mut check = ExtentCheck::new(known);
        let mut left: Vec<Bytes> =
            chunks.iter().filter_map(|chunk| check.take(Bytes::from_static(chunk))).collect();
        let end = check.conclude().map(|last| left.extend(last));
        (left, end)
    }

    #[test]
    fn the_last_chunk_leaves_only_when_all_is_right() {
        let of = |bytes: &[u8]| {
            [digest(bytes, DigestKind::Crc64Nvme), digest(bytes, DigestKind::Sha256), md5(bytes)]
        };
        for known in of(b"abcdef") {
            let (left, end) = read(known, &[b"ab", b"cd", b"ef"]);
            assert_eq!((left.concat(), end), (b"abcdef".to_vec(), Ok(())));
            let (left, end) = read(known, &[b"ab", b"cd", b"eX"]);
            assert_eq!((left.concat(), end), (b"abcd".to_vec(), Err(Wrong { seen: true })));
            let (left, end) = read(known, &[b"abXdef"]);
            assert_eq!((left.len(), end), (0, Err(Wrong { seen: false })));
        }
        let (left, end) = read(digest(b"", DigestKind::Crc64Nvme), &[]);
        assert_eq!((left.len(), end), (0, Ok(())));
    }
}
