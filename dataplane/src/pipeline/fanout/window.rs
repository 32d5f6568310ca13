//! The chunks of a body that are kept: for targets that have not taken them yet, or all of them in the replay
//! memory.
//!
//! Invariant: without replay memory less than 1 MiB is kept, however small or large the chunks come.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::pipeline::replay::Replay;

/// With so many bytes kept, no further chunk is taken from the source. A chunk has 408 KiB at most (hyper's
/// largest read buffer, 8 KiB + 4 KiB × 100), so that the fastest is less than 1 MiB before the slowest.
pub(super) const WINDOW: u64 = 512 * 1024;
/// A chunk under this is copied: a small slice would hold on to the whole buffer it was read into.
const COPIED_BELOW: usize = 16 * 1024;
/// What a chunk costs beside its bytes: the handle, and its counts.
const ENTRY: u64 = 64;

/// See the module.
pub(super) struct Window {
    chunks: VecDeque<Bytes>,
    /// The number of the first of them; chunks are counted from 0.
    first: u64,
    /// What they cost.
    cost: u64,
    /// What all that went through the window cost.
    passed: u64,
    /// Keeps all, in the window's place.
    replay: Option<Replay>,
}

impl Window {
    /// Empty.
    pub(super) fn new(replay: Option<Replay>) -> Self {
        Self { chunks: VecDeque::new(), first: 0, cost: 0, passed: 0, replay }
    }

    /// Whether the first chunk is here, or has yet to come.
    pub(super) fn has_start(&self) -> bool {
        self.replay.is_some() || self.first == 0
    }

    /// The chunk of this number, if it has come.
    pub(super) fn get(&self, number: u64) -> Option<Bytes> {
        match &self.replay {
            Some(replay) => replay.get(usize::try_from(number).ok()?),
            None => self.chunks.get(usize::try_from(number.checked_sub(self.first)?).ok()?).cloned(),
        }
    }

    /// The next chunk has come. It is kept when others are to take it.
    pub(super) fn push(&mut self, chunk: &Bytes, others: bool) {
        if let Some(replay) = &mut self.replay {
            replay.keep(chunk);
        } else if others {
            self.cost += cost(chunk);
            let small = chunk.len() < COPIED_BELOW;
            self.chunks.push_back(if small { Bytes::copy_from_slice(chunk) } else { chunk.clone() });
        } else {
            self.first += 1;
        }
    }

    /// Lets go of what stands before this number. Says whether that was something.
    pub(super) fn trim(&mut self, slowest: u64) -> bool {
        let mut trimmed = false;
        while self.first < slowest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.first += 1;
            self.cost -= cost(&chunk);
            self.passed += cost(&chunk);
            trimmed = true;
        }
        trimmed
    }

    /// Whether the source must wait.
    pub(super) fn is_full(&self) -> bool {
        self.cost >= WINDOW
    }

    /// Whether everybody has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes that everybody has taken, with what their chunks cost.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }
}

fn cost(chunk: &Bytes) -> u64 {
    chunk.len() as u64 + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::replay::ReplayPool;

    #[test]
    fn keeps_what_the_slowest_has_not_taken() {
        let mut window = Window::new(None);
        for chunk in ["a", "b", "c"] {
            window.push(&Bytes::from_static(chunk.as_bytes()), true);
        }
        assert!(window.has_start() && !window.trim(0));
        assert!(window.trim(2) && !window.has_start());
        assert_eq!((window.get(1), window.get(2).as_deref(), window.get(3)), (None, Some(&b"c"[..]), None));
        assert!(window.trim(3) && window.is_empty());
        window.push(&Bytes::from_static(b"d"), false);
        assert!(window.is_empty() && window.get(3).is_none(), "nobody else is there");
        window.push(&Bytes::from_static(b"e"), true);
        assert_eq!(window.get(4).as_deref(), Some(&b"e"[..]));
    }

    #[test]
    fn small_chunks_fill_it_too() {
        let mut window = Window::new(None);
        let mut pushed = 0_u64;
        while !window.is_full() {
            window.push(&Bytes::from_static(b"x"), true);
            pushed += 1;
        }
        assert!(pushed * ENTRY <= WINDOW);
    }

    #[test]
    fn replay_keeps_all_and_is_never_full() {
        let pool = ReplayPool::new(2 * WINDOW, 2 * WINDOW);
        let mut window = Window::new(pool.reserve(2 * WINDOW));
        let chunk = Bytes::from(vec![7; usize::try_from(WINDOW).expect("small")]);
        window.push(&chunk, true);
        window.push(&chunk, false);
        assert!(!window.trim(2) && window.has_start() && !window.is_full());
        assert!(window.get(0).is_some() && window.get(1).is_some());
    }
}
