//! CORS: preflights, which are answered before anybody has signed anything, and the headers that let a page read an
//! answer (Amazon S3 User Guide, "Using cross-origin resource sharing"; S3 API reference, `OPTIONS object`).
//!
//! Invariant: nothing is allowed that a rule of the bucket does not name, and no rule changes what an access key may
//! do: CORS is about pages, not about rights.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use s3o_types::CorsRule;
use s3s::{Body, S3Error, s3_error};

use super::errors;
use super::request::host;
use crate::host::Domains;
use crate::pipeline::faults;
use crate::snapshot::Snapshot;

/// What a request says of the page that makes it.
#[derive(Debug, Clone)]
pub(super) struct Page {
    origin: String,
    /// The method of the request, or that of the request that a preflight asks for.
    method: String,
    bucket: Option<String>,
}

impl Page {
    /// `None`: no page makes the request.
    pub(super) fn of<B>(request: &Request<B>, domains: &Domains) -> Option<Self> {
        let origin = text(request.headers(), &ORIGIN)?.to_owned();
        Some(Self { origin, method: request.method().as_str().to_owned(), bucket: bucket(request, domains) })
    }

    /// Adds to an answer what lets the page read it.
    pub(super) fn allow(&self, snapshot: &Snapshot, headers: &mut HeaderMap) {
        if !self.rules(snapshot).is_empty() {
            add_vary(headers);
        }
        let Some(rule) = self.rule(snapshot, &[]) else { return };
        add_origin(headers, rule, &self.origin);
        let exposed = rule.expose_headers.join(", ");
        if !exposed.is_empty() {
            add(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &exposed);
        }
    }

    fn rules<'a>(&self, snapshot: &'a Snapshot) -> &'a [CorsRule] {
        let bucket = self.bucket.as_ref().and_then(|name| snapshot.buckets.get(name));
        bucket.map(|bucket| &*bucket.cors).unwrap_or_default()
    }

    fn rule<'a>(&self, snapshot: &'a Snapshot, headers: &[&str]) -> Option<&'a CorsRule> {
        let mut rules = self.rules(snapshot).iter();
        rules.find(|rule| rule.matches(&self.origin, &self.method, headers.iter().copied()))
    }
}

/// The answer to a preflight; `None`: the request is none.
pub(super) fn preflight<B>(
    request: &Request<B>,
    domains: &Domains,
    snapshot: &Snapshot,
) -> Option<Response<Body>> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    Some(answer(request, domains, snapshot).unwrap_or_else(errors::respond))
}

fn answer<B>(
    request: &Request<B>,
    domains: &Domains,
    snapshot: &Snapshot,
) -> Result<Response<Body>, S3Error> {
    let Some(page) = Page::of(request, domains) else {
        return Err(bad_request("Insufficient information. Origin request header needed."));
    };
    let method = text(request.headers(), &ACCESS_CONTROL_REQUEST_METHOD)
        .ok_or_else(|| bad_request("Invalid Access-Control-Request-Method: null"))?;
    let page = Page { method: method.to_owned(), ..page };
    let wanted = text(request.headers(), &ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let names: Vec<&str> = wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if page.rules(snapshot).is_empty() {
        return Err(forbidden("CORSResponse: CORS is not enabled for this bucket."));
    }
    let rule = page.rule(snapshot, &names).ok_or_else(|| {
        forbidden(
            "CORSResponse: This CORS request is not allowed. No rule of the bucket names its origin, its method and all of its headers.",
        )
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    add_vary(headers);
    add_origin(headers, rule, &page.origin);
    add(headers, ACCESS_CONTROL_ALLOW_METHODS, &rule.allowed_methods.join(", "));
    if !names.is_empty() {
        add(headers, ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", ").to_ascii_lowercase());
    }
    if let Some(seconds) = rule.max_age_seconds {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    Ok(response)
}

fn add_origin(headers: &mut HeaderMap, rule: &CorsRule, origin: &str) {
    let Some(allowed) = rule.allows_origin(origin) else { return };
    add(headers, ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if allowed != "*" {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// What is said to one page, or to none, must not be told to another by a cache between.
fn add_vary(headers: &mut HeaderMap) {
    headers.append(
        VARY,
        HeaderValue::from_static("Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
    );
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// As the request names it: by its host, or by the first segment of its path.
fn bucket<B>(request: &Request<B>, domains: &Domains) -> Option<String> {
    if let Some(bucket) = host(request).and_then(|host| domains.bucket(host)) {
        return Some(bucket);
    }
    let path = request.uri().path();
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next()?;
    let name = percent_encoding::percent_decode_str(first).decode_utf8().ok()?;
    Some(name.into_owned())
}

fn bad_request(message: &'static str) -> S3Error {
    faults::custom("BadRequest", StatusCode::BAD_REQUEST, message)
}

fn forbidden(message: &'static str) -> S3Error {
    let mut error = s3_error!(AccessDenied, "{message}");
    error
        .set_code(s3s::S3ErrorCode::from_bytes(b"AccessForbidden").unwrap_or(s3s::S3ErrorCode::AccessDenied));
    error.set_status_code(StatusCode::FORBIDDEN);
    error
}
