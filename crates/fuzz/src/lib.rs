//! Property tests of what reads bytes from outside: how long they run, and what they are fed.
//!
//! Such a test stands in a module `fuzz` beside its parser: `make fuzz` finds it by that name. Architecture invariant:
//! none of our crates is a dependency, so that each of them can use this one in its unit tests.

use std::collections::hash_map::RandomState;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// For how many seconds each property is tried; without it proptest's number of cases is.
pub const SECONDS: &str = "S3O_FUZZ_SECONDS";

/// Tries a property on inputs until the time is over, and panics with the smallest input for which it does not hold.
///
/// # Panics
/// It does not hold, or it panics itself.
pub fn check<S: Strategy>(inputs: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let until = seconds().map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = match (Config::default().rng_seed, until) {
        (RngSeed::Fixed(seed), _) => seed,
        // A test that is part of the others finds today what it found yesterday.
        (RngSeed::Random, None) => 1,
        (RngSeed::Random, Some(_)) => RandomState::new().build_hasher().finish(),
    };
    loop {
        // The seed is said instead of kept in a file.
        let config =
            Config { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
        if let Err(error) = TestRunner::new(config).run(inputs, &property) {
            panic!("{error}\nThe same again: PROPTEST_RNG_SEED={seed}");
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return;
        }
        seed = seed.wrapping_add(1);
    }
}

fn seconds() -> Option<u64> {
    let text = std::env::var(SECONDS).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{SECONDS}={text} is no number of seconds")))
}

/// Texts: any, `tokens` in any order, valid ones, and most of all valid ones with a few changes. There must be a token.
pub fn texts(
    valid: impl Strategy<Value = String> + 'static,
    tokens: &'static [&'static str],
) -> BoxedStrategy<String> {
    let valid = valid.prop_map(|text| text.chars().collect::<Vec<char>>()).boxed();
    let any = prop_oneof![2 => prop::char::range(' ', '~'), 1 => any::<char>()].boxed();
    let tokens = tokens.iter().map(|token| token.chars().collect()).collect();
    mixed(valid, any, tokens).prop_map(|text| text.into_iter().collect()).boxed()
}

/// The same of bytes.
pub fn bytes(
    valid: impl Strategy<Value = Vec<u8>> + 'static,
    tokens: &'static [&'static str],
) -> BoxedStrategy<Vec<u8>> {
    let tokens = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
    mixed(valid.boxed(), any::<u8>().boxed(), tokens)
}

fn mixed<T: Clone + Debug + 'static>(
    valid: BoxedStrategy<Vec<T>>,
    item: BoxedStrategy<T>,
    tokens: Vec<Vec<T>>,
) -> BoxedStrategy<Vec<T>> {
    let piece = prop_oneof![
        2 => prop::sample::select(tokens),
        1 => prop::collection::vec(item.clone(), 0..4),
    ]
    .boxed();
    let edits = prop::collection::vec(edit(item.clone(), piece.clone()), 1..5);
    let near = (valid.clone(), edits).prop_map(|(list, edits)| edits.into_iter().fold(list, applied));
    let pieces = prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![
        1 => prop::collection::vec(item, 0..80),
        1 => pieces,
        2 => valid,
        4 => near,
    ]
    .boxed()
}

/// A change of an input, at a place that is chosen by its length.
#[derive(Debug, Clone)]
enum Edit<T> {
    /// Another item.
    Change(Index, T),
    /// Nothing from there on.
    Cut(Index),
    /// A stretch twice.
    Double(Index, Index),
    /// Something else instead of a stretch, which may be empty.
    Replace(Index, Index, Vec<T>),
}

fn edit<T: Clone + Debug + 'static>(
    item: BoxedStrategy<T>,
    piece: BoxedStrategy<Vec<T>>,
) -> BoxedStrategy<Edit<T>> {
    let place = any::<Index>;
    prop_oneof![
        (place(), item).prop_map(|(at, item)| Edit::Change(at, item)),
        place().prop_map(Edit::Cut),
        (place(), place()).prop_map(|(a, b)| Edit::Double(a, b)),
        (place(), piece.clone()).prop_map(|(at, piece)| Edit::Replace(at, at, piece)),
        (place(), place(), piece).prop_map(|(a, b, piece)| Edit::Replace(a, b, piece)),
    ]
    .boxed()
}

fn applied<T: Clone>(mut list: Vec<T>, edit: Edit<T>) -> Vec<T> {
    let places = list.len() + 1;
    let stretch = |a: Index, b: Index| {
        let (a, b) = (a.index(places), b.index(places));
        a.min(b)..a.max(b)
    };
    match edit {
        Edit::Change(at, item) => {
            if let Some(old) = list.get_mut(at.index(places)) {
                *old = item;
            }
        }
        Edit::Cut(at) => list.truncate(at.index(places)),
        Edit::Double(a, b) => {
            let twice = stretch(a, b);
            let again = list[twice.clone()].to_vec();
            drop(list.splice(twice.end..twice.end, again));
        }
        Edit::Replace(a, b, piece) => drop(list.splice(stretch(a, b), piece)),
    }
    list
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn valid_and_other_inputs_come() {
        let (valid, other) = (Cell::new(0), Cell::new(0));
        check(&texts(Just("abc".to_owned()), &["<", ">"]), |text| {
            let seen = if text == "abc" { &valid } else { &other };
            seen.set(seen.get() + 1);
            prop_assert!(text.chars().count() < 1000, "grows without end");
            Ok(())
        });
        assert!(valid.get() > 0 && other.get() > 0);
    }

    #[test]
    #[should_panic(expected = "PROPTEST_RNG_SEED=")]
    fn what_does_not_hold_is_said_with_its_seed() {
        check(&bytes(Just(vec![7]), &["x"]), |bytes| {
            prop_assert!(bytes != [7]);
            Ok(())
        });
    }
}
