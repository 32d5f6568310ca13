//! Upload ids and part numbers.

use proptest::prelude::*;
use s3o_blob::{Algorithm, ChecksumKind};
use s3o_fuzz::{check, texts};
use uuid::Uuid;

use super::part_number;
use super::token::UploadToken;
use crate::ops::fuzz::refused;

/// Ids as clients were told them, and what they may make of them.
pub(super) fn upload_ids() -> BoxedStrategy<String> {
    let kinds = prop_oneof![Just(ChecksumKind::Composite), Just(ChecksumKind::FullObject)];
    let checksum = prop::option::of((prop::sample::select(Algorithm::ALL.to_vec()), kinds));
    let valid = (any::<u128>(), checksum)
        .prop_map(|(id, checksum)| UploadToken { id: Uuid::from_u128(id), checksum }.format());
    texts(valid, &["-", "-crc32-c", "-sha1-f", "-c", "urn:uuid:", "{", "}", "é", "\0", "A"])
}

#[test]
fn upload_tokens() {
    check(&upload_ids(), |text| {
        if let Some(token) = UploadToken::parse(&text) {
            let again = token.format();
            prop_assert_eq!(UploadToken::parse(&again), Some(token));
            // The same but for the digits' case.
            prop_assert_eq!(again, text.to_ascii_lowercase());
        }
        Ok(())
    });
}

#[test]
fn part_numbers() {
    check(&prop_oneof![-2..4_i32, 9_998..10_003_i32, any::<i32>()], |number| {
        let read = part_number(number);
        refused(&read, &["InvalidArgument"])?;
        prop_assert_eq!(
            read.ok().map(i32::from),
            Some(number).filter(|number| (1..=10_000).contains(number))
        );
        Ok(())
    });
}
