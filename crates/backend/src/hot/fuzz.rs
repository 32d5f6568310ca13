//! The headers of a backend's answer.

use std::time::UNIX_EPOCH;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use s3o_fuzz::{check, texts};

use super::{check_range, etag_of, length_of, parse_http_date};
use crate::client::ByteRange;

/// Positions at both ends of what there is.
fn position() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..20_u64, 1 => u64::MAX - 2..=u64::MAX, 1 => any::<u64>()]
}

fn with(name: &HeaderName, value: &str) -> HeaderMap {
    let value = HeaderValue::try_from(value).ok();
    value.map(|value| (name.clone(), value)).into_iter().collect()
}

#[test]
fn content_ranges() {
    let answer = (position(), position(), position())
        .prop_map(|(first, last, size)| format!("bytes {first}-{last}/{size}"));
    let answer =
        texts(answer, &["bytes ", "-", "/", "*", "+1", "18446744073709551615", "18446744073709551616"]);
    let asked = (position(), position()).prop_map(|(a, b)| ByteRange { first: a.min(b), last: a.max(b) });
    check(&(answer, asked, position()), |(answer, asked, length)| {
        if let Ok(size) = check_range(&with(&CONTENT_RANGE, &answer), asked, length) {
            // All that was asked for and is there.
            prop_assert!(asked.first < size, "a blob of {size} bytes has none there");
            prop_assert_eq!(length, asked.last.min(size - 1) - asked.first + 1);
        }
        Ok(())
    });
}

#[test]
fn an_empty_blob_has_no_range() {
    let (answer, asked) = (with(&CONTENT_RANGE, "bytes 0-0/0"), ByteRange { first: 0, last: 0 });
    assert!(check_range(&answer, asked, 1).is_err());
}

#[test]
fn lengths_and_etags() {
    let valid = prop_oneof![position().prop_map(|n| n.to_string()), "\"[0-9a-f]{32}(-[0-9]{1,4})?\""];
    check(&texts(valid, &["\"", "W/\"", "+", "-", " ", "18446744073709551616"]), |text| {
        if let Ok(length) = length_of(&with(&CONTENT_LENGTH, &text)) {
            let digits = text.trim_start_matches('+');
            let width = digits.len();
            prop_assert_eq!(digits, format!("{length:0>width$}"));
        }
        if let Some(etag) = etag_of(&with(&ETAG, &text)) {
            prop_assert!(!etag.as_str().is_empty() && text.contains(etag.as_str()));
        }
        Ok(())
    });
}

#[test]
fn dates() {
    let day = prop_oneof![Just("Sun"), Just("Mon"), Just("Fri")];
    let month = prop_oneof![Just("Jan"), Just("Feb"), Just("Dec")];
    let time = (0..25_u8, 0..61_u8, 0..62_u8);
    let valid =
        (day, 0..33_u8, month, 0..10_000_u16, time).prop_map(|(name, day, month, year, (h, m, s))| {
            format!("{name}, {day:02} {month} {year:04} {h:02}:{m:02}:{s:02} GMT")
        });
    check(
        &texts(valid, &["GMT", "0000", "9999", "99999", "Feb", " 31 ", ".999999999", ":60", "-", "é"]),
        |text| {
            if let Some(date) = parse_http_date(&text) {
                // Within what a year of four digits can say.
                let seconds = date.duration_since(UNIX_EPOCH).unwrap_or_else(|before| before.duration());
                prop_assert!(seconds.as_secs() < 400_000_000_000, "{date:?}");
            }
            Ok(())
        },
    );
}
