//! Rules by which objects expire, from and to the wire.

use s3o_proto::v1;
use s3o_types::{LifecycleDate, LifecycleRule};

/// A rule that a client sets.
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

/// A rule of the configuration.
pub(crate) fn from_wire(rule: v1::LifecycleRule) -> LifecycleRule {
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
