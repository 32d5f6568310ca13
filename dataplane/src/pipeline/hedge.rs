//! Hedged reads: when the first byte of a copy takes longer than that backend's 95th percentile, another copy is asked
//! too, and whichever answers first is read. The other call is cut; it was counted when it was sent.
//!
//! Invariant: at most a set share of the reads have a second call, so that a fleet that is slow because it is overloaded
//! is not asked twice.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use s3o_backend::{BackendError, BackendErrorKind, Certainty, DownloadBody, STOOD_STILL};

use super::extent::{get, is_readable, same};
use crate::control::{LocatedCopy, LocatedExtent};
use crate::plane::Plane;

/// A second call costs this; each read brings its percentage.
const PRICE: i64 = 100;
/// What can be saved up: a few at once, and not the share of an hour.
const MOST: i64 = 10 * PRICE;
/// Sooner than this a second call is not worth its connection.
const LEAST_PATIENCE: Duration = Duration::from_millis(2);

/// How many second calls there may be.
#[derive(Debug)]
pub(crate) struct HedgeBudget {
    /// Of each hundred reads; `None`: not wanted.
    percent: Option<u8>,
    saved: AtomicI64,
}

impl HedgeBudget {
    pub(crate) fn new(percent: Option<u8>) -> Self {
        Self { percent, saved: AtomicI64::new(0) }
    }

    /// A read begins; says whether hedging is wanted at all.
    fn earn(&self) -> bool {
        let Some(percent) = self.percent else { return false };
        let more = |saved: i64| Some((saved + i64::from(percent)).min(MOST));
        // The closure always gives a value, so this cannot fail.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        true
    }

    /// Whether a second call may be made now.
    fn spend(&self) -> bool {
        let less = |saved: i64| (saved >= PRICE).then_some(saved - PRICE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Bytes `at..until` of the object from the first of `copies`, or from the next one that can be read, and from which
/// one; the one that has `failed` is nobody's rival. The error is the first one's.
pub(super) async fn first_of<'a>(
    plane: &Plane,
    copies: &'a [LocatedCopy],
    failed: Option<&LocatedCopy>,
    (extent, at, until): (&LocatedExtent, u64, u64),
) -> Result<(DownloadBody, &'a LocatedCopy), BackendError> {
    let Some((first, others)) = copies.split_first() else {
        return Err(BackendError::new(BackendErrorKind::NotFound, Certainty::NotSent, "no copy"));
    };
    let rival = if plane.hedges.earn() { rival(plane, first, others, failed) } else { None };
    match rival {
        None => get(plane, first, extent, at, until).await.map(|body| (body, first)),
        Some((second, patience)) => {
            Box::pin(race(plane, (first, second), patience, (extent, at, until))).await
        }
    }
}

/// The copy to ask besides, and when. None whose backend's month is used up: what is read of it is not needed.
fn rival<'a>(
    plane: &Plane,
    first: &LocatedCopy,
    others: &'a [LocatedCopy],
    failed: Option<&LocatedCopy>,
) -> Option<(&'a LocatedCopy, Duration)> {
    let patience = plane.backends.get(first.backend)?.health().p95()?.max(LEAST_PATIENCE);
    let now = Instant::now();
    let is_good = |copy: &&LocatedCopy| {
        let has_failed = failed.is_some_and(|failed| same(failed, copy));
        let is_bad = has_failed || plane.suspects.contains(copy, now);
        let is_spent = plane.spent.load().contains(&copy.backend);
        copy.uncertain <= first.uncertain && !is_bad && !is_spent && is_readable(plane, copy, now)
    };
    others.iter().find(is_good).map(|second| (second, patience))
}

async fn race<'a>(
    plane: &Plane,
    (first, second): (&'a LocatedCopy, &'a LocatedCopy),
    patience: Duration,
    (extent, at, until): (&LocatedExtent, u64, u64),
) -> Result<(DownloadBody, &'a LocatedCopy), BackendError> {
    let started = Instant::now();
    let mut slow = std::pin::pin!(get(plane, first, extent, at, until));
    tokio::select! {
        biased;
        answer = &mut slow => return answer.map(|body| (body, first)),
        () = tokio::time::sleep(patience) => {}
    }
    if !plane.hedges.spend() {
        return slow.await.map(|body| (body, first));
    }
    let rival = std::pin::pin!(get(plane, second, extent, at, until));
    let (outcome, answer) = match select(slow, rival).await {
        Either::Left((Ok(body), _)) => ("first", Ok((body, first))),
        Either::Right((Ok(body), _)) => {
            // Without it only quick answers would be counted, and every backend would seem quicker and quicker. What is given up
            // after long is counted by that.
            let waited = started.elapsed();
            if waited < STOOD_STILL
                && let Some(backend) = plane.backends.get(first.backend)
            {
                backend.health().answered_in(waited);
            }
            ("second", Ok((body, second)))
        }
        Either::Left((Err(error), rival)) => match rival.await {
            Ok(body) => ("second", Ok((body, second))),
            Err(_) => ("none", Err(error)),
        },
        Either::Right((Err(_), slow)) => match slow.await {
            Ok(body) => ("first", Ok((body, first))),
            Err(error) => ("none", Err(error)),
        },
    };
    plane.metrics.hedged_read(outcome);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_calls_are_a_share_of_the_reads() {
        let budget = HedgeBudget::new(Some(5));
        assert!(!budget.spend(), "nothing was read yet");
        let spent = (0..1000).filter(|_| budget.earn() && budget.spend()).count();
        assert_eq!(spent, 50);
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let budget = HedgeBudget::new(Some(5));
        (0..100_000).for_each(|_| assert!(budget.earn()));
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn off_means_none() {
        let budget = HedgeBudget::new(None);
        assert!((0..1000).all(|_| !budget.earn()) && !budget.spend());
    }
}
