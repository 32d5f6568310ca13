//! A request's body that is read to its end, within bounds, when nobody wants the rest.
//!
//! Why: a server that answers early and closes while the client still sends makes the kernel reset the
//! connection, and the client never sees the answer. With `Expect: 100-continue` the client waits for
//! us, so there is nothing to read, and reading would ask for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3o_runtime::Shutdown;

/// What is read for an answer's sake, at most.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;
/// And for how long.
pub(super) const MAX_TIME: Duration = Duration::from_secs(10);

/// How long a client may send nothing while we wait for it.
pub(crate) struct Idle {
    limit: Duration,
    /// Runs while nothing comes.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    stalled: Arc<AtomicBool>,
}

impl Idle {
    /// `stalled` is set when the limit is over.
    pub(crate) fn new(limit: Duration, stalled: Arc<AtomicBool>) -> Self {
        Self { limit, timer: None, stalled }
    }

    /// Nothing came. Ready when that lasts for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        std::task::ready!(timer.as_mut().poll(cx));
        self.stalled.store(true, Ordering::Relaxed);
        Poll::Ready("the client stopped sending".into())
    }
}

/// Why a body ended early.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that drains itself when it is dropped early.
pub(crate) struct Draining {
    inner: Option<Incoming>,
    shutdown: Shutdown,
    /// The client sends only when the body is polled; set once it was.
    asked: Option<Arc<AtomicBool>>,
    read: Arc<AtomicU64>,
    idle: Idle,
}

impl Draining {
    /// Wraps a request's body; `read` counts its bytes. `asked` is for a client that waits to be asked for it.
    pub(crate) fn new(
        inner: Incoming,
        asked: Option<Arc<AtomicBool>>,
        shutdown: Shutdown,
        read: Arc<AtomicU64>,
        idle: Idle,
    ) -> Self {
        Self { inner: Some(inner), shutdown, asked, read, idle }
    }
}

impl Body for Draining {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(asked) = this.asked.take() {
            asked.store(true, Ordering::Relaxed);
        }
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(polled) = Pin::new(inner).poll_frame(cx) else {
            let error = std::task::ready!(this.idle.poll(cx));
            // Nothing to drain either.
            this.inner = None;
            return Poll::Ready(Some(Err(error)));
        };
        this.idle.timer = None;
        match &polled {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.read.fetch_add(bytes, Ordering::Relaxed);
            }
            Some(Err(_)) | None => this.inner = None,
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let Some(mut body) = self.inner.take() else { return };
        if self.asked.is_some() || body.is_end_stream() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.shutdown.spawn(async move {
            let drain = async {
                let mut seen = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    seen += frame.data_ref().map_or(0, Bytes::len);
                    if seen > MAX_BYTES {
                        break;
                    }
                }
            };
            // Not in time: the connection is closed with the answer perhaps unread.
            let _ = tokio::time::timeout(MAX_TIME, drain).await;
        });
    }
}
