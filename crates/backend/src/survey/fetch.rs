//! A GET with its body.
//!
//! Invariant: no answer is read that is larger than anything that is asked for here.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http::HeaderMap;
use s3o_types::Etag;

use crate::client::{BackendClient, ByteRange};
use crate::error::{BackendError, BackendErrorKind, Certainty};

const MAX_READ_BYTES: u64 = 2 << 20;

/// What a GET gave.
pub(super) struct Fetched {
    pub(super) headers: HeaderMap,
    pub(super) etag: Option<Etag>,
    pub(super) bytes: Bytes,
}

pub(super) async fn fetch(
    client: &BackendClient,
    key: &str,
    range: Option<ByteRange>,
    if_match: Option<&Etag>,
) -> Result<Fetched, BackendError> {
    let got = client.get(key, range, if_match).await?;
    if got.content_length > MAX_READ_BYTES {
        let message = format!("{} bytes where few were asked for", got.content_length);
        return Err(BackendError::new(BackendErrorKind::Server, Certainty::Unknown, message));
    }
    let (headers, etag) = (got.headers, got.etag);
    let bytes: BytesMut = got.body.try_collect().await?;
    Ok(Fetched { headers, etag, bytes: bytes.freeze() })
}
