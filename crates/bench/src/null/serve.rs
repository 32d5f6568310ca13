//! The HTTP side of the null backend.
//!
//! Invariant: a body that breaks off ends its connection and leaves nothing behind.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use s3o_testkit::aws_chunked::{CRC64NVME, Decoder};
use tokio::net::TcpStream;

use super::bodies::{Bodies, Body, Intake};
use super::content::{Content, Pieces};
use super::multipart::{self, Uploads};
use super::objects::{Bucket, Buckets, Object};
use super::xml;

pub(super) type Answer = Response<Pieces>;

/// Status, code and message of a request that is not carried out.
pub(super) type Refusal = (StatusCode, &'static str, &'static str);

/// Content headers that a GET repeats, besides the metadata.
const KEPT: [HeaderName; 6] =
    [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CACHE_CONTROL, EXPIRES];

/// Bytes of a body that is framed.
const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

/// The path under which it is asked about itself; no bucket can have this name.
const ITSELF: &str = "-";

/// Everything it knows.
#[derive(Debug, Default)]
pub(super) struct Server {
    bodies: Bodies,
    buckets: Buckets,
    pub(super) uploads: Uploads,
    /// Second and its HTTP date.
    now: Mutex<(u64, Option<HeaderValue>)>,
    requests: AtomicU64,
}

/// The answer to `GET /-/requests`.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Requests {
    /// Requests so far.
    pub(crate) requests: u64,
}

/// Serves one connection to its end.
pub(super) async fn connection(server: Arc<Server>, socket: TcpStream) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { server.handle(request).await }
    });
    // How a connection ended is the client's to notice.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

