//! A request's body: bytes that are there already, handed out in slices.
//!
//! Slices are counted as they are taken, so that an upload of 64 MiB shows in the interval in which its
//! bytes went, not in the one in which it ended. Nothing is copied.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// About what a socket takes at once.
const SLICE: usize = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sliced {
    left: Bytes,
    sent: Arc<AtomicU64>,
}

impl Sliced {
    /// `sent` counts what was taken.
    pub(crate) const fn new(bytes: Bytes, sent: Arc<AtomicU64>) -> Self {
        Self { left: bytes, sent }
    }
}

impl Body for Sliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let at = self.left.len().min(SLICE);
        let slice = self.left.split_to(at);
        self.sent.fetch_add(at as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
