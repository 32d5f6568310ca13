//! The host that a client signed, where a reverse proxy in front of us put another one in its place.
//!
//! Invariant: only names that the operator trusts are taken from `X-Forwarded-Host`. That is enough: the signature
//! covers the host, so that a name that was not signed opens nothing.

use http::header::HOST;
use http::uri::{Authority, Parts};
use http::{HeaderValue, Request, Uri};

/// Puts the forwarded host back, where it is one of the trusted names: exact, or `*.` and a domain.
pub(super) fn restore<B>(request: &mut Request<B>, trusted: &[String]) {
    if trusted.is_empty() {
        return;
    }
    let forwarded = request.headers().get("x-forwarded-host").and_then(|value| value.to_str().ok());
    // Each proxy adds the one that it was asked by: the first is the client's.
    let Some(host) = forwarded.and_then(|hosts| hosts.split(',').next()).map(str::trim) else { return };
    if !trusted.iter().any(|name| is_name(name, host)) {
        return;
    }
    let (Ok(value), Ok(authority)) = (HeaderValue::try_from(host), host.parse::<Authority>()) else { return };
    // HTTP/2 says it in the URI.
    if request.uri().authority().is_some()
        && let Some(uri) = with_authority(request.uri(), authority)
    {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(HOST, value);
}

fn with_authority(uri: &Uri, authority: Authority) -> Option<Uri> {
    let mut parts: Parts = uri.clone().into_parts();
    parts.authority = Some(authority);
    Uri::from_parts(parts).ok()
}

fn is_name(trusted: &str, host: &str) -> bool {
    let (trusted, host) = (trusted.to_ascii_lowercase(), host.to_ascii_lowercase());
    match trusted.strip_prefix('*') {
        Some(domain) => host.len() > domain.len() && host.ends_with(domain),
        None => trusted == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(forwarded: &str, uri: &str) -> (String, String) {
        let request =
            Request::builder().uri(uri).header("host", "inner:9000").header("x-forwarded-host", forwarded);
        let mut request = request.body(()).expect("a request");
        restore(&mut request, &["s3.example.com".to_owned(), "*.s3.example.com".to_owned()]);
        let host = request.headers()[HOST].to_str().expect("text").to_owned();
        (host, request.uri().to_string())
    }

    #[test]
    fn only_trusted_names_are_taken() {
        assert_eq!(restored("s3.example.com", "/k").0, "s3.example.com");
        assert_eq!(restored("S3.Example.com, inner2", "/k").0, "S3.Example.com");
        assert_eq!(restored("photos.s3.example.com", "/k").0, "photos.s3.example.com");
        for other in ["evil.com", "xs3.example.com", "inner, s3.example.com", "", ".s3.example.com:1"] {
            assert_eq!(restored(other, "/k").0, "inner:9000", "{other}");
        }
    }

    #[test]
    fn http_2_has_it_in_the_uri() {
        let (host, uri) = restored("s3.example.com", "http://inner:9000/k?a=b");
        assert_eq!((host.as_str(), uri.as_str()), ("s3.example.com", "http://s3.example.com/k?a=b"));
    }
}
