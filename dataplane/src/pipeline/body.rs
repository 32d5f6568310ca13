//! The body of a write, as something that several attempts can send one after another.
//!
//! Invariant: an attempt sends exactly the guarded body from its first byte, or fails. A body whose
//! bytes went to a failed attempt can be sent again only from the replay memory or, for a copy, from
//! its source.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use s3o_blob::{AlgorithmSet, Expected, Guard, GuardVerdict};
use s3o_types::Checksums;

use super::BoxError;
use super::replay::Replay;
use crate::failpoints::{Point, pause_at};

/// Bytes as they come.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Opens a copy's source again, from its first byte.
pub(crate) type Reopen = Box<dyn Fn() -> ByteStream + Send + Sync>;

/// What is to be written.
pub(crate) enum Payload {
    /// A client's body: it comes once.
    Client(ClientBody),
    /// An object that is copied: it can be read again.
    Object { size: u64, md5: Option<[u8; 16]>, checksums: Checksums, also: AlgorithmSet, reopen: Reopen },
}

/// A client's body behind its guard.
pub(crate) struct ClientBody {
    shared: Arc<Mutex<Shared>>,
    verdict: GuardVerdict,
    md5: Option<[u8; 16]>,
}

struct Shared {
    guard: Guard<ByteStream>,
    /// Numbers the attempt that may read; older ones are dead.
    attempt: u64,
    /// A chunk left the guard.
    released: bool,
    replay: Option<Replay>,
}

impl ClientBody {
    /// Guards a body. With `replay` it survives attempts that took bytes.
    pub(crate) fn new(body: ByteStream, expected: Expected, replay: Option<Replay>) -> Self {
        let md5 = expected.md5;
        let (guard, verdict) = Guard::new(body, expected);
        let shared = Shared { guard, attempt: 0, released: false, replay };
        Self { shared: Arc::new(Mutex::new(shared)), verdict, md5 }
    }
}

impl Payload {
    /// The body for the next attempt. It ends all attempts before. `takes_trailers`: the backend compares
    /// a checksum behind the body and knows the MD5, so that none need be computed here.
    pub(crate) fn attempt(&self, takes_trailers: bool) -> Outgoing {
        let (stream, size, by_trailer, verdict): (ByteStream, u64, bool, _) = match self {
            Self::Client(body) => {
                let mut shared = lock(&body.shared);
                shared.attempt += 1;
                let by_trailer = shared.guard.skip_md5(takes_trailers);
                let attempt =
                    Attempt { shared: Arc::clone(&body.shared), number: shared.attempt, replayed: 0 };
                (Box::pin(attempt), shared.guard.size(), by_trailer, body.verdict.clone())
            }
            Self::Object { size, md5, checksums, also, reopen } => {
                let checksums = checksums.clone();
                let expected = Expected { md5: *md5, checksums, also: *also, ..Expected::of_size(*size) };
                let (mut guard, verdict) = Guard::new(reopen(), expected);
                let by_trailer = guard.skip_md5(takes_trailers);
                (Box::pin(guard.map(|chunk| chunk.map_err(BoxError::from))), *size, by_trailer, verdict)
            }
        };
        Outgoing { body: with_failpoint(stream, size), verdict, by_trailer }
    }

    /// The MD5 that the whole body is known to have: said by the client or kept from before.
    pub(crate) const fn md5(&self) -> Option<[u8; 16]> {
        match self {
            Self::Client(body) => body.md5,
            Self::Object { md5, .. } => *md5,
        }
    }

    /// Whether another attempt would find the whole body.
    pub(crate) fn can_be_sent(&self) -> bool {
        match self {
            Self::Client(body) => {
                let shared = lock(&body.shared);
                !shared.released || shared.replay.is_some()
            }
            Self::Object { .. } => true,
        }
    }
}

/// What one attempt sends.
pub(crate) struct Outgoing {
    pub body: ByteStream,
    /// Where the guard says how it ended.
    pub verdict: GuardVerdict,
    /// The digests will have a checksum to send behind the body, in the place of the MD5.
    pub by_trailer: bool,
}

/// One attempt at a client's body.
struct Attempt {
    shared: Arc<Mutex<Shared>>,
    number: u64,
    replayed: usize,
}

impl Stream for Attempt {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let mut shared = lock(&this.shared);
        if shared.attempt != this.number {
            return Poll::Ready(Some(Err("another attempt has taken over".into())));
        }
        if let Some(chunk) = shared.replay.as_ref().and_then(|replay| replay.get(this.replayed)) {
            this.replayed += 1;
            return Poll::Ready(Some(Ok(chunk)));
        }
        match std::task::ready!(shared.guard.poll_next_unpin(cx)) {
            Some(Ok(chunk)) => {
                shared.released = true;
                this.replayed += 1;
                if let Some(replay) = &mut shared.replay {
                    replay.keep(&chunk);
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => Poll::Ready(None),
        }
    }
}

/// The point "during the stream": some of the body is sent, or at least its headers.
fn with_failpoint(stream: ByteStream, size: u64) -> ByteStream {
    if !cfg!(feature = "failpoints") {
        return stream;
    }
    Box::pin(stream.enumerate().then(move |(index, chunk)| async move {
        let whole = chunk.as_ref().is_ok_and(|chunk| chunk.len() as u64 == size);
        if index == 1 || whole {
            pause_at(Point::DuringStream).await;
        }
        chunk
    }))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;
    use crate::pipeline::replay::ReplayPool;

    fn client(chunks: &[&'static str], replay: bool) -> Payload {
        let size: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let chunks: Vec<Result<Bytes, BoxError>> =
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let pool = ReplayPool::new(1000, 1000);
        let replay = replay.then(|| pool.reserve(size as u64).expect("room"));
        let body = Box::pin(futures::stream::iter(chunks));
        Payload::Client(ClientBody::new(body, Expected::of_size(size as u64), replay))
    }

    async fn all(stream: ByteStream) -> Result<String, String> {
        let mut text = String::new();
        let mut stream = stream;
        while let Some(chunk) = stream.next().await {
            text.push_str(std::str::from_utf8(&chunk.map_err(|error| error.to_string())?).expect("text"));
        }
        Ok(text)
    }

    #[tokio::test]
    async fn nothing_released_nothing_lost() {
        let payload = client(&["a", "b"], false);
        drop(payload.attempt(false));
        assert!(payload.can_be_sent());
        let Outgoing { body, verdict, .. } = payload.attempt(false);
        assert_eq!(all(body).await.as_deref(), Ok("ab"));
        assert!(verdict.digests().is_some());
        assert!(!payload.can_be_sent());
    }

    #[tokio::test]
    async fn replay_sends_again_from_the_start() {
        let payload = client(&["a", "b", "c"], true);
        let mut first = payload.attempt(false).body;
        assert!(first.next().await.is_some());
        assert!(payload.can_be_sent());
        let second = payload.attempt(false).body;
        assert!(all(first).await.is_err(), "the old attempt is dead");
        assert_eq!(all(second).await.as_deref(), Ok("abc"));
        let Outgoing { body: third, verdict, .. } = payload.attempt(false);
        assert_eq!(all(third).await.as_deref(), Ok("abc"), "also after the end");
        assert!(verdict.digests().is_some());
    }

    #[tokio::test]
    async fn without_replay_released_bytes_are_gone() {
        let payload = client(&["a", "b", "c"], false);
        let mut first = payload.attempt(false).body;
        assert!(first.next().await.is_some());
        assert!(!payload.can_be_sent());
    }
}
