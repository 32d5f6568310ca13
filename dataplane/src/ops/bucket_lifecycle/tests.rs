//! Documents that are taken, and those that are refused, with the code.

use s3s::dto::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule as Put,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration, Tag, Timestamp,
    TimestampFormat, Transition,
};

use super::{read, show};

fn days(days: i32) -> Put {
    Put {
        id: Some("one".to_owned()),
        status: ExpirationStatus::from_static(ExpirationStatus::ENABLED),
        filter: Some(LifecycleRuleFilter { prefix: Some(String::new()), ..Default::default() }),
        expiration: Some(LifecycleExpiration { days: Some(days), ..Default::default() }),
        prefix: None,
        abort_incomplete_multipart_upload: None,
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        transitions: None,
    }
}

fn date(text: &str) -> LifecycleExpiration {
    let date = Timestamp::parse(TimestampFormat::DateTime, text).expect("a time");
    LifecycleExpiration { date: Some(date), ..Default::default() }
}

fn tag(name: &str) -> Tag {
    Tag { key: Some(name.to_owned()), value: Some("1".to_owned()) }
}

fn code(rules: &[Put]) -> String {
    read::rules(rules).err().map(|error| error.code().as_str().to_owned()).unwrap_or_default()
}

#[test]
fn what_is_put_comes_back() {
    let and = LifecycleRuleAndOperator {
        prefix: Some("a/".to_owned()),
        tags: Some(vec![tag("x"), tag("y")]),
        object_size_greater_than: Some(5),
        object_size_less_than: Some(9),
    };
    let filters = [
        LifecycleRuleFilter { and: Some(and), ..Default::default() },
        LifecycleRuleFilter { tag: Some(tag("x")), ..Default::default() },
        LifecycleRuleFilter { object_size_less_than: Some(9), ..Default::default() },
        LifecycleRuleFilter { prefix: Some("a/".to_owned()), ..Default::default() },
    ];
    let mut puts: Vec<Put> = filters
        .into_iter()
        .zip(["a", "b", "c", "d"])
        .map(|(filter, id)| Put { filter: Some(filter), id: Some(id.to_owned()), ..days(3) })
        .collect();
    puts.push(Put { filter: None, prefix: Some("old/".to_owned()), ..days(4) });
    let markers = LifecycleExpiration { expired_object_delete_marker: Some(true), ..Default::default() };
    puts.push(Put {
        id: Some("e".to_owned()),
        status: ExpirationStatus::from_static(ExpirationStatus::DISABLED),
        expiration: Some(markers),
        noncurrent_version_expiration: Some(NoncurrentVersionExpiration {
            noncurrent_days: Some(30),
            newer_noncurrent_versions: Some(2),
        }),
        abort_incomplete_multipart_upload: Some(AbortIncompleteMultipartUpload {
            days_after_initiation: Some(7),
        }),
        ..days(1)
    });
    puts.push(Put { id: Some("f".to_owned()), expiration: Some(date("2026-01-31T00:00:00Z")), ..days(1) });
    let stored = read::rules(&puts).expect("good");
    assert_eq!(stored[6].expire_on.map(|date| date.to_string()).as_deref(), Some("2026-01-31"));
    assert_eq!(stored.iter().map(show::rule).collect::<Vec<_>>(), puts);
    let nameless = read::rules(&[Put { id: None, ..days(1) }, Put { id: None, ..days(1) }]).expect("good");
    assert!(!nameless[0].id.is_empty() && nameless[0].id != nameless[1].id, "each gets an ID of its own");
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(code(&[]), "MalformedXML");
    assert_eq!(code(&[Put { filter: None, ..days(1) }]), "MalformedXML");
    assert_eq!(code(&[Put { prefix: Some(String::new()), ..days(1) }]), "MalformedXML");
    assert_eq!(code(&[Put { status: ExpirationStatus::from_static("On"), ..days(1) }]), "MalformedXML");
    assert_eq!(code(&[days(0)]), "InvalidArgument");
    assert_eq!(code(&[days(-1)]), "InvalidArgument");
    assert_eq!(code(&[days(1), days(2)]), "InvalidArgument", "the same ID");
    assert_eq!(code(&[Put { id: Some("x".repeat(256)), ..days(1) }]), "InvalidArgument");
    assert_eq!(code(&[Put { expiration: None, ..days(1) }]), "InvalidRequest");
    assert_eq!(code(&[Put { expiration: Some(date("2026-01-31T00:00:01Z")), ..days(1) }]), "InvalidArgument");
    let both = LifecycleExpiration { days: Some(1), ..date("2026-01-31T00:00:00Z") };
    assert_eq!(code(&[Put { expiration: Some(both), ..days(1) }]), "MalformedXML");
    let two = LifecycleRuleFilter { tag: Some(tag("x")), prefix: Some("a".to_owned()), ..Default::default() };
    assert_eq!(code(&[Put { filter: Some(two), ..days(1) }]), "MalformedXML");
    let twice = LifecycleRuleAndOperator { tags: Some(vec![tag("x"), tag("x")]), ..Default::default() };
    let twice = LifecycleRuleFilter { and: Some(twice), ..Default::default() };
    assert_eq!(code(&[Put { filter: Some(twice), ..days(1) }]), "InvalidRequest");
}

#[test]
fn what_is_not_implemented_or_does_not_go_together_is_said() {
    let moved = Put { transitions: Some(vec![Transition::default()]), ..days(1) };
    let error = read::rules(&[moved]).expect_err("refused");
    assert_eq!(error.code().as_str(), "NotImplemented");
    assert!(error.message().is_some_and(|text| text.contains("Transition")), "{error:?}");
    let abort = AbortIncompleteMultipartUpload { days_after_initiation: Some(1) };
    let tagged = Put {
        filter: Some(LifecycleRuleFilter { tag: Some(tag("x")), ..Default::default() }),
        abort_incomplete_multipart_upload: Some(abort),
        ..days(1)
    };
    assert_eq!(code(&[tagged]), "InvalidRequest");
    let newer = NoncurrentVersionExpiration { noncurrent_days: None, newer_noncurrent_versions: Some(1) };
    assert_eq!(code(&[Put { noncurrent_version_expiration: Some(newer), ..days(1) }]), "MalformedXML");
}
