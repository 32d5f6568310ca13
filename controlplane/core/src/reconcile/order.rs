//! Rows in the order of their keys, turned into the order of their storage keys.
//!
//! `a.txt~…` stands before `a~…`, and `a~b~…` somewhere among the versions of `a`: a key that is a prefix of those that
//! follow has to wait for them. Those that wait are prefixes of one another, so that they are as many as a key has
//! characters, at most.
//!
//! Invariants: what comes out ascends; a key's rows are held `per_key` at a time, however many versions it has.

use std::collections::VecDeque;

/// A key with its next rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRows<R> {
    /// With the bucket's name and a slash before it, as its storage keys begin.
    pub path: String,
    /// (storage key, row), ascending.
    pub rows: VecDeque<(String, R)>,
    /// Whether the key has more, behind the last of these.
    pub more: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderStep<R> {
    /// The next row.
    Row(String, R),
    /// The next keys are wanted, or to hear that there are none.
    Keys,
    /// The next rows of this path are wanted, behind this storage key.
    More(String, String),
    /// Nothing is left.
    End,
}

/// The stack of keys that wait.
#[derive(Debug)]
pub struct Order<R> {
    waiting: Vec<Pending<R>>,
    ahead: VecDeque<KeyRows<R>>,
    /// No keys follow those ahead.
    all: bool,
}

#[derive(Debug)]
struct Pending<R> {
    keys: KeyRows<R>,
    /// The last one that came out, or went in.
    last: String,
}

impl<R> Pending<R> {
    fn new(keys: KeyRows<R>) -> Self {
        let last = keys.rows.back().map(|(key, _)| key.clone()).unwrap_or_default();
        Self { keys, last }
    }
}

impl<R> Default for Order<R> {
    fn default() -> Self {
        Self { waiting: Vec::new(), ahead: VecDeque::new(), all: false }
    }
}

impl<R> Order<R> {
    /// The next keys, behind all that were given before; `last`: there are no others.
    pub fn give_keys(&mut self, keys: Vec<KeyRows<R>>, last: bool) {
        self.ahead.extend(keys);
        self.all = last;
    }

    /// The next rows of a key that was asked for.
    pub fn give_rows(&mut self, keys: KeyRows<R>) {
        if let Some(pending) = self.waiting.iter_mut().find(|pending| pending.keys.path == keys.path) {
            *pending = Pending::new(keys);
        }
    }

    /// The next row, or what is needed for it.
    pub fn step(&mut self) -> OrderStep<R> {
        loop {
            self.waiting.retain(|pending| !pending.keys.rows.is_empty() || pending.keys.more);
            let empty = self.waiting.iter().find(|pending| pending.keys.rows.is_empty());
            if let Some(pending) = empty {
                return OrderStep::More(pending.keys.path.clone(), pending.last.clone());
            }
            if self.ahead.is_empty() && !self.all {
                return OrderStep::Keys;
            }
            let first = self.first();
            let next = self.ahead.front().map(|keys| keys.path.as_str());
            // All storage keys of what is ahead are greater than its key.
            let due = first.filter(|(_, key)| next.is_none_or(|next| *key <= next)).map(|(n, _)| n);
            if let Some((key, row)) = due.and_then(|n| self.waiting[n].keys.rows.pop_front()) {
                return OrderStep::Row(key, row);
            }
            match self.ahead.pop_front() {
                Some(keys) => self.waiting.push(Pending::new(keys)),
                None => return OrderStep::End,
            }
        }
    }

    /// The least storage key of those that wait.
    fn first(&self) -> Option<(usize, &str)> {
        let heads = self.waiting.iter().enumerate();
        let heads = heads.filter_map(|(n, pending)| Some((n, pending.keys.rows.front()?.0.as_str())));
        heads.min_by_key(|(_, key)| *key)
    }
}

