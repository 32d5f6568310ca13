//! Keys and bodies that look random and are the same in every run of one seed.

use bytes::Bytes;

/// The finaliser of `SplitMix64`: every input has one output, and near inputs have far outputs.
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where an interval takes its keys from; no two share one.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    seed: u64,
}

impl Keys {
    /// `epoch` tells intervals of one run apart.
    pub(crate) fn new(prefix: &str, seed: u64, epoch: u64) -> Self {
        Self { prefix: prefix.to_owned(), seed: mix(seed ^ mix(epoch)) }
    }

    /// The `n`th key; needs no escaping in a URL.
    pub(crate) fn key(&self, n: u64) -> String {
        let random = mix(self.seed ^ n);
        format!("{}/{:03x}/{random:016x}{:016x}", self.prefix, random >> 52, mix(random))
    }
}

/// The distinct bodies of a size: 16 small ones, 4 of up to 1 MiB, 1 larger.
pub(crate) fn bodies(size: usize, seed: u64) -> Vec<Bytes> {
    let count = match size {
        0..=65_536 => 16,
        65_537..=1_048_576 => 4,
        _ => 1,
    };
    (0..count).map(|n| body(size, seed.wrapping_add(n))).collect()
}

fn body(size: usize, seed: u64) -> Bytes {
    let mut body = Vec::with_capacity(size + 8);
    let mut state = mix(seed);
    while body.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        body.extend_from_slice(&mix(state).to_le_bytes());
    }
    body.truncate(size);
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_repeatable() {
        let (a, b) = (Keys::new("p", 1, 0), Keys::new("p", 1, 1));
        let all: HashSet<String> = (0..5000).flat_map(|n| [a.key(n), b.key(n)]).collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(a.key(7), Keys::new("p", 1, 0).key(7));
    }

    #[test]
    fn bodies_have_their_size_and_differ() {
        for size in [0, 1, 4096, 65_537] {
            assert!(bodies(size, 3).iter().all(|body| body.len() == size));
        }
        let distinct: HashSet<Bytes> = bodies(4096, 3).into_iter().collect();
        assert_eq!(distinct.len(), 16);
    }
}
