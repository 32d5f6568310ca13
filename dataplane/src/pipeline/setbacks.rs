//! How often a read may break off and still go on.
//!
//! Invariants: whatever gave bytes was progress, so that copies that break again and again are read to the end of an object of any
//! size; what gives next to nothing each time is given up.

/// So many bytes of one copy are worth a request more, however it ended.
pub(super) const ENOUGH: u64 = 1024 * 1024;
/// Breaks in a row, each after less than [`ENOUGH`]: more than a network that is bad for a minute makes.
const MOST_SHORT: usize = 32;

/// The breaks of one read.
#[derive(Debug, Default)]
pub(super) struct Setbacks {
    /// Those since a byte came, or an extent was through.
    in_row: usize,
    /// Those since enough came between two.
    short: usize,
    /// Bytes since the last one.
    moved: u64,
}

impl Setbacks {
    /// So many bytes came.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
    }

    /// An extent came to its end, and it is right.
    pub(super) fn is_through(&mut self) {
        self.in_row = 0;
    }

    /// What came was wrong, and is to be read again.
    pub(super) fn was_wrong(&mut self) {
        self.moved = 0;
    }

    /// Other copies are known.
    pub(super) fn begin_anew(&mut self) {
        self.in_row = 0;
    }

    /// Counts a break; each of the copies gets one more chance after all have failed.
    pub(super) fn may_go_on(&mut self, copies: usize) -> bool {
        let moved = std::mem::take(&mut self.moved);
        if moved > 0 {
            self.in_row = 0;
        }
        if moved >= ENOUGH {
            self.short = 0;
        }
        self.in_row += 1;
        self.short += 1;
        self.in_row <= copies && self.short <= MOST_SHORT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_break_and_give_bytes_are_read_to_the_end() {
        let mut setbacks = Setbacks::default();
        for _ in 0..10_000 {
            setbacks.moved(5 * ENOUGH);
            assert!(setbacks.may_go_on(2), "each time some MiB");
        }
    }

    #[test]
    fn copies_that_give_nothing_are_asked_once_more() {
        let mut setbacks = Setbacks::default();
        setbacks.moved(1);
        assert!(setbacks.may_go_on(2) && setbacks.may_go_on(2), "both have failed");
        assert!(!setbacks.may_go_on(2), "and again");
        setbacks.begin_anew();
        assert!(setbacks.may_go_on(1) && !setbacks.may_go_on(1), "another copy");
        setbacks.moved(1);
        setbacks.was_wrong();
        assert!(!setbacks.may_go_on(1), "wrong bytes are no progress");
    }

    #[test]
    fn a_trickle_is_given_up() {
        let mut setbacks = Setbacks::default();
        let goes_on = |setbacks: &mut Setbacks| {
            setbacks.moved(100);
            setbacks.is_through();
            setbacks.may_go_on(2)
        };
        let breaks = (0..10 * MOST_SHORT).take_while(|_| goes_on(&mut setbacks)).count();
        assert_eq!(breaks, MOST_SHORT);
    }
}
