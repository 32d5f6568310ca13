//! Headers and parameters as S3 takes them, where `s3s` would answer 400 or not see them.
//!
//! What no signature covers is changed before `s3s` sees it. What one covers is changed after: the request goes through
//! `s3s` as it came, to have its signature checked and nothing else, and then once more, for whoever signed it. So do
//! documents, which are said anew in between ([`document`]).
//!
//! Invariant: what is served in the end differs from what was signed in these headers and parameters and in how a document is
//! written.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, RANGE};
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result, TrailingHeaders};

use super::{dates, document, hoisted, queries, ranges, words};
use crate::access::{Signer, is_presigned, signs};
use crate::host::Domains;

/// Text that `s3s` reads. `None`: S3 would ignore the header.
type Understand = fn(&str) -> Option<String>;

fn headers() -> [(HeaderName, Understand); 3] {
    [
        (RANGE, ranges::understood),
        (IF_MODIFIED_SINCE, dates::understood),
        (IF_UNMODIFIED_SINCE, dates::understood),
    ]
}

/// Headers and what they are to be. `None`: they are to go.
type Changes = Vec<(HeaderName, Option<HeaderValue>)>;

/// In the extensions of a request of which only the signature is to be checked.
#[derive(Debug, Clone, Copy)]
struct OnlyCheck;

/// A request that waits for its signature to be checked.
pub(super) struct Settled {
    /// As it is to be served then.
    pub head: Request<()>,
    pub is_document: bool,
}

/// Makes the headers such that `s3s` reads them as S3 would. Where a signature covers what is to be changed, the request is
/// left to be checked, and what it is to be then is given back: see [`Checked::served`].
pub(super) fn settle(request: &mut Request<Body>, domains: &Domains) -> Option<Settled> {
    let hoisted = hoisted::headers(request).into_iter();
    let mut signed: Changes = hoisted.map(|(name, value)| (name, Some(value))).collect();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_read {
        signed.extend(settle_read(request));
    }
    let query = if is_read { queries::settled(request) } else { None };
    let is_document = document::is_one(request, domains);
    let has_words = !words::headers(request.headers()).is_empty();
    if signed.is_empty() && !has_words && query.is_none() && !is_document {
        return None;
    }
    let mut head = unsigned(request);
    if let Some(query) = query {
        set_query(&mut head, query);
    }
    for (name, settled) in signed {
        set(head.headers_mut(), name, settled);
    }
    // Also of what has come from the query.
    for (name, word) in words::headers(head.headers()) {
        set(head.headers_mut(), name, Some(word));
    }
    request.extensions_mut().insert(OnlyCheck);
    Some(Settled { head, is_document })
}