/// The prefixes of a path that may be keys whose rows stand behind it: all that end before it does, within the bucket.
pub fn prefixes(path: &str, bucket_prefix: &str) -> Vec<String> {
    let Some(rest) = path.strip_prefix(bucket_prefix) else { return Vec::new() };
    let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.map(|end| rest[..end].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Keys with what sorts before, at and behind the tilde, and such as look like storage keys.
    fn keys() -> impl Strategy<Value = BTreeMap<String, BTreeSet<u8>>> {
        let key = prop_oneof!["[a.~/\u{e9}]{1,6}", "a(~[0-2]){0,3}", "(a|a~|a~1){1,3}"];
        prop::collection::btree_map(key, prop::collection::btree_set(0_u8..6, 0..5), 0..40)
    }

    fn storage_key(key: &str, version: u8) -> String {
        format!("b/{key}~{version}")
    }

    fn rows_of(key: &str, versions: &BTreeSet<u8>, after: &str, per_key: usize) -> KeyRows<u8> {
        let all = versions.iter().map(|version| (storage_key(key, *version), *version));
        let mut rows: VecDeque<_> = all.filter(|(key, _)| key.as_str() > after).take(per_key + 1).collect();
        let more = rows.len() > per_key;
        rows.truncate(per_key);
        KeyRows { path: format!("b/{key}"), rows, more }
    }

    /// What comes out of the tables behind a storage key, read in pages.
    fn read(
        tables: &BTreeMap<String, BTreeSet<u8>>,
        behind: &str,
        page: usize,
        per_key: usize,
    ) -> (Vec<String>, usize) {
        let mut order = Order::default();
        let start = behind.strip_prefix("b/").unwrap_or_default();
        let before = prefixes(behind, "b/");
        let seeds = before.iter().filter_map(|key| Some((key, tables.get(key)?)));
        let seeds = seeds.map(|(key, versions)| rows_of(key, versions, behind, per_key)).collect();
        order.give_keys(seeds, false);
        let (mut after, mut out, mut most) = (start.to_owned(), Vec::new(), 0);
        loop {
            most = most.max(order.waiting.iter().map(|pending| pending.keys.rows.len()).sum());
            match order.step() {
                OrderStep::Row(key, _) => out.push(key),
                OrderStep::More(path, behind) => {
                    let key = &path[2..];
                    order.give_rows(rows_of(key, &tables[key], &behind, per_key));
                }
                OrderStep::Keys => {
                    let next: Vec<_> = tables.iter().filter(|(key, _)| **key > after).take(page).collect();
                    let last = next.len() < page;
                    if let Some((key, _)) = next.last() {
                        after = (*key).clone();
                    }
                    let next = next.iter().map(|(key, versions)| rows_of(key, versions, behind, per_key));
                    order.give_keys(next.collect(), last);
                }
                OrderStep::End => return (out, most),
            }
        }
    }

    proptest! {
        #[test]
        fn both_orders_agree(tables in keys(), page in 1..5_usize, per_key in 1..4_usize) {
            let all = tables.iter().flat_map(|(key, versions)| versions.iter().map(|v| storage_key(key, *v)));
            let mut expected: Vec<String> = all.collect();
            expected.sort_unstable();
            let (found, most) = read(&tables, "", page, per_key);
            prop_assert_eq!(found, expected);
            let longest = tables.keys().map(|key| key.chars().count()).max().unwrap_or(0);
            prop_assert!(most <= per_key * (longest + 1), "{} rows were held", most);
        }

        /// A run that was cut off goes on at its last storage key, whatever that is.
        #[test]
        fn it_goes_on_anywhere(tables in keys(), at in "b/(a|~|\\.|/|1|\u{e9}){0,8}", page in 1..5_usize) {
            let all = tables.iter().flat_map(|(key, versions)| versions.iter().map(|v| storage_key(key, *v)));
            let mut expected: Vec<String> = all.filter(|key| *key > at).collect();
            expected.sort_unstable();
            prop_assert_eq!(read(&tables, &at, page, 2).0, expected);
        }
    }

    #[test]
    fn a_prefix_waits_for_what_sorts_before_it() {
        let one = |key: &str| (key.to_owned(), BTreeSet::from([1]));
        let tables = [one("a"), one("a.txt"), one("a~0"), one("b")].into();
        assert_eq!(read(&tables, "", 10, 2).0, ["b/a.txt~1", "b/a~0~1", "b/a~1", "b/b~1"]);
    }
}
