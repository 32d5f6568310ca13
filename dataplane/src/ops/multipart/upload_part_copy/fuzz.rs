//! `x-amz-copy-source-range`.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};

use super::parse_range;
use crate::ops::fuzz::refused;

#[test]
fn ranges_of_sources() {
    let number =
        || prop_oneof![4 => 0..30_u64, 1 => any::<u64>(), 1 => (u64::MAX >> 1) - 2..=(u64::MAX >> 1)];
    let valid = (number(), number()).prop_map(|(first, last)| format!("bytes={first}-{last}"));
    check(&texts(valid, &["bytes=", "-", ",", "+", " ", "18446744073709551616", "٣"]), |text| {
        let read = parse_range(&text);
        refused(&read, &["InvalidArgument"])?;
        if let Ok(slice) = read {
            prop_assert!(slice.start < slice.end && i64::try_from(slice.end).is_ok());
            let said = format!("bytes={}-{}", slice.start, slice.end - 1);
            prop_assert_eq!(parse_range(&said).ok(), Some(slice));
            prop_assert!(said.len() <= text.len());
        }
        Ok(())
    });
}
