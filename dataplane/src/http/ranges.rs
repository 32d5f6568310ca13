//! `Range` headers as S3 takes them, where `s3s` would answer 400.
//!
//! S3 ignores a range that it does not understand (several parts, another unit, the last byte before
//! the first) and gives the whole object; a position beyond all objects is the last one.

/// Positions that S3's signed integers hold.
const LARGEST: u64 = u64::MAX >> 1;

/// One range, with positions that fit. `None`: S3 would ignore it.
pub(super) fn understood(value: &str) -> Option<String> {
    let (unit, range) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => Some(format!("bytes=-{}", position(last)?)),
        (first, "") => Some(format!("bytes={}-", position(first)?)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then(|| format!("bytes={first}-{last}"))
        }
    }
}

fn position(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // What is too long to be read is too large.
    is_number.then(|| text.parse().map_or(LARGEST, |n: u64| n.min(LARGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_s3_reads_them() {
        for (header, settled) in [
            ("bytes=2-4", Some("bytes=2-4")),
            ("Bytes= 2-4", Some("bytes=2-4")),
            ("bytes=-3", Some("bytes=-3")),
            ("bytes=7-", Some("bytes=7-")),
            ("bytes=0-99999999999999999999", Some("bytes=0-9223372036854775807")),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("nonsense", None),
        ] {
            assert_eq!(understood(header).as_deref(), settled, "{header}");
        }
    }
}
