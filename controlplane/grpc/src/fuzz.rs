//! Fields of the wire, and what operators give back.

use proptest::prelude::*;
use s3o_core::call::Refusal;
use s3o_fuzz::{bytes, check, texts};
use s3o_proto::v1;
use s3o_types::{ErrorCode, Extent, LifecycleDate, Secret};
use uuid::Uuid;

use crate::confirmation::Confirmations;
use crate::field::{self, Bad};
use crate::lifecycle;

fn code(bad: Bad) -> ErrorCode {
    Refusal::from(bad).code
}

#[test]
fn keys() {
    let valid = prop_oneof!["[a-z/]{1,20}", "[a-z]{1020,1028}", "é{510,514}"];
    check(&texts(valid, &["\0", "/", "é", "\u{10ffff}"]), |text| {
        let (long, whole) = (text.len() > 1024, !text.is_empty() && !text.contains('\0'));
        match field::key(text.clone()) {
            Ok(key) => prop_assert!(key == text && !long && whole),
            Err(bad) => {
                prop_assert_eq!(&bad.field, "key");
                prop_assert!(long || !whole);
                let expected = if long { ErrorCode::KeyTooLong } else { ErrorCode::InvalidArgument };
                prop_assert_eq!(code(bad), expected);
            }
        }
        Ok(())
    });
}

#[test]
fn ids_and_numbers() {
    let uuid = bytes(prop::collection::vec(any::<u8>(), 16), &["0", "1234567890123456"]);
    let numbers = prop_oneof![any::<u32>(), 32_766..32_770_u32, 65_534..65_538_u32];
    check(&(uuid, numbers), |(uuid, number)| {
        match field::version("v", &uuid) {
            Ok(version) => prop_assert_eq!(version.to_uuid().into_bytes().to_vec(), uuid),
            Err(bad) => prop_assert!(uuid.len() != 16 && bad.field == "v"),
        }
        let fits = number <= u32::from(Extent::MAX);
        prop_assert_eq!(
            field::extent(number).map(|extent| u32::from(extent.get())).ok(),
            fits.then_some(number)
        );
        prop_assert_eq!(field::generation(number).map(|n| u32::from(n.get())).ok(), fits.then_some(number));
        Ok(())
    });
}

#[test]
fn version_refs() {
    let valid = prop_oneof![Just(String::new()), Just("null".to_owned()), "[0-7][0-9A-HJKMNP-TV-Z]{25}"];
    check(&texts(valid, &["null", "8", "o", "\0", "-"]), |text| {
        match field::version_ref("version_id", &text) {
            Ok(None) => prop_assert!(text.is_empty()),
            Ok(Some(version)) => prop_assert_eq!(version.to_string(), text),
            Err(bad) => prop_assert_eq!(code(bad), ErrorCode::InvalidArgument),
        }
        Ok(())
    });
}

#[test]
fn lifecycle_rules() {
    let days = || prop::option::weighted(0.3, prop_oneof![0..4_u32, any::<u32>()]);
    let date = prop::option::weighted(0.3, prop_oneof![3 => 0..40_000_i32, 1 => any::<i32>()]);
    let text = "[a-z]{0,4}";
    let tags = prop::collection::hash_map("[a-z]{0,2}", text, 0..3);
    let rule = (text, text, tags, days(), date, days(), days(), any::<(bool, bool)>()).prop_map(
        |(id, prefix, tags, expire_after_days, expire_on, noncurrent_days, uploads, (enabled, markers))| {
            v1::LifecycleRule {
                id,
                enabled,
                prefix,
                tags,
                expire_after_days,
                expire_on,
                expired_delete_markers: markers,
                noncurrent_days,
                abort_uploads_after_days: uploads,
                ..v1::LifecycleRule::default()
            }
        },
    );
    check(&prop::collection::vec(rule, 0..3), |wire| {
        let Ok(rules) = lifecycle::rules(wire.clone()) else { return Ok(()) };
        // Days are stored by their names.
        for date in rules.iter().filter_map(|rule| rule.expire_on) {
            prop_assert_eq!(date.to_string().parse::<LifecycleDate>(), Ok(date));
        }
        let again: Vec<v1::LifecycleRule> = rules.into_iter().map(s3o_wire::lifecycle::to_wire).collect();
        prop_assert_eq!(again, wire);
        Ok(())
    });
}

#[test]
fn confirmations() {
    let confirmations = Confirmations::new(Some(&Secret::new("a secret")));
    let numbers =
        "[0-9]{1,3}\\.(purge|forget)\\.(none|[0-9]{1,9})\\.[0-9]{16}\\.[0-9]\\.[0-9]{16}\\.[0-9a-f]{64}";
    check(&texts(numbers, &[".", "..", "none", "é", "g", "00", "-"]), |text| {
        // Whoever does not know the secret cannot guess one.
        prop_assert!(confirmations.read(Uuid::from_u128(1), &text).is_err());
        Ok(())
    });
}
