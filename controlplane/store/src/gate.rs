//! Holds a connection's driver back while the statements of a flight are put together.
//!
//! The driver runs in a task of its own and writes whatever it finds, so without this the first statement
//! left alone, and the server woke, answered and slept once for each of them. Held back, it finds all of
//! them at once: one write, and one sleep.
//!
//! Invariant: a driver is held only while a [`Hold`] lives, and nobody waits for an answer meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// Shared by a connection and its driver.
#[derive(Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    driver: AtomicWaker,
}

/// Keeps the gate closed.
pub(crate) struct Hold<'a>(&'a Gate);

impl Gate {
    /// Holds the driver until the answer is dropped.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.closed.store(true, Ordering::SeqCst);
        Hold(self)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.closed.store(false, Ordering::SeqCst);
        self.0.driver.wake();
    }
}

/// A driver behind its gate.
pub(crate) struct Gated<D> {
    pub(crate) gate: Arc<Gate>,
    pub(crate) driver: D,
}

impl<D: Future + Unpin> Future for Gated<D> {
    type Output = D::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<D::Output> {
        // Registered before the look, so that an opening in between wakes.
        self.gate.driver.register(cx.waker());
        if self.gate.closed.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.driver).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_held_goes_on_when_the_hold_ends() {
        let gate = Arc::new(Gate::default());
        let hold = gate.hold();
        let driver = Gated { gate: Arc::clone(&gate), driver: std::future::ready(7) };
        let mut task = tokio::spawn(driver);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(futures::poll!(&mut task).is_pending());
        drop(hold);
        assert_eq!(task.await.expect("no panic"), 7);
    }
}