/// Changes what is not signed; gives back what is.
fn settle_read<B>(request: &mut Request<B>) -> Changes {
    let mut signed = Vec::new();
    for (name, understand) in headers() {
        let mut values = request.headers().get_all(&name).iter();
        let (Some(value), another) = (values.next(), values.next()) else { continue };
        let text = value.to_str().ok().filter(|_| another.is_none()).and_then(understand);
        let settled = text.and_then(|text| HeaderValue::try_from(text).ok());
        if settled.as_ref() == Some(value) {
            continue;
        }
        if signs(name.as_str(), request.headers(), request.uri().query()) {
            signed.push((name, settled));
        } else {
            set(request.headers_mut(), name, settled);
        }
    }
    signed
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

/// Sets the query and what goes with it, but for what is in it of a signature.
fn set_query(head: &mut Request<()>, settled: queries::Settled) {
    let queries::Settled { query, expires } = settled;
    *head.uri_mut() = without_signature(&with_query(head.uri(), &query));
    if let Some(expires) = expires {
        head.extensions_mut().insert(expires);
    }
}

/// The same without what `s3s` would take for a signature, and without the body.
fn unsigned<B>(request: &Request<B>) -> Request<()> {
    let mut unsigned = Request::new(());
    *unsigned.method_mut() = request.method().clone();
    *unsigned.uri_mut() = without_signature(request.uri());
    *unsigned.version_mut() = request.version();
    *unsigned.headers_mut() = request.headers().clone();
    *unsigned.extensions_mut() = request.extensions().clone();
    unsigned.headers_mut().remove(AUTHORIZATION);
    unsigned
}

fn without_signature(uri: &Uri) -> Uri {
    let Some(query) = uri.query().filter(|query| is_presigned(Some(query))) else { return uri.clone() };
    let others: Vec<_> = query.split('&').filter(|pair| !is_presigned(Some(pair))).collect();
    with_query(uri, &others.join("&"))
}

fn with_query(uri: &Uri, query: &str) -> Uri {
    let mut parts = uri.clone().into_parts();
    let path = uri.path();
    let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    parts.path_and_query = PathAndQuery::try_from(text).ok();
    // With the signature it would be refused.
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// What a check has found: who signed, and how the body is to be read, which is compared with the signature while it is.
#[derive(Clone)]
pub(super) struct Checked {
    signer: Signer,
    /// Bytes of the body, which are fewer than came where they came in chunks.
    length: Option<HeaderValue>,
    pub(super) trailing: Option<TrailingHeaders>,
}

impl Checked {
    /// The request, for whoever signed it.
    pub(super) fn served(&self, head: Request<()>, body: Body) -> Request<Body> {
        let mut request = head.map(|()| body);
        request.extensions_mut().insert(self.signer.clone());
        set(request.headers_mut(), CONTENT_LENGTH, self.length.clone());
        request
    }
}

/// How `s3s` checks a signature and runs no operation: it answers with the body, and says in the extensions who has signed
/// ([`Checked`]).
pub(crate) struct SignatureCheck;

#[async_trait::async_trait]
impl S3Route for SignatureCheck {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, extensions: &mut Extensions) -> bool {
        extensions.get::<OnlyCheck>().is_some()
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let signer = Signer::of(request.credentials.as_ref(), &request.headers, request.uri.query())?;
        let length = request.headers.get(CONTENT_LENGTH).cloned();
        let trailing = request.trailing_headers;
        let mut response = S3Response::new(request.input);
        response.extensions.insert(Checked { signer, length, trailing });
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(header: &HeaderName, value: &'static str, authorization: &'static str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(header, HeaderValue::from_static(value));
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(authorization));
        request
    }

    #[test]
    fn what_is_signed_waits_for_the_check() {
        for header in [RANGE, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
            let mut plain = request(
                &header,
                "nonsense",
                "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0",
            );
            assert!(settle(&mut plain, &Domains::new(&[])).is_none(), "{header}");
            assert!(!plain.headers().contains_key(&header) && plain.headers().contains_key(AUTHORIZATION));
            let list = "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;if-modified-since;if-unmodified-since;range, Signature=0";
            let mut signed = request(&header, "nonsense", list);
            let Settled { head: served, is_document } =
                settle(&mut signed, &Domains::new(&[])).expect("signed");
            assert!(!is_document);
            assert!(signed.headers().contains_key(&header), "the signature is over it");
            assert!(signed.extensions().get::<OnlyCheck>().is_some(), "nothing else is done with it");
            assert!(!served.headers().contains_key(&header) && !served.headers().contains_key(AUTHORIZATION));
            assert!(served.extensions().get::<OnlyCheck>().is_none());
        }
        let mut fine = request(&RANGE, "bytes=2-4", "SignedHeaders=host;range");
        assert!(settle(&mut fine, &Domains::new(&[])).is_none(), "nothing is to be changed");
        *fine.method_mut() = Method::PUT;
        fine.headers_mut().insert(RANGE, HeaderValue::from_static("nonsense"));
        assert!(
            settle(&mut fine, &Domains::new(&[])).is_none() && fine.headers().contains_key(RANGE),
            "it is no read"
        );
    }

    #[test]
    fn a_presigned_url_loses_its_signature_alone() {
        let of = |uri: &'static str| without_signature(&Uri::from_static(uri)).to_string();
        assert_eq!(of("/b/k?versionId=a&X-Amz-Date=1&X-Amz%2DSignature=00"), "/b/k?versionId=a&X-Amz-Date=1");
        assert_eq!(of("http://h/k?X-Amz-Signature=0&a"), "http://h/k?a");
        assert_eq!(of("/b/k?a=X-Amz-Signature"), "/b/k?a=X-Amz-Signature");
    }
}
