//! Values of the wire that must be checked before they are domain values.
//!
//! Invariant: whatever is wrong is said with the name of the field, and nothing is guessed for it.

use s3o_core::call::Refusal;
use s3o_proto::v1;
use s3o_types::{Encoding, ErrorCode, Etag, Extent, Gen, VersionId, VersionRef};
use tonic::Status;
use uuid::Uuid;

use crate::status::bad_request;

/// S3's longest key in bytes (S3 User Guide, "Naming Amazon S3 objects").
const MAX_KEY_BYTES: usize = 1024;

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) field: String,
    pub(crate) message: String,
    code: ErrorCode,
}

impl Bad {
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into(), code: ErrorCode::InvalidArgument }
    }

    /// Refused with another code than `InvalidArgument`.
    pub(crate) fn with_code(self, code: ErrorCode) -> Self {
        Self { code, ..self }
    }

    /// The same field seen from one message further out.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        Self::new(bad.code, format!("{}: {}", bad.field, bad.message))
    }
}

impl From<Bad> for Status {
    fn from(bad: Bad) -> Self {
        bad_request(&bad.field, &bad.message)
    }
}

pub(crate) fn uuid(field: &str, bytes: &[u8]) -> Result<Uuid, Bad> {
    Uuid::from_slice(bytes).map_err(|_| Bad::new(field, format!("16 bytes expected, {} found", bytes.len())))
}

pub(crate) fn version(field: &str, bytes: &[u8]) -> Result<VersionId, Bad> {
    uuid(field, bytes).map(VersionId::from_uuid)
}

/// How a client names a version; empty where it names none.
pub(crate) fn version_ref(field: &str, text: &str) -> Result<Option<VersionRef>, Bad> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|why: String| Bad::new(field, why))
}

pub(crate) fn extent(n: u32) -> Result<Extent, Bad> {
    fifteen_bits(n)
        .and_then(Extent::new)
        .ok_or_else(|| Bad::new("extent", format!("{n} does not fit 15 bits")))
}

pub(crate) fn generation(n: u32) -> Result<Gen, Bad> {
    fifteen_bits(n).and_then(Gen::new).ok_or_else(|| Bad::new("gen", format!("{n} does not fit 15 bits")))
}

fn fifteen_bits(n: u32) -> Option<u16> {
    u16::try_from(n).ok()
}

/// A message that must be there.
pub(crate) fn present<T>(field: &str, value: Option<T>) -> Result<T, Bad> {
    value.ok_or_else(|| Bad::new(field, "is missing"))
}

/// An object's key: PostgreSQL's text has no U+0000, S3 no keys over 1024 bytes.
pub(crate) fn key(key: String) -> Result<String, Bad> {
    if key.len() > MAX_KEY_BYTES {
        let mut bad = Bad::new("key", format!("{} bytes, at most {MAX_KEY_BYTES} are allowed", key.len()));
        bad.code = ErrorCode::KeyTooLong;
        return Err(bad);
    }
    if key.is_empty() {
        return Err(Bad::new("key", "is empty"));
    }
    no_nul("key", key)
}

pub(crate) fn no_nul(field: &str, text: String) -> Result<String, Bad> {
    if text.contains('\0') { Err(Bad::new(field, "contains U+0000")) } else { Ok(text) }
}

pub(crate) fn etag(field: &str, text: &str) -> Result<Etag, Bad> {
    if text.is_empty() { Err(Bad::new(field, "is empty")) } else { Ok(Etag::new(text)) }
}

/// The wire's empty string for what is not there.
pub(crate) fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub(crate) fn encoding_from_wire(wire: Option<v1::Encoding>) -> Encoding {
    let v1::Encoding { cipher, key_id, chunk_size, compression } = wire.unwrap_or_default();
    Encoding { cipher, key_id, chunk_size, compression }
}

pub(crate) fn encoding_to_wire(encoding: Encoding) -> v1::Encoding {
    let Encoding { cipher, key_id, chunk_size, compression } = encoding;
    v1::Encoding { cipher, key_id, chunk_size, compression }
}
