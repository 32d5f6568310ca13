//! Which rule a version, a marker or an upload is due by (Amazon S3 User Guide, "Lifecycle configuration elements").
//!
//! Days end at midnight UTC: what is three days old in the afternoon is due when that day is over.

use std::collections::BTreeMap;

use s3o_types::lifecycle::due_at;
use s3o_types::{LifecycleRule, ObjectLock, Timestamp};

use super::Standing;

/// A version or a marker, as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Aged<'a> {
    /// Its key.
    pub key: &'a str,
    /// Bytes and tags; `None` for a delete marker, which has neither.
    pub contents: Option<(u64, &'a BTreeMap<String, String>)>,
    /// When it was written or made.
    pub modified: Timestamp,
    /// What keeps it from being removed.
    pub lock: ObjectLock,
}

fn is_due(since: Timestamp, days: Option<u32>, now: Timestamp) -> bool {
    days.is_some_and(|days| due_at(since, days) <= now)
}

fn is_about(rule: &LifecycleRule, aged: &Aged<'_>) -> bool {
    rule.is_about(aged.key, aged.contents)
}

fn is_over(rule: &LifecycleRule, aged: &Aged<'_>, now: Timestamp) -> bool {
    rule.expires(aged.modified).is_some_and(|at| at <= now)
}

/// The rule by which a current version is due.
pub fn expires<'a>(rules: &'a [LifecycleRule], aged: &Aged<'_>, now: Timestamp) -> Option<&'a LifecycleRule> {
    rules.iter().find(|rule| is_about(rule, aged) && is_over(rule, aged, now))
}

/// The rule by which a noncurrent version or a delete marker is due.
///
/// A marker that is its key's only row hides nothing: it goes by a rule for such, or when a current version of its age
/// would. One with something below it stays while it is the newest, and is noncurrent after that, like any version. What is
/// locked is not due: it is looked at again with every pass, and goes with the first one after its lock.
pub fn noncurrent_expires<'a>(
    rules: &'a [LifecycleRule],
    aged: &Aged<'_>,
    standing: Standing,
    now: Timestamp,
) -> Option<&'a LifecycleRule> {
    if aged.lock.held(now, false).is_some() {
        return None;
    }
    let Standing { successor, newer, alone } = standing;
    let is_marker = aged.contents.is_none();
    let due = |rule: &LifecycleRule| match successor {
        Some(since) => {
            let kept = rule.newer_noncurrent_versions.is_some_and(|kept| newer < kept);
            is_due(since, rule.noncurrent_days, now) && !kept
        }
        None => is_marker && alone && (rule.expired_delete_markers || is_over(rule, aged, now)),
    };
    rules.iter().find(|rule| is_about(rule, aged) && due(rule))
}

