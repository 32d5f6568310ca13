//! What an object is made of: one body, or those of its parts.
//!
//! Nothing is put together: a read hands out slices of the parts, one after the other.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Frame, SizeHint};
use md5::{Digest as _, Md5};

use super::bodies::Body;

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Of a PUT.
    Whole(Arc<Body>),
    /// Of a multipart upload.
    Parts(Arc<Assembled>),
}

/// Parts in their order.
#[derive(Debug)]
pub(super) struct Assembled {
    parts: Vec<Arc<Body>>,
    size: usize,
    etag: HeaderValue,
}

impl Content {
    pub(super) fn of_parts(parts: Vec<Arc<Body>>) -> Self {
        let size = parts.iter().map(|part| part.bytes.len()).sum();
        let etag = composite(&parts);
        Self::Parts(Arc::new(Assembled { parts, size, etag }))
    }

    /// In quotation marks.
    pub(super) fn etag(&self) -> &HeaderValue {
        match self {
            Self::Whole(body) => &body.etag,
            Self::Parts(assembled) => &assembled.etag,
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::Whole(body) => body.bytes.len(),
            Self::Parts(assembled) => assembled.size,
        }
    }

    /// From `first` to before `end`; both within the size.
    pub(super) fn slice(&self, first: usize, end: usize) -> Pieces {
        match self {
            Self::Whole(body) => body.bytes.slice(first..end).into(),
            Self::Parts(assembled) => assembled.slice(first, end),
        }
    }
}

impl Assembled {
    fn slice(&self, first: usize, end: usize) -> Pieces {
        let (mut pieces, mut at) = (Vec::new(), 0);
        for part in &self.parts {
            let (from, to) = (first.max(at), end.min(at + part.bytes.len()));
            if from < to {
                pieces.push(part.bytes.slice(from - at..to - at));
            }
            at += part.bytes.len();
        }
        Pieces { next: Bytes::new(), rest: pieces.into_iter(), left: end.saturating_sub(first) as u64 }
    }
}

/// The MD5 of the parts' MD5s, and how many they are.
fn composite(parts: &[Arc<Body>]) -> HeaderValue {
    let mut all = Md5::new();
    for part in parts {
        let own = part.etag.to_str().unwrap_or_default();
        all.update(hex::decode(own.trim_matches('"')).unwrap_or_default());
    }
    let etag = format!("\"{}-{}\"", hex::encode(all.finalize()), parts.len());
    HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// An answer's body: bytes that are there already, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    next: Bytes,
    rest: std::vec::IntoIter<Bytes>,
    /// Bytes of all that were not taken yet.
    left: u64,
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        Self { next: bytes, left, ..Self::default() }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        while this.next.is_empty() {
            let Some(piece) = this.rest.next() else { return Poll::Ready(None) };
            this.next = piece;
        }
        let piece = std::mem::take(&mut this.next);
        this.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
