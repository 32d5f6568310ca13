//! A rule from the document.

use std::collections::BTreeMap;

use s3o_types::{LifecycleDate, LifecycleRule, MAX_LIFECYCLE_RULES, Timestamp, lifecycle_problem};
use s3s::dto::{
    ExpirationStatus, LifecycleExpiration, LifecycleRule as Put, LifecycleRuleAndOperator,
    LifecycleRuleFilter, Tag, Timestamp as S3Timestamp,
};
use s3s::{S3Error, S3Result, s3_error};
use uuid::Uuid;

use crate::pipeline::faults::invalid_argument;

pub(super) fn rules(rules: &[Put]) -> S3Result<Vec<LifecycleRule>> {
    if rules.is_empty() || rules.len() > MAX_LIFECYCLE_RULES {
        return Err(s3_error!(MalformedXML, "A lifecycle has 1 to {MAX_LIFECYCLE_RULES} rules."));
    }
    let rules = rules.iter().map(rule).collect::<S3Result<Vec<_>>>()?;
    match lifecycle_problem(&rules) {
        None => Ok(rules),
        Some(why) => Err(invalid_argument(why)),
    }
}

fn rule(put: &Put) -> S3Result<LifecycleRule> {
    if put.transitions.is_some() || put.noncurrent_version_transitions.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "Transition and NoncurrentVersionTransition are not implemented: there is one storage class."
        ));
    }
    let mut rule = LifecycleRule { enabled: status(&put.status)?, ..LifecycleRule::default() };
    // As S3 does: a rule can be told from the others.
    rule.id = put.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| Uuid::new_v4().to_string());
    match (&put.filter, &put.prefix) {
        (Some(filter), None) => conditions(&mut rule, filter)?,
        (None, Some(prefix)) => (rule.prefix, rule.prefix_beside_filter) = (prefix.clone(), true),
        _ => return Err(s3_error!(MalformedXML, "A rule has either a Filter or a Prefix.")),
    }
    if let Some(expiration) = &put.expiration {
        expires(&mut rule, expiration)?;
    }
    if let Some(noncurrent) = &put.noncurrent_version_expiration {
        rule.noncurrent_days = number("NoncurrentDays", noncurrent.noncurrent_days)?;
        let newer = noncurrent.newer_noncurrent_versions;
        rule.newer_noncurrent_versions = number("NewerNoncurrentVersions", newer)?;
        if rule.noncurrent_days.is_none() {
            return Err(s3_error!(MalformedXML, "NoncurrentVersionExpiration has NoncurrentDays."));
        }
    }
    if let Some(abort) = &put.abort_incomplete_multipart_upload {
        let days = number("DaysAfterInitiation", abort.days_after_initiation)?;
        rule.abort_uploads_after_days =
            Some(days.ok_or_else(|| s3_error!(MalformedXML, "DaysAfterInitiation is missing."))?);
    }
    match rule.problems().into_iter().next() {
        None => Ok(rule),
        Some((field, why)) => Err(problem(field, &why)),
    }
}

fn status(status: &ExpirationStatus) -> S3Result<bool> {
    match status.as_str() {
        ExpirationStatus::ENABLED => Ok(true),
        ExpirationStatus::DISABLED => Ok(false),
        _ => Err(s3_error!(MalformedXML, "Status is Enabled or Disabled.")),
    }
}

/// Numbers that cannot be are arguments; what does not go together is a request.
fn problem(field: &str, why: &str) -> S3Error {
    let element = match field {
        "id" => "ID",
        "prefix" => "Prefix",
        "tags" => "Tag",
        "expire_after_days" => "Days",
        "expire_on" => "Date",
        "expired_delete_markers" => "ExpiredObjectDeleteMarker",
        "noncurrent_days" => "NoncurrentDays",
        "newer_noncurrent_versions" => "NewerNoncurrentVersions",
        "abort_uploads_after_days" => "AbortIncompleteMultipartUpload",
        "object_size_less_than" => "ObjectSizeLessThan",
        _ => "Rule",
    };
    match field {
        "id" | "expire_after_days" | "noncurrent_days" | "newer_noncurrent_versions" => {
            invalid_argument(format!("{element}: {why}"))
        }
        "expire_on" => s3_error!(MalformedXML, "{element}: {why}"),
        _ => s3_error!(InvalidRequest, "{element}: {why}"),
    }
}

