//! The breaker `database`: the control plane and its PostgreSQL, as this process sees them.
//!
//! Invariants: only a probe opens it, so that what one caller was refused never takes the database from all; any
//! outcome that the database decided closes it; calls before the body neither start nor go on while it is open, and calls that
//! end a write, or go on with a read that has given bytes, always do, since nobody else can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use s3o_backend::{Admission, Breaker, BreakerConfig, BreakerState};
use s3o_proto::v1::operation::Call;
use s3o_types::ErrorCode;
use tokio::sync::{Notify, watch};

/// Probes in a row that must fail, and how long it stays open. Short: a probe is one small call, and nothing can be
/// written until one works.
const BREAKER: BreakerConfig = BreakerConfig {
    threshold: 4,
    open_for: Duration::from_secs(1),
    open_at_most: Duration::from_secs(5),
    probe_timeout: Duration::from_secs(10),
};

/// See the module.
pub(crate) struct Database {
    breaker: Breaker,
    /// Held while the breaker and `open` change together: one that says open beside a closed breaker would never be
    /// probed.
    changing: Mutex<()>,
    /// Whether the breaker is not closed. What requests look at.
    open: watch::Sender<bool>,
    /// A call got no answer, or "briefly unable" until its end.
    suspected: AtomicBool,
    wake: Notify,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            breaker: Breaker::new(BREAKER),
            changing: Mutex::new(()),
            open: watch::Sender::new(false),
            suspected: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }
}

