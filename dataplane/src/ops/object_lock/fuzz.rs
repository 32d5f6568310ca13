//! Documents and dates of Object Lock: what is taken comes back, and never ends sooner.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3o_types::{BucketLock, Timestamp};
use s3s::dto::{
    ObjectLockConfiguration, ObjectLockLegalHold, ObjectLockMode, ObjectLockRetention,
    Timestamp as S3Timestamp, TimestampFormat,
};

use super::{configuration, date_text, of_write, version};
use crate::ops::fuzz::{read as parsed, refused, written};

const MODES: &str = "(GOVERNANCE|COMPLIANCE|governance)";

fn dates() -> impl Strategy<Value = String> {
    let valid = prop_oneof![
        4 => "20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]0[0-9]:00)",
        1 => "(0000-01-01|1969-12-31|1970-01-01|9999-12-31)T(00:00:00|23:59:59\\.9999999)(Z|[+-]01:00)",
    ];
    texts(valid, &["9999", "-", ":", "T", "Z", ".", "+", "é"])
}

#[test]
fn configurations() {
    let days = prop_oneof![4 => 1..40_i32, 1 => -1..1_i32, 1 => 36_499..36_502_i32];
    let period = (days, "(Days|Years|Weeks)").prop_map(|(n, unit)| format!("<{unit}>{n}</{unit}>"));
    let periods = prop::collection::vec(period, 0..3).prop_map(|periods| periods.concat());
    let rule = (MODES, periods).prop_map(|(mode, periods)| {
        format!("<Rule><DefaultRetention><Mode>{mode}</Mode>{periods}</DefaultRetention></Rule>")
    });
    let valid = ("(Enabled|Enabled|Disabled)", prop::option::of(rule)).prop_map(|(enabled, rule)| {
        let rule = rule.unwrap_or_default();
        let enabled = format!("<ObjectLockEnabled>{enabled}</ObjectLockEnabled>");
        format!("<ObjectLockConfiguration>{enabled}{rule}</ObjectLockConfiguration>")
    });
    let tokens = &["<Rule/>", "<DefaultRetention/>", "<Days>1</Days>", "<Mode/>", "&#0;", "é", "0", "-"];
    check(&texts(valid, tokens), |text| {
        let Some(document) = parsed::<ObjectLockConfiguration>(text.as_bytes()) else { return Ok(()) };
        let taken = configuration::read(&document);
        refused(&taken, &["MalformedXML", "InvalidRetentionPeriod"])?;
        let Ok(taken) = taken else { return Ok(()) };
        prop_assert!(taken.default_retention.is_none_or(|default| default.period.problem().is_none()));
        // As the database keeps it.
        let stored = serde_json::to_string(&taken).expect("JSON");
        let again = serde_json::from_str::<BucketLock>(&stored);
        prop_assert_eq!(again.map_err(|error| error.to_string()), Ok(taken));
        let xml = written(&configuration::show(&taken));
        let again = parsed::<ObjectLockConfiguration>(&xml);
        prop_assert_eq!(again.and_then(|document| configuration::read(&document).ok()), Some(taken));
        Ok(())
    });
}

#[test]
fn retentions() {
    let date = dates().prop_map(|date| format!("<RetainUntilDate>{date}</RetainUntilDate>"));
    let mode = MODES.prop_map(|mode| format!("<Mode>{mode}</Mode>"));
    let valid =
        (prop::option::weighted(0.9, mode), prop::option::weighted(0.9, date)).prop_map(|(mode, date)| {
            let (mode, date) = (mode.unwrap_or_default(), date.unwrap_or_default());
            format!("<Retention>{mode}{date}</Retention>")
        });
    check(&texts(valid, &["<Mode/>", "<RetainUntilDate/>", "<Retention/>", "9999-12-31", "é"]), |text| {
        let Some(document) = parsed::<ObjectLockRetention>(text.as_bytes()) else { return Ok(()) };
        let taken = version::read(&document);
        refused(&taken, &["MalformedXML", "InvalidArgument"])?;
        let Ok(Some(taken)) = taken else { return Ok(()) };
        let again = parsed::<ObjectLockRetention>(&written(&version::show(&taken)));
        prop_assert_eq!(again.and_then(|document| version::read(&document).ok()), Some(Some(taken)));
        Ok(())
    });
}

#[test]
fn legal_holds() {
    let valid = "(ON|OFF|on|)".prop_map(|word| format!("<LegalHold><Status>{word}</Status></LegalHold>"));
    check(&texts(valid, &["<Status/>", "ON", "OFF", "é"]), |text| {
        let Some(document) = parsed::<ObjectLockLegalHold>(text.as_bytes()) else { return Ok(()) };
        if version::read_hold(&document).is_some() {
            prop_assert!(text.contains("ON") || text.contains("OFF"));
        }
        Ok(())
    });
}

#[test]
fn headers() {
    let mode = prop::option::of(MODES);
    check(&(mode, prop::option::of(dates())), |(mode, date)| {
        let until = date.and_then(|date| S3Timestamp::parse(TimestampFormat::DateTime, &date).ok());
        let mode = mode.map(ObjectLockMode::from);
        let taken = of_write(mode.as_ref(), until.as_ref(), None);
        refused(&taken, &["InvalidArgument"])?;
        let Ok(taken) = taken else { return Ok(()) };
        let Some(retention) = taken.retention else { return Ok(()) };
        let said = until.map(|until| time::OffsetDateTime::from(until).unix_timestamp_nanos());
        let Timestamp(kept) = retention.until;
        prop_assert!(said.is_some_and(|said| said <= i128::from(kept) * 1000), "it ends sooner");
        let text = date_text(retention.until).expect("it can be written");
        let again = S3Timestamp::parse(TimestampFormat::DateTime, &text).expect("it can be read");
        let mode = ObjectLockMode::from(super::mode_word(retention.mode).to_owned());
        prop_assert_eq!(of_write(Some(&mode), Some(&again), None).ok(), Some(taken));
        Ok(())
    });
}
