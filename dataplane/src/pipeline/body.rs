//! The body of a write, as something that several targets can take, at once or one after another.
//!
//! Invariant: a target is sent exactly the guarded body from its first byte, or fails. A body whose first
//! bytes were let go can be sent again only from the replay memory or, for a copy, from its source.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use s3o_backend::UploadWatch;
use s3o_blob::{AlgorithmSet, Expected, Guard, GuardVerdict};
use s3o_types::{Checksums, CopiedPiece, DigestKind};

use super::BoxError;
use super::fanout::{Fan, Seat};
use super::pieces::Pieces;
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
    Object(ObjectBody),
}

/// Bytes of an object, and what is known of them.
pub(crate) struct ObjectBody {
    pub size: u64,
    pub md5: Option<[u8; 16]>,
    /// Those that it is known to have.
    pub checksums: Checksums,
    /// Checksums to compute, which are told.
    pub also: AlgorithmSet,
    /// What is kept of them.
    pub keep: DigestKind,
    /// What was read of extents that are not wanted whole.
    pub pieces: Pieces,
    pub reopen: Reopen,
}

impl ObjectBody {
    fn expected(&self) -> Expected {
        let Self { size, md5, checksums, also, keep, pieces: _, reopen: _ } = self;
        let (md5, known) = (*md5, checksums.clone());
        Expected { md5, known, also: *also, keep: Some(*keep), ..Expected::of_size(*size) }
    }
}

/// A client's body behind its guard.
pub(crate) struct ClientBody {
    fan: Arc<Fan>,
    size: u64,
    md5: Option<[u8; 16]>,
}

impl ClientBody {
    /// Guards a body. With `replay` it survives targets that took bytes and failed.
    pub(crate) fn new(body: ByteStream, expected: Expected, replay: Option<Replay>) -> Self {
        let (size, md5) = (expected.size, expected.md5);
        let (guard, verdict) = Guard::new(body, expected);
        Self { fan: Fan::new(guard, verdict, replay), size, md5 }
    }
}

impl Payload {
    /// The body, to be read once: a client's always the same, an object's from its source again.
    fn open(&self) -> Arc<Fan> {
        match self {
            Self::Client(body) => Arc::clone(&body.fan),
            Self::Object(body) => {
                let (guard, verdict) = Guard::new((body.reopen)(), body.expected());
                Fan::new(guard, verdict, None)
            }
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Client(body) => body.size,
            Self::Object(body) => body.size,
        }
    }

    /// The MD5 that the whole body is known to have: said by the client or kept from before.
    pub(crate) const fn md5(&self) -> Option<[u8; 16]> {
        match self {
            Self::Client(body) => body.md5,
            Self::Object(body) => body.md5,
        }
    }

    /// Whether another target would find the whole body.
    pub(crate) fn can_be_sent(&self) -> bool {
        match self {
            Self::Client(body) => body.fan.has_start(),
            Self::Object(_) => true,
        }
    }

    /// What a copy is of, as far as it could not be compared.
    pub(crate) fn copied(&self) -> Vec<CopiedPiece> {
        match self {
            Self::Client(_) => Vec::new(),
            Self::Object(body) => body.pieces.all(),
        }
    }

    /// Whether a failure of the body is the client's.
    pub(crate) const fn is_clients(&self) -> bool {
        matches!(self, Self::Client(_))
    }
}

/// The readings of a payload.
pub(super) struct Readings<'a> {
    payload: &'a Payload,
    /// The one that is under way.
    fan: Option<Arc<Fan>>,
}

impl<'a> Readings<'a> {
    /// None has begun.
    pub(super) fn of(payload: &'a Payload) -> Self {
        Self { payload, fan: None }
    }

    /// The body for `count` targets more, all by one reading: the one that is under way while its first byte is
    /// here, else a new one. `takes_trailers`: their backends compare a checksum behind the body and know the
    /// MD5, so that none need be computed here. `None` when the body cannot be had again.
    pub(super) fn take(&mut self, count: usize, takes_trailers: bool) -> Option<Vec<Outgoing>> {
        let fan = self.fan.take().filter(|fan| fan.has_start()).unwrap_or_else(|| self.payload.open());
        let watches: Vec<UploadWatch> = (0..count).map(|_| UploadWatch::new()).collect();
        let (consumers, by_trailer) = fan.join(watches.clone(), takes_trailers)?;
        let size = self.payload.size();
        let outgoing = consumers.into_iter().zip(watches).map(|(consumer, watch)| Outgoing {
            seat: consumer.seat(),
            body: with_failpoint(Box::pin(consumer), size),
            watch,
            verdict: fan.verdict().clone(),
            by_trailer,
        });
        let outgoing = outgoing.collect();
        self.fan = Some(fan);
        Some(outgoing)
    }
}

