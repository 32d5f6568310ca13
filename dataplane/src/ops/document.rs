//! Bodies that are documents: `s3s` reads and parses them, compares nothing but the signature, and passes over the
//! elements of a document's outermost one that it does not know.

use http::{Method, Request};
use s3o_blob::BodyDigests;
use s3s::xml::{DeError, DeResult, Deserializer};
use s3s::{S3Request, S3Result, s3_error};

use super::upload;
use crate::http::drain::SmallBody;

/// Sub-resources that are put as a document.
const DOCUMENTS: [&str; 13] = [
    "tagging",
    "acl",
    "cors",
    "lifecycle",
    "object-lock",
    "retention",
    "legal-hold",
    "publicAccessBlock",
    "ownershipControls",
    "requestPayment",
    "logging",
    "notification",
    "accelerate",
];

/// Those of them in which a misspelt name would mean something else: no retention, no default, nothing at all.
const STRICT: [&str; 5] = ["object-lock", "retention", "legal-hold", "logging", "notification"];
/// Characters of an unknown name that a client is told: it may be as long as the document.
const MAX_NAME: usize = 64;

/// Whether a request's body is a document, so that its digests are wanted.
pub(crate) fn is_document<B>(request: &Request<B>) -> bool {
    match *request.method() {
        Method::POST => true,
        Method::PUT => names_one(request, &DOCUMENTS),
        _ => false,
    }
}

/// Whether a document's text is wanted too, for [`check_elements`].
pub(crate) fn is_strict<B>(request: &Request<B>) -> bool {
    *request.method() == Method::PUT && names_one(request, &STRICT)
}

fn names_one<B>(request: &Request<B>, resources: &[&str]) -> bool {
    let is_one = |pair: &str| resources.contains(&pair.split_once('=').map_or(pair, |(name, _)| name));
    request.uri().query().is_some_and(|query| query.split('&').any(is_one))
}

/// Compares the digests that the client sent with those of what came.
pub(super) fn check<T>(req: &S3Request<T>) -> S3Result<()> {
    let Some(BodyDigests { md5, checksums, .. }) =
        req.extensions.get::<SmallBody>().and_then(SmallBody::digests)
    else {
        return Ok(());
    };
    if upload::content_md5(&req.headers)?.is_some_and(|expected| Some(expected) != md5) {
        return Err(s3_error!(BadDigest));
    }
    let expected = upload::checksums(&req.headers)?;
    if expected.values.iter().any(|(name, value)| checksums.values.get(name) != Some(value)) {
        return Err(s3_error!(BadDigest, "A checksum you specified did not match what we received."));
    }
    Ok(())
}

/// Refuses a document whose outermost element has others than the known ones, by their name. What is within those is the
/// parser's to refuse. Only for what is [`is_strict`].
pub(super) fn check_elements<T>(req: &S3Request<T>, known: &[&str]) -> S3Result<()> {
    let Some(body) = req.extensions.get::<SmallBody>() else {
        return Err(s3_error!(NotImplemented, "This document cannot be sent in signed chunks."));
    };
    let text = body.text().ok_or_else(|| s3_error!(MaxMessageLengthExceeded))?;
    elements(&text, known)
}

fn elements(text: &[u8], known: &[&str]) -> S3Result<()> {
    let mut unknown = None;
    let read = Deserializer::new(text).element(|reader, _| {
        reader.for_each_element(|reader, name| {
            if known.iter().any(|known| known.as_bytes() == name) {
                return pass(reader);
            }
            unknown = Some(String::from_utf8_lossy(name).chars().take(MAX_NAME).collect::<String>());
            Err(DeError::UnexpectedTagName)
        })
    });
    match (read, unknown) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(name)) => Err(s3_error!(MalformedXML, "The element '{name}' is not known here.")),
        (Err(_), None) => Err(s3_error!(MalformedXML)),
    }
}

/// To the end of an element that was parsed before: it is as deep as what is known.
fn pass(reader: &mut Deserializer<'_>) -> DeResult {
    reader.for_each_element(|reader, _| pass(reader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_elements_are_named() {
        let of = |text: &str| elements(text.as_bytes(), &["Mode", "Rule"]).err();
        assert!(
            of("<?xml version=\"1.0\"?>\n<R xmlns=\"x\">\n <Mode>A&amp;B</Mode><Mode/>\n</R>\n").is_none()
        );
        assert!(of("<R><Rule><Other><Mode/>x</Other></Rule></R>").is_none(), "the parser's to refuse");
        assert!(of("<R/>").is_none() && of("<R>x</R>").is_none());
        let error = of("<R><Mode/><mode>A</mode></R>").expect("unknown");
        assert_eq!(error.code().as_str(), "MalformedXML");
        assert_eq!(error.message(), Some("The element 'mode' is not known here."));
        assert!(of("<R><a:Mode/></R>").is_some() && of("<R><Mode></R>").is_some() && of("").is_some());
        let error = of(&format!("<R><{}/></R>", "é".repeat(70))).expect("unknown");
        assert_eq!(error.message().map(|text| text.matches('é').count()), Some(MAX_NAME));
    }

    #[test]
    fn documents() {
        let of = |method: Method, uri: &str| {
            is_document(&Request::builder().method(method).uri(uri).body(()).expect("a request"))
        };
        assert!(
            of(Method::POST, "/b?delete")
                && of(Method::PUT, "/b/k?tagging")
                && of(Method::PUT, "/b?x=1&acl=")
                && of(Method::PUT, "/b?object-lock")
                && of(Method::PUT, "/b/k?versionId=1&retention")
        );
        assert!(
            !of(Method::PUT, "/b/tagging") && !of(Method::PUT, "/b/k?x=acl") && !of(Method::GET, "/b?acl")
        );
        let strict = |method: Method, uri: &str| {
            is_strict(&Request::builder().method(method).uri(uri).body(()).expect("a request"))
        };
        assert!(strict(Method::PUT, "/b?object-lock") && strict(Method::PUT, "/b/k?versionId=1&retention="));
        assert!(!strict(Method::PUT, "/b?cors") && !strict(Method::POST, "/b?retention"));
    }
}
