//! Catching up with the configuration when a request cannot wait until the session brings it: a bucket may have been
//! made a moment ago, through another data plane.
//!
//! Invariants: one question is under way at a time, and whoever came before it was asked shares its answer, so that
//! requests for buckets that do not exist cost the database one row each at most; nobody waits longer than
//! [`PATIENCE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::control::{Caller, Failure};
use crate::plane::Plane;

/// The bound of a wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who asks.
#[derive(Default)]
pub(crate) struct Newest {
    /// The number of the last question that was begun.
    begun: AtomicU64,
    /// That of the last one that was answered.
    answered: AtomicU64,
    /// Held while one is under way.
    turn: Mutex<()>,
}

impl Newest {
    /// Runs `ask`, unless one that was begun after this call has been answered in the meantime.
    async fn once<F>(&self, ask: impl FnOnce() -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let before = self.begun.load(Ordering::SeqCst);
        let turn = async {
            let _turn = self.turn.lock().await;
            if self.answered.load(Ordering::SeqCst) > before {
                return Ok(());
            }
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let asked = ask().await;
            // Nobody shares a failure.
            if asked.is_ok() {
                self.answered.store(number, Ordering::SeqCst);
            }
            asked
        };
        tokio::time::timeout(PATIENCE, turn).await.unwrap_or(Err(Failure::Unknown))
    }
}

impl Plane {
    /// Takes the newest configuration that the database has at some time after this call.
    pub(crate) async fn catch_up(self: &Arc<Self>, caller: &Caller) -> Result<(), Failure> {
        if !self.control.is_connected() {
            return Err(Failure::Unknown);
        }
        let ask = || async {
            let generation = self.snapshot.load().generation;
            if let Some(configuration) = caller.newest_configuration(generation).await? {
                self.configure(configuration);
            }
            Ok(())
        };
        self.newest.once(ask).await
    }

    /// Returns when the configuration of `generation`, or a newer one, is in use. Where that takes too long, it comes
    /// by the session, and until then requests for what is not known ask for it.
    pub(crate) async fn reach(self: &Arc<Self>, caller: &Caller, generation: i64) {
        if self.snapshot.load().generation < generation && self.catch_up(caller).await.is_err() {
            tracing::warn!(generation, "the configuration that was asked for has not come yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn only_answers_to_later_questions_are_shared() {
        let newest = Arc::new(Newest::default());
        let (asked, go) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let question = |fails: bool| {
            let (newest, asked, go) = (Arc::clone(&newest), Arc::clone(&asked), Arc::clone(&go));
            tokio::spawn(async move {
                let ask = || async {
                    asked.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    if fails { Err(Failure::Unknown) } else { Ok(()) }
                };
                newest.once(ask).await
            })
        };
        let until_asked = async |n| {
            while asked.load(Ordering::SeqCst) < n {
                tokio::task::yield_now().await;
            }
        };
        let first = question(false);
        until_asked(1).await;
        // These came while the first was under way: what it brings may be older than what they need.
        let late = [question(false), question(false), question(false)];
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        assert_eq!(first.await.expect("ran"), Ok(()));
        until_asked(2).await;
        go.notify_one();
        for one in late {
            assert_eq!(one.await.expect("ran"), Ok(()));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the three share one");
    }

    #[tokio::test]
    async fn a_failure_is_not_shared() {
        let newest = Newest::default();
        assert_eq!(newest.once(async || Err(Failure::Unknown)).await, Err(Failure::Unknown));
        let (first, second) =
            tokio::join!(newest.once(async || Err(Failure::Unknown)), newest.once(async || Ok(())));
        assert_eq!((first, second), (Err(Failure::Unknown), Ok(())));
    }
}
