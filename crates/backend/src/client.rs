//! `BackendClient`: one backend, spoken to. The hot four are in `hot.rs`, the rest in `sdk.rs`.
//!
//! Invariant: cloning is cheap and shares connections and credentials.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::HeaderMap;
use s3o_types::{BackendSpec, Etag, Quirks};

use crate::credentials::CredentialSource;
use crate::download::DownloadBody;
use crate::error::BackendError;
use crate::pool::HttpPool;
use crate::sign::Address;

/// A range of bytes, both ends included, as HTTP counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

impl ByteRange {
    /// Bytes in it.
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// A PUT that the backend acknowledged. It is not verified yet: see [`crate::verify_put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutDone {
    /// The backend's ETag, if it gave one.
    pub etag: Option<Etag>,
    /// The backend's version id, if it keeps versions.
    pub version_id: Option<String>,
    /// The CRC-64/NVME, base64, that the backend says the blob has; only one that was sent a checksum says it.
    pub crc64nvme: Option<String>,
}

/// A GET whose body is still to come.
pub struct GetDone {
    /// Bytes that the body will have: of the range, where one was asked for.
    pub content_length: u64,
    /// Bytes of the whole blob.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
    /// All headers of the answer.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: DownloadBody,
}

/// What HEAD says of a blob.
#[derive(Debug, Clone)]
pub struct HeadDone {
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
    /// By the backend's clock.
    pub last_modified: Option<SystemTime>,
    /// All headers of the answer.
    pub headers: HeaderMap,
}

/// The outcome of a DELETE. S3 answers 204 for what was never there, so `Gone` does not mean that
/// there was something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is not there now.
    Gone,
    /// The backend says that it was not there.
    Absent,
}

/// One key of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The storage key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
    /// By the backend's clock.
    pub last_modified: Option<SystemTime>,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListDone {
    /// In the backend's order.
    pub entries: Vec<ListEntry>,
    /// Whether there is more behind the last entry.
    pub truncated: bool,
}

/// A backend's client.
#[derive(Clone)]
pub struct BackendClient(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) spec: BackendSpec,
    pub(crate) pool: HttpPool,
    pub(crate) address: Result<Address, BackendError>,
    pub(crate) credentials: CredentialSource,
    pub(crate) sdk: OnceLock<aws_sdk_s3::Client>,
}

impl BackendClient {
    /// A client. A bad endpoint shows itself as the error of every call, not here, so that one wrong
    /// row does not keep the others from being used.
    pub fn new(spec: BackendSpec, pool: HttpPool) -> Self {
        let address = Address::new(&spec);
        let credentials = CredentialSource::new(&spec.credentials);
        Self(Arc::new(Inner { spec, pool, address, credentials, sdk: OnceLock::new() }))
    }

    /// What it was made from.
    pub fn spec(&self) -> &BackendSpec {
        &self.0.spec
    }

    /// The same backend with other quirks, over the same connections.
    pub(crate) fn with_quirks(&self, quirks: Quirks) -> Self {
        let spec = BackendSpec { quirks, ..self.0.spec.clone() };
        let (pool, credentials) = (self.0.pool.clone(), self.0.credentials.clone());
        let address = Address::new(&spec);
        Self(Arc::new(Inner { spec, pool, address, credentials, sdk: OnceLock::new() }))
    }
}
