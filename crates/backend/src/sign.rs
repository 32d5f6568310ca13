//! Where a storage key is on a backend, and the signature that opens it.
//!
//! Invariants: what is signed is what is sent, byte for byte; the path is encoded once and never
//! normalised, since S3 keys may hold `..` and `//`.

use std::time::SystemTime;

use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::header::{HOST, HeaderValue};
use http::{Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3o_types::BackendSpec;

use crate::aws_chunked::UNSIGNED_TRAILER;
use crate::error::{BackendError, BackendErrorKind, Certainty};

/// What S3's canonical URI leaves as it is, besides the slash (Amazon S3 API reference, "Signature
/// Calculations: `UriEncode`").
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What the signature says of the body.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Empty,
    Whole(&'a [u8]),
    Unsigned,
    UnsignedTrailer,
}

/// Scheme, authority and path up to the key.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    base: String,
    host: HeaderValue,
}

impl Address {
    pub(crate) fn new(spec: &BackendSpec) -> Result<Self, BackendError> {
        let wrong = |why: &str| invalid(&format!("endpoint `{}` {why}", spec.endpoint));
        let uri: Uri = spec.endpoint.trim_end_matches('/').parse().map_err(|_| wrong("is not a URL"))?;
        let scheme = uri.scheme_str().filter(|s| matches!(*s, "http" | "https"));
        let scheme = scheme.ok_or_else(|| wrong("must begin with http:// or https://"))?;
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if !matches!(uri.path(), "" | "/") {
            return Err(wrong("must not have a path"));
        }
        let default_port = if scheme == "http" { 80 } else { 443 };
        let port = authority.port_u16().filter(|&port| port != default_port);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let bucket = utf8_percent_encode(&spec.bucket, QUERY);
        let (host, path) = if spec.quirks.path_style {
            (format!("{}{port}", authority.host()), format!("/{bucket}/"))
        } else {
            (format!("{bucket}.{}{port}", authority.host()), "/".to_owned())
        };
        let header = HeaderValue::try_from(&host).map_err(|_| wrong("names no host"))?;
        Ok(Self { base: format!("{scheme}://{host}{path}"), host: header })
    }

    /// The URL of a storage key, or of one version the backend keeps of it.
    pub(crate) fn url(&self, storage_key: &str, version_id: Option<&str>) -> Result<Uri, BackendError> {
        let mut url = format!("{}{}", self.base, utf8_percent_encode(storage_key, PATH));
        if let Some(version_id) = version_id {
            url.push_str("?versionId=");
            url.extend(utf8_percent_encode(version_id, QUERY));
        }
        url.try_into().map_err(|_| invalid(&format!("`{storage_key}` makes no URL")))
    }

    pub(crate) fn host(&self) -> HeaderValue {
        self.host.clone()
    }
}

/// `bucket/key` as `x-amz-copy-source` wants it.
pub(crate) fn copy_source(bucket: &str, storage_key: &str) -> String {
    format!("{}/{}", utf8_percent_encode(bucket, QUERY), utf8_percent_encode(storage_key, PATH))
}

fn invalid(message: &str) -> BackendError {
    BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, message)
}

/// Signs all headers that the request has, and adds date, token, payload hash and signature.
pub(crate) fn sign_request<B>(
    request: &mut Request<B>,
    address: &Address,
    region: &str,
    credentials: &AwsCredentials,
    payload: Payload<'_>,
) -> Result<(), BackendError> {
    request.headers_mut().insert(HOST, address.host());
    let identity: Identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|error| invalid(&error.to_string()))?
        .into();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let value = value.to_str().map_err(|_| invalid(&format!("header {name} is not ASCII")))?;
        headers.push((name.as_str(), value));
    }
    let body = match payload {
        Payload::Empty => SignableBody::Precomputed(EMPTY_SHA256.to_owned()),
        Payload::Whole(bytes) => SignableBody::Bytes(bytes),
        Payload::Unsigned => SignableBody::UnsignedPayload,
        Payload::UnsignedTrailer => SignableBody::Precomputed(UNSIGNED_TRAILER.to_owned()),
    };
    let url = request.uri().to_string();
    let signable = SignableRequest::new(request.method().as_str(), url, headers.into_iter(), body)
        .map_err(|error| invalid(&error.to_string()))?;
    let (instructions, _) =
        sign(signable, &params).map_err(|error| invalid(&error.to_string()))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use s3o_types::{BackendId, Credentials, Place, Quirks};

    use super::*;

    fn spec(endpoint: &str, path_style: bool) -> BackendSpec {
        BackendSpec {
            id: BackendId(1),
            name: "b".to_owned(),
            endpoint: endpoint.to_owned(),
            region: "us-east-1".to_owned(),
            bucket: "data".to_owned(),
            place: Place::FIRST,
            credentials: Credentials::AwsDefaultChain,
            quirks: Quirks { path_style, ..Quirks::default() },
        }
    }

    #[test]
    fn urls() {
        let path = Address::new(&spec("http://h:9000/", true)).expect("an endpoint");
        let url = path.url("a b/c+d%~é/..//x", None).expect("a URL").to_string();
        assert_eq!(url, "http://h:9000/data/a%20b/c%2Bd%25~%C3%A9/..//x");
        let host = Address::new(&spec("https://s3.example.com:443", false)).expect("an endpoint");
        assert_eq!(
            host.url("k", Some("a=b")).expect("a URL").to_string(),
            "https://data.s3.example.com/k?versionId=a%3Db"
        );
        assert_eq!(host.host(), "data.s3.example.com");
        assert_eq!(copy_source("b", "x y/+"), "b/x%20y/%2B");
    }

    #[test]
    fn bad_endpoints_are_errors() {
        for bad in ["", "host:9000", "ftp://h", "http://h/path", "http://"] {
            assert!(Address::new(&spec(bad, true)).is_err(), "{bad:?}");
        }
    }
}
