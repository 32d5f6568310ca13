//! What the reader of a copy's source saw of extents that it did not read whole: it goes with the part, so that a Complete can
//! compare what the parts of it together are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use s3o_blob::DigestHasher;
use s3o_types::{CopiedPiece, Digest, DigestKind};

use super::extent::{Opened, Opener};

/// The pieces of all readings of one source. Readings that saw the same say it once; where they did not, one of them was wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces(Arc<Mutex<BTreeSet<CopiedPiece>>>);

impl Pieces {
    fn note(&self, piece: CopiedPiece) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(piece);
    }

    /// Of the readings that have come to their end.
    pub(crate) fn all(&self) -> Vec<CopiedPiece> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A piece that is being read.
pub(super) struct PieceHasher {
    hasher: DigestHasher,
    piece: CopiedPiece,
}

impl PieceHasher {
    /// Of what was just opened. `None`: what is known of the extent cannot be put together from pieces.
    pub(super) fn new(opener: &Opener, opened: &Opened) -> Option<Self> {
        let Some(Digest::Crc64Nvme(known)) = opened.extent.digest else { return None };
        let piece = CopiedPiece {
            version: opener.version,
            extent_offset: opened.extent.offset,
            extent_size: opened.extent.size,
            extent_digest: BASE64.encode(known),
            first: opened.at,
            size: 0,
            digest: String::new(),
            bucket: opener.source.bucket,
            key: opener.source.key.clone(),
        };
        Some(Self { hasher: DigestHasher::new(DigestKind::Crc64Nvme), piece })
    }

    pub(super) fn take(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.piece.size += chunk.len() as u64;
    }

    /// All of it was read.
    pub(super) fn conclude(self, pieces: &Pieces) {
        let digest = BASE64.encode(self.hasher.finish().as_bytes());
        pieces.note(CopiedPiece { digest, ..self.piece });
    }
}