/// The rule by which an open upload is due.
pub fn upload_expires<'a>(
    rules: &'a [LifecycleRule],
    key: &str,
    initiated: Timestamp,
    now: Timestamp,
) -> Option<&'a LifecycleRule> {
    rules.iter().find(|rule| rule.is_about_key(key) && is_due(initiated, rule.abort_uploads_after_days, now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use s3o_types::LifecycleDate;

    use super::*;

    const DAY_US: i64 = 24 * HOUR;
    const HOUR: i64 = 60 * 60 * 1_000_000;

    fn rule() -> LifecycleRule {
        LifecycleRule::default()
    }

    fn days(days: u32) -> LifecycleRule {
        LifecycleRule { expire_after_days: Some(days), ..rule() }
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp(hours * HOUR)
    }

    fn is_expired(rule: &LifecycleRule, key: &str, size: u64, tags: &[(&str, &str)], now: Timestamp) -> bool {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let aged = Aged { key, contents: Some((size, &tags)), modified: at(10), lock: ObjectLock::default() };
        expires(std::slice::from_ref(rule), &aged, now).is_some()
    }

    #[test]
    fn days_end_at_midnight() {
        // Written at ten o'clock: three days are over at ten on the fourth, and that day at its end.
        for (hours, due) in [(3 * 24 + 10, false), (4 * 24 - 1, false), (4 * 24, true), (5 * 24, true)] {
            assert_eq!(is_expired(&days(3), "k", 1, &[], at(hours)), due, "{hours}");
        }
        let date = LifecycleRule { expire_on: Some(LifecycleDate::from_days(2)), ..rule() };
        assert!(!is_expired(&date, "k", 1, &[], at(47)) && is_expired(&date, "k", 1, &[], at(48)));
        assert!(!is_expired(&LifecycleRule { enabled: false, ..date }, "k", 1, &[], at(48)));
        assert!(!is_expired(&days(u32::MAX), "k", 1, &[], Timestamp(i64::MAX / 2)));
    }

    #[test]
    fn every_condition_of_a_filter_must_hold() {
        let rule = LifecycleRule {
            prefix: "a/".to_owned(),
            tags: [("t".to_owned(), "1".to_owned()), ("u".to_owned(), String::new())].into(),
            object_size_greater_than: Some(10),
            object_size_less_than: Some(20),
            ..days(1)
        };
        let (now, tags) = (at(1000), [("t", "1"), ("u", ""), ("v", "x")]);
        assert!(is_expired(&rule, "a/b", 11, &tags, now));
        assert!(!is_expired(&rule, "a", 11, &tags, now));
        assert!(!is_expired(&rule, "a/b", 10, &tags, now) && !is_expired(&rule, "a/b", 20, &tags, now));
        assert!(!is_expired(&rule, "a/b", 11, &tags[..1], now));
        assert!(!is_expired(&rule, "a/b", 11, &[("t", "2"), ("u", "")], now));
    }

    fn noncurrent(rule: &LifecycleRule, is_marker: bool, standing: Standing, now: Timestamp) -> bool {
        let none = BTreeMap::new();
        let contents = (!is_marker).then_some((5, &none));
        let aged = Aged { key: "k", contents, modified: at(10), lock: ObjectLock::default() };
        noncurrent_expires(std::slice::from_ref(rule), &aged, standing, now).is_some()
    }

    #[test]
    fn noncurrent_days_count_from_the_successor() {
        let rule = LifecycleRule { noncurrent_days: Some(2), ..rule() };
        let below = |hours| Standing { successor: Some(at(hours)), newer: 1, alone: false };
        for is_marker in [false, true] {
            assert!(!noncurrent(&rule, is_marker, below(100), at(7 * 24 - 1)));
            assert!(noncurrent(&rule, is_marker, below(100), at(7 * 24)));
        }
        let keeping = |n| LifecycleRule { newer_noncurrent_versions: Some(n), ..rule.clone() };
        assert!(noncurrent(&keeping(1), false, below(100), at(1000)));
        assert!(!noncurrent(&keeping(2), false, below(100), at(1000)));
        // Nothing that is the newest is noncurrent.
        let newest = Standing { successor: None, newer: 0, alone: true };
        assert!(!noncurrent(&rule, false, newest, at(1000)) && !noncurrent(&rule, true, newest, at(1000)));
    }

    #[test]
    fn a_marker_goes_when_it_hides_nothing() {
        let markers = LifecycleRule { expired_delete_markers: true, ..rule() };
        let alone = Standing { successor: None, newer: 0, alone: true };
        let hiding = Standing { alone: false, ..alone };
        assert!(noncurrent(&markers, true, alone, at(10)));
        assert!(!noncurrent(&markers, true, hiding, at(10)));
        assert!(!noncurrent(&days(1), true, alone, at(47)) && noncurrent(&days(1), true, alone, at(48)));
        assert!(!noncurrent(&days(1), true, hiding, at(1000)));
        let sized = LifecycleRule { object_size_less_than: Some(9), ..days(1) };
        assert!(!noncurrent(&sized, true, alone, at(1000)), "a marker has no size");
    }

    #[test]
    fn uploads_go_by_their_age_and_key() {
        let rules = [LifecycleRule { prefix: "a/".to_owned(), abort_uploads_after_days: Some(1), ..rule() }];
        assert!(upload_expires(&rules, "a/b", at(10), at(48)).is_some());
        assert!(upload_expires(&rules, "a/b", at(10), at(47)).is_none());
        assert!(upload_expires(&rules, "b", at(10), at(48)).is_none());
    }

    proptest! {
        #[test]
        fn nothing_is_due_before_its_days_are_over_and_all_is_a_day_after(
            written in 0..4_000_000_000_000_000_i64, n in 1..5000_u32, late in -3 * DAY_US..3 * DAY_US
        ) {
            let whole = written + i64::from(n) * DAY_US;
            let due = is_due(Timestamp(written), Some(n), Timestamp(whole + late));
            if late <= 0 {
                prop_assert!(!due);
            }
            if late >= DAY_US {
                prop_assert!(due);
            }
            let Timestamp(midnight) = due_at(Timestamp(written), n);
            prop_assert!(midnight % DAY_US == 0 && midnight > whole && midnight <= whole + DAY_US);
        }
    }
}
