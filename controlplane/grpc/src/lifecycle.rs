//! Rules by which objects expire, as they stand on the wire.

use s3o_proto::v1;
use s3o_types::{LifecycleDate, LifecycleRule, lifecycle_problem};

use crate::field::Bad;

/// Rules that a client sets.
pub(crate) fn rules(rules: Vec<v1::LifecycleRule>) -> Result<Vec<LifecycleRule>, Bad> {
    let rules: Vec<LifecycleRule> = rules.into_iter().map(rule).collect();
    if let Some((field, why)) = rules.iter().flat_map(LifecycleRule::problems).next() {
        return Err(Bad::new(&format!("rules.{field}"), why));
    }
    match lifecycle_problem(&rules) {
        None => Ok(rules),
        Some(why) => Err(Bad::new("rules", why)),
    }
}

fn rule(rule: v1::LifecycleRule) -> LifecycleRule {
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

/// A rule of the configuration.
pub(crate) fn to_wire(rule: LifecycleRule) -> v1::LifecycleRule {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_comes_back_and_mistakes_are_named() {
        let whole = LifecycleRule {
            id: "one".to_owned(),
            enabled: false,
            prefix: "a/".to_owned(),
            prefix_beside_filter: true,
            tags: [("t".to_owned(), "1".to_owned())].into(),
            object_size_greater_than: Some(1),
            object_size_less_than: Some(9),
            expire_on: Some(LifecycleDate::from_days(20_000)),
            noncurrent_days: Some(3),
            newer_noncurrent_versions: Some(4),
            ..LifecycleRule::default()
        };
        assert_eq!(rules(vec![to_wire(whole.clone())]).ok(), Some(vec![whole.clone()]));
        let twice = rules(vec![to_wire(whole.clone()), to_wire(whole)]);
        assert!(twice.is_err(), "the ID is there twice");
        assert!(rules(vec![v1::LifecycleRule::default()]).is_err(), "it does nothing");
    }
}
