//! What a blob on a backend looks like: its self-description, its headers, its digests, the guard that keeps a bad
//! body from ever becoming a blob; and the files of the journal.
//!
//! Architecture invariant: no I/O, no clock, no randomness. Streams are wrapped, never opened.

pub mod describe;
pub mod digest;
pub mod guard;
pub mod headers;
pub mod journal;
pub mod parts;

pub use describe::{BlobKind, DescribeError, SelfDescription};
pub use digest::{Algorithm, AlgorithmSet, BodyDigests, BodyHasher, DigestHasher};
pub use guard::{BodyFault, Expected, Guard, GuardError, GuardVerdict, TrailerSource};
pub use parts::ChecksumKind;

pub use headers::{
    HeadersError, META_DESCRIPTION, META_KEY, StoredBlob, foreign_attributes, from_blob_headers,
    to_blob_headers,
};

#[cfg(test)]
mod fuzz;
