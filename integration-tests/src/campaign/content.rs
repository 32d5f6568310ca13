//! What values consist of: where their bytes come from, in place of the bytes.
//!
//! Invariant: what is remembered of a value does not grow with its size; whole values are known again by their MD5, and
//! bytes are made again only where a part of a value was read.

use std::ops::Range;

use bytes::Bytes;

use crate::s3::{self, md5};

/// A stretch of the body that a seed stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    seed: String,
    range: Range<usize>,
}

impl Piece {
    /// The first `size` bytes.
    pub fn new(seed: String, size: usize) -> Self {
        Self { seed, range: 0..size }
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.range.len()
    }

    /// A part of it, as far as it has one.
    #[must_use]
    pub fn part(&self, range: &Range<usize>) -> Self {
        let at = |offset: usize| (self.range.start + offset).min(self.range.end);
        Self { seed: self.seed.clone(), range: at(range.start)..at(range.end) }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Bytes {
        // A body of another size begins with the same bytes.
        s3::body(&self.seed, self.range.end).slice(self.range.clone())
    }
}

/// A value: pieces, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pieces: Vec<Piece>,
    md5: String,
}

impl Content {
    /// Of these pieces, which are these bytes.
    pub fn new(pieces: Vec<Piece>, bytes: &[u8]) -> Self {
        Self { pieces, md5: md5(bytes) }
    }

    /// The MD5 of all its bytes.
    pub fn md5(&self) -> &str {
        &self.md5
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.pieces.iter().map(Piece::size).sum()
    }

    /// Some of its bytes.
    pub fn slice(&self, range: &Range<usize>) -> Vec<u8> {
        let (mut bytes, mut at) = (Vec::new(), 0);
        for piece in &self.pieces {
            let (from, to) = (range.start.max(at), range.end.min(at + piece.size()));
            if from < to {
                bytes.extend_from_slice(&piece.part(&(from - at..to - at)).bytes());
            }
            at += piece.size();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_made_again() {
        let (one, two) = (Piece::new("one".to_owned(), 1_000), Piece::new("two".to_owned(), 500));
        let two = two.part(&(100..400));
        assert_eq!(two.bytes(), s3::body("two", 500).slice(100..400));
        let whole = [one.bytes(), two.bytes()].concat();
        let content = Content::new(vec![one, two], &whole);
        assert_eq!((content.size(), content.md5()), (1_300, md5(&whole).as_str()));
        for range in [0..1_300, 0..1, 999..1_001, 1_000..1_300, 1_299..1_300, 5..5] {
            assert_eq!(content.slice(&range), whole[range.clone()], "{range:?}");
        }
    }
}
