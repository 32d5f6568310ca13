//! XML answers as a client can read them.
//!
//! Why: keys may hold control characters. `s3s` writes line feeds and tabs as they are, which a parser may take for white
//! space, and refuses the others, at which most parsers stop. As references, which is how S3 sends them, the former come
//! back whole, and lenient parsers read the rest; what none can read is what `encoding-type=url` is for. So whatever a
//! client chose is written where it is made ([`Elements`]), as the entries of a listing are: it goes into the document's
//! end. And some of `s3s`'s documents lack S3's namespace, in which parsers that know of any look for all elements.

use std::fmt::Write as _;

use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use s3s::Body;

use crate::ops::elements::Elements;

/// Of all documents of S3 (API reference) but errors and the answer to a form.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
const WITHOUT_NAMESPACE: [&str; 2] = ["Error", "PostResponse"];

/// Whether the body is a document.
pub(super) fn is_xml(response: &Response<Body>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().ends_with(b"xml"))
}

/// Puts the operation's own elements in, and S3's namespace where it lacks, and writes control characters as references.
/// Bodies that stream are objects, whatever their type says.
pub(super) fn finish(response: &mut Response<Body>) {
    let entries = response.extensions_mut().remove::<Elements>();
    if !is_xml(response) {
        return;
    }
    let Some(xml) = response.body().bytes() else { return };
    let Ok(text) = std::str::from_utf8(&xml) else { return };
    let escaped = escaped(text);
    let named = in_namespace(escaped.as_deref().unwrap_or(text)).or(escaped);
    let finished = match entries {
        Some(entries) => with_entries(named.as_deref().unwrap_or(text), entries.as_str()),
        None => named,
    };
    if let Some(finished) = finished {
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(finished);
    }
}

/// `None` where there is nothing to do. `s3s` gives a root no other attribute.
fn in_namespace(text: &str) -> Option<String> {
    let (declaration, document) = text.split_at(text.find("?>").map_or(0, |end| end + 2));
    let (root, rest) = document.strip_prefix('<')?.split_once('>')?;
    if !root.bytes().all(|byte| byte.is_ascii_alphanumeric()) || WITHOUT_NAMESPACE.contains(&root) {
        return None;
    }
    Some(format!("{declaration}<{root} xmlns=\"{NAMESPACE}\">{rest}"))
}

/// Before the end of the outermost element. `None`: it has none.
fn with_entries(text: &str, entries: &str) -> Option<String> {
    let (head, end) = text.split_at(text.rfind("</")?);
    Some([head, entries, end].concat())
}

/// `None` where there is nothing to do. `s3s` puts no white space between elements.
fn escaped(text: &str) -> Option<String> {
    if !text.bytes().fold(false, |any, byte| any | byte.is_ascii_control()) {
        return None;
    }
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
        assert_eq!(escaped("<Key>a\rb\n\u{1}ü</Key>").as_deref(), Some("<Key>a&#13;b&#10;&#1;ü</Key>"));
        assert_eq!(escaped("<Key>ü</Key>"), None);
    }

    fn finished(kind: &'static str, body: &str, entries: Option<Elements>) -> bytes::Bytes {
        let mut response = Response::new(Body::from(body.to_owned()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response.extensions_mut().extend(
            entries
                .map(|entries| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(entries);
                    extensions
                })
                .unwrap_or_default(),
        );
        finish(&mut response);
        response.body().bytes().expect("whole")
    }

    #[test]
    fn only_documents_are_changed() {
        assert_eq!(finished("application/xml", "a\tb", None), "a&#9;b");
        assert_eq!(finished("text/plain", "a\tb", None), "a\tb");
    }

    #[test]
    fn entries_go_into_the_end() {
        let mut entries = Elements::default();
        entries.text("K", "x\n");
        let of = |kind, body| finished(kind, body, Some(entries.clone()));
        let wanted = "<R xmlns=\"x\"><A>&#9;</A><K>x&#10;</K></R>";
        assert_eq!(of("application/xml", "<R xmlns=\"x\"><A>\t</A></R>"), wanted);
        assert_eq!(of("text/plain", "<R></R>"), "<R></R>");
    }

    #[test]
    fn documents_are_in_the_namespace() {
        let of = |body| finished("application/xml", body, None);
        let wanted =
            format!("<?xml version=\"1.0\"?><Retention xmlns=\"{NAMESPACE}\"><Mode>&#9;</Mode></Retention>");
        assert_eq!(of("<?xml version=\"1.0\"?><Retention><Mode>\t</Mode></Retention>"), wanted);
        for done in [
            "<A xmlns=\"x\"></A>",
            "<Error><Code>x</Code></Error>",
            "<PostResponse></PostResponse>",
            "<A/>",
            "",
            "?><",
        ] {
            assert_eq!(of(done), done);
        }
    }
}
