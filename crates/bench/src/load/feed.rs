//! Where workers take their next request from.
//!
//! Invariant: what was signed beforehand goes first; what had to be signed while it was measured is
//! counted.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::request::Prepared;

/// Makes the `n`th request.
type Make = Box<dyn Fn(u64) -> Result<Prepared> + Send + Sync>;

/// What follows the requests that were signed beforehand.
enum After {
    /// The first again.
    Again,
    /// More, signed as they are needed.
    More(Make),
    /// Nothing: the interval ends.
    End,
}

/// Requests for all workers of an interval.
pub(crate) struct Feed {
    ready: Vec<Prepared>,
    after: After,
    next: AtomicU64,
    signed_late: AtomicU64,
}

impl Feed {
    fn new(ready: Vec<Prepared>, after: After) -> Self {
        Self { ready, after, next: AtomicU64::new(0), signed_late: AtomicU64::new(0) }
    }

    /// `ready` over and over.
    pub(crate) fn cycle(ready: Vec<Prepared>) -> Self {
        Self::new(ready, After::Again)
    }

    /// Each once, then the end.
    pub(crate) fn once(ready: Vec<Prepared>) -> Self {
        Self::new(ready, After::End)
    }

    /// Never the same; the first `ahead` are signed now.
    pub(crate) fn endless(
        ahead: u64,
        make: impl Fn(u64) -> Result<Prepared> + Send + Sync + 'static,
    ) -> Result<Self> {
        let ready = (0..ahead).map(&make).collect::<Result<_>>()?;
        Ok(Self::new(ready, After::More(Box::new(make))))
    }

    /// `None`: there are no more.
    pub(crate) fn next(&self) -> Option<Result<Prepared>> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(n).unwrap_or(usize::MAX);
        if let Some(ready) = self.ready.get(index) {
            return Some(Ok(ready.clone()));
        }
        match &self.after {
            After::Again => self.ready.get(index % self.ready.len().max(1)).cloned().map(Ok),
            After::More(make) => {
                self.signed_late.fetch_add(1, Ordering::Relaxed);
                Some(make(n))
            }
            After::End => None,
        }
    }

    /// Requests that were signed while it was measured.
    pub(crate) fn signed_late(&self) -> u64 {
        self.signed_late.load(Ordering::Relaxed)
    }
}
