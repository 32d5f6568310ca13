//! A rule as the document has it.

use s3o_types::LifecycleRule;
use s3s::dto::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule as Shown,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration, Tag,
};

use crate::ops::headers::timestamp;

/// Numbers that came as `i32`, or were declared and may be more.
fn days(days: u32) -> i32 {
    i32::try_from(days).unwrap_or(i32::MAX)
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn rule(rule: &LifecycleRule) -> Shown {
    let status = if rule.enabled { ExpirationStatus::ENABLED } else { ExpirationStatus::DISABLED };
    Shown {
        id: Some(rule.id.clone()).filter(|id| !id.is_empty()),
        status: ExpirationStatus::from_static(status),
        prefix: rule.prefix_beside_filter.then(|| rule.prefix.clone()),
        filter: (!rule.prefix_beside_filter).then(|| filter(rule)),
        expiration: expiration(rule),
        noncurrent_version_expiration: rule.noncurrent_days.map(|noncurrent| NoncurrentVersionExpiration {
            noncurrent_days: Some(days(noncurrent)),
            newer_noncurrent_versions: rule.newer_noncurrent_versions.map(days),
        }),
        abort_incomplete_multipart_upload: rule
            .abort_uploads_after_days
            .map(|after| AbortIncompleteMultipartUpload { days_after_initiation: Some(days(after)) }),
        noncurrent_version_transitions: None,
        transitions: None,
    }
}

fn expiration(rule: &LifecycleRule) -> Option<LifecycleExpiration> {
    let expiration = LifecycleExpiration {
        date: rule.expire_on.and_then(|date| timestamp(date.begins())),
        days: rule.expire_after_days.map(days),
        expired_object_delete_marker: rule.expired_delete_markers.then_some(true),
    };
    (rule.expires_current() || rule.expired_delete_markers).then_some(expiration)
}

/// One condition stands alone; several stand within `And`; none is a prefix that all keys have.
fn filter(rule: &LifecycleRule) -> LifecycleRuleFilter {
    let tags: Vec<Tag> = rule
        .tags
        .iter()
        .map(|(name, value)| Tag { key: Some(name.clone()), value: Some(value.clone()) })
        .collect();
    let (more, less) = (rule.object_size_greater_than.map(bytes), rule.object_size_less_than.map(bytes));
    let conditions = usize::from(!rule.prefix.is_empty())
        + tags.len()
        + usize::from(more.is_some())
        + usize::from(less.is_some());
    if conditions > 1 {
        let and = LifecycleRuleAndOperator {
            prefix: Some(rule.prefix.clone()).filter(|prefix| !prefix.is_empty()),
            tags: Some(tags).filter(|tags| !tags.is_empty()),
            object_size_greater_than: more,
            object_size_less_than: less,
        };
        return LifecycleRuleFilter { and: Some(and), ..Default::default() };
    }
    let has_other = !tags.is_empty() || more.is_some() || less.is_some();
    LifecycleRuleFilter {
        and: None,
        prefix: (!has_other).then(|| rule.prefix.clone()),
        tag: tags.into_iter().next(),
        object_size_greater_than: more,
        object_size_less_than: less,
    }
}
