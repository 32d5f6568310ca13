//! Requests of a survey: counted, limited in time, and remembered where they may have left something.
//!
//! Invariant: a key is noted before its PUT is sent, and every PUT has a name of its own.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use s3o_blob::{AlgorithmSet, BodyHasher};
use s3o_types::storage_key::PROBE;
use s3o_types::{Etag, Quirks};

use super::fetch::{Fetched, fetch};
use crate::client::{BackendClient, ByteRange, Deleted, HeadDone, ListDone, PutDone};
use crate::error::{BackendError, BackendErrorKind, Certainty};
use crate::meter::Operation;
use crate::set::Backend;
use crate::upload::UploadWatch;

/// For one request, with its body.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// So many requests in a row without an answer, and no more are sent.
const SILENCES: u8 = 3;

/// How a body goes out.
pub(super) enum How {
    /// Signed by its hash, where the client's quirks allow it.
    Whole,
    /// As a data plane sends what it does not know yet.
    Stream,
    /// With a CRC-64/NVME behind it, base64.
    Trailer(String),
}

pub(super) struct Asker<'a> {
    backend: &'a Backend,
    stopping: &'a (dyn Fn() -> bool + Send + Sync),
    client: BackendClient,
    prefix: String,
    /// What may be there: the key, and its version where the backend named one.
    made: BTreeSet<(String, Option<String>)>,
    requests: u64,
    silences: u8,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        backend: &'a Backend,
        tag: &str,
        stopping: &'a (dyn Fn() -> bool + Send + Sync),
    ) -> Self {
        Self {
            backend,
            stopping,
            client: backend.client().clone(),
            prefix: format!("{PROBE}/{tag}/"),
            made: BTreeSet::new(),
            requests: 0,
            silences: 0,
        }
    }

    /// What is configured, or was found out before.
    pub(super) fn configured(&self) -> &'a Quirks {
        &self.backend.spec().quirks
    }

    pub(super) fn endpoint(&self) -> &'a str {
        &self.backend.spec().endpoint
    }

    /// The backend as it is spoken to.
    pub(super) fn client(&self) -> BackendClient {
        self.client.clone()
    }

    /// The backend with other quirks.
    pub(super) fn with(&self, quirks: Quirks) -> BackendClient {
        self.client.with_quirks(quirks)
    }

    /// From now on it is spoken to like this.
    pub(super) fn settle(&mut self, quirks: Quirks) {
        self.client = self.client.with_quirks(quirks);
    }

    /// The quirks with which it is spoken to.
    pub(super) fn quirks(&self) -> &Quirks {
        &self.client.spec().quirks
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Bytes of every key before its name.
    pub(super) fn prefix_length(&self) -> usize {
        self.prefix.len()
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// A PUT as it works here.
    pub(super) async fn put(
        &mut self,
        name: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    ) -> Result<PutDone, BackendError> {
        let how = if self.quirks().unsigned_payload { How::Stream } else { How::Whole };
        let client = self.client.clone();
        self.put_by(&client, name, headers, body, how).await
    }

    /// A PUT by another client. A right Content-MD5 goes along where its quirks say so, but with a trailer, and where no
    /// other is there.
    pub(super) async fn put_by(
        &mut self,
        client: &BackendClient,
        name: &str,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        how: How,
    ) -> Result<PutDone, BackendError> {
        let has_checksum =
            matches!(how, How::Trailer(_)) || headers.iter().any(|(name, _)| name == CONTENT_MD5);
        if !has_checksum {
            headers.extend(content_md5(&body));
        }
        let (key, size, watch) = (self.key(name), body.len() as u64, UploadWatch::new());
        self.made.insert((key.clone(), None));
        let stream = futures::stream::iter([Ok::<_, Infallible>(body.clone())]);
        let put = Operation::Put;
        let outcome = match how {
            How::Whole => self.ask(put, client.put_bytes(&key, headers, body)).await,
            How::Stream => self.ask(put, client.put_watched(&key, size, headers, stream, None, &watch)).await,
            How::Trailer(value) => {
                let trailer: crate::Trailer = Box::new(move || Some(value));
                let sent = client.put_watched(&key, size, headers, stream, Some(trailer), &watch);
                self.ask(put, sent).await
            }
        };
        let was_sent = outcome.as_ref().map_or_else(|error| error.certainty != Certainty::NotSent, |_| true);
        if was_sent {
            self.backend.meters().usage.ingress(self.backend.id(), size);
        }
        self.note(key, &outcome);
        outcome
    }

    pub(super) async fn copy(
        &mut self,
        source: &str,
        target: &str,
        size: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<PutDone, BackendError> {
        let (source, target, client) = (self.key(source), self.key(target), self.client.clone());
        self.made.insert((target.clone(), None));
        let outcome = self.ask(Operation::Copy, client.copy(&source, &target, size, headers)).await;
        self.note(target, &outcome);
        outcome
    }

    /// A plain DELETE where none is needed would leave a marker in a bucket that keeps versions.
    fn note(&mut self, key: String, outcome: &Result<PutDone, BackendError>) {
        match outcome {
            Ok(PutDone { version_id: Some(version), .. }) => {
                self.made.remove(&(key.clone(), None));
                self.made.insert((key, Some(version.clone())));
            }
            Err(error) if error.certainty != Certainty::Unknown => {
                self.made.remove(&(key, None));
            }
            Ok(_) | Err(_) => {}
        }
    }

    pub(super) async fn get(
        &mut self,
        name: &str,
        range: Option<ByteRange>,
        if_match: Option<&Etag>,
    ) -> Result<Fetched, BackendError> {
        let (key, client) = (self.key(name), self.client.clone());
        let fetched = self.ask(Operation::Get, fetch(&client, &key, range, if_match)).await?;
        self.backend.meters().usage.egress(self.backend.id(), fetched.bytes.len() as u64);
        Ok(fetched)
    }

    pub(super) async fn head(&mut self, name: &str) -> Result<HeadDone, BackendError> {
        let (key, client) = (self.key(name), self.client.clone());
        self.ask(Operation::Head, client.head(&key)).await
    }

    /// A page of the keys whose names begin so, without our prefix.
    pub(super) async fn list(
        &mut self,
        name: &str,
        after: Option<&str>,
        max_keys: u16,
    ) -> Result<(Vec<String>, bool), BackendError> {
        let (prefix, client) = (self.key(name), self.client.clone());
        let after = after.map(|after| self.key(after));
        let page = self.ask(Operation::List, client.list(&prefix, after.as_deref(), max_keys)).await?;
        let ListDone { entries, truncated } = page;
        let named = |key: String| key.strip_prefix(&self.prefix).map_or_else(|| key.clone(), str::to_owned);
        Ok((entries.into_iter().map(|entry| named(entry.key)).collect(), truncated))
    }

    pub(super) async fn delete(
        &mut self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Deleted, BackendError> {
        let key = self.key(name);
        let deleted = self.delete_key(&key, version).await?;
        self.made.remove(&(key, version.map(str::to_owned)));
        Ok(deleted)
    }

    async fn delete_key(&mut self, key: &str, version: Option<&str>) -> Result<Deleted, BackendError> {
        let client = self.client.clone();
        self.ask(Operation::Delete, client.delete(key, version)).await
    }

    /// Deletes all that may be there, and says what may be there still.
    pub(super) async fn clear(&mut self) -> Vec<String> {
        // Whatever kept it silent may be over.
        self.silences = 0;
        let mut left = BTreeSet::new();
        for (key, version) in std::mem::take(&mut self.made) {
            if let Err(error) = self.delete_key(&key, version.as_deref()).await {
                tracing::warn!(backend = self.backend.name(), key, %error, "what a probe made could not be deleted");
                left.insert(key);
            }
        }
        left.into_iter().collect()
    }

    async fn ask<T>(
        &mut self,
        operation: Operation,
        call: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        if self.silences >= SILENCES {
            return Err(not_asked("the backend left several requests before without an answer"));
        }
        if operation != Operation::Delete && (self.stopping)() {
            return Err(not_asked("the process is stopping"));
        }
        self.requests += 1;
        let (meters, id, started) = (self.backend.meters(), self.backend.id(), Instant::now());
        meters.usage.request(id, operation.class());
        let outcome = tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", PATIENCE.as_secs());
            Err(BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, message))
        });
        let status = outcome.as_ref().map_or_else(BackendError::status_label, |_| "200".to_owned());
        let took = started.elapsed().as_secs_f64();
        meters.metrics.request(operation, self.backend.name(), &status, took);
        let is_silent = outcome.as_ref().is_err_and(is_silence);
        self.silences = if is_silent { self.silences + 1 } else { 0 };
        outcome
    }
}

fn not_asked(why: &str) -> BackendError {
    BackendError::new(BackendErrorKind::Timeout, Certainty::NotSent, format!("not asked: {why}"))
}

/// Whether nobody answered.
pub(super) fn is_silence(error: &BackendError) -> bool {
    matches!(error.kind, BackendErrorKind::Timeout | BackendErrorKind::Connection)
}

const CONTENT_MD5: &str = "content-md5";

/// `Content-MD5` of a body.
pub(super) fn content_md5(body: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let md5 = BodyHasher::digest(body, AlgorithmSet::NONE).md5?;
    let value = HeaderValue::try_from(aws_smithy_types::base64::encode(md5)).ok()?;
    Some((HeaderName::from_static(CONTENT_MD5), value))
}
