//! What is known of a request besides its HTTP: its id, and what the layers below find out for the
//! audit line.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, Request, Uri, Version};
use s3s::path::{S3Path, parse_virtual_hosted_style};
use uuid::Uuid;

use crate::host::Domains;

/// Longest `X-Request-Id` that is taken over.
const MAX_ID: usize = 128;

/// In the extensions of every request.
#[derive(Debug)]
pub(crate) struct RequestInfo {
    pub id: String,
    /// The client's address.
    pub source: SocketAddr,
    /// W3C trace context, empty when none came.
    pub traceparent: String,
    found: OnceLock<Found>,
    degraded: AtomicBool,
}

/// What authentication and routing found out.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub operation: &'static str,
    pub access_key: String,
    pub bucket: String,
}

impl RequestInfo {
    /// Takes the client's id over when it is sane, else makes one.
    pub(crate) fn new(headers: &HeaderMap, source: SocketAddr) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = match text("x-request-id") {
            id if is_sane(id) => id.to_owned(),
            _ => Uuid::new_v4().simple().to_string(),
        };
        let traceparent =
            Some(text("traceparent")).filter(|text| is_sane(text)).unwrap_or_default().to_owned();
        Self { id, source, traceparent, found: OnceLock::new(), degraded: AtomicBool::new(false) }
    }

    /// Remembers the first thing that is said.
    pub(crate) fn note(&self, operation: &'static str, access_key: &str, bucket: Option<&str>) {
        let bucket = bucket.unwrap_or_default().to_owned();
        let _ = self.found.set(Found { operation, access_key: access_key.to_owned(), bucket });
    }

    /// The answer is given without the database.
    pub(crate) fn set_degraded(&self) {
        self.degraded.store(true, Ordering::Relaxed);
    }

    /// Whether the answer must say so.
    pub(crate) fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Relaxed)
    }

    /// Absent when the request did not get that far.
    pub(crate) fn found(&self) -> Option<&Found> {
        self.found.get()
    }
}

/// In the extensions of a request over HTTP/1 that says nothing of a body, and so has none. S3 wants to hear that where
/// something is stored: who forgot the length would not know that nothing came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoLength;

impl NoLength {
    /// `None`: there is a length, or the body ends by itself.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let is_said = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        (request.version() < Version::HTTP_2 && !is_said).then_some(Self)
    }
}

/// The host that a request names: in HTTP/2 it stands in the URI.
pub(crate) fn host<B>(request: &Request<B>) -> Option<&str> {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(Authority::as_str))
}

/// What a path names, as `s3s` reads it. `None`: nothing.
pub(super) fn s3_path(host: &str, uri: &Uri, domains: &Domains) -> Option<S3Path> {
    let path = percent_encoding::percent_decode_str(uri.path()).decode_utf8().ok()?;
    parse_virtual_hosted_style(domains.bucket(host).as_deref(), &path).ok()
}

fn is_sane(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'=' | b'/');
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_1_must_say_a_length() {
        let of = |version, header: Option<&'static str>| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            if let Some(name) = header {
                request.headers_mut().insert(name, "0".parse().expect("a value"));
            }
            NoLength::of(&request).is_some()
        };
        assert!(of(Version::HTTP_11, None) && of(Version::HTTP_10, None));
        assert!(!of(Version::HTTP_2, None));
        assert!(!of(Version::HTTP_11, Some("content-length")));
        assert!(!of(Version::HTTP_11, Some("transfer-encoding")));
    }

    #[test]
    fn ids() {
        let with = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", id.parse().expect("a value"));
            RequestInfo::new(&headers, SocketAddr::from(([127, 0, 0, 1], 1))).id
        };
        assert_eq!(with("abc-123"), "abc-123");
        for bad in ["", "a b", "<x>", "a\"b"] {
            assert_eq!(with(bad).len(), 32, "{bad}");
        }
    }
}
