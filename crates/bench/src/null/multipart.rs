//! Multipart uploads of the null backend: Create, `UploadPart`, Complete and Abort.
//!
//! Invariant: an object appears at Complete only, of the parts that the client names by the `ETag`s it was told.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::bodies::Body;
use super::content::Content;
use super::objects::Object;
use super::serve::{Answer, Refusal, Server, document, empty, kept, parameter, refuse, stored};
use super::xml;

/// Part numbers end here, as in S3.
const MOST_PARTS: u16 = 10_000;

const NO_SUCH_UPLOAD: Refusal =
    (StatusCode::NOT_FOUND, "NoSuchUpload", "The specified multipart upload does not exist.");
const INVALID_PART: Refusal =
    (StatusCode::BAD_REQUEST, "InvalidPart", "One of the parts is not there, or its ETag is another.");
const INVALID_ORDER: Refusal =
    (StatusCode::BAD_REQUEST, "InvalidPartOrder", "The parts are not in ascending order.");
const NO_PARTS: Refusal = (StatusCode::BAD_REQUEST, "MalformedXML", "There is no part.");
const NO_NUMBER: Refusal =
    (StatusCode::BAD_REQUEST, "InvalidArgument", "A part has a number from 1 to 10000.");
const UNKNOWN: Refusal =
    (StatusCode::NOT_IMPLEMENTED, "NotImplemented", "The null backend does not know it.");

/// Headers that the object will have.
type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// Uploads that are open.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    by_id: Mutex<HashMap<String, Upload>>,
    count: AtomicU64,
}

#[derive(Debug)]
struct Upload {
    /// Bucket and key.
    place: String,
    headers: Headers,
    parts: BTreeMap<u16, Arc<Body>>,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The new upload's id.
    fn open(&self, place: String, headers: Headers) -> String {
        let id = format!("{:016x}", self.count.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(id.clone(), Upload { place, headers, parts: BTreeMap::new() });
        id
    }

    /// A later part of the same number takes the place of the earlier one.
    fn add(&self, place: &str, id: &str, number: u16, body: Arc<Body>) -> Result<(), Refusal> {
        let mut uploads = self.lock();
        let upload = uploads.get_mut(id).filter(|upload| upload.place == place).ok_or(NO_SUCH_UPLOAD)?;
        upload.parts.insert(number, body);
        Ok(())
    }

    /// Closes the upload, unless something is wrong with the list.
    fn complete(
        &self,
        place: &str,
        id: &str,
        listed: &[(u16, String)],
    ) -> Result<(Headers, Content), Refusal> {
        let mut uploads = self.lock();
        let upload = uploads.get(id).filter(|upload| upload.place == place).ok_or(NO_SUCH_UPLOAD)?;
        if listed.is_empty() {
            return Err(NO_PARTS);
        }
        if !listed.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(INVALID_ORDER);
        }
        let find = |(number, etag): &(u16, String)| {
            let same = |body: &&Arc<Body>| {
                body.etag.to_str().is_ok_and(|own| own.trim_matches('"') == etag.trim_matches('"'))
            };
            upload.parts.get(number).filter(same).cloned()
        };
        let parts: Vec<Arc<Body>> = listed.iter().map(find).collect::<Option<_>>().ok_or(INVALID_PART)?;
        let headers = Arc::clone(&upload.headers);
        uploads.remove(id);
        drop(uploads);
        Ok((headers, Content::of_parts(parts)))
    }

    fn abort(&self, place: &str, id: &str) -> Result<(), Refusal> {
        let mut uploads = self.lock();
        uploads.get(id).filter(|upload| upload.place == place).ok_or(NO_SUCH_UPLOAD)?;
        uploads.remove(id);
        Ok(())
    }
}

/// Whether a request is about an upload: `?uploads` opens one, `uploadId` names one.
pub(super) fn concerns(query: &str) -> bool {
    query.split('&').any(|pair| pair == "uploads" || pair == "uploads=" || pair.starts_with("uploadId="))
}

impl Server {
    /// A request for which [`concerns`] holds.
    pub(super) async fn multipart(
        &self,
        parts: &Parts,
        bucket: &str,
        key: &str,
        body: Incoming,
    ) -> Result<Answer> {
        let query = parts.uri.query().unwrap_or_default();
        let place = format!("{bucket}/{key}");
        match (&parts.method, parameter(query, "uploadId")) {
            (&Method::POST, None) => {
                let id = self.uploads.open(place, kept(&parts.headers));
                Ok(document(StatusCode::OK, xml::opened(bucket, key, &id)))
            }
            (&Method::PUT, Some(id)) => {
                let number = parameter(query, "partNumber").and_then(|text| text.parse::<u16>().ok());
                let Some(number) = number.filter(|number| (1..=MOST_PARTS).contains(number)) else {
                    return Ok(refuse(NO_NUMBER));
                };
                let taken = self.take(&parts.headers, body).await?;
                let added = taken.and_then(|body| {
                    self.uploads.add(&place, &id, number, Arc::clone(&body))?;
                    Ok(body)
                });
                Ok(added.map_or_else(refuse, |body| stored(&body, &parts.headers)))
            }
            (&Method::POST, Some(id)) => {
                let request = body.collect().await?.to_bytes();
                let listed = xml::parts(&String::from_utf8_lossy(&request));
                let (headers, content) = match self.uploads.complete(&place, &id, &listed) {
                    Ok(completed) => completed,
                    Err(refusal) => return Ok(refuse(refusal)),
                };
                let answer = xml::completed(bucket, key, content.etag());
                let object = Object { content, headers, modified: self.http_date() };
                self.bucket(bucket).put(key.to_owned(), object);
                Ok(document(StatusCode::OK, answer))
            }
            (&Method::DELETE, Some(id)) => {
                Ok(self.uploads.abort(&place, &id).map_or_else(refuse, |()| empty(StatusCode::NO_CONTENT)))
            }
            _ => Ok(refuse(UNKNOWN)),
        }
    }
}