impl Database {
    /// Whether calls are refused: nothing has been decided for a while.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// The breaker, for health and metrics.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Returns when it is open.
    pub(super) async fn opened(&self) {
        // The sender lives as long as `self`.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Returns when it is known whether the database answers: at once, or when the probes that follow a suspicion have found
    /// out.
    pub(crate) async fn settled(&self) {
        let mut open = self.open.subscribe();
        while !*open.borrow_and_update() && self.suspected.load(Ordering::Relaxed) {
            // Each probe tells of its end here, also one that changes nothing. The sender lives as long as `self`.
            if open.changed().await.is_err() {
                return;
            }
        }
    }

    /// A call was decided, whatever the outcome: the database answers.
    pub(super) fn answered(&self) {
        if self.suspected.load(Ordering::Relaxed) || self.is_open() {
            self.probed(true, Instant::now(), 0.0);
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call got no answer, or "briefly unable" until its patience was over. That may have other reasons than the
    /// database: a probe finds out, and soon.
    pub(super) fn suspect(&self) {
        if !self.suspected.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Whether a probe is due: something is wrong, and it is not known to be open, or it is open and the pause is over.
    pub(crate) fn is_due(&self, reachable: bool, now: Instant) -> bool {
        if self.breaker.state(now) == BreakerState::Closed {
            return !reachable || self.suspected.load(Ordering::Relaxed);
        }
        self.breaker.admit(now) == Admission::Probe
    }

    /// A probe has ended. `jitter` in 0…1.
    pub(crate) fn probed(&self, worked: bool, now: Instant, jitter: f64) {
        let _one_at_a_time = self.changing();
        let was_open = self.is_open();
        if worked {
            self.suspected.store(false, Ordering::Relaxed);
            self.breaker.succeeded();
        } else {
            self.suspected.store(true, Ordering::Relaxed);
            self.breaker.failed(now, jitter);
        }
        let is_open = self.breaker.state(now) != BreakerState::Closed;
        self.open.send_replace(is_open);
        match (was_open, is_open) {
            (false, true) => {
                tracing::error!("the metadata service does not answer: degraded, only reads are served");
            }
            (true, false) => tracing::info!("the metadata service answers again"),
            _ => {}
        }
    }

    /// Waits for a reason to look, `pause` at most.
    pub(crate) async fn wait(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.wake.notified()).await;
    }
}

/// Whether a call waits for an open breaker like everybody, or is sent all the same: what ends a write that has begun.
pub(super) fn waits(call: &Call) -> bool {
    match call {
        Call::Commit(_) | Call::Abort(_) | Call::Retarget(_) => false,
        Call::Begin(_)
        | Call::Delete(_)
        | Call::Locate(_)
        | Call::SetTags(_)
        | Call::SetLock(_)
        | Call::CreateUpload(_)
        | Call::CompleteUpload(_)
        | Call::AbortUpload(_) => true,
    }
}

/// Whether a refusal with this code is the database's: the others are made by a control plane on its own.
pub(super) fn decided(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::ServiceUnavailable
            | ErrorCode::InternalError
            | ErrorCode::InvalidArgument
            | ErrorCode::FeatureRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_control_plane_refuses_on_its_own_says_nothing_of_the_database() {
        assert!(decided(ErrorCode::NoSuchKey) && decided(ErrorCode::PreconditionFailed));
        assert!(!decided(ErrorCode::InvalidArgument) && !decided(ErrorCode::ServiceUnavailable));
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn calls_that_fail_only_raise_suspicion() {
        let (database, now) = (Database::default(), Instant::now());
        assert!(!database.is_due(true, now));
        (0..100).for_each(|_| database.suspect());
        assert!(!database.is_open() && database.is_due(true, now));
        database.probed(true, now, 1.0);
        assert!(!database.is_open() && !database.is_due(true, now));
        assert!(
            database.is_due(false, now),
            "no stream, or the control plane says that its database is away"
        );
    }

    #[test]
    fn probes_in_a_row_open_it_and_one_closes_it() {
        let (database, now) = (Database::default(), Instant::now());
        for _ in 0..3 {
            assert!(database.is_due(false, now));
            database.probed(false, now, 1.0);
            assert!(!database.is_open());
        }
        database.probed(false, now, 1.0);
        assert!(database.is_open());
        assert!(!database.is_due(true, now), "it has a pause first");
        assert!(database.is_due(true, after(now, 1)), "then one probe");
        assert!(!database.is_due(true, after(now, 1)), "and no other one beside it");
        database.probed(false, after(now, 1), 1.0);
        assert!(database.is_open() && !database.is_due(true, after(now, 2)));
        assert!(database.is_due(true, after(now, 3)));
        database.probed(true, after(now, 3), 1.0);
        assert!(!database.is_open() && !database.is_due(true, after(now, 4)));
    }

    #[test]
    fn a_probe_that_was_lost_is_not_waited_for_for_ever() {
        let (database, now) = (Database::default(), Instant::now());
        (0..4).for_each(|_| database.probed(false, now, 1.0));
        assert!(database.is_due(true, after(now, 1)));
        assert!(database.is_due(true, after(now, 12)));
    }

    #[test]
    fn an_outcome_closes_it() {
        let (database, now) = (Database::default(), Instant::now());
        (0..4).for_each(|_| database.probed(false, now, 1.0));
        database.answered();
        assert!(!database.is_open() && !database.is_due(true, now));
        (0..3).for_each(|_| database.probed(false, now, 1.0));
        assert!(!database.is_open(), "it counts anew");
    }

    #[tokio::test]
    async fn a_suspicion_is_settled_by_probes() {
        let (database, now) = (Database::default(), Instant::now());
        database.settled().await;
        for worked in [false, true] {
            database.suspect();
            let mut settled = Box::pin(database.settled());
            assert!(futures::poll!(&mut settled).is_pending(), "nothing was tried yet");
            database.probed(false, now, 1.0);
            assert!(futures::poll!(&mut settled).is_pending(), "one probe says little");
            (0..3).for_each(|_| database.probed(worked, now, 1.0));
            settled.await;
            assert_ne!(database.is_open(), worked);
            database.probed(true, now, 1.0);
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_it_opens() {
        let (database, now) = (Database::default(), Instant::now());
        let mut told = Box::pin(database.opened());
        assert!(futures::poll!(&mut told).is_pending());
        (0..4).for_each(|_| database.probed(false, now, 1.0));
        told.await;
    }
}
