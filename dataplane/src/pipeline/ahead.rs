//! The next extent is opened while the one before it is still read, so that an object of many extents is not read with
//! a pause of a backend's first byte between any two.
//!
//! Invariants: one extent ahead at most, and not before it is needed soon: what was opened and not read holds a
//! connection and what the kernel buffers of it. It is a task of its own, so that a client that pauses is not taken for a
//! backend that is slow, and it goes with its reader. An opening that fails is forgotten: the reader asks again when it is
//! there, and it alone decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use s3o_runtime::Shutdown;
use tokio_util::task::AbortOnDropHandle;

use super::extent::{Opened, Opener, ReadError};
use crate::control::LocatedExtent;

/// Less than this is read before another backend could answer, however slow the reader has been so far.
const SOON_BYTES: u64 = 256 * 1024;
/// How much longer than a backend usually takes for its first byte it may take this time.
const SLACK: u32 = 2;
/// What a backend is taken to need of which nothing is known yet: the clouds answer within it (it only decides how
/// early is early enough).
const USUAL_FIRST_BYTE: Duration = Duration::from_millis(100);

/// `None`: it was cut by a shutdown.
type Opening = AbortOnDropHandle<Option<Result<Opened, ReadError>>>;

/// What is opened ahead, if anything.
#[derive(Default)]
pub(super) enum Ahead {
    #[default]
    Nothing,
    /// The extent at this offset; perhaps it has failed, and is not tried again before it is needed.
    Begun(u64, Opening),
}

impl Ahead {
    /// Whether something was begun for the extent at `at`.
    pub(super) fn is_for(&self, at: u64) -> bool {
        matches!(self, Self::Begun(of, _) if *of == at)
    }

    fn spawn(
        shutdown: &Shutdown,
        at: u64,
        opening: impl Future<Output = Result<Opened, ReadError>> + Send + 'static,
    ) -> Self {
        Self::Begun(at, AbortOnDropHandle::new(shutdown.spawn(opening)))
    }

    /// Begins with the extent at `at`, in the place of whatever was begun before.
    pub(super) fn begin(
        &mut self,
        opener: &Arc<Opener>,
        known: &Arc<[LocatedExtent]>,
        (at, end): (u64, u64),
    ) {
        let (own, known) = (Arc::clone(opener), Arc::clone(known));
        let opening = async move { own.open(&known, (at, end), None).await };
        *self = Self::spawn(&opener.plane.shutdown, at, opening);
    }

    /// The extent at `at`, if it was opened, or as soon as it is.
    pub(super) async fn take(&mut self, at: u64) -> Option<Opened> {
        if !self.is_for(at) {
            return None;
        }
        match std::mem::take(self) {
            Self::Begun(_, opening) => opening.await.ok().flatten()?.ok(),
            Self::Nothing => None,
        }
    }
}

/// How fast an extent is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, bytes: 0 }
    }

    pub(super) fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Whether the next extent is needed soon: what is left of this one is read, at this pace, before a backend that
    /// usually takes `first_byte` can be counted on.
    pub(super) fn is_soon(&self, left: u64, first_byte: Option<Duration>, now: Instant) -> bool {
        if left <= SOON_BYTES {
            return true;
        }
        let lead = first_byte.unwrap_or(USUAL_FIRST_BYTE) * SLACK;
        let spent = now.saturating_duration_since(self.since).max(Duration::from_micros(1));
        // bytes / spent * lead >= left, in whole numbers.
        u128::from(self.bytes) * lead.as_micros() >= u128::from(left) * spent.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn after(bytes: u64, spent: Duration) -> (Pace, Instant) {
        let since = Instant::now();
        let mut pace = Pace::begin(since);
        pace.read(bytes);
        (pace, since + spent)
    }

    #[test]
    fn a_fast_reader_needs_the_next_extent_sooner_than_a_slow_one() {
        let first_byte = Some(Duration::from_millis(50));
        // 100 MiB a second: 10 MiB are read within twice 50 ms.
        let (fast, now) = after(10 * MIB, Duration::from_millis(100));
        assert!(fast.is_soon(10 * MIB, first_byte, now) && !fast.is_soon(11 * MIB, first_byte, now));
        // 1 MiB a second.
        let (slow, now) = after(MIB, Duration::from_secs(1));
        assert!(!slow.is_soon(MIB, first_byte, now) && slow.is_soon(SOON_BYTES, first_byte, now));
    }

    #[test]
    fn nothing_read_yet_is_no_pace() {
        let (pace, now) = after(0, Duration::ZERO);
        assert!(!pace.is_soon(64 * MIB, None, now) && pace.is_soon(1, None, now));
    }

    #[tokio::test]
    async fn what_is_opened_goes_on_while_nobody_asks_for_it() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let opening = async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(()).expect("it is waited for");
            Err(ReadError::Gone)
        };
        let mut ahead = Ahead::spawn(&Shutdown::new(), 7, opening);
        told.await.expect("it went on by its own wakes");
        assert!(ahead.is_for(7) && !ahead.is_for(8));
        assert!(ahead.take(8).await.is_none(), "another one is not what was begun");
        assert!(ahead.take(7).await.is_none() && !ahead.is_for(7), "it failed, and is forgotten");
    }

    #[tokio::test]
    async fn what_is_opened_goes_with_its_reader() {
        let (held, told) = tokio::sync::oneshot::channel::<()>();
        let opening = async move {
            let _held = held;
            std::future::pending().await
        };
        drop(Ahead::spawn(&Shutdown::new(), 7, opening));
        assert!(told.await.is_err(), "the task was dropped");
    }
}
