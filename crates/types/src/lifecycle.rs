//! Rules by which objects of a bucket expire (Amazon S3 User Guide, "Managing the lifecycle of objects").

mod date;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::{Timestamp, is_xml};
use date::DAY_US;

pub use date::LifecycleDate;

/// S3's limit (reference of `PutBucketLifecycleConfiguration`: "up to 1,000 rules").
pub const MAX_LIFECYCLE_RULES: usize = 1000;
/// Bytes of the texts of all rules of a bucket. Every data plane holds them, and S3's thousand rules fit.
const MAX_TEXT: usize = 128 * 1024;
/// S3's limit for the ID of a rule, in characters.
const MAX_ID: usize = 255;
/// S3's limit for `NewerNoncurrentVersions`.
pub const MAX_NEWER_VERSIONS: u32 = 100;

/// A rule of a bucket: which objects, and what becomes of them. All rules count; whichever is due first acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleRule {
    /// For people; unique within its bucket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Whether it acts.
    pub enabled: bool,
    /// Only keys that begin with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The prefix was set beside the filter, as S3's first rules had it, and is shown so. It means the same.
    #[serde(skip_serializing_if = "is_false")]
    pub prefix_beside_filter: bool,
    /// Only versions that have all of these tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Only versions of more bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_size_greater_than: Option<u64>,
    /// Only versions of fewer bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_size_less_than: Option<u64>,
    /// Current versions expire so many days after they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_after_days: Option<u32>,
    /// Current versions expire from this day on, whenever they were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_on: Option<LifecycleDate>,
    /// Delete markers go that have nothing below them any more.
    #[serde(skip_serializing_if = "is_false")]
    pub expired_delete_markers: bool,
    /// Noncurrent versions go so many days after another took their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noncurrent_days: Option<u32>,
    /// But so many of the newest noncurrent ones of each key stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_noncurrent_versions: Option<u32>,
    /// Multipart uploads are given up so many days after they were begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_uploads_after_days: Option<u32>,
}

