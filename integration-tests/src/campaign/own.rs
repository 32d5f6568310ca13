//! Keys that a single client writes, outside of the history: which versions were to be deleted, which tags were set.
//!
//! Invariants: a change is noted before it is asked for; one that was not answered may have been done, or may yet be,
//! whatever was acknowledged since: it can still be under way in a service that stood still.

use std::collections::BTreeMap;

/// What own keys begin with.
pub const OWN: &str = "own/";
/// In the place of an ETag, for delete markers.
pub const MARKER: &str = "(delete marker)";

/// An own key; `kind` is what it is for.
pub fn own_key(client: &str, kind: &str, name: u64) -> String {
    format!("{OWN}{client}/{kind}/{name}")
}

/// Tags of an object.
pub type Tags = BTreeMap<String, String>;

/// How far the deletion of a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It was asked for: the version is there or not.
    Asked,
    /// It was acknowledged: the version is gone.
    Done,
}

/// What is known of an object's tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tagged {
    /// By the last change that was acknowledged; none in the beginning.
    acknowledged: Tags,
    /// By changes without an answer, those under way among them.
    unknown: Vec<Tags>,
}

impl Tagged {
    /// Whether these may be its tags.
    pub fn may_be(&self, tags: &Tags) -> bool {
        self.acknowledged == *tags || self.unknown.contains(tags)
    }

    /// A change is about to be sent.
    pub fn begin(&mut self, tags: &Tags) {
        self.unknown.push(tags.clone());
    }

    /// It was done.
    pub fn done(&mut self, tags: &Tags) {
        self.forget(tags);
        self.acknowledged.clone_from(tags);
    }

    /// It was refused, without effect.
    pub fn forget(&mut self, tags: &Tags) {
        if let Some(place) = self.unknown.iter().rposition(|unknown| unknown == tags) {
            self.unknown.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_may_come_later() {
        let tags = |value: &str| Tags::from([("n".to_owned(), value.to_owned())]);
        let mut tagged = Tagged::default();
        assert!(tagged.may_be(&Tags::new()));
        for value in ["1", "2", "3"] {
            tagged.begin(&tags(value));
        }
        tagged.done(&tags("2"));
        tagged.forget(&tags("3"));
        assert!(tagged.may_be(&tags("2")) && tagged.may_be(&tags("1")));
        assert!(!tagged.may_be(&tags("3")) && !tagged.may_be(&Tags::new()));
    }
}
