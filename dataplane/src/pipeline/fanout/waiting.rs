//! Who waits at a body that several take.
//!
//! Invariant: this has a lock of its own, never held while anybody is woken, so that a source may wake
//! from within its own poll.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Those that wait, by seat.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<(u64, Waker)>>);

impl Waiting {
    /// Wakes `id` by this waker from now on, once.
    pub(super) fn register(&self, id: u64, waker: &Waker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((id, waker.clone())),
        }
    }

    /// Wakes all but `id`, which is not asleep.
    pub(super) fn wake_but(&self, id: u64) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, waker) in waiting.into_iter().filter(|(known, _)| *known != id) {
            waker.wake();
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}
