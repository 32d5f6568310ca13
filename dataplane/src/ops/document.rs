//! Bodies that are documents: `s3s` reads and parses them, and compares nothing but the signature.

use http::{Method, Request};
use s3o_blob::BodyDigests;
use s3s::{S3Request, S3Result, s3_error};

use super::upload;
use crate::http::drain::SmallBody;

/// Sub-resources that are put as a document.
const DOCUMENTS: [&str; 7] =
    ["tagging", "acl", "cors", "lifecycle", "object-lock", "retention", "legal-hold"];

/// Whether a request's body is a document, so that its digests are wanted.
pub(crate) fn is_document<B>(request: &Request<B>) -> bool {
    let names_one = |pair: &str| DOCUMENTS.contains(&pair.split_once('=').map_or(pair, |(name, _)| name));
    match *request.method() {
        Method::POST => true,
        Method::PUT => request.uri().query().is_some_and(|query| query.split('&').any(names_one)),
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
