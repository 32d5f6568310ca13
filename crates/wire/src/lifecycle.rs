//! Rules by which objects expire.

use s3o_proto::v1;
use s3o_types::{LifecycleDate, LifecycleRule};

/// As a client sets it, and as the configuration has it.
pub fn to_wire(rule: LifecycleRule) -> v1::LifecycleRule {
    let LifecycleRule {
        id,
        enabled,
        prefix,
        prefix_beside_filter,
        tags,
        object_size_greater_than,
        object_size_less_than,
        expire_after_days,
        expire_on,
        expired_delete_markers,
        noncurrent_days,
        newer_noncurrent_versions,
        abort_uploads_after_days,
    } = rule;
    v1::LifecycleRule {
        id,
        enabled,
        prefix,
        prefix_beside_filter,
        tags: tags.into_iter().collect(),
        object_size_greater_than,
        object_size_less_than,
        expire_after_days,
        expire_on: expire_on.map(LifecycleDate::days),
        expired_delete_markers,
        noncurrent_days,
        newer_noncurrent_versions,
        abort_uploads_after_days,
    }
}

/// Nothing is checked.
pub fn from_wire(rule: v1::LifecycleRule) -> LifecycleRule {
    let v1::LifecycleRule {
        id,
        enabled,
        prefix,
        prefix_beside_filter,
        tags,
        object_size_greater_than,
        object_size_less_than,
        expire_after_days,
        expire_on,
        expired_delete_markers,
        noncurrent_days,
        newer_noncurrent_versions,
        abort_uploads_after_days,
    } = rule;
    LifecycleRule {
        id,
        enabled,
        prefix,
        prefix_beside_filter,
        tags: tags.into_iter().collect(),
        object_size_greater_than,
        object_size_less_than,
        expire_after_days,
        expire_on: expire_on.map(LifecycleDate::from_days),
        expired_delete_markers,
        noncurrent_days,
        newer_noncurrent_versions,
        abort_uploads_after_days,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let whole = LifecycleRule {
            id: "one".to_owned(),
            enabled: false,
            prefix: "a/".to_owned(),
            prefix_beside_filter: true,
            tags: [("t".to_owned(), "1".to_owned())].into(),
            object_size_greater_than: Some(1),
            object_size_less_than: Some(9),
            expire_after_days: Some(2),
            expire_on: Some(LifecycleDate::from_days(20_000)),
            expired_delete_markers: true,
            noncurrent_days: Some(3),
            newer_noncurrent_versions: Some(4),
            abort_uploads_after_days: Some(5),
        };
        for rule in [whole, LifecycleRule::default()] {
            assert_eq!(from_wire(to_wire(rule.clone())), rule);
        }
    }
}
