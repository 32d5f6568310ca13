//! The lockstep merge of a listing with rows, both ascending by storage key.
//!
//! Invariant: a listing that does not ascend ends the merge: what is missing in it may only be out of order.

use std::collections::VecDeque;

use super::{KnownCopy, Listed};

/// A storage key, by who knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Row and blob.
    Both(Box<KnownCopy>, Listed),
    /// A row whose blob is not listed.
    RowOnly(Box<KnownCopy>),
    /// A blob that no row of this merge names.
    BlobOnly(Listed),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeStep {
    /// The next storage key.
    Seen(Seen),
    /// The next page of the listing is wanted.
    Listing,
    /// The next row is wanted.
    Row,
    /// Both are at their ends.
    End,
}

/// The backend's listing is not in the order of UTF-8 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backend's listing does not ascend: `{next}` comes after `{last}`")]
pub struct NotAscending {
    /// The greater one, which came first.
    pub last: String,
    /// What followed it.
    pub next: String,
}

/// Both sides, as far as they were read.
#[derive(Debug, Default)]
pub struct Merge {
    listed: VecDeque<Listed>,
    listing_ended: bool,
    row: Option<KnownCopy>,
    rows_ended: bool,
    last_listed: Option<String>,
}

impl Merge {
    /// The next page of the listing; `last`: there are no others.
    pub fn give_listing(&mut self, page: Vec<Listed>, last: bool) -> Result<(), NotAscending> {
        for listed in &page {
            if let Some(before) = self.last_listed.replace(listed.key.clone()).filter(|b| *b >= listed.key) {
                return Err(NotAscending { last: before, next: listed.key.clone() });
            }
        }
        self.listed.extend(page);
        self.listing_ended = last;
        Ok(())
    }

    /// The next row; `None`: there are no others.
    pub fn give_row(&mut self, row: Option<KnownCopy>) {
        self.rows_ended = row.is_none();
        self.row = row;
    }

    /// The next storage key, or what is needed for it.
    pub fn step(&mut self) -> MergeStep {
        if self.row.is_none() && !self.rows_ended {
            return MergeStep::Row;
        }
        if self.listed.is_empty() && !self.listing_ended {
            return MergeStep::Listing;
        }
        let order = match (&self.row, self.listed.front()) {
            (None, None) => return MergeStep::End,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(row), Some(listed)) => row.storage_key.as_str().cmp(listed.key.as_str()),
        };
        let row = if order.is_le() { self.row.take().map(Box::new) } else { None };
        let listed = if order.is_ge() { self.listed.pop_front() } else { None };
        match (row, listed) {
            (Some(row), Some(listed)) => MergeStep::Seen(Seen::Both(row, listed)),
            (Some(row), None) => MergeStep::Seen(Seen::RowOnly(row)),
            (None, Some(listed)) => MergeStep::Seen(Seen::BlobOnly(listed)),
            (None, None) => MergeStep::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use s3o_types::{BlobName, BucketId, VersionId};

    use super::*;
    use crate::object::CopyState;

    fn known(key: &str) -> KnownCopy {
        KnownCopy {
            storage_key: key.to_owned(),
            bucket: BucketId(1),
            key: key.to_owned(),
            blob: BlobName::first(VersionId::mint(1, 1)),
            state: CopyState::Verified,
            stored_size: 1,
            backend_etag: None,
            imported: false,
        }
    }

    fn listed(key: &str) -> Listed {
        Listed { key: key.to_owned(), size: 1, etag: None }
    }

    proptest! {
        #[test]
        fn every_key_is_seen_once_by_who_knows_it(
            rows in prop::collection::btree_set("[a-c~/]{1,4}", 0..30),
            blobs in prop::collection::btree_set("[a-c~/]{1,4}", 0..30),
            page in 1..7_usize,
        ) {
            let mut merge = Merge::default();
            let mut next_row = rows.iter();
            let all: Vec<&String> = blobs.iter().collect();
            let mut pages = all.chunks(page).peekable();
            let (mut both, mut only_rows, mut only_blobs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            loop {
                match merge.step() {
                    MergeStep::Row => merge.give_row(next_row.next().map(|key| known(key))),
                    MergeStep::Listing => {
                        let next = pages.next().unwrap_or_default().iter().map(|key| listed(key)).collect();
                        prop_assert!(merge.give_listing(next, pages.peek().is_none()).is_ok());
                    }
                    MergeStep::Seen(Seen::Both(row, listed)) => {
                        prop_assert_eq!(&row.storage_key, &listed.key);
                        prop_assert!(both.insert(row.storage_key));
                    }
                    MergeStep::Seen(Seen::RowOnly(row)) => prop_assert!(only_rows.insert(row.storage_key)),
                    MergeStep::Seen(Seen::BlobOnly(blob)) => prop_assert!(only_blobs.insert(blob.key)),
                    MergeStep::End => break,
                }
            }
            prop_assert_eq!(both, rows.intersection(&blobs).cloned().collect());
            prop_assert_eq!(only_rows, rows.difference(&blobs).cloned().collect());
            prop_assert_eq!(only_blobs, blobs.difference(&rows).cloned().collect());
        }
    }

    #[test]
    fn a_listing_that_does_not_ascend_is_refused_within_a_page_and_between_two() {
        let page = |keys: &[&str]| keys.iter().map(|key| listed(key)).collect::<Vec<_>>();
        assert!(Merge::default().give_listing(page(&["a", "c", "b"]), true).is_err());
        let mut merge = Merge::default();
        assert_eq!(merge.give_listing(page(&["a", "b"]), false), Ok(()));
        let wrong = merge.give_listing(page(&["b"]), true).expect_err("twice the same");
        assert_eq!((wrong.last.as_str(), wrong.next.as_str()), ("b", "b"));
    }
}
