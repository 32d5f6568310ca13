//! One guarded body for several targets at once: each takes it from its first byte, at its own pace.
//!
//! Invariants: the body is read once, by whichever target needs its next chunk; beside the replay memory, what
//! is kept for slower targets stays under 1 MiB (ADR 0010); every target sees the same chunks, and then
//! the same end or the same error; no target waits while what it waits for is there: whoever brings a chunk, makes
//! room or leaves wakes all others, and so does the source, whoever asked it last.

mod waiting;
mod window;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use s3o_backend::UploadWatch;
use s3o_blob::{Guard, GuardError, GuardVerdict};

use self::waiting::Waiting;
use self::window::{WINDOW, Window};
use super::BoxError;
use super::body::ByteStream;
use super::replay::Replay;

/// A guarded body, and who takes it.
pub(super) struct Fan {
    state: Mutex<State>,
    verdict: GuardVerdict,
    waiting: Arc<Waiting>,
    /// Wakes all that wait: the source knows only who asked last.
    everybody: Waker,
}

struct State {
    body: Guard<ByteStream>,
    end: Option<Result<(), GuardError>>,
    kept: Window,
    seats: Vec<Taker>,
    next: u64,
    by_trailer: bool,
    /// Somebody is refused the next chunk, since when; and how many bytes all had taken then.
    refused: Option<(Instant, u64)>,
}

/// How far one target is.
struct Taker {
    id: u64,
    /// The chunk it takes next, counted from 0.
    position: u64,
    /// It left before its first chunk; another may begin in its place.
    vacant: bool,
}

/// A target's place at the body.
#[derive(Clone)]
pub(super) struct Seat {
    fan: Arc<Fan>,
    id: u64,
}

/// The body as one target takes it.
pub(super) struct Consumer {
    seat: Seat,
    watch: UploadWatch,
    held: bool,
}

/// What a poll came to.
enum Step {
    Given(Option<Result<Bytes, GuardError>>),
    /// The source has nothing yet.
    Waits,
    /// There is no room before the slowest has taken something.
    Refused,
    /// The seat was given up.
    Gone,
}

impl Fan {
    /// Nobody takes it yet.
    pub(super) fn new(body: Guard<ByteStream>, verdict: GuardVerdict, replay: Option<Replay>) -> Arc<Self> {
        let (end, kept, seats, refused) = (None, Window::new(replay), Vec::new(), None);
        let state = State { body, end, kept, seats, next: 0, by_trailer: false, refused };
        let waiting = Arc::new(Waiting::default());
        let everybody = Waker::from(Arc::clone(&waiting));
        Arc::new(Self { state: Mutex::new(state), verdict, waiting, everybody })
    }

    /// Where the guard says how it ended.
    pub(super) fn verdict(&self) -> &GuardVerdict {
        &self.verdict
    }

    /// Whether one that comes now would find the whole body.
    pub(super) fn has_start(&self) -> bool {
        self.lock().kept.has_start()
    }

    /// Seats for `watches.len()` targets, from the first byte on; and whether the digests will have a checksum to
    /// send behind the body, which all of them must want. `None` when the first byte is gone.
    pub(super) fn join(
        self: &Arc<Self>,
        watches: Vec<UploadWatch>,
        takes_trailers: bool,
    ) -> Option<(Vec<Consumer>, bool)> {
        let mut state = self.lock();
        if !state.kept.has_start() {
            return None;
        }
        // Who is under way has told its backend what comes.
        let by_trailer = if state.seats.iter().all(|taker| taker.vacant) {
            state.by_trailer = state.body.skip_md5(takes_trailers);
            state.by_trailer
        } else {
            state.by_trailer && takes_trailers
        };
        let consumers = watches.into_iter().map(|watch| {
            let id = state.next;
            state.next += 1;
            state.seats.push(Taker { id, position: 0, vacant: false });
            Consumer { seat: Seat { fan: Arc::clone(self), id }, watch, held: false }
        });
        Some((consumers.collect(), by_trailer))
    }

    fn poll(&self, id: u64, cx: &mut Context<'_>) -> Step {
        let mut everybody = Context::from_waker(&self.everybody);
        let (step, news) = self.step(&mut self.lock(), id, cx, &mut everybody);
        // Not under the lock: a waker may be the last that holds on to a task.
        if news {
            self.waiting.wake_but(id);
        }
        step
    }

