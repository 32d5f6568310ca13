//! Metadata that looks like words of RFC 2047 and is none: S3 keeps it as it is, `s3s` refuses it.
//!
//! Invariant: what is said anew here is read by `s3s` as the text that came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Metadata headers as they are to be said for `s3s` to read their text. None where a checksum comes behind the body, which
/// would not be compared with one that goes through `s3s` twice: `s3s` refuses the request then.
pub(super) fn headers(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    if headers.contains_key("x-amz-trailer") {
        return Vec::new();
    }
    let said_anew = |(name, value): (&HeaderName, &HeaderValue)| {
        let is_metadata = name.as_str().starts_with("x-amz-meta-");
        let text = std::str::from_utf8(value.as_bytes()).ok().filter(|_| is_metadata)?.trim_ascii();
        if !looks_encoded(text) || is_encoded(text) {
            return None;
        }
        let word = format!("=?UTF-8?B?{}?=", BASE64.encode(text));
        Some((name.clone(), HeaderValue::try_from(word).ok()?))
    };
    headers.iter().filter_map(said_anew).collect()
}

fn looks_encoded(text: &str) -> bool {
    text.starts_with("=?") && text.ends_with("?=")
}

/// One word, or several with white space between them.
fn is_encoded(text: &str) -> bool {
    if text.split_whitespace().filter(|word| looks_encoded(word)).count() > 1 {
        return text.split_whitespace().all(is_word);
    }
    is_word(text)
}

fn is_word(word: &str) -> bool {
    let Some(inner) = word.strip_prefix("=?").and_then(|rest| rest.strip_suffix("?=")) else { return false };
    let mut parts = inner.splitn(3, '?');
    let (Some(_), Some(encoding), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let bytes = match encoding {
        "B" | "b" => BASE64.decode(text).ok(),
        "Q" | "q" => quoted(text.as_bytes()),
        _ => None,
    };
    bytes.is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}

/// The bytes of a `Q` word: `=` stands before two digits.
fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let digits = others.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &others[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anew(name: &'static str, value: &'static str) -> Option<String> {
        let all = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        let (_, value) = headers(&all).pop()?;
        Some(value.to_str().expect("text").to_owned())
    }

    #[test]
    fn what_is_no_word_is_said_as_one() {
        for none in ["=?foo?=", "=?UTF-8?B?!!!?=", "=?ISO-8859-1?Q?=E9?=", "=?x?Q?=2?=", "=?x?X?a?=", "=?="] {
            let said = format!("=?UTF-8?B?{}?=", BASE64.encode(none));
            assert_eq!(anew("x-amz-meta-a", none), Some(said), "{none}");
        }
        assert!(anew("x-amz-meta-a", "=?UTF-8?B?YQ==?= b =?UTF-8?B?Yw==?=").is_some(), "b would be lost");
        let name = HeaderName::from_static("x-amz-meta-a");
        let raw =
            HeaderMap::from_iter([(name, HeaderValue::from_bytes("=?ü?=".as_bytes()).expect("opaque"))]);
        assert_eq!(headers(&raw)[0].1, "=?UTF-8?B?PT/DvD89?=");
    }

    #[test]
    fn words_and_other_text_stay() {
        for text in ["a", "=?UTF-8?B?w7w=?=", "=?utf-8?q?=C3=BC_a?=", "=?UTF-8?B?YQ==?= =?UTF-8?B?Yg==?="] {
            assert_eq!(anew("x-amz-meta-a", text), None, "{text}");
        }
        assert_eq!(anew("x-amz-tagging", "=?foo?="), None, "it is no metadata");
        let pairs = [("x-amz-meta-a", "=?foo?="), ("x-amz-trailer", "x-amz-checksum-crc32")];
        let all = pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert!(headers(&HeaderMap::from_iter(all)).is_empty(), "its checksum is to be compared");
    }
}
