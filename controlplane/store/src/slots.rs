//! Which rows of `backend_usage` this process writes.
//!
//! Slot 0 is Begin's. The others exist so that commits do not queue behind one row; two processes that
//! happen to share one only wait for each other.

/// The last slot. The sum over all of a backend's slots is read under every Begin, so they are few.
const LAST: u16 = 63;

/// This process's slots: one a commit lane, and one for everything else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    first: u16,
}

impl Slots {
    pub(crate) fn random() -> Self {
        Self { first: rand::random::<u16>() % LAST }
    }

    /// The slot of the `n`th lane.
    pub(crate) fn lane(self, n: u16) -> i16 {
        let slot = self.first.wrapping_add(n) % LAST + 1;
        i16::try_from(slot).unwrap_or(1)
    }

    /// The slot of the cleanup queue.
    pub(crate) fn maintenance(self) -> i16 {
        self.lane(LAST / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_slot_zero_and_never_beyond_the_last() {
        for first in 0..LAST {
            for n in [0, 1, LAST, u16::MAX] {
                let slot = Slots { first }.lane(n);
                assert!((1..=63).contains(&slot));
            }
        }
    }
}
