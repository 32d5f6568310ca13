//! The arithmetic of rounds: medians with their spread, ratios formed within a round, percentiles.
//!
//! Invariant: a ratio compares what was measured in the same round; only then is the median taken, so
//! that a machine that slows down for a while does not decide who wins.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies in nanoseconds: from 1 µs (with steps of half of one) to five minutes, three digits.
pub(crate) fn histogram() -> Histogram<u32> {
    // The bounds are constants that the type takes.
    Histogram::new_with_bounds(1_000, 300_000_000_000, 3).unwrap_or_else(|_| unreachable!("valid bounds"))
}

/// Median and range over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// `None` of nothing.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Some(Spread { median, min, max })
}

/// The spread of `ours / theirs`, round by round; rounds that one side lacks do not count.
pub(crate) fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Spread> {
    let pairs = ours.iter().zip(theirs).filter_map(|(a, b)| Some((*a)? / (*b).filter(|b| *b > 0.0)?));
    spread(pairs)
}

/// The spread of `ours - theirs`, in the same way.
pub(crate) fn difference(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Spread> {
    spread(ours.iter().zip(theirs).filter_map(|(a, b)| Some((*a)? - (*b)?)))
}

/// Percentiles of one interval, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Requests that it is taken from.
    pub(crate) count: u64,
}

impl Percentiles {
    /// `None` of no request.
    pub(crate) fn of(histogram: &Histogram<u32>) -> Option<Self> {
        let at = |quantile: f64| micros(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
            count: histogram.len(),
        })
    }
}

/// Nanoseconds as microseconds.
fn micros(nanos: u64) -> f64 {
    float(nanos) / 1000.0
}

/// Counts above 2^53 lose their last digits, which no table shows.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A count from a figure; what is no count is 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn whole(figure: f64) -> u64 {
    figure.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread([f64::NAN, 5.0]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(spread([]), None);
    }

    #[test]
    fn ratios_are_formed_within_a_round() {
        // The machine is half as fast in the second round: the ratio does not move.
        let ours = [Some(50.0), Some(25.0), Some(50.0), None];
        let theirs = [Some(100.0), Some(50.0), Some(100.0), Some(1.0)];
        assert_eq!(ratio(&ours, &theirs), Some(Spread { median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!(ratio(&ours, &[Some(0.0), None]), None);
    }

    #[test]
    fn differences_are_formed_within_a_round() {
        let ours = [Some(12.0), Some(30.0), None, Some(11.0)];
        let theirs = [Some(2.0), Some(19.0), Some(1.0), Some(2.0)];
        assert_eq!(difference(&ours, &theirs), Some(Spread { median: 10.0, min: 9.0, max: 11.0 }));
        assert_eq!(difference(&ours, &[None]), None);
    }

    #[test]
    fn percentiles_of_a_known_set() {
        let mut all = histogram();
        for micros in 1..=1000_u64 {
            all.record(micros * 1000).expect("within bounds");
        }
        let found = Percentiles::of(&all).expect("some");
        for (value, wanted) in
            [(found.p50, 500.0), (found.p95, 950.0), (found.p99, 990.0), (found.p999, 999.0)]
        {
            assert!((value - wanted).abs() <= 1.0, "{value} for {wanted}");
        }
        assert_eq!(found.count, 1000);
        assert_eq!(Percentiles::of(&histogram()), None);
    }
}
