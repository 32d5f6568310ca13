//! PUT, GET, HEAD and DELETE: signed here, sent over the shared pool.
//!
//! Invariants: a PUT that does not end in success is cut, also when its future is dropped, so that
//! no connection goes on reading a body nobody waits for; an empty body is read to its end (and so
//! verified, if guarded) before the request leaves.

use std::time::SystemTime;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, HeaderValue, IF_MATCH, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use s3o_types::{ChecksumMode, Etag};

use crate::aws_chunked::{self, AwsChunked, CRC64NVME, Trailer};
use crate::client::{BackendClient, ByteRange, Deleted, GetDone, HeadDone, PutDone};
use crate::download::DownloadBody;
use crate::error::{BackendError, BackendErrorKind, Certainty};
use crate::errors;
use crate::sign::{Payload, sign_request};
use crate::upload::{BoxError, ByteStream, CutOnDrop, UploadBody, UploadWatch};

const VERSION_ID: &str = "x-amz-version-id";
const CONTENT_MD5: &str = "content-md5";
const ENCRYPTION: &str = "x-amz-server-side-encryption";
/// `aws:kms` and `aws:kms:dsse`.
pub(crate) const BY_KEY: &str = "aws:kms";

impl BackendClient {
    /// Stores a body of known length under a storage key.
    pub async fn put<S, E>(
        &self,
        storage_key: &str,
        content_length: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: S,
    ) -> Result<PutDone, BackendError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        self.put_watched(storage_key, content_length, headers, body, None, &UploadWatch::new()).await
    }

    /// As [`Self::put`]; `watch` (fresh, one per call) tells how far the body got, also after this
    /// future was dropped. With `trailer` the backend gets a CRC-64/NVME behind the body to compare, and
    /// [`PutDone::crc64nvme`] is what it then says; an empty body goes without.
    pub async fn put_watched<S, E>(
        &self,
        storage_key: &str,
        content_length: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: S,
        trailer: Option<Trailer>,
        watch: &UploadWatch,
    ) -> Result<PutDone, BackendError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let mut body: ByteStream = Box::pin(body.map_err(Into::into));
        if content_length == 0 {
            drain_empty(&mut body).await?;
            return self.send_put(storage_key, headers, PutBody::Whole(Bytes::new()), watch).await;
        }
        let body = match trailer {
            Some(trailer) => PutBody::Trailer(AwsChunked::new(body, content_length, trailer), content_length),
            None => PutBody::Stream(body, content_length),
        };
        self.send_put(storage_key, headers, body, watch).await
    }

    /// Stores bytes that are at hand; their hash is signed unless the backend's quirks forbid it.
    pub async fn put_bytes(
        &self,
        storage_key: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        bytes: Bytes,
    ) -> Result<PutDone, BackendError> {
        self.send_put(storage_key, headers, PutBody::Whole(bytes), &UploadWatch::new()).await
    }

    async fn send_put(
        &self,
        storage_key: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: PutBody,
        watch: &UploadWatch,
    ) -> Result<PutDone, BackendError> {
        let quirks = &self.0.spec.quirks;
        let (length, payload) = match &body {
            PutBody::Whole(bytes) if bytes.is_empty() => (0, Payload::Empty),
            PutBody::Whole(bytes) if !quirks.unsigned_payload => (bytes.len() as u64, Payload::Whole(bytes)),
            PutBody::Whole(bytes) => (bytes.len() as u64, Payload::Unsigned),
            PutBody::Stream(_, length) => (*length, Payload::Unsigned),
            PutBody::Trailer(_, size) => (aws_chunked::encoded_length(*size), Payload::UnsignedTrailer),
        };
        let mut request = self.request(Method::PUT, storage_key, None)?;
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        for (name, value) in headers {
            if self.sends(&name) {
                request.headers_mut().append(name, value);
            }
        }
        if let PutBody::Trailer(_, size) = &body {
            let announced = aws_chunked::announce(request.headers_mut(), *size);
            announced.map_err(|_| not_a_header())?;
        }
        self.sign(&mut request, payload).await?;
        let body = match body {
            PutBody::Whole(bytes) => UploadBody::whole(bytes, watch.clone()),
            PutBody::Stream(stream, length) => UploadBody::stream(stream, length, watch.clone()),
            PutBody::Trailer(stream, _) => UploadBody::stream(Box::pin(stream), length, watch.clone()),
        };
        let mut cut = CutOnDrop(Some(watch.clone()));
        watch.dispatch(length == 0);
        let response = tokio::select! {
            answered = self.0.pool.hyper().request(request.map(|()| body)) => {
                answered.map_err(|error| upload_error(&error, watch))?
            }
            error = watch.stalled(self.0.pool.timeouts()) => {
                watch.cut();
                return Err(BackendError { certainty: settled(watch, error.certainty), ..error });
            }
        };
        let status = response.status();
        if !status.is_success() {
            watch.cut();
            let error = errors::from_response(status, response.into_body()).await;
            return Err(BackendError { certainty: settled(watch, error.certainty), ..error });
        }
        if watch.certainty() != Certainty::Unknown {
            let message = "the backend answered success before it had the whole body";
            return Err(BackendError::new(BackendErrorKind::Server, Certainty::Unknown, message));
        }
        cut.0 = None;
        let headers = response.headers();
        let (version_id, crc64nvme) = (text_of(headers, VERSION_ID), text_of(headers, CRC64NVME));
        // The ETag of what is encrypted by key looks like an MD5 and is none (Amazon S3 API reference, "Object").
        let by_key = text_of(headers, ENCRYPTION).is_some_and(|how| how.starts_with(BY_KEY));
        Ok(PutDone { etag: etag_of(headers).filter(|_| !by_key), version_id, crc64nvme })
    }

    /// Reads a blob or a range of it.
    pub async fn get(
        &self,
        storage_key: &str,
        range: Option<ByteRange>,
        if_match: Option<&Etag>,
    ) -> Result<GetDone, BackendError> {
        let mut request = self.request(Method::GET, storage_key, None)?;
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.first, range.last);
            request.headers_mut().insert(RANGE, header_value(&value)?);
        }
        if let Some(etag) = if_match {
            request.headers_mut().insert(IF_MATCH, header_value(&format!("\"{etag}\""))?);
        }
        let response = self.call(request).await?;
        let expected = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        if response.status() != expected {
            return Err(unexpected(response).await);
        }
        let (parts, incoming) = response.into_parts();
        let content_length = length_of(&parts.headers)?;
        let size = match range {
            None => content_length,
            Some(range) => check_range(&parts.headers, range, content_length)?,
        };
        let body = DownloadBody::new(incoming, content_length, self.0.pool.timeouts().idle);
        Ok(GetDone { content_length, size, etag: etag_of(&parts.headers), headers: parts.headers, body })
    }

    /// Asks for a blob's headers.
    pub async fn head(&self, storage_key: &str) -> Result<HeadDone, BackendError> {
        let response = self.call(self.request(Method::HEAD, storage_key, None)?).await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(response).await);
        }
        let headers = response.into_parts().0.headers;
        let last_modified = text_of(&headers, LAST_MODIFIED.as_str()).and_then(|text| parse_http_date(&text));
        Ok(HeadDone { size: length_of(&headers)?, etag: etag_of(&headers), last_modified, headers })
    }

    /// Deletes a blob, or one version that the backend keeps of it.
    pub async fn delete(&self, storage_key: &str, version_id: Option<&str>) -> Result<Deleted, BackendError> {
        let request = self.request(Method::DELETE, storage_key, version_id)?;
        let response = self.call(request).await?;
        if response.status().is_success() {
            return Ok(Deleted::Gone);
        }
        match unexpected(response).await {
            error if error.kind == BackendErrorKind::NotFound => Ok(Deleted::Absent),
            error => Err(error),
        }
    }

    fn request(
        &self,
        method: Method,
        storage_key: &str,
        version_id: Option<&str>,
    ) -> Result<Request<()>, BackendError> {
        let address = self.0.address.as_ref().map_err(Clone::clone)?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = address.url(storage_key, version_id)?;
        Ok(request)
    }

    /// Whether a header of the caller's goes to this backend.
    pub(crate) fn sends(&self, name: &HeaderName) -> bool {
        let quirks = &self.0.spec.quirks;
        let md5 = name != CONTENT_MD5 || quirks.checksum == ChecksumMode::ContentMd5;
        md5 && name != CONTENT_LENGTH
            && !quirks.strip_headers.iter().any(|stripped| stripped == name.as_str())
    }

    async fn sign(&self, request: &mut Request<()>, payload: Payload<'_>) -> Result<(), BackendError> {
        let address = self.0.address.as_ref().map_err(Clone::clone)?;
        let credentials = self.0.credentials.get().await?;
        sign_request(request, address, &self.0.spec.region, &credentials, payload)
    }

    /// Signs and sends a request without a body; waits for the head of the answer.
    async fn call(&self, mut request: Request<()>) -> Result<Response<Incoming>, BackendError> {
        self.sign(&mut request, Payload::Empty).await?;
        let limit = self.0.pool.timeouts().response;
        let answer = self.0.pool.hyper().request(request.map(|()| UploadBody::empty()));
        let Ok(answered) = tokio::time::timeout(limit, answer).await else {
            let message = format!("no answer within {} s", limit.as_secs_f32());
            return Err(BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, message));
        };
        answered.map_err(|error| errors::from_hyper(&error, Certainty::Unknown))
    }
}

