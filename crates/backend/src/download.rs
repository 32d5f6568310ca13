//! A blob on its way from a backend.
//!
//! Invariants: the stream ends without an error only after exactly the promised bytes; only time in which somebody waits for
//! the backend says something against it, never the time in which what came is not taken.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::error::{BackendError, BackendErrorKind, Certainty};
use crate::health::STOOD_STILL;

/// Called once when a body ends or is dropped, with the bytes it gave, its error where that is the backend's, and whether
/// it gave all that was promised.
pub(crate) type OnEnd = Box<dyn FnOnce(u64, Option<&BackendError>, bool) + Send>;

/// The bytes of a GET, as they come.
pub struct DownloadBody {
    incoming: Incoming,
    left: u64,
    given: u64,
    idle: Duration,
    /// Runs while nothing comes.
    timer: Pin<Box<Sleep>>,
    /// Since when, while somebody waits.
    waiting: Option<Instant>,
    /// When something was last asked of it.
    polled: Instant,
    /// Nobody has asked for a while: when it breaks off after that, the backend may have given its reader up.
    rested: bool,
    done: bool,
    on_end: Option<OnEnd>,
}

impl DownloadBody {
    pub(crate) fn new(incoming: Incoming, length: u64, idle: Duration) -> Self {
        Self {
            incoming,
            left: length,
            given: 0,
            idle,
            timer: Box::pin(tokio::time::sleep(idle)),
            waiting: None,
            polled: Instant::now(),
            rested: false,
            done: false,
            on_end: None,
        }
    }

    pub(crate) fn on_end(&mut self, on_end: OnEnd) {
        self.on_end = Some(on_end);
    }

    fn end(&mut self, error: Option<BackendError>) -> Poll<Option<Result<Bytes, BackendError>>> {
        self.done = true;
        if let Some(on_end) = self.on_end.take() {
            let told =
                error.as_ref().filter(|error| !self.rested || error.kind != BackendErrorKind::Connection);
            on_end(self.given, told, error.is_none() && self.left == 0);
        }
        Poll::Ready(error.map(Err))
    }

    fn take(&mut self, chunk: Bytes) -> Poll<Option<Result<Bytes, BackendError>>> {
        let length = chunk.len() as u64;
        if length > self.left {
            return self.end(Some(broken("the answer is longer than it said".to_owned())));
        }
        self.waiting = None;
        self.left -= length;
        self.given += length;
        Poll::Ready(Some(Ok(chunk)))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BackendError>>> {
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            self.timer.as_mut().reset(now + self.idle);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let message = format!("the backend sent nothing for {} s", self.idle.as_secs_f32());
                self.end(Some(late(message)))
            }
        }
    }

    /// Of a body that is given up: whether it has kept its reader waiting.
    fn stood_still(&mut self) -> Option<BackendError> {
        let still = self.waiting?.elapsed();
        if still < STOOD_STILL || self.left == 0 {
            return None;
        }
        // What lies here was the reader's to take.
        let mut nobody = Context::from_waker(Waker::noop());
        if Pin::new(&mut self.incoming).poll_frame(&mut nobody).is_ready() {
            return None;
        }
        Some(late(format!("given up after {} s without a byte", still.as_secs_f32())))
    }
}

fn late(message: String) -> BackendError {
    BackendError::new(BackendErrorKind::Timeout, Certainty::NotSent, message)
}

fn broken(message: String) -> BackendError {
    BackendError::new(BackendErrorKind::Connection, Certainty::NotSent, message)
}

impl Stream for DownloadBody {
    type Item = Result<Bytes, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let now = Instant::now();
        this.rested |= this.waiting.is_none() && now.duration_since(this.polled) >= STOOD_STILL;
        this.polled = now;
        loop {
            return match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Pending => this.wait(cx),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) if !chunk.is_empty() => this.take(chunk),
                    // Trailers and empty chunks say nothing of the blob.
                    _ => continue,
                },
                Poll::Ready(Some(Err(error))) => {
                    this.end(Some(broken(format!("the answer broke off: {error}"))))
                }
                Poll::Ready(None) if this.left > 0 => {
                    let message = format!("the answer ended {} bytes early", this.left);
                    this.end(Some(broken(message)))
                }
                Poll::Ready(None) => this.end(None),
            };
        }
    }
}

impl Drop for DownloadBody {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            let late = self.stood_still();
            on_end(self.given, late.as_ref(), !self.done && self.left == 0);
        }
    }
}
