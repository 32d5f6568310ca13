//! `x-amz-expiration`: when the rules of its bucket will let an object expire (S3 API reference, `HeadObject`); and
//! `x-amz-abort-date`, the same of a multipart upload (`CreateMultipartUpload`, `ListParts`).
//!
//! It is a forecast: what expires is decided by the control plane, of the rules and the tags as they are then (ADR 0019).

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use s3o_types::lifecycle::due_at;
use s3o_types::{LifecycleRule, Timestamp, VersionRef};
use s3s::dto::Timestamp as S3Timestamp;

use super::headers::{http_date, timestamp};
use crate::control::Located;
use crate::snapshot::Bucket;

/// What stands as it is in the ID of a rule, which is encoded as in a URL (the same page).
const IN_ID: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The rules by which an object expires as long as it is the current version of its key.
pub(super) fn rules<'a>(
    bucket: &'a Bucket,
    key: &'a str,
    size: u64,
    tags: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a LifecycleRule> {
    let contents = Some((size, tags));
    bucket.lifecycle.iter().filter(move |rule| rule.expires_current() && rule.is_about(key, contents))
}

/// Says which of the rules is the first that lets go what was written then, and when.
pub(super) fn add<'a>(
    headers: &mut HeaderMap,
    rules: impl IntoIterator<Item = &'a LifecycleRule>,
    modified: Timestamp,
) {
    let expiries = rules.into_iter().filter_map(|rule| Some((rule.expires(modified)?, rule)));
    let Some((at, rule)) = expiries.min_by_key(|(at, _)| *at) else { return };
    // A day that no calendar has is none that a client waits for.
    let Some(date) = timestamp(at).as_ref().and_then(http_date) else { return };
    let id = utf8_percent_encode(&rule.id, IN_ID);
    if let Ok(value) = HeaderValue::try_from(format!("expiry-date=\"{date}\", rule-id=\"{id}\"")) {
        headers.insert("x-amz-expiration", value);
    }
}

/// When an upload that was begun then is given up, and by which rule, as far as a header can say its ID.
pub(super) fn of_upload(bucket: &Bucket, key: &str, initiated: Timestamp) -> Option<(S3Timestamp, String)> {
    let rules = bucket.lifecycle.iter().filter(|rule| rule.is_about_key(key));
    let ends = rules.filter_map(|rule| Some((due_at(initiated, rule.abort_uploads_after_days?), rule)));
    let (at, rule) = ends.min_by_key(|(at, _)| *at)?;
    let date = timestamp(at).filter(|date| http_date(date).is_some())?;
    Some((date, utf8_percent_encode(&rule.id, CONTROLS).to_string()))
}

/// The same of an object that is read. Of a version that is named it is not known whether it is the current one.
pub(super) fn add_of_read(
    headers: &mut HeaderMap,
    bucket: &Bucket,
    (key, version): (&str, Option<VersionRef>),
    located: &Located,
) {
    if version.is_none() {
        add(headers, rules(bucket, key, located.size, &located.attributes.tags), located.modified);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use s3o_types::{BucketId, DegradedReads};

    use super::*;

    /// 2012-12-19, 10:00 UTC.
    const MODIFIED: Timestamp = Timestamp(1_355_911_200_000_000);

    fn bucket(lifecycle: Vec<LifecycleRule>) -> Bucket {
        Bucket {
            id: BucketId(1),
            name: "b".to_owned(),
            created: Timestamp(0),
            max_object_size: u64::MAX,
            cors: Arc::default(),
            lifecycle: lifecycle.into(),
            lock: None,
            degraded_reads: DegradedReads::Allowed,
        }
    }

    fn days(id: &str, days: u32) -> LifecycleRule {
        LifecycleRule { id: id.to_owned(), expire_after_days: Some(days), ..LifecycleRule::default() }
    }

    fn told(lifecycle: Vec<LifecycleRule>) -> Option<String> {
        let (bucket, mut headers) = (bucket(lifecycle), HeaderMap::new());
        let tags = [("t".to_owned(), "1".to_owned())].into();
        add(&mut headers, rules(&bucket, "a/k", 10, &tags), MODIFIED);
        headers.get("x-amz-expiration").map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn days_end_at_the_next_midnight() {
        let day = "expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\", rule-id=\"a%20rule%2F1\"";
        assert_eq!(told(vec![days("a rule/1", 1)]).as_deref(), Some(day));
        let date = LifecycleRule {
            expire_after_days: None,
            expire_on: Some("2012-12-21".parse().expect("a day")),
            ..days("a rule/1", 1)
        };
        assert_eq!(told(vec![date]).as_deref(), Some(day));
        assert_eq!(told(vec![days("never", u32::MAX)]), None);
        assert_eq!(told(Vec::new()), None);
    }

    #[test]
    fn the_first_rule_that_gives_an_upload_up_is_told() {
        let told = |lifecycle: Vec<LifecycleRule>| {
            let (date, id) = of_upload(&bucket(lifecycle), "a/k", MODIFIED)?;
            Some((http_date(&date)?, id))
        };
        let aborts = |id: &str, days| LifecycleRule {
            id: id.to_owned(),
            abort_uploads_after_days: Some(days),
            ..LifecycleRule::default()
        };
        let others = [
            days("objects", 1),
            LifecycleRule { enabled: false, ..aborts("off", 1) },
            LifecycleRule { prefix: "b/".to_owned(), ..aborts("prefix", 1) },
            aborts("never", u32::MAX),
        ];
        assert_eq!(told(others.to_vec()), None);
        let all = others.into_iter().chain([aborts("later", 3), aborts("a rule\n", 1)]).collect();
        let day = "Fri, 21 Dec 2012 00:00:00 GMT";
        assert_eq!(told(all), Some((day.to_owned(), "a rule%0A".to_owned())));
    }

    #[test]
    fn the_first_rule_that_is_due_is_told_of_those_about_the_object() {
        let others = [
            LifecycleRule { enabled: false, ..days("off", 1) },
            LifecycleRule { prefix: "b/".to_owned(), ..days("prefix", 1) },
            LifecycleRule { tags: [("t".to_owned(), "2".to_owned())].into(), ..days("tags", 1) },
            LifecycleRule { object_size_greater_than: Some(10), ..days("larger", 1) },
            LifecycleRule { object_size_less_than: Some(10), ..days("smaller", 1) },
            LifecycleRule { noncurrent_days: Some(1), expire_after_days: None, ..days("noncurrent", 1) },
        ];
        assert_eq!(told(others.to_vec()), None);
        let tags = [("t".to_owned(), "1".to_owned())].into();
        let ours = LifecycleRule {
            prefix: "a/".to_owned(),
            tags,
            object_size_greater_than: Some(9),
            object_size_less_than: Some(11),
            ..days("ours", 2)
        };
        let all = others.into_iter().chain([days("later", 3), ours, days("latest", 4)]).collect();
        assert!(told(all).is_some_and(|told| told.ends_with("rule-id=\"ours\"")));
    }
}