impl Default for LifecycleRule {
    fn default() -> Self {
        Self {
            id: String::new(),
            enabled: true,
            prefix: String::new(),
            prefix_beside_filter: false,
            tags: BTreeMap::new(),
            object_size_greater_than: None,
            object_size_less_than: None,
            expire_after_days: None,
            expire_on: None,
            expired_delete_markers: false,
            noncurrent_days: None,
            newer_noncurrent_versions: None,
            abort_uploads_after_days: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl LifecycleRule {
    /// Whether it is about some sizes or tags only: what has neither, such as a delete marker or an upload, is not meant.
    pub fn is_about_contents(&self) -> bool {
        !self.tags.is_empty()
            || self.object_size_greater_than.is_some()
            || self.object_size_less_than.is_some()
    }

    /// Whether it acts on keys such as this one.
    pub fn is_about_key(&self, key: &str) -> bool {
        self.enabled && key.starts_with(&self.prefix)
    }

    /// Whether it acts on a version of the key, by its bytes and its tags; `None` for a delete marker, which has neither.
    pub fn is_about(&self, key: &str, contents: Option<(u64, &BTreeMap<String, String>)>) -> bool {
        if !self.is_about_key(key) {
            return false;
        }
        let Some((size, tags)) = contents else { return !self.is_about_contents() };
        self.object_size_greater_than.is_none_or(|bound| size > bound)
            && self.object_size_less_than.is_none_or(|bound| size < bound)
            && self.tags.iter().all(|(name, value)| tags.get(name) == Some(value))
    }

    /// When it lets a current version expire that was written then; `None`: never.
    pub fn expires(&self, modified: Timestamp) -> Option<Timestamp> {
        let after_days = self.expire_after_days.map(|days| due_at(modified, days));
        [after_days, self.expire_on.map(LifecycleDate::begins)].into_iter().flatten().min()
    }

    /// Whether it says what becomes of current versions.
    pub const fn expires_current(&self) -> bool {
        self.expire_after_days.is_some() || self.expire_on.is_some()
    }

    /// Everything that is wrong with it by itself: the field and what was expected.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.wrong_numbers();
        let mut at = |field, why: &str| wrong.push((field, why.to_owned()));
        if self.id.chars().count() > MAX_ID || !is_xml(&self.id) {
            at("id", "has up to 255 characters, and no control characters");
        }
        if !is_xml(&self.prefix) {
            at("prefix", "must not have control characters: the document that says the rules cannot");
        }
        if self.tags.iter().any(|(name, value)| name.is_empty() || !is_xml(name) || !is_xml(value)) {
            at("tags", "must have names, and no control characters");
        }
        let acts = self.expires_current()
            || self.expired_delete_markers
            || self.noncurrent_days.is_some()
            || self.abort_uploads_after_days.is_some();
        if !acts {
            at("action", "at least one action is needed");
        }
        if self.expire_after_days.is_some() && self.expire_on.is_some() {
            at("expire_on", "stands beside a number of days: one of them only");
        }
        if self.expire_on.is_some_and(|date| !date.can_be_written()) {
            at("expire_on", "is a day of the years 0000 to 9999");
        }
        if self.expired_delete_markers && self.expires_current() {
            at(
                "expired_delete_markers",
                "cannot be said with days or a date, which remove such markers, too",
            );
        }
        if self.expired_delete_markers && self.is_about_contents() {
            at("expired_delete_markers", "cannot be said with tags or sizes: a delete marker has neither");
        }
        if self.abort_uploads_after_days.is_some() && self.is_about_contents() {
            at("abort_uploads_after_days", "cannot be said with tags or sizes: an upload has neither yet");
        }
        if self.newer_noncurrent_versions.is_some() && self.noncurrent_days.is_none() {
            at("newer_noncurrent_versions", "is said with a number of noncurrent days only");
        }
        wrong
    }

    /// Bytes of its texts.
    fn text(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.id.len() + self.prefix.len() + tags
    }

    fn wrong_numbers(&self) -> Vec<(&'static str, String)> {
        let days = [
            ("expire_after_days", self.expire_after_days),
            ("noncurrent_days", self.noncurrent_days),
            ("abort_uploads_after_days", self.abort_uploads_after_days),
        ];
        let mut wrong: Vec<_> = days
            .into_iter()
            .filter(|(_, days)| *days == Some(0))
            .map(|(field, _)| (field, "must be at least 1".to_owned()))
            .collect();
        if self.newer_noncurrent_versions.is_some_and(|n| n == 0 || n > MAX_NEWER_VERSIONS) {
            wrong.push(("newer_noncurrent_versions", format!("must be 1 to {MAX_NEWER_VERSIONS}")));
        }
        if let (Some(more), Some(less)) = (self.object_size_greater_than, self.object_size_less_than)
            && more >= less
        {
            wrong.push(("object_size_less_than", format!("must be more than {more}, the lower bound")));
        }
        wrong
    }
}

/// When something is due that began then and has so many days: at the midnight UTC that follows. What is three days old in
/// the afternoon is due when that day is over.
pub fn due_at(since: Timestamp, days: u32) -> Timestamp {
    let last = since.0.saturating_add(i64::from(days).saturating_mul(DAY_US));
    Timestamp(last.div_euclid(DAY_US).saturating_add(1).saturating_mul(DAY_US))
}

/// What is wrong with the rules of a bucket beside each other.
pub fn lifecycle_problem(rules: &[LifecycleRule]) -> Option<String> {
    if rules.len() > MAX_LIFECYCLE_RULES {
        return Some(format!("a bucket has up to {MAX_LIFECYCLE_RULES} rules, these are {}", rules.len()));
    }
    if rules.iter().map(LifecycleRule::text).sum::<usize>() > MAX_TEXT {
        return Some(format!(
            "the IDs, prefixes and tags of all rules must not have more than {MAX_TEXT} bytes"
        ));
    }
    let mut seen = HashSet::new();
    let twice = rules.iter().find(|rule| !rule.id.is_empty() && !seen.insert(rule.id.as_str()))?;
    Some(format!("the ID of a rule must be unique, and `{}` is there twice", twice.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(rule: &LifecycleRule) -> Vec<&'static str> {
        rule.problems().into_iter().map(|(field, _)| field).collect()
    }

    fn days() -> LifecycleRule {
        LifecycleRule { expire_after_days: Some(1), ..LifecycleRule::default() }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(fields(&LifecycleRule::default()), ["action"]);
        assert!(fields(&days()).is_empty());
        let tagged = LifecycleRule { tags: [("a".to_owned(), String::new())].into(), ..days() };
        assert!(fields(&tagged).is_empty());
        let uploads = LifecycleRule { abort_uploads_after_days: Some(0), ..tagged.clone() };
        assert_eq!(fields(&uploads), ["abort_uploads_after_days"; 2]);
        let markers = LifecycleRule { expired_delete_markers: true, ..tagged };
        assert_eq!(fields(&markers), ["expired_delete_markers"; 2]);
        let both = LifecycleRule { expire_on: Some(LifecycleDate::from_days(1)), ..days() };
        assert_eq!(fields(&both), ["expire_on"]);
        let sizes = LifecycleRule {
            object_size_greater_than: Some(5),
            object_size_less_than: Some(5),
            newer_noncurrent_versions: Some(101),
            ..days()
        };
        assert_eq!(
            fields(&sizes),
            ["newer_noncurrent_versions", "object_size_less_than", "newer_noncurrent_versions"]
        );
        assert_eq!(fields(&LifecycleRule { id: "x".repeat(256), ..days() }), ["id"]);
    }

    #[test]
    fn ids_are_unique_and_rules_are_bounded() {
        let named = |id: &str| LifecycleRule { id: id.to_owned(), ..days() };
        assert_eq!(lifecycle_problem(&[named("a"), named("b"), named(""), named("")]), None);
        assert!(lifecycle_problem(&[named("a"), named("a")]).is_some_and(|why| why.contains("`a`")));
        assert!(lifecycle_problem(&vec![named(""); MAX_LIFECYCLE_RULES + 1]).is_some());
        let long = LifecycleRule { prefix: "x".repeat(1024), ..named("") };
        assert_eq!(lifecycle_problem(&vec![long.clone(); 128]), None);
        assert!(lifecycle_problem(&vec![long; 129]).is_some());
    }
}