impl Server {
    async fn handle(&self, request: Request<Incoming>) -> Result<Answer> {
        let (parts, body) = request.into_parts();
        let path = decode(parts.uri.path().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let query = parts.uri.query().unwrap_or_default();
        if bucket == ITSELF {
            return Ok(self.about_itself(key, query));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let bucket_name = bucket;
        if !key.is_empty() && multipart::concerns(query) {
            return self.multipart(&parts, bucket_name, key, body).await;
        }
        let bucket = self.bucket(bucket);
        match (&parts.method, key.is_empty()) {
            (&Method::PUT, false) => self.put(&bucket, key, &parts.headers, body).await,
            (&Method::GET, false) => Ok(get(&bucket, key, &parts.headers)),
            (&Method::HEAD, false) => Ok(head(&bucket, key)),
            (&Method::DELETE, false) => {
                bucket.delete(key);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            (&Method::GET, true) if parameter(query, "list-type").as_deref() == Some("2") => {
                Ok(list(&bucket, bucket_name, query))
            }
            (&Method::POST, true) if query.starts_with("delete") => delete_many(&bucket, body).await,
            (&Method::PUT | &Method::HEAD, true) => Ok(empty(StatusCode::OK)),
            _ => {
                Ok(error(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "The null backend does not know it."))
            }
        }
    }

    pub(super) fn bucket(&self, name: &str) -> Arc<Bucket> {
        self.buckets.get(name)
    }

    fn about_itself(&self, what: &str, query: &str) -> Answer {
        if what == "clear" {
            let bucket = parameter(query, "bucket").unwrap_or_default();
            self.bucket(&bucket).clear(&parameter(query, "prefix").unwrap_or_default());
            return empty(StatusCode::OK);
        }
        let requests = Requests { requests: self.requests.load(Ordering::Relaxed) };
        Response::new(Pieces::from(Bytes::from(serde_json::to_vec(&requests).unwrap_or_default())))
    }

    async fn put(&self, bucket: &Bucket, key: &str, headers: &HeaderMap, body: Incoming) -> Result<Answer> {
        let body = match self.take(headers, body).await? {
            Ok(body) => body,
            Err(refusal) => return Ok(refuse(refusal)),
        };
        let answer = stored(&body, headers);
        let content = Content::Whole(body);
        bucket.put(key.to_owned(), Object { content, headers: kept(headers), modified: self.http_date() });
        Ok(answer)
    }

    /// The body of an object or part, whole.
    pub(super) async fn take(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
    ) -> Result<Result<Arc<Body>, Refusal>> {
        let with_trailer = has_trailer(headers);
        if is_chunked(headers) && !with_trailer {
            let why = "The null backend takes bodies as they are, or in aws-chunked with a CRC-64/NVME behind them.";
            return Ok(Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented", why)));
        }
        if headers.contains_key("x-amz-copy-source") {
            let why = "The null backend does not copy.";
            return Ok(Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented", why)));
        }
        let name = if with_trailer { DECODED_LENGTH } else { CONTENT_LENGTH };
        let length = headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut intake = Intake::new(&self.bodies, length);
        let mut decoder = with_trailer.then(Decoder::default);
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            match &mut decoder {
                Some(decoder) => decoder.push(&chunk, |data| intake.push(data))?,
                None => intake.push(&chunk),
            }
        }
        let body = intake.end()?;
        if let Some(decoder) = decoder
            && body.crc64nvme != decoder.end()?
        {
            return Ok(Err((StatusCode::BAD_REQUEST, "BadDigest", "The checksum is another.")));
        }
        Ok(Ok(body))
    }

    /// Made once a second.
    pub(super) fn http_date(&self) -> HeaderValue {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(text)) = (now.0 == second, &now.1) {
            return text.clone();
        }
        let text = crate::http_date(second);
        *now = (second, Some(text.clone()));
        text
    }
}

/// Copies: what hyper hands out are slices of its buffer, which would be kept as long as the object.
pub(super) fn kept(headers: &HeaderMap) -> Arc<[(HeaderName, HeaderValue)]> {
    let kept =
        headers.iter().filter(|(name, _)| name.as_str().starts_with("x-amz-meta-") || KEPT.contains(name));
    kept.filter_map(|(name, value)| {
        let value = if name == CONTENT_ENCODING { own_encoding(value.as_bytes()) } else { value.as_bytes() };
        let value = HeaderValue::from_bytes(value).ok().filter(|value| !value.is_empty())?;
        Some((name.clone(), value))
    })
    .collect()
}

/// Without the framing of the body, which is first where there is one.
fn own_encoding(value: &[u8]) -> &[u8] {
    let rest = value.strip_prefix(b"aws-chunked").unwrap_or(value);
    rest.strip_prefix(b",").unwrap_or(rest)
}

/// The answer to a body that was taken.
pub(super) fn stored(body: &Body, headers: &HeaderMap) -> Answer {
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().insert(ETAG, body.etag.clone());
    if has_trailer(headers) {
        answer.headers_mut().insert(HeaderName::from_static(CRC64NVME), body.crc64nvme.clone());
    }
    answer
}

fn has_trailer(headers: &HeaderMap) -> bool {
    has(headers, "x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        && has(headers, "x-amz-trailer", CRC64NVME)
}

fn is_chunked(headers: &HeaderMap) -> bool {
    has(headers, "x-amz-content-sha256", "STREAMING-") || has(headers, "content-encoding", "aws-chunked")
}

/// Whether a header is there and begins so.
fn has(headers: &HeaderMap, name: &str, with: &str) -> bool {
    headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(with))
}

fn describe(object: &Object, headers: &mut HeaderMap) {
    for (name, value) in object.headers.iter() {
        headers.append(name.clone(), value.clone());
    }
    headers.insert(ETAG, object.content.etag().clone());
    headers.insert(LAST_MODIFIED, object.modified.clone());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

fn get(bucket: &Bucket, key: &str, headers: &HeaderMap) -> Answer {
    let Some(object) = bucket.get(key) else { return not_found() };
    let size = object.content.size();
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let mut answer = match range.map(|range| resolve(range, size)) {
        None => Response::new(object.content.slice(0, size)),
        Some(None) => {
            return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "The range cannot be served.");
        }
        Some(Some((first, last))) => {
            let mut answer = Response::new(object.content.slice(first, last + 1));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            if let Ok(value) = HeaderValue::try_from(format!("bytes {first}-{last}/{size}")) {
                answer.headers_mut().insert(CONTENT_RANGE, value);
            }
            answer
        }
    };
    describe(&object, answer.headers_mut());
    answer
}

/// First and last byte of a `Range` header; `None` when no byte of it exists.
fn resolve(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = size.checked_sub(1)?;
    let (first, last) = match (first, last) {
        ("", suffix) => (size.saturating_sub(suffix.parse().ok().filter(|n| *n > 0)?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, end.min(last.parse().ok()?)),
    };
    (first <= last).then_some((first, last))
}

fn head(bucket: &Bucket, key: &str) -> Answer {
    let Some(object) = bucket.get(key) else { return empty(StatusCode::NOT_FOUND) };
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().insert(CONTENT_LENGTH, object.content.size().into());
    describe(&object, answer.headers_mut());
    answer
}

fn list(bucket: &Bucket, name: &str, query: &str) -> Answer {
    let text = |parameter_name| parameter(query, parameter_name).unwrap_or_default();
    let prefix = text("prefix");
    let after = parameter(query, "continuation-token").unwrap_or_else(|| text("start-after"));
    let max_keys = text("max-keys").parse().unwrap_or(1000).min(1000);
    let mut page = bucket.list(&prefix, &after, max_keys + 1);
    let more = page.len() > max_keys;
    page.truncate(max_keys);
    document(StatusCode::OK, xml::list(name, &prefix, max_keys, &page, more))
}

async fn delete_many(bucket: &Bucket, body: Incoming) -> Result<Answer> {
    let request = body.collect().await?.to_bytes();
    let keys = xml::keys(&String::from_utf8_lossy(&request));
    keys.iter().for_each(|key| bucket.delete(key));
    Ok(document(StatusCode::OK, xml::deleted(&keys)))
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Pieces::default());
    *answer.status_mut() = status;
    answer
}

pub(super) fn document(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Pieces::from(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    document(status, xml::error(code, message))
}

pub(super) fn refuse((status, code, message): Refusal) -> Answer {
    error(status, code, message)
}

fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.split_once('=').filter(|(found, _)| *found == name))?.1;
    Some(decode(&value.replace('+', " ")).into_owned())
}
