//! Errors that are raised outside of `s3s`, and the request id in all of them.

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
    RANGE, RETRY_AFTER,
};
use http::{Request, Response, StatusCode, Uri};
use s3s::path::S3Path;
use s3s::{Body, S3Error};

use super::documents::is_xml;
use super::request::{host, s3_path};
use crate::access::parameters;
use crate::host::Domains;
use crate::ops::elements::Elements;

/// S3's name for the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// Seconds after which a 503 is worth another try.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What a copy is of: a header, which a presigned URL has in its query.
const SOURCE: &str = "x-amz-copy-source";

/// An error as S3 sends it.
pub(crate) fn respond(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// What an error can say of its request.
#[derive(Clone)]
pub(crate) struct Asked {
    pub host: String,
    uri: Uri,
    range: Option<HeaderValue>,
    /// The condition that failed if one did: of several the first is looked at alone (RFC 9110, 13.2.2).
    condition: Option<&'static str>,
    /// What is not there may then be the source, which the path does not name.
    pub is_copy: bool,
}

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let conditions = [
            (IF_MATCH, "If-Match"),
            (IF_UNMODIFIED_SINCE, "If-Unmodified-Since"),
            (IF_NONE_MATCH, "If-None-Match"),
        ];
        let condition = conditions.into_iter().find(|(name, _)| headers.contains_key(name));
        Self {
            host: host(request).unwrap_or_default().to_owned(),
            uri: request.uri().clone(),
            range: headers.get(RANGE).cloned(),
            condition: condition.map(|(_, name)| name),
            is_copy: headers.contains_key(SOURCE)
                || parameters(request.uri().query()).any(|(name, _)| name.eq_ignore_ascii_case(SOURCE)),
        }
    }
}

/// Puts the request's id on the response, and into the XML where it is an error's, with what else S3 says there.
pub(crate) fn stamp(response: &mut Response<Body>, id: &str, asked: &Asked, domains: &Domains) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(RETRY_AFTER).or_insert(RETRY_SECONDS);
    }
    if !(response.status().is_client_error() || response.status().is_server_error()) || !is_xml(response) {
        return;
    }
    let size =
        response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes */"));
    let more = |code: &str| {
        let mut more = facts(code, asked, size, domains);
        more.text("Resource", asked.uri.path());
        more.text("RequestId", id);
        more
    };
    let Some(stamped) = response.body().bytes().and_then(|xml| with_more(&xml, more)) else { return };
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(stamped);
}

/// Before the end of an error's document.
fn with_more(xml: &[u8], more: impl FnOnce(&str) -> Elements) -> Option<String> {
    let xml = std::str::from_utf8(xml).ok()?;
    let (before, after) = xml.rsplit_once("</Error>")?;
    let (code, _) = before.split_once("<Code>")?.1.split_once("</Code>")?;
    Some([before, more(code).as_str(), "</Error>", after].concat())
}

/// What S3 says beside code and message. One about the signature names the host for which it was checked: behind a proxy
/// that is the usual mistake.
fn facts(code: &str, asked: &Asked, size: Option<&str>, domains: &Domains) -> Elements {
    let mut facts = Elements::default();
    let path = if asked.is_copy { None } else { s3_path(&asked.host, &asked.uri, domains) };
    let range = asked.range.as_ref().and_then(|range| range.to_str().ok());
    let pairs = match code {
        "SignatureDoesNotMatch" => [("Host", Some(&*asked.host)), ("", None)],
        // A parser that stops at a control character would find no code either.
        "NoSuchKey" => {
            let key = path.as_ref().and_then(S3Path::get_object_key);
            [("Key", key.filter(|key| !key.contains(|c: char| c.is_ascii_control()))), ("", None)]
        }
        "NoSuchBucket" | "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" | "BucketNotEmpty" => {
            [("BucketName", path.as_ref().and_then(S3Path::get_bucket_name)), ("", None)]
        }
        "InvalidRange" => [("RangeRequested", range), ("ActualObjectSize", size)],
        "PreconditionFailed" => [("Condition", asked.condition.filter(|_| !asked.is_copy)), ("", None)],
        _ => [("", None), ("", None)],
    };
    for (name, text) in pairs {
        if let Some(text) = text {
            facts.text(name, text);
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::s3_error;

    fn stamped(error: S3Error, request: http::request::Builder) -> (Response<Body>, String) {
        let asked = Asked::of(&request.body(()).expect("a request"));
        let mut response = respond(error);
        stamp(&mut response, "abc", &asked, &Domains::new(&["s3.test".to_owned()]));
        let xml = response.body().bytes().expect("whole");
        let text = std::str::from_utf8(&xml).expect("text").to_owned();
        (response, text)
    }

    #[test]
    fn every_error_names_its_request() {
        let (response, xml) = stamped(s3_error!(AccessDenied), Request::get("/photos/a%20b?x=y"));
        assert!(
            xml.contains("<Code>AccessDenied</Code>")
                && xml.ends_with("<Resource>/photos/a%20b</Resource><RequestId>abc</RequestId></Error>"),
            "{xml}"
        );
        assert_eq!(response.headers()[REQUEST_ID], "abc");
    }

    #[test]
    fn a_wrong_signature_names_the_host() {
        let (_, xml) = stamped(s3_error!(SignatureDoesNotMatch), Request::get("/").header("host", "a<b"));
        assert!(xml.contains("<Host>a&lt;b</Host>"), "{xml}");
    }

    #[test]
    fn errors_name_what_they_are_about() {
        let get = || Request::get("/photos/a%26").header("if-none-match", "*");
        for (error, request, facts) in [
            (s3_error!(NoSuchKey), get(), "<Key>a&amp;</Key>"),
            (s3_error!(NoSuchKey), Request::get("/photos/a%01"), ""),
            (s3_error!(NoSuchKey), Request::get("http://photos.s3.test/k"), "<Key>k</Key>"),
            (s3_error!(NoSuchBucket), get(), "<BucketName>photos</BucketName>"),
            (s3_error!(PreconditionFailed), get(), "<Condition>If-None-Match</Condition>"),
            (s3_error!(PreconditionFailed), get().header("if-match", "a"), "<Condition>If-Match</Condition>"),
        ] {
            let (_, xml) = stamped(error, request);
            assert!(xml.contains(&format!("</Message>{facts}<Resource>")), "{facts}: {xml}");
        }
        let copy = get().header("x-amz-copy-source", "photos/source");
        let (_, xml) = stamped(s3_error!(NoSuchKey), copy);
        assert!(xml.contains("</Message><Resource>"), "the key is the source's: {xml}");
    }

    #[test]
    fn a_range_that_is_not_there_names_the_size() {
        let mut error = s3_error!(InvalidRange);
        let mut headers = http::HeaderMap::new();
        headers.insert(CONTENT_RANGE, HeaderValue::from_static("bytes */5"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        error.set_headers(headers);
        let (_, xml) = stamped(error, Request::get("/photos/k").header("range", "bytes=9-"));
        let facts = "<RangeRequested>bytes=9-</RangeRequested><ActualObjectSize>5</ActualObjectSize>";
        assert!(xml.contains(facts), "{xml}");
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let (response, _) = stamped(crate::pipeline::faults::unavailable("x"), Request::get("/"));
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.status(), 503);
    }
}
