//! Continuation tokens: where a listing goes on.
//!
//! Invariant: only a token that we made is taken. It is checked against mistakes, not against malice:
//! it says nothing that `start-after` could not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crc_fast::CrcAlgorithm;

const VERSION: u8 = 1;
const HEAD: usize = 5;

/// The token for "after this".
pub(crate) fn encode(after: &str) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(checksum(after).to_be_bytes());
    bytes.extend(after.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What a token says; `None` when it is none of ours.
pub(crate) fn decode(token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (head, after) = bytes.split_at_checked(HEAD)?;
    let after = std::str::from_utf8(after).ok()?;
    (head[0] == VERSION && head[1..] == checksum(after).to_be_bytes()).then(|| after.to_owned())
}

fn checksum(after: &str) -> u32 {
    let wide = crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, after.as_bytes());
    u32::try_from(wide & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        for after in ["", "a", "ü/ß~\u{1F600}", &"x".repeat(1024)] {
            assert_eq!(decode(&encode(after)).as_deref(), Some(after));
        }
        for bad in ["", "a", "!!!", "AAAAAAAA", &encode("abc")[1..], &format!("{}A", encode("abcd"))] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
