//! The control plane's addresses, as the file has them.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};

use super::address::Address;

#[test]
fn addresses() {
    let valid = "https?://([a-z]{1,5}(\\.[a-z]{1,5})?|\\[::1\\]|10\\.0\\.0\\.1):[0-9]{1,5}/?";
    check(&texts(valid, &["://", ":", "[", "]", "/", "@", "?", "#", "é", "65536", " "]), |text| {
        if let Ok(address) = Address::parse(&text) {
            prop_assert_eq!(Address::parse(&address.url()), Ok(address));
        }
        Ok(())
    });
}
