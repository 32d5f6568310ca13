//! Lifecycle documents: what is taken comes back, and can be stored.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3o_types::LifecycleRule;
use s3s::dto::BucketLifecycleConfiguration;

use super::{read, show};
use crate::ops::fuzz::{read as parsed, refused, written};

fn documents() -> BoxedStrategy<String> {
    let days = || prop_oneof![4 => 1..40_i32, 1 => -1..1_i32, 1 => Just(i32::MAX)];
    let filter = prop_oneof![
        "<Filter/>",
        "<Prefix>[a-z/]{0,3}</Prefix>",
        "<Filter><Prefix>[a-z/]{0,3}</Prefix></Filter>",
        "<Filter><Tag><Key>[a-z]{0,2}</Key><Value>[a-z]{0,2}</Value></Tag></Filter>",
        "<Filter><ObjectSizeGreaterThan>-?[0-9]{1,4}</ObjectSizeGreaterThan></Filter>",
        "<Filter><And><Prefix>a</Prefix>(<Tag><Key>[ab]</Key><Value>c</Value></Tag>){1,2}</And></Filter>",
        "<Filter><And>(<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>)?<ObjectSizeLessThan>[0-9]{1,2}</ObjectSizeLessThan></And></Filter>",
    ];
    let date = prop_oneof![
        "20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])T00:00:00(\\.000)?Z",
        "(0000-01-01|9999-12-31)T(00:00:00|23:00:00)(Z|[+-]01:00)",
        "2026-01-31(T01:00:00\\+01:00|T00:00:00\\.0000001Z)",
    ];
    let action = prop_oneof![
        days().prop_map(|days| format!("<Expiration><Days>{days}</Days></Expiration>")),
        date.prop_map(|date| format!("<Expiration><Date>{date}</Date></Expiration>")),
        Just("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>".to_owned()),
        (days(), days()).prop_map(|(days, newer)| format!(
            "<NoncurrentVersionExpiration><NoncurrentDays>{days}</NoncurrentDays><NewerNoncurrentVersions>{newer}</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
        )),
        days().prop_map(|days| format!(
            "<AbortIncompleteMultipartUpload><DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
        )),
    ];
    let actions = prop::collection::vec(action, 1..3);
    let rule = ("(<ID>[a-c]</ID>)?", filter, "(Enabled|Enabled|Disabled|On)", actions).prop_map(
        |(id, filter, status, actions)| {
            format!("<Rule>{id}{filter}<Status>{status}</Status>{}</Rule>", actions.concat())
        },
    );
    let valid = prop::collection::vec(rule, 0..4)
        .prop_map(|rules| format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.concat()));
    let tokens = &[
        "<Rule>",
        "</Rule>",
        "<Filter>",
        "<Prefix/>",
        "<Date>9999-12-31T23:00:00-01:00</Date>",
        "<Days>1</Days>",
        "<Expiration/>",
        "<Transition/>",
        "&#0;",
        "é",
        "0",
        "9",
    ];
    texts(valid, tokens)
}

#[test]
fn lifecycles() {
    check(&documents(), |text| {
        let Some(document) = parsed::<BucketLifecycleConfiguration>(text.as_bytes()) else { return Ok(()) };
        let taken = read::rules(&document.rules);
        refused(&taken, &["MalformedXML", "InvalidArgument", "InvalidRequest", "NotImplemented"])?;
        let Ok(taken) = taken else { return Ok(()) };
        prop_assert!(!taken.is_empty() && taken.iter().all(|rule| rule.problems().is_empty()));
        // As the database keeps them.
        let stored = serde_json::to_string(&taken).expect("JSON");
        let again = serde_json::from_str::<Vec<LifecycleRule>>(&stored);
        prop_assert_eq!(again.map_err(|error| error.to_string()), Ok(taken.clone()));
        let xml = written(&BucketLifecycleConfiguration { rules: taken.iter().map(show::rule).collect() });
        let again = parsed::<BucketLifecycleConfiguration>(&xml).map(|document| read::rules(&document.rules));
        prop_assert_eq!(again.and_then(Result::ok), Some(taken));
        Ok(())
    });
}
