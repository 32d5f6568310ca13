//! An orderly end, in two stages, and the signals that ask for it.
//!
//! Invariant: *soft* stops accepting and finishes what runs; *hard* cuts what still runs. Every task
//! that was spawned here has ended when [`Shutdown::finish`] returns, whatever it was waiting for.
//! No signal is needed: tests and standalone drive several services in one process by hand.

mod signals;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::warn;

pub use signals::run_until_stopped;

/// Both stages and the tasks of a service. Clones are the same service.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    /// The services that this one is a part of: its tasks are theirs too.
    parents: Vec<TaskTracker>,
}

impl Shutdown {
    /// Of a service that stands alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part of this service that can be ended before it, and ends with it.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut parents = self.parents.clone();
        parents.push(self.tasks.clone());
        Self {
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
            tasks: TaskTracker::new(),
            parents,
        }
    }

    /// Begins the soft stage. Again: nothing.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Begins the hard stage, and the soft one if it had not begun.
    pub fn force(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Whether the soft stage has begun.
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Returns when the soft stage begins.
    pub async fn stopping(&self) {
        self.soft.cancelled().await;
    }

    /// Returns when the hard stage begins.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }

    /// The soft stage for code that takes a token.
    pub fn soft_token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// The hard stage for code that takes a token.
    pub fn hard_token(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Begins the soft stage when the guard is dropped: a service whose main part ended must not linger.
    pub fn begin_on_drop(&self) -> DropGuard {
        self.soft.clone().drop_guard()
    }

    /// Runs a task of this service. It ends by itself, usually by watching [`Self::stopping`]; the hard
    /// stage drops it at its next await. `None`: it was dropped.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let hard = self.hard.clone();
        let held = self.hold();
        self.tasks.spawn(async move {
            let _held = held;
            tokio::select! {
                biased;
                () = hard.cancelled() => None,
                output = task => Some(output),
            }
        })
    }

    /// Keeps [`Self::finish`] waiting until it is dropped: for work that is not a task.
    pub fn hold(&self) -> Hold {
        let parents = self.parents.iter().map(TaskTracker::token).collect();
        Hold { _own: self.tasks.token(), _parents: parents }
    }

    /// Tasks that still run.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Ends the service: soft, then hard when `grace` is over or somebody forces it, and returns when
    /// every task has ended. `true`: all of them by themselves.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.begin();
        self.tasks.close();
        let in_time = tokio::select! {
            biased;
            () = self.tasks.wait() => !self.hard.is_cancelled(),
            () = self.hard.cancelled() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if !in_time {
            warn!(running = self.running(), "what still runs is cut off");
            self.force();
            self.tasks.wait().await;
        }
        in_time
    }
}

/// Something that a service waits for; see [`Shutdown::hold`].
#[derive(Debug)]
pub struct Hold {
    _own: TaskTrackerToken,
    _parents: Vec<TaskTrackerToken>,
}

/// The wish to read configuration, certificates and the like again. Clones are the same wish.
#[derive(Debug, Clone)]
pub struct Reload {
    count: watch::Sender<u64>,
}

impl Default for Reload {
    fn default() -> Self {
        Self::new()
    }
}

impl Reload {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self { count: watch::Sender::new(0) }
    }

    /// Asks; SIGHUP does this.
    pub fn request(&self) {
        self.count.send_modify(|count| *count += 1);
    }

    /// `changed()` of it returns once for each wish, or once for several that came together.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

#[cfg(test)]
mod tests;
