//! Rules by which objects expire, as clients set them.

use s3o_proto::v1;
use s3o_types::{LifecycleRule, lifecycle_problem};
use s3o_wire::lifecycle::from_wire;

use crate::field::Bad;

/// Rules that a client sets.
pub(crate) fn rules(rules: Vec<v1::LifecycleRule>) -> Result<Vec<LifecycleRule>, Bad> {
    let rules: Vec<LifecycleRule> = rules.into_iter().map(from_wire).collect();
    if let Some((field, why)) = rules.iter().flat_map(LifecycleRule::problems).next() {
        return Err(Bad::new(&format!("rules.{field}"), why));
    }
    match lifecycle_problem(&rules) {
        None => Ok(rules),
        Some(why) => Err(Bad::new("rules", why)),
    }
}

#[cfg(test)]
mod tests {
    use s3o_types::LifecycleDate;
    use s3o_wire::lifecycle::to_wire;

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