enum PutBody {
    Whole(Bytes),
    Stream(ByteStream, u64),
    /// With the size of what is encoded.
    Trailer(AwsChunked, u64),
}

/// Reads a body that must be empty: a guard's last word counts before the request is sent.
async fn drain_empty(body: &mut ByteStream) -> Result<(), BackendError> {
    let fault = |message: String| Err(BackendError::new(BackendErrorKind::Body, Certainty::NotSent, message));
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) if chunk.is_empty() => {}
            Ok(_) => return fault("the body is longer than its content length".to_owned()),
            Err(error) => return fault(error.to_string()),
        }
    }
    Ok(())
}

/// An upload without an answer: the body's own failure goes before what hyper makes of it.
fn upload_error(error: &hyper_util::client::legacy::Error, watch: &UploadWatch) -> BackendError {
    watch.cut();
    match watch.source_error() {
        Some(message) => BackendError::new(BackendErrorKind::Body, watch.certainty(), message),
        None => errors::from_hyper(
            error,
            if watch.touched() || !error.is_connect() { watch.certainty() } else { Certainty::NotSent },
        ),
    }
}

/// After the cut: what was `Unknown` by the answer alone is `Cut` if the last byte never left.
fn settled(watch: &UploadWatch, by_answer: Certainty) -> Certainty {
    match (watch.certainty(), by_answer) {
        (Certainty::Unknown, answer) => answer,
        (body, _) => body,
    }
}

