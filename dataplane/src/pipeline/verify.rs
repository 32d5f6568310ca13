//! An extent on its way to a reader: its last chunk leaves only when all of its bytes are known to be right.
//!
//! Invariant: a reader that gets as many bytes as it was promised got those that were written. At most one chunk is
//! held. What was held of an extent that came in one chunk was seen by nobody: then another copy may be read.

use bytes::Bytes;
use s3o_blob::DigestHasher;
use s3o_types::Digest;

/// See the module.
pub(super) struct ExtentCheck {
    known: Digest,
    hasher: DigestHasher,
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
    pub(super) fn new(known: Digest) -> Self {
        Self { known, hasher: DigestHasher::new(known.kind()), held: None, seen: false }
    }

    /// Takes a chunk in; gives out the one held before.
    pub(super) fn take(&mut self, chunk: Bytes) -> Option<Bytes> {
        self.hasher.update(&chunk);
        let before = self.held.replace(chunk);
        self.seen |= before.is_some();
        before
    }

    /// All bytes were taken in: the last chunk, if they are right.
    pub(super) fn conclude(self) -> Result<Option<Bytes>, Wrong> {
        if self.hasher.finish() == self.known { Ok(self.held) } else { Err(Wrong { seen: self.seen }) }
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::DigestKind;

    use super::*;

    fn digest(bytes: &[u8], kind: DigestKind) -> Digest {
        let mut hasher = DigestHasher::new(kind);
        hasher.update(bytes);
        hasher.finish()
    }

    /// What leaves of some chunks, and how it ends.
    fn read(known: Digest, chunks: &[&'static [u8]]) -> (Vec<Bytes>, Result<(), Wrong>) {
        let mut check = ExtentCheck::new(known);
        let mut left: Vec<Bytes> =
            chunks.iter().filter_map(|chunk| check.take(Bytes::from_static(chunk))).collect();
        let end = check.conclude().map(|last| left.extend(last));
        (left, end)
    }

    #[test]
    fn the_last_chunk_leaves_only_when_all_is_right() {
        for kind in [DigestKind::Crc64Nvme, DigestKind::Sha256] {
            let known = digest(b"abcdef", kind);
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
