//! Requests that only have to be sent.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use md5::{Digest as _, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::body::Sliced;
use super::payload::Upload;
use crate::sign::{Signer, sha256};

const SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const UNSIGNED: HeaderValue = HeaderValue::from_static("UNSIGNED-PAYLOAD");

/// All that signatures want escaped in a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the answer must be.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    pub(crate) status: u16,
    /// The body: its length always, its bytes when content is verified.
    pub(crate) body: Option<Bytes>,
    /// The body's length, where its bytes are not at hand.
    length: Option<usize>,
}

impl Expect {
    pub(crate) const fn status(status: u16) -> Self {
        Self { status, body: None, length: None }
    }

    /// What the body's length must be, if anything was said of it.
    pub(crate) fn length(&self) -> Option<usize> {
        self.body.as_ref().map(Bytes::len).or(self.length)
    }
}

/// A signed request and the answer that it must get.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    method: Method,
    uri: Uri,
    fixed: Arc<Fixed>,
    authorization: HeaderValue,
    sha256: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    pub(crate) expect: Expect,
}

/// What all requests of a signer have in common.
#[derive(Debug)]
struct Fixed {
    host: HeaderValue,
    date: HeaderValue,
}

impl Prepared {
    /// The request; `sent` counts the bytes of its body as they go.
    pub(crate) fn request(&self, sent: &Arc<AtomicU64>) -> Request<Sliced> {
        let mut request = Request::new(Sliced::new(self.body.clone(), Arc::clone(sent)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.reserve(5 + self.headers.len());
        headers.insert(HOST, self.fixed.host.clone());
        headers.insert(DATE, self.fixed.date.clone());
        headers.insert(SHA256, self.sha256.clone());
        headers.insert(AUTHORIZATION, self.authorization.clone());
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        request
    }
}

/// Makes requests to one bucket of one target.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    signer: Signer,
    bucket: String,
    fixed: Arc<Fixed>,
}

impl Workshop {
    pub(crate) fn new(signer: Signer, bucket: &str, host: &str) -> Result<Self> {
        let header =
            |text: &str| HeaderValue::try_from(text).with_context(|| format!("`{text}` is no header value"));
        let fixed = Arc::new(Fixed { host: header(host)?, date: header(signer.stamp())? });
        Ok(Self { signer, bucket: bucket.to_owned(), fixed })
    }

    fn prepare(
        &self,
        method: Method,
        key: &str,
        query: &str,
        upload: Upload,
        expect: Expect,
    ) -> Result<Prepared> {
        let slash = if key.is_empty() { "" } else { "/" };
        let path = format!("/{}{slash}{key}", self.bucket);
        let Upload { wire, sha256, headers } = upload;
        let payload = sha256.to_str().unwrap_or_default();
        let authorization = self.signer.authorization(method.as_str(), &path, query, payload, &headers);
        let mark = if query.is_empty() { "" } else { "?" };
        let uri = format!("{path}{mark}{query}").parse().with_context(|| format!("`{path}` is no path"))?;
        let fixed = Arc::clone(&self.fixed);
        Ok(Prepared { method, uri, fixed, authorization, sha256, headers, body: wire, expect })
    }

    fn bodiless(&self, method: Method, key: &str, query: &str, expect: Expect) -> Result<Prepared> {
        self.prepare(
            method,
            key,
            query,
            Upload { wire: Bytes::new(), sha256: UNSIGNED, headers: vec![] },
            expect,
        )
    }

    pub(crate) fn put(&self, key: &str, upload: &Upload) -> Result<Prepared> {
        self.prepare(Method::PUT, key, "", upload.clone(), Expect::status(200))
    }

    pub(crate) fn get(&self, key: &str, body: Bytes) -> Result<Prepared> {
        self.bodiless(Method::GET, key, "", Expect { body: Some(body), ..Expect::status(200) })
    }

    /// A GET of which only the length of the answer is looked at.
    pub(crate) fn get_sized(&self, key: &str, length: usize) -> Result<Prepared> {
        self.bodiless(Method::GET, key, "", Expect { length: Some(length), ..Expect::status(200) })
    }

    pub(crate) fn head(&self, key: &str) -> Result<Prepared> {
        self.bodiless(Method::HEAD, key, "", Expect::status(200))
    }

    pub(crate) fn delete(&self, key: &str) -> Result<Prepared> {
        self.bodiless(Method::DELETE, key, "", Expect::status(204))
    }

    /// A page of 1,000; `after` and `prefix` of letters, digits and slashes.
    pub(crate) fn list(&self, prefix: &str, after: &str, delimiter: bool) -> Result<Prepared> {
        let escape = |text: &str| text.replace('/', "%2F");
        // In order, as the signature wants it.
        let delimiter = if delimiter { "delimiter=%2F&" } else { "" };
        let (prefix, after) = (escape(prefix), escape(after));
        let query = format!("{delimiter}list-type=2&max-keys=1000&prefix={prefix}&start-after={after}");
        self.bodiless(Method::GET, "", &query, Expect::status(200))
    }

    /// `DeleteObjects`, quietly answered.
    pub(crate) fn delete_objects(&self, keys: &[String]) -> Result<Prepared> {
        let mut objects = String::with_capacity(keys.len() * 80);
        for key in keys {
            objects.extend(["<Object><Key>", key, "</Key></Object>"]);
        }
        let wire = Bytes::from(format!(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{objects}<Quiet>true</Quiet></Delete>"
        ));
        let md5 = BASE64.encode(Md5::digest(&wire));
        let headers = vec![
            (HeaderName::from_static("content-md5"), HeaderValue::try_from(md5)?),
            (CONTENT_TYPE, HeaderValue::from_static("application/xml")),
        ];
        let sha256 = HeaderValue::try_from(sha256(&wire))?;
        self.prepare(Method::POST, "", "delete=", Upload { wire, sha256, headers }, Expect::status(200))
    }

    /// `CreateMultipartUpload`.
    pub(crate) fn create_upload(&self, key: &str) -> Result<Prepared> {
        self.bodiless(Method::POST, key, "uploads=", Expect::status(200))
    }

    /// `UploadPart`; numbers count from 1.
    pub(crate) fn part(&self, key: &str, id: &str, number: usize, upload: &Upload) -> Result<Prepared> {
        let query = format!("partNumber={number}&{}", upload_query(id));
        self.prepare(Method::PUT, key, &query, upload.clone(), Expect::status(200))
    }

    /// `CompleteMultipartUpload` with its document.
    pub(crate) fn complete_upload(&self, key: &str, id: &str, wire: Bytes) -> Result<Prepared> {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/xml"))];
        let sha256 = HeaderValue::try_from(sha256(&wire))?;
        let upload = Upload { wire, sha256, headers };
        self.prepare(Method::POST, key, &upload_query(id), upload, Expect::status(200))
    }

    /// `AbortMultipartUpload`.
    pub(crate) fn abort_upload(&self, key: &str, id: &str) -> Result<Prepared> {
        self.bodiless(Method::DELETE, key, &upload_query(id), Expect::status(204))
    }
}

/// An upload by its id, which may be anything.
fn upload_query(id: &str) -> String {
    format!("uploadId={}", utf8_percent_encode(id, ESCAPED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_as_they_are_signed() {
        assert_eq!(upload_query("aZ9-._~/+=é"), "uploadId=aZ9-._~%2F%2B%3D%C3%A9");
    }
}
