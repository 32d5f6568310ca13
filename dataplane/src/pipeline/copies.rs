//! The verified copies of a write, and how many of them count.
//!
//! Invariant: where backends compute the MD5, they may name different ones; which of them is wrong cannot be said, so only
//! those that agree count together.

use s3o_types::{Checksums, Etag};

use crate::control::StoredCopy;

/// The copies, and what the body turned out to be.
pub(super) struct Sent {
    pub copies: Vec<StoredCopy>,
    pub md5: Etag,
    pub checksums: Checksums,
}

/// A verified copy.
struct Held {
    copy: StoredCopy,
    md5: Etag,
    checksums: Checksums,
}

/// In the order in which they were verified.
#[derive(Default)]
pub(super) struct Copies(Vec<Held>);

impl Copies {
    pub(super) fn add(&mut self, copy: StoredCopy, md5: Etag, checksums: Checksums) {
        self.0.push(Held { copy, md5, checksums });
    }

    /// Another MD5 than this one, if a copy has one.
    pub(super) fn other_than(&self, md5: &Etag) -> Option<&Etag> {
        self.0.iter().map(|held| &held.md5).find(|other| *other != md5)
    }

    /// How many agree.
    pub(super) fn agreed(&self) -> usize {
        self.0.iter().map(|held| self.alike(&held.md5)).max().unwrap_or(0)
    }

    fn alike(&self, md5: &Etag) -> usize {
        self.0.iter().filter(|held| held.md5 == *md5).count()
    }

    /// Those that count, if at least `required` agree, and the others.
    pub(super) fn counted(self, required: usize) -> (Option<Sent>, Vec<StoredCopy>) {
        let first = self.0.iter().find(|held| self.alike(&held.md5) >= required);
        let Some((md5, checksums)) = first.map(|held| (held.md5.clone(), held.checksums.clone())) else {
            return (None, self.all());
        };
        let (agree, differ): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|held| held.md5 == md5);
        (Some(Sent { copies: Self(agree).all(), md5, checksums }), Self(differ).all())
    }

    /// All of them, where none counts.
    pub(super) fn all(self) -> Vec<StoredCopy> {
        self.0.into_iter().map(|held| held.copy).collect()
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::{BackendId, Place};

    use super::*;
    use crate::control::Target;

    fn copy(backend: BackendId) -> StoredCopy {
        let (extent, r#gen, storage_key) = (0, 0, String::new());
        let target = Target { backend, place: Place::FIRST, extent, r#gen, storage_key };
        let (backend_etag, backend_version) = (String::new(), String::new());
        StoredCopy { target, stored_size: 1, backend_etag, backend_version, digest: None }
    }

    /// On the backends 1, 2 and so on.
    fn copies(md5s: &[&str]) -> Copies {
        let mut copies = Copies::default();
        for (md5, backend) in md5s.iter().zip(1..) {
            copies.add(copy(BackendId(backend)), Etag::new(md5), Checksums::default());
        }
        copies
    }

    fn backends(copies: &[StoredCopy]) -> Vec<i32> {
        copies.iter().map(|copy| copy.target.backend.0).collect()
    }

    #[test]
    fn only_those_that_agree_count_together() {
        let of = ["a", "b", "a"];
        assert_eq!(copies(&of).agreed(), 2);
        let (sent, others) = copies(&of).counted(2);
        let sent = sent.expect("two agree");
        assert_eq!((sent.md5.as_str(), backends(&sent.copies)), ("a", vec![1, 3]));
        assert_eq!(backends(&others), [2]);
        let (sent, others) = copies(&of).counted(3);
        assert!(sent.is_none());
        assert_eq!(backends(&others), [1, 2, 3]);
    }

    #[test]
    fn another_md5_is_found() {
        let (same, other) = (Etag::new("a"), Etag::new("b"));
        assert_eq!(copies(&["a", "a"]).other_than(&same), None);
        assert_eq!(copies(&["a", "b"]).other_than(&same), Some(&other));
    }

    #[test]
    fn nothing_is_no_copy() {
        assert_eq!(copies(&[]).agreed(), 0);
        let (sent, others) = copies(&[]).counted(1);
        assert!(sent.is_none() && others.is_empty());
    }
}
