//! Headers on several lines, which are one list (RFC 9110, 5.3): S3 joins them, `s3s` refuses them.
//!
//! Signatures are over the joined value (AWS Signature Version 4, "Create a canonical request"): joining changes nothing
//! of what was signed.

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Makes one line of the lists and of metadata, which S3 takes for lists.
pub(super) fn join(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let repeated = |name: &HeaderName| is_list(name) && headers.get_all(name).iter().nth(1).is_some();
    let names: Vec<HeaderName> = headers.keys().filter(|name| repeated(name)).cloned().collect();
    for name in names {
        let lines = headers.get_all(&name).iter().map(|line| line.as_bytes().trim_ascii());
        let joined = lines.collect::<Vec<_>>().join(&b","[..]);
        if let Ok(joined) = HeaderValue::try_from(joined) {
            headers.insert(name, joined);
        }
    }
}

fn is_list(name: &HeaderName) -> bool {
    [CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE].contains(name)
        || name.as_str().starts_with("x-amz-meta-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_joined_and_nothing_else() {
        let pairs = [
            ("content-encoding", "gzip"),
            ("content-encoding", "aws-chunked "),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
            ("x-amz-meta-b", "3"),
            ("host", "a"),
            ("host", "b"),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        join(&mut headers);
        let of = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(of("content-encoding"), ["gzip,aws-chunked"]);
        assert_eq!(of("x-amz-meta-a"), ["1,2"]);
        assert_eq!(of("x-amz-meta-b"), ["3"]);
        assert_eq!(of("host"), ["a", "b"], "s3s refuses it, as it must");
    }
}