/// What one target is sent.
pub(super) struct Outgoing {
    pub body: ByteStream,
    /// How far it got.
    pub watch: UploadWatch,
    /// Its place at the body.
    pub seat: Seat,
    /// Where the guard says how it ended.
    pub verdict: GuardVerdict,
    /// The digests will have a checksum to send behind the body, in the place of the MD5.
    pub by_trailer: bool,
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

    fn one(readings: &mut Readings<'_>) -> Outgoing {
        readings.take(1, false).expect("the first byte is there").remove(0)
    }

    #[tokio::test]
    async fn nothing_released_nothing_lost() {
        let payload = client(&["a", "b"], false);
        let mut readings = Readings::of(&payload);
        let Outgoing { body: failed, seat, .. } = one(&mut readings);
        drop(failed);
        assert!(payload.can_be_sent());
        let Outgoing { body, verdict, .. } = one(&mut readings);
        seat.give_up();
        assert_eq!(all(body).await.as_deref(), Ok("ab"));
        assert!(verdict.digests().is_some());
        assert!(!payload.can_be_sent());
        assert!(readings.take(1, false).is_none());
    }

    #[tokio::test]
    async fn replay_sends_again_from_the_start() {
        let payload = client(&["a", "b", "c"], true);
        let mut readings = Readings::of(&payload);
        let Outgoing { body: mut first, seat, .. } = one(&mut readings);
        assert!(first.next().await.is_some());
        seat.give_up();
        assert!(payload.can_be_sent());
        assert_eq!(all(one(&mut readings).body).await.as_deref(), Ok("abc"));
        assert!(all(first).await.is_err(), "the old one is dead");
        let Outgoing { body, verdict, .. } = one(&mut readings);
        assert_eq!(all(body).await.as_deref(), Ok("abc"), "also after the end");
        assert!(verdict.digests().is_some());
    }

    #[tokio::test]
    async fn without_replay_released_bytes_are_gone() {
        let payload = client(&["a", "b", "c"], false);
        let mut first = one(&mut Readings::of(&payload)).body;
        assert!(first.next().await.is_some());
        assert!(!payload.can_be_sent());
    }

    #[tokio::test]
    async fn an_object_is_read_once_for_all_and_again_for_a_replacement() {
        let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let reopen: Reopen = Box::new(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Box::pin(futures::stream::iter([Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))]))
        });
        let (checksums, also, keep) = (Checksums::default(), AlgorithmSet::NONE, DigestKind::Sha256);
        let payload = Payload::Object(ObjectBody {
            size: 2,
            md5: None,
            checksums,
            also,
            keep,
            pieces: Pieces::default(),
            reopen,
        });
        let mut readings = Readings::of(&payload);
        let bodies = readings.take(3, false).expect("opened");
        let texts = futures::future::join_all(bodies.into_iter().map(|outgoing| all(outgoing.body))).await;
        assert!(texts.iter().all(|text| text.as_deref() == Ok("ab")), "{texts:?}");
        assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 1);
        assert_eq!(all(one(&mut readings).body).await.as_deref(), Ok("ab"));
        assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_digest_is_chosen_once() {
        let payload = client(&["a", "b"], true);
        let mut readings = Readings::of(&payload);
        let both = readings.take(2, true).expect("nothing read");
        assert!(both.iter().all(|outgoing| outgoing.by_trailer));
        let third = one(&mut readings);
        assert!(!third.by_trailer, "its backend takes none");
        let bodies = both.into_iter().chain([third]).map(|outgoing| all(outgoing.body));
        assert!(futures::future::join_all(bodies).await.iter().all(Result::is_ok));
        let Payload::Client(body) = &payload else { unreachable!() };
        let digests = body.fan.verdict().digests().expect("it passed");
        assert!(digests.hop.is_some() && digests.md5.is_none(), "the first two had announced it");
    }
}