async fn unexpected(response: Response<Incoming>) -> BackendError {
    let status = response.status();
    let mut error = errors::from_response(status, response.into_body()).await;
    if status.is_success() {
        error.message = format!("the backend answered {status} where that makes no sense");
    }
    error
}

fn header_value(text: &str) -> Result<HeaderValue, BackendError> {
    HeaderValue::try_from(text).map_err(|_| not_a_header())
}

fn not_a_header() -> BackendError {
    BackendError::new(BackendErrorKind::Rejected, Certainty::NotSent, "not a header value")
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn etag_of(headers: &HeaderMap) -> Option<Etag> {
    text_of(headers, ETAG.as_str()).map(|text| Etag::new(&text)).filter(|etag| !etag.as_str().is_empty())
}

fn nonsense(message: String) -> BackendError {
    BackendError::new(BackendErrorKind::Server, Certainty::NotSent, message)
}

fn length_of(headers: &HeaderMap) -> Result<u64, BackendError> {
    let length = text_of(headers, CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
    length.ok_or_else(|| nonsense("the answer has no content length".to_owned()))
}

/// Checks that the answer is of the range asked for; gives the size of the whole blob.
fn check_range(headers: &HeaderMap, range: ByteRange, content_length: u64) -> Result<u64, BackendError> {
    let text = text_of(headers, CONTENT_RANGE.as_str()).unwrap_or_default();
    let wrong = || nonsense(format!("asked for bytes {}-{}, got `{text}`", range.first, range.last));
    let (span, size) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
    let (first, last) = span.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    let ends_well = size.checked_sub(1).is_some_and(|greatest| last == range.last.min(greatest));
    if first != range.first || !ends_well || last < first || last - first + 1 != content_length {
        return Err(wrong());
    }
    Ok(size)
}

fn parse_http_date(text: &str) -> Option<SystemTime> {
    use aws_smithy_types::date_time::{DateTime, Format};
    SystemTime::try_from(DateTime::from_str(text, Format::HttpDate).ok()?).ok()
}

#[cfg(test)]
mod fuzz;