    /// What a poll comes to, and whether that is news for the others.
    fn step(
        &self,
        state: &mut State,
        id: u64,
        cx: &mut Context<'_>,
        everybody: &mut Context<'_>,
    ) -> (Step, bool) {
        let Some(position) = state.position(id) else { return (Step::Gone, false) };
        if let Some(chunk) = state.kept.get(position) {
            return (Step::Given(Some(Ok(chunk))), state.advance(id));
        }
        if let Some(end) = &state.end {
            return (Step::Given(end.clone().err().map(Err)), false);
        }
        // Registered before the source is asked: it may wake at once. One that is alone waits as if there were
        // no others, but others may come and bring what it waits for.
        self.waiting.register(id, cx.waker());
        // With its verdict the body has let go of its last byte, and the end takes no room.
        if state.kept.is_full() && self.verdict.get().is_none() {
            let passed = state.kept.passed();
            state.refused.get_or_insert_with(|| (Instant::now(), passed));
            return (Step::Refused, false);
        }
        let alone = state.seats.len() == 1;
        let polled =
            if alone { state.body.poll_next_unpin(cx) } else { state.body.poll_next_unpin(everybody) };
        match polled {
            Poll::Pending => (Step::Waits, false),
            Poll::Ready(next) => (Step::Given(state.take_in(id, next)), !alone),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn position(&self, id: u64) -> Option<u64> {
        self.seats.iter().find(|taker| taker.id == id && !taker.vacant).map(|taker| taker.position)
    }

    /// What the guard let go, to the one who asked and into the window for the others.
    fn take_in(
        &mut self,
        id: u64,
        next: Option<Result<Bytes, GuardError>>,
    ) -> Option<Result<Bytes, GuardError>> {
        match &next {
            Some(Ok(chunk)) => {
                self.kept.push(chunk, self.seats.len() > 1);
                self.advance(id);
            }
            Some(Err(error)) => self.end = Some(Err(error.clone())),
            None => self.end = Some(Ok(())),
        }
        next
    }

    /// One has taken a chunk. Says whether that made room.
    fn advance(&mut self, id: u64) -> bool {
        for taker in self.seats.iter_mut().filter(|taker| taker.id == id) {
            taker.position += 1;
        }
        let made_room = self.trim();
        // The slowest has caught up, or has a pace.
        let moved = |(_, before): (Instant, u64)| self.kept.passed() - before >= WINDOW;
        if self.kept.is_empty() || self.refused.is_some_and(moved) {
            self.refused = None;
        }
        made_room
    }

    fn trim(&mut self) -> bool {
        let slowest = self.seats.iter().map(|taker| taker.position).min();
        slowest.is_some_and(|slowest| self.kept.trim(slowest))
    }

    /// After one left. What the rest have not taken by now, they had the time to take.
    fn settle(&mut self) {
        self.trim();
        if !self.kept.is_full() {
            self.refused = None;
        }
    }
}

impl Seat {
    /// Ends the target's part. If it took nothing, the first byte is kept until [`Self::give_up`].
    pub(super) fn leave(&self) {
        let untouched = |taker: &&mut Taker| taker.id == self.id && taker.position == 0;
        if let Some(taker) = self.fan.lock().seats.iter_mut().find(untouched) {
            taker.vacant = true;
            return;
        }
        self.give_up();
    }

    /// Ends it for good: nobody begins in its place.
    pub(super) fn give_up(&self) {
        let mut state = self.fan.lock();
        state.seats.retain(|taker| taker.id != self.id);
        state.settle();
        drop(state);
        self.fan.waiting.wake_but(self.id);
    }

    /// Whether at this time all others have waited for this one for so long.
    pub(super) fn holds_up(&self, patience: Duration, now: Instant) -> bool {
        let state = self.fan.lock();
        let waited = |(since, _): (Instant, u64)| now.saturating_duration_since(since);
        let too_long = state.refused.is_some_and(|refused| waited(refused) >= patience);
        let slowest = state.seats.iter().filter(|taker| !taker.vacant).min_by_key(|taker| taker.position);
        too_long && state.kept.is_full() && slowest.is_some_and(|taker| taker.id == self.id)
    }
}

impl Consumer {
    /// Its place, to end it from outside.
    pub(super) fn seat(&self) -> Seat {
        self.seat.clone()
    }
}

impl Stream for Consumer {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let step = this.seat.fan.poll(this.seat.id, cx);
        let refused = matches!(step, Step::Refused);
        if this.held != refused {
            this.held = refused;
            this.watch.held(refused);
        }
        match step {
            Step::Given(item) => Poll::Ready(item.map(|chunk| chunk.map_err(BoxError::from))),
            Step::Waits | Step::Refused => Poll::Pending,
            Step::Gone => Poll::Ready(Some(Err("this target was given up".into()))),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.seat.leave();
    }
}

#[cfg(test)]
mod tests;
