//! Tags: what S3 takes for one, in a header and in a document.
//!
//! Invariant: whatever passes here is stored and comes back as it was; what breaks S3's limits is refused, never
//! shortened. The limits are those of the Amazon S3 User Guide, "Categorizing your objects using tags", the errors
//! those of the PutObjectTagging reference.

use std::collections::BTreeMap;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use s3s::dto::Tag;
use s3s::{S3Error, S3Result, s3_error};

use crate::pipeline::faults;

/// All tags of an object, by their keys.
pub(super) type Tags = BTreeMap<String, String>;

const MAX_TAGS: usize = 10;
/// UTF-16 units, as S3 counts: a character outside of the basic plane is two.
const MAX_KEY_UNITS: usize = 128;
const MAX_VALUE_UNITS: usize = 256;
/// Of a document of tags: others would be passed over, and with them a tag.
pub(super) const ELEMENTS: [&str; 2] = ["TagSet", "TagSet/Tag"];
/// Keys that are S3's own.
const RESERVED: &str = "aws:";

/// The `x-amz-tagging` header: `key=value&…`, percent-encoded.
pub(super) fn of_header(header: Option<&str>) -> S3Result<Tags> {
    let mut tags = Tags::new();
    for pair in header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key)?, decode(value)?);
        if key.is_empty() || tags.insert(key, value).is_some() {
            return Err(bad_header());
        }
    }
    check(&tags)?;
    Ok(tags)
}

/// The tag set of a PutObjectTagging.
pub(super) fn of_document(set: Vec<Tag>) -> S3Result<Tags> {
    // Before the set is looked through, as S3 does.
    if set.len() > MAX_TAGS {
        return Err(too_many());
    }
    let mut tags = Tags::new();
    for Tag { key, value } in set {
        let (Some(key), Some(value)) = (key, value) else { return Err(s3_error!(MalformedXML)) };
        if tags.insert(key, value).is_some() {
            return Err(s3_error!(InvalidTag, "Cannot provide multiple Tags with the same key"));
        }
    }
    check(&tags)?;
    Ok(tags)
}

/// As GetObjectTagging answers them.
pub(super) fn to_document(tags: Tags) -> Vec<Tag> {
    tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect()
}

fn check(tags: &Tags) -> S3Result<()> {
    if tags.len() > MAX_TAGS {
        return Err(too_many());
    }
    for (key, value) in tags {
        if key.is_empty() || !fits(key, MAX_KEY_UNITS) {
            return Err(s3_error!(InvalidTag, "The TagKey you have provided is invalid"));
        }
        if !fits(value, MAX_VALUE_UNITS) {
            return Err(s3_error!(InvalidTag, "The TagValue you have provided is invalid"));
        }
        if key.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
            return Err(s3_error!(InvalidTag, "System tags cannot be added/updated by requester"));
        }
    }
    Ok(())
}

/// Letters, digits and spaces of any script, and a few signs.
fn fits(text: &str, units: usize) -> bool {
    let allowed = |c: char| {
        c.is_alphanumeric() || is_space(c) || matches!(c, '+' | '-' | '=' | '.' | '_' | ':' | '/' | '@')
    };
    text.encode_utf16().count() <= units && text.chars().all(allowed)
}

/// Unicode's separators: its white space but the control characters.
fn is_space(c: char) -> bool {
    c.is_whitespace() && !c.is_control()
}

fn too_many() -> S3Error {
    faults::custom("BadRequest", StatusCode::BAD_REQUEST, "Object tags cannot be greater than 10")
}

fn bad_header() -> S3Error {
    faults::invalid_argument(
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    )
}

fn decode(text: &str) -> S3Result<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| bad_header())?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(pairs: &[(&str, &str)]) -> S3Result<Tags> {
        let tag = |(key, value): &(&str, &str)| Tag {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        };
        of_document(pairs.iter().map(tag).collect())
    }

    fn code<T: std::fmt::Debug>(result: S3Result<T>) -> String {
        result.expect_err("refused").code().as_str().to_owned()
    }

    #[test]
    fn headers() {
        let found = of_header(Some("a=1&b%20c=%C3%BC+x&d&e=f%3Dg=h")).expect("four tags");
        assert_eq!(found["b c"], "ü x");
        assert_eq!((found["d"].as_str(), found["e"].as_str()), ("", "f=g=h"));
        assert!(of_header(None).expect("none").is_empty());
        for bad in ["a=1&a=2", "=1", "a=%FF"] {
            assert_eq!(code(of_header(Some(bad))), "InvalidArgument", "{bad}");
        }
        let many: Vec<_> = (0..11).map(|i| format!("k{i}=v")).collect();
        assert_eq!(code(of_header(Some(&many.join("&")))), "BadRequest");
        assert_eq!(code(of_header(Some(&format!("k={}", "v".repeat(257))))), "InvalidTag");
        for bad in ["a%2Cb=1", "a%01=1", "a=%0A", "a=%C2%85"] {
            assert_eq!(code(of_header(Some(bad))), "InvalidTag", "{bad}");
        }
    }

    #[test]
    fn documents() {
        let long = ("ü".repeat(128), "文".repeat(256));
        let found = document(&[("b c+d-e=f.g_h:i/j@k", "2 + 2 = 4"), ("empty", ""), (&long.0, &long.1)]);
        assert_eq!(found.expect("three tags").len(), 3);
        assert!(document(&[]).expect("none").is_empty());
        assert_eq!(code(document(&[("a", "1"), ("a", "2")])), "InvalidTag");
        assert_eq!(code(document(&[("k", "v"); 11])), "BadRequest");
        assert_eq!(code(of_document(vec![Tag { key: Some("a".to_owned()), value: None }])), "MalformedXML");
    }

    #[test]
    fn limits() {
        // U+1D49C is a letter of two UTF-16 units.
        let wide = "\u{1D49C}";
        assert!(document(&[(&wide.repeat(64), &wide.repeat(128))]).is_ok());
        for (key, value) in [
            (wide.repeat(65), String::new()),
            ("k".to_owned(), wide.repeat(129)),
            (String::new(), String::new()),
        ] {
            assert_eq!(code(document(&[(&key, &value)])), "InvalidTag");
        }
        for bad in
            ["a,b", "a;b", "a?b", "a!b", "a*b", "a#b", "a%b", "a(b)", "a\tb", "a\0b", "\u{1F600}", "AWS:x"]
        {
            assert_eq!(code(document(&[(bad, "v")])), "InvalidTag", "{bad:?}");
        }
        assert!(document(&[("k", "aws:x")]).is_ok() && document(&[("awsx", "")]).is_ok());
    }
}
