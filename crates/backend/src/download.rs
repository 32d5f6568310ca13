//! A blob on its way from a backend.
//!
//! Invariant: the stream ends without an error only after exactly the promised bytes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::error::{BackendError, BackendErrorKind, Certainty};

/// Called once when a body ends or is dropped, with the bytes it gave, its error, and whether it gave
/// all that was promised.
pub(crate) type OnEnd = Box<dyn FnOnce(u64, Option<&BackendError>, bool) + Send>;

/// The bytes of a GET, as they come.
pub struct DownloadBody {
    incoming: Incoming,
    left: u64,
    given: u64,
    idle: Duration,
    /// Runs while nothing comes.
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    done: bool,
    on_end: Option<OnEnd>,
}

impl DownloadBody {
    pub(crate) fn new(incoming: Incoming, length: u64, idle: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(idle));
        Self { incoming, left: length, given: 0, idle, timer, waiting: false, done: false, on_end: None }
    }

    pub(crate) fn on_end(&mut self, on_end: OnEnd) {
        self.on_end = Some(on_end);
    }

    fn end(&mut self, error: Option<BackendError>) -> Poll<Option<Result<Bytes, BackendError>>> {
        self.done = true;
        if let Some(on_end) = self.on_end.take() {
            on_end(self.given, error.as_ref(), error.is_none() && self.left == 0);
        }
        Poll::Ready(error.map(Err))
    }

    fn take(&mut self, chunk: Bytes) -> Poll<Option<Result<Bytes, BackendError>>> {
        let length = chunk.len() as u64;
        if length > self.left {
            return self.end(Some(broken("the answer is longer than it said".to_owned())));
        }
        self.waiting = false;
        self.left -= length;
        self.given += length;
        Poll::Ready(Some(Ok(chunk)))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BackendError>>> {
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.idle);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let message = format!("the backend sent nothing for {} s", self.idle.as_secs_f32());
                self.end(Some(BackendError::new(BackendErrorKind::Timeout, Certainty::NotSent, message)))
            }
        }
    }
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
            on_end(self.given, None, !self.done && self.left == 0);
        }
    }
}
