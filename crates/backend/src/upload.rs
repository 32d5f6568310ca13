//! A request body on its way to a backend, and what is known of how far it got.
//!
//! Invariants: hyper sees an exact length and, for a stream, no end before the source gave its last
//! byte; once cut, no further byte leaves; `certainty` says `Cut` only when the last byte can never
//! be handed over any more.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::error::{BackendError, BackendErrorKind, Certainty};
use crate::pool::Timeouts;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Watches one upload from outside: clones share the state. It outlives the `put` future, so that
/// whoever drops that future can still ask how certain the outcome is.
#[derive(Clone)]
pub struct UploadWatch(Arc<State>);

struct State {
    /// The request was given to hyper.
    dispatched: AtomicBool,
    /// hyper asked for the body.
    polled: AtomicBool,
    /// The last byte was handed to hyper.
    finished: AtomicBool,
    /// Nothing may leave any more.
    cut: AtomicBool,
    /// The source has bytes and may not give them yet.
    held: AtomicBool,
    handed: AtomicU64,
    waker: AtomicWaker,
    source_error: Mutex<Option<String>>,
    /// When something last moved, and whether we wait for the source since then.
    progress: Mutex<(Instant, bool)>,
}

impl Default for UploadWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl UploadWatch {
    /// Of an upload that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(State {
            dispatched: AtomicBool::new(false),
            polled: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            held: AtomicBool::new(false),
            handed: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            source_error: Mutex::new(None),
            progress: Mutex::new((Instant::now(), false)),
        }))
    }

    /// Whether the blob may appear, as far as our side can tell. Call it after the `put` future has
    /// ended or was dropped.
    pub fn certainty(&self) -> Certainty {
        let state = &self.0;
        if state.finished.load(Ordering::SeqCst) {
            Certainty::Unknown
        } else if state.dispatched.load(Ordering::SeqCst) {
            Certainty::Cut
        } else {
            Certainty::NotSent
        }
    }

    /// Bytes of the body handed over so far.
    pub fn handed(&self) -> u64 {
        self.0.handed.load(Ordering::SeqCst)
    }

    /// Whether the source was read at all: until then another backend can have the same body.
    pub fn touched(&self) -> bool {
        self.0.polled.load(Ordering::SeqCst)
    }

    /// Says that the source waits for something else than its own next byte, as for another backend that takes
    /// the same body, or that this is over. Meanwhile neither source nor backend stands still by its own fault.
    pub fn held(&self, held: bool) {
        let mut progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.held.store(held, Ordering::SeqCst);
        progress.0 = Instant::now();
    }

    /// Stops the body: hyper gets an error in the place of the next chunk and closes the connection.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::SeqCst);
        self.0.waker.wake();
    }

    pub(crate) fn dispatch(&self, empty: bool) {
        // An empty body is complete with its headers.
        if empty {
            self.0.finished.store(true, Ordering::SeqCst);
        }
        self.0.dispatched.store(true, Ordering::SeqCst);
        self.moved(false);
    }

    pub(crate) fn source_error(&self) -> Option<String> {
        self.0.source_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail_source(&self, message: String) {
        *self.0.source_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }

    fn moved(&self, waits_for_source: bool) {
        let mut progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // Polling a source that still has nothing is not progress.
        if !(progress.1 && waits_for_source) {
            *progress = (Instant::now(), waits_for_source);
        }
    }

    /// Returns when the upload has stood still for too long, with the error that says who did.
    pub(crate) async fn stalled(&self, timeouts: Timeouts) -> BackendError {
        // What is waited for may change before a limit is over, and its limit may be the shorter one.
        let shortest = timeouts.source.min(timeouts.idle).min(timeouts.response);
        loop {
            if self.0.held.load(Ordering::SeqCst) {
                // The clock begins anew when this is over.
                tokio::time::sleep(shortest).await;
                continue;
            }
            let (since, waits_for_source) = *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let finished = self.0.finished.load(Ordering::SeqCst);
            let limit = if finished {
                timeouts.response
            } else if waits_for_source {
                timeouts.source
            } else {
                timeouts.idle
            };
            if since.elapsed() >= limit {
                return stall_error(finished, waits_for_source, limit);
            }
            tokio::time::sleep_until((since + limit).min(Instant::now() + shortest)).await;
        }
    }
}

fn stall_error(finished: bool, waits_for_source: bool, limit: Duration) -> BackendError {
    let seconds = limit.as_secs_f32();
    if finished {
        let message = format!("no answer within {seconds} s after the whole body");
        BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, message)
    } else if waits_for_source {
        let message = format!("the body's source gave nothing for {seconds} s");
        BackendError::new(BackendErrorKind::Body, Certainty::Cut, message)
    } else {
        let message = format!("the backend took nothing for {seconds} s");
        BackendError::new(BackendErrorKind::Timeout, Certainty::Cut, message)
    }
}

/// Cuts the upload when the future that owns it is dropped before it disarms this.
pub(crate) struct CutOnDrop(pub(crate) Option<UploadWatch>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(watch) = self.0.take() {
            watch.cut();
        }
    }
}

enum Source {
    Empty,
    Whole(Bytes),
    Stream(ByteStream),
}

/// The body given to hyper.
pub(crate) struct UploadBody {
    source: Source,
    /// Bytes not handed over yet.
    left: u64,
    watch: UploadWatch,
}

impl UploadBody {
    pub(crate) fn empty() -> Self {
        Self { source: Source::Empty, left: 0, watch: UploadWatch::new() }
    }

    pub(crate) fn whole(bytes: Bytes, watch: UploadWatch) -> Self {
        Self { left: bytes.len() as u64, source: Source::Whole(bytes), watch }
    }

    pub(crate) fn stream(stream: ByteStream, length: u64, watch: UploadWatch) -> Self {
        Self { source: Source::Stream(stream), left: length, watch }
    }

    fn hand_over(&mut self, chunk: Bytes) -> Result<Frame<Bytes>, BoxError> {
        let length = chunk.len() as u64;
        if length > self.left {
            self.watch.fail_source("the body is longer than its content length".to_owned());
            return Err("the body is longer than its content length".into());
        }
        self.left -= length;
        let state = &self.watch.0;
        state.handed.fetch_add(length, Ordering::SeqCst);
        if self.left == 0 {
            // First say so, then look whether we were cut: whoever cut and then saw no `finished`
            // can be sure that this chunk stays here.
            state.finished.store(true, Ordering::SeqCst);
        }
        self.watch.moved(false);
        if state.cut.load(Ordering::SeqCst) { Err("cut".into()) } else { Ok(Frame::data(chunk)) }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                Poll::Ready(Some(Ok(bytes)))
            }
            Source::Stream(stream) => stream.as_mut().poll_next(cx),
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        this.watch.0.waker.register(cx.waker());
        if this.watch.0.cut.load(Ordering::SeqCst) {
            return Poll::Ready(Some(Err("cut".into())));
        }
        this.watch.0.polled.store(true, Ordering::SeqCst);
        let polled = this.poll_source(cx);
        match polled {
            Poll::Pending => {
                this.watch.moved(true);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(chunk))) => Poll::Ready(Some(this.hand_over(chunk))),
            Poll::Ready(Some(Err(error))) => {
                this.watch.fail_source(error.to_string());
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) if this.left > 0 => {
                this.watch.fail_source("the body is shorter than its content length".to_owned());
                Poll::Ready(Some(Err("the body is shorter than its content length".into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
