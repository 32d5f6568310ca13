//! Errors that are raised outside of `s3s`, and the request id in all of them.

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use s3s::{Body, S3Error};

use super::documents::is_xml;

/// S3's name for the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// Seconds after which a 503 is worth another try.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error as S3 sends it.
pub(crate) fn respond(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// Puts the request's id on the response, and into the XML where it is an error's. One about the signature names the
/// host for which it was checked: behind a proxy that is the usual mistake.
pub(crate) fn stamp(response: &mut Response<Body>, id: &str, host: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(RETRY_AFTER).or_insert(RETRY_SECONDS);
    }
    if !(response.status().is_client_error() || response.status().is_server_error()) || !is_xml(response) {
        return;
    }
    let Some(with_id) = response.body().bytes().and_then(|xml| insert_id(&xml, id, host)) else { return };
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(with_id);
}

fn insert_id(xml: &[u8], id: &str, host: &str) -> Option<String> {
    let xml = std::str::from_utf8(xml).ok()?;
    let (before, after) = xml.rsplit_once("</Error>")?;
    let checked = if xml.contains("<Code>SignatureDoesNotMatch</Code>") {
        format!("<Host>{}</Host>", escaped(host))
    } else {
        String::new()
    };
    // Ids have no character that XML would have to escape.
    Some(format!("{before}{checked}<RequestId>{id}</RequestId></Error>{after}"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::s3_error;

    #[test]
    fn every_error_names_its_request() {
        let mut response = respond(s3_error!(NoSuchKey));
        stamp(&mut response, "abc", "h");
        let xml = response.body().bytes().expect("whole");
        let xml = std::str::from_utf8(&xml).expect("text");
        assert!(
            xml.contains("<Code>NoSuchKey</Code>") && xml.ends_with("<RequestId>abc</RequestId></Error>"),
            "{xml}"
        );
        assert_eq!(response.headers()[REQUEST_ID], "abc");
    }

    #[test]
    fn a_wrong_signature_names_the_host() {
        let mut response = respond(s3_error!(SignatureDoesNotMatch));
        stamp(&mut response, "abc", "a<b");
        let xml = response.body().bytes().expect("whole");
        assert!(std::str::from_utf8(&xml).expect("text").contains("<Host>a&lt;b</Host>"));
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let mut response = respond(crate::pipeline::faults::unavailable("x"));
        stamp(&mut response, "abc", "h");
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.status(), 503);
    }
}