fn number(element: &str, value: Option<i32>) -> S3Result<Option<u32>> {
    let whole = |value| u32::try_from(value).ok().filter(|value| *value > 0);
    let bad = || invalid_argument(format!("'{element}' must be a positive integer"));
    value.map(|value| whole(value).ok_or_else(bad)).transpose()
}

fn bytes(element: &str, value: Option<i64>) -> S3Result<Option<u64>> {
    let bad = |_| invalid_argument(format!("'{element}' must not be negative"));
    value.map(u64::try_from).transpose().map_err(bad)
}

fn expires(rule: &mut LifecycleRule, expiration: &LifecycleExpiration) -> S3Result<()> {
    let LifecycleExpiration { date, days, expired_object_delete_marker } = expiration;
    rule.expire_after_days = number("Days", *days)?;
    rule.expire_on = date.as_ref().map(midnight).transpose()?;
    rule.expired_delete_markers = *expired_object_delete_marker == Some(true);
    if date.is_none() && days.is_none() && expired_object_delete_marker.is_none() {
        return Err(s3_error!(MalformedXML, "Expiration has Date, Days or ExpiredObjectDeleteMarker."));
    }
    Ok(())
}

fn midnight(date: &S3Timestamp) -> S3Result<LifecycleDate> {
    let nanos = time::OffsetDateTime::from(date.clone()).unix_timestamp_nanos();
    let micros = (nanos % 1000 == 0).then(|| i64::try_from(nanos / 1000).ok()).flatten();
    let date = micros.and_then(|micros| LifecycleDate::beginning(Timestamp(micros)));
    date.ok_or_else(|| invalid_argument("'Date' must be at midnight GMT"))
}

fn conditions(rule: &mut LifecycleRule, filter: &LifecycleRuleFilter) -> S3Result<()> {
    let LifecycleRuleFilter { and, object_size_greater_than, object_size_less_than, prefix, tag } = filter;
    let alone = [
        and.is_some(),
        object_size_greater_than.is_some(),
        object_size_less_than.is_some(),
        prefix.is_some(),
        tag.is_some(),
    ];
    if alone.into_iter().filter(|there| *there).count() > 1 {
        return Err(s3_error!(MalformedXML, "A Filter has one condition; several stand within And."));
    }
    let single = LifecycleRuleAndOperator {
        object_size_greater_than: *object_size_greater_than,
        object_size_less_than: *object_size_less_than,
        prefix: prefix.clone(),
        tags: tag.clone().map(|tag| vec![tag]),
    };
    let LifecycleRuleAndOperator { object_size_greater_than, object_size_less_than, prefix, tags } =
        and.as_ref().unwrap_or(&single);
    rule.object_size_greater_than = bytes("ObjectSizeGreaterThan", *object_size_greater_than)?;
    rule.object_size_less_than = bytes("ObjectSizeLessThan", *object_size_less_than)?;
    rule.prefix = prefix.clone().unwrap_or_default();
    rule.tags = tag_set(tags.as_deref().unwrap_or_default())?;
    Ok(())
}

fn tag_set(tags: &[Tag]) -> S3Result<BTreeMap<String, String>> {
    let mut set = BTreeMap::new();
    for Tag { key, value } in tags {
        let (Some(key), Some(value)) = (key, value) else {
            return Err(s3_error!(MalformedXML, "A Tag has a Key and a Value."));
        };
        if set.insert(key.clone(), value.clone()).is_some() {
            return Err(s3_error!(InvalidRequest, "Duplicate Tag Keys are not allowed."));
        }
    }
    Ok(set)
}
