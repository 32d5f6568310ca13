//! XML answers as a client can read them.
//!
//! Why: keys may hold control characters, and `s3s` writes all but carriage returns as they are. A parser may take
//! line feeds and tabs for white space, and stops at most of the others. As references, which is how S3 sends them,
//! the former come back whole, and lenient parsers read the rest; what none can read is what `encoding-type=url`
//! is for.

use std::fmt::Write as _;

use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use s3s::Body;

/// Whether the body is a document.
pub(super) fn is_xml(response: &Response<Body>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().ends_with(b"xml"))
}

/// Writes control characters as references. Bodies that stream are objects, whatever their type says.
pub(super) fn escape_controls(response: &mut Response<Body>) {
    if !is_xml(response) {
        return;
    }
    let Some(escaped) = response.body().bytes().and_then(|xml| escaped(&xml)) else { return };
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(escaped);
}

/// `None` where there is nothing to do. `s3s` puts no white space between elements.
fn escaped(xml: &[u8]) -> Option<String> {
    if !xml.iter().any(u8::is_ascii_control) {
        return None;
    }
    let text = std::str::from_utf8(xml).ok()?;
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if c.is_ascii_control() {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "&#{};", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn controls_become_references() {
        assert_eq!(
            escaped("<Key>a\rb\n\u{1}ü</Key>".as_bytes()).as_deref(),
            Some("<Key>a&#13;b&#10;&#1;ü</Key>")
        );
        assert_eq!(escaped("<Key>ü</Key>".as_bytes()), None);
    }

    #[test]
    fn only_documents_are_changed() {
        let of = |kind: &'static str| {
            let mut response = Response::new(Body::from("a\tb".to_owned()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            escape_controls(&mut response);
            response.body().bytes().expect("whole")
        };
        assert_eq!(of("application/xml"), "a&#9;b");
        assert_eq!(of("text/plain"), "a\tb");
    }
}
