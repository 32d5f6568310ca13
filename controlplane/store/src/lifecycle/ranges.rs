//! Which keys a pass has to look at: those under the prefixes of the rules that say something of its phase.

use s3o_core::lifecycle::Phase;
use s3o_types::LifecycleRule;

use crate::ledger::beyond;

/// Whether a rule says what becomes of rows of the phase.
fn is_about(rule: &LifecycleRule, phase: Phase) -> bool {
    rule.enabled
        && match phase {
            Phase::Objects => rule.expires_current(),
            // A marker goes by the days of current versions, too.
            Phase::Versions => {
                rule.noncurrent_days.is_some() || rule.expired_delete_markers || rule.expires_current()
            }
            Phase::Uploads => rule.abort_uploads_after_days.is_some(),
        }
}

/// The least prefix of rules under which there may be keys behind `after`, or that key itself; `None`: none.
pub(super) fn next<'a>(rules: &'a [LifecycleRule], phase: Phase, after: &str) -> Option<&'a str> {
    let prefixes = rules.iter().filter(|rule| is_about(rule, phase)).map(|rule| rule.prefix.as_str());
    prefixes.filter(|prefix| after < beyond(prefix).as_str()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str) -> LifecycleRule {
        LifecycleRule { prefix: prefix.to_owned(), expire_after_days: Some(1), ..LifecycleRule::default() }
    }

    #[test]
    fn one_prefix_after_the_other() {
        let rules = [rule("logs/"), rule("a/b/"), rule("a/"), rule("z")];
        let at = |after: &str| next(&rules, Phase::Objects, after);
        assert_eq!([at(""), at("a/"), at("a/x")], [Some("a/"); 3]);
        assert_eq!([at("a0"), at("b"), at(&beyond("a/")), at("logs/x")], [Some("logs/"); 4]);
        assert_eq!([at("logs0"), at("zz")], [Some("z"); 2]);
        assert_eq!([at("zz\u{10FFFF}"), at("\u{10FFFF}")], [Some("z"), None]);
        assert_eq!(next(&rules, Phase::Uploads, ""), None);
        assert_eq!(next(&[LifecycleRule { enabled: false, ..rule("") }], Phase::Objects, ""), None);
        let late = LifecycleRule { abort_uploads_after_days: Some(1), ..rule("u/") };
        assert_eq!(next(&[rule(""), late], Phase::Uploads, ""), Some("u/"));
    }

    #[test]
    fn a_prefix_within_another_is_looked_at_once() {
        // Behind the inner one the outer one goes on; nothing is gone through twice.
        let rules = [rule("a/"), rule("a/b/")];
        assert_eq!(next(&rules, Phase::Objects, &beyond("a/b/")), Some("a/"));
        assert_eq!(next(&rules, Phase::Objects, &beyond("a/")), None);
    }
}
