//! All backends of the process, by id: each with its client, its health and its meters.
//!
//! Invariants: every call through [`Backend`] is counted, and all but looks at the marker are told to the breaker, also those
//! that were given up after a while, since whoever asks may be less patient than the limits; no call is refused here, since the
//! caller may have nothing better (the last copy, the last candidate); a rebuild keeps client and health of what did not
//! change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::Stream;
use http::header::{HeaderName, HeaderValue};
use s3o_blob::BodyDigests;
use s3o_types::{BackendId, BackendSpec, Etag, EtagProof};

use crate::aws_chunked::Trailer;
use crate::breaker::{Admission, BreakerConfig};
use crate::client::{BackendClient, ByteRange, Deleted, GetDone, HeadDone, ListDone, PutDone};
use crate::error::{BackendError, BackendErrorKind, Certainty};
use crate::health::{Health, STOOD_STILL, Side};
use crate::marker::{self, FoundMarker};
use crate::meter::{Meters, Operation};
use crate::pool::HttpPool;
use crate::upload::{BoxError, UploadWatch};
use crate::verify::{by_answer, read_back};

/// How long a probe may take. The round waits for the slowest, so it must be short.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// A backend as both planes use it.
pub struct Backend {
    client: BackendClient,
    health: Arc<Health>,
    meters: Meters,
}

impl Backend {
    /// One backend on its own.
    pub fn new(spec: BackendSpec, pool: HttpPool, meters: Meters, breaker: BreakerConfig) -> Self {
        let client = BackendClient::new(spec, pool);
        Self { client, health: Arc::new(Health::new(breaker)), meters }
    }

    /// Its row.
    pub fn id(&self) -> BackendId {
        self.client.spec().id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.client.spec().name
    }

    /// What it was made from.
    pub fn spec(&self) -> &BackendSpec {
        self.client.spec()
    }

    /// Its health, as this process sees it.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The client below, for what is to be neither counted nor told to the breaker.
    pub fn client(&self) -> &BackendClient {
        &self.client
    }

    /// Who counts its calls.
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What its answer to a PUT proves.
    pub fn etag_proof(&self) -> EtagProof {
        self.spec().quirks.etag
    }

    /// [`crate::read_marker`], counted as the provider bills it, and not told to the breaker: a marker that cannot be
    /// read has meanings of its own.
    pub async fn read_marker(&self) -> Result<Option<FoundMarker>, BackendError> {
        self.meters.usage.request(self.id(), Operation::Get.class());
        let found = marker::read(&self.client).await?;
        Ok(found.map(|(found, bytes)| {
            self.meters.usage.egress(self.id(), bytes);
            found
        }))
    }

    /// [`BackendClient::put`].
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

    /// [`BackendClient::put_watched`].
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
        let call = Call::start(self, Operation::Put);
        let _ingress = CountOnDrop { backend: self, watch };
        let client = &self.client;
        let outcome = client.put_watched(storage_key, content_length, headers, body, trailer, watch).await;
        call.end(outcome)
    }

    /// [`BackendClient::get`]. A body that breaks off later is told to the breaker too.
    pub async fn get(
        self: &Arc<Self>,
        storage_key: &str,
        range: Option<ByteRange>,
        if_match: Option<&Etag>,
    ) -> Result<GetDone, BackendError> {
        let call = Call::start(self, Operation::Get);
        let mut got = call.end(self.client.get(storage_key, range, if_match).await)?;
        let backend = Arc::clone(self);
        got.body.on_end(Box::new(move |bytes, error, is_whole| {
            backend.meters.usage.egress(backend.id(), bytes);
            match error {
                Some(error) => backend.health.failed(error, Instant::now(), jitter()),
                None if is_whole => backend.health.succeeded(Side::Read),
                // Whoever read it had enough.
                None => {}
            }
        }));
        Ok(got)
    }

    /// [`BackendClient::head`].
    pub async fn head(&self, storage_key: &str) -> Result<HeadDone, BackendError> {
        let call = Call::start(self, Operation::Head);
        call.end(self.client.head(storage_key).await)
    }

    /// [`BackendClient::delete`].
    pub async fn delete(&self, storage_key: &str, version_id: Option<&str>) -> Result<Deleted, BackendError> {
        let call = Call::start(self, Operation::Delete);
        call.end(self.client.delete(storage_key, version_id).await)
    }

    /// [`BackendClient::copy`].
    pub async fn copy(
        &self,
        source: &str,
        target: &str,
        size: u64,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<PutDone, BackendError> {
        let call = Call::start(self, Operation::Copy);
        call.end(self.client.copy(source, target, size, headers).await)
    }

    /// [`BackendClient::list`].
    pub async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        max_keys: u16,
    ) -> Result<ListDone, BackendError> {
        let mut call = Call::start(self, Operation::List);
        let page = self.client.list_watched((prefix, start_after, max_keys), || call.again()).await;
        call.end(page)
    }

    /// [`crate::verify_put`], by what is known of this backend's ETags. Only what is verified counts as
    /// a write that worked.
    pub async fn verify_put(
        self: &Arc<Self>,
        storage_key: &str,
        put: &PutDone,
        digests: &BodyDigests,
    ) -> Result<Etag, BackendError> {
        let verified = match by_answer(put, digests, self.etag_proof()) {
            Some(verdict) => verdict,
            None => read_back(self.get(storage_key, None, None).await, digests).await,
        };
        match &verified {
            Ok(_) => self.health.succeeded(Side::Write),
            Err(error) => self.health.failed_on(Side::Write, error, Instant::now(), jitter()),
        }
        verified
    }

    /// A PUT that was given up because it held up others, or was late when they had what they needed. It counts
    /// as a failure, so that a backend that hangs does not cost every write its patience.
    pub fn given_up(&self) {
        let message = "too slow beside the others";
        let error = BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, message);
        self.health.failed_on(Side::Write, &error, Instant::now(), jitter());
    }

    /// Tries a backend that is not up, if it is time to: a HEAD of the marker, whose absence is an
    /// answer too. Call it every second or so.
    pub async fn probe(&self) {
        if self.health.admit(Instant::now()) != Admission::Probe {
            return;
        }
        let head = self.head(s3o_types::storage_key::MARKER);
        let Ok(answer) = tokio::time::timeout(PROBE_PATIENCE, head).await else {
            tracing::debug!(backend = self.name(), "backend does not answer");
            // The end of the call has told the side that reads; what does not answer takes no blobs either.
            let (kind, certainty) = (BackendErrorKind::Timeout, Certainty::Unknown);
            let error = BackendError::new(kind, certainty, "no answer to a probe");
            self.health.failed_on(Side::Write, &error, Instant::now(), jitter());
            return;
        };
        let worked = answer.as_ref().map_or_else(|error| error.kind == BackendErrorKind::NotFound, |_| true);
        self.health.probed(worked, Instant::now(), jitter());
        match answer {
            Ok(_) => tracing::info!(backend = self.name(), "backend answers again"),
            Err(error) if error.kind == BackendErrorKind::NotFound => {
                tracing::info!(backend = self.name(), "backend answers again, without a marker");
            }
            Err(error) => tracing::debug!(backend = self.name(), %error, "backend still fails"),
        }
    }
}

/// One call, from its start to what is counted of it.
struct Call<'a> {
    backend: &'a Backend,
    operation: Operation,
    started: Instant,
    ended: bool,
}

/// The call's future was dropped before it had an answer: nobody waits for one any more.
const GIVEN_UP: &str = "given_up";

impl<'a> Call<'a> {
    fn start(backend: &'a Backend, operation: Operation) -> Self {
        backend.meters.usage.request(backend.id(), operation.class());
        Self { backend, operation, started: Instant::now(), ended: false }
    }

    fn end<T>(mut self, outcome: Result<T, BackendError>) -> Result<T, BackendError> {
        let took = self.started.elapsed();
        let status = match &outcome {
            Ok(_) => {
                if self.begins() {
                    self.backend.health.answered_in(took);
                }
                // A GET has worked when its body has come, a PUT and a COPY when they are verified.
                if matches!(self.operation, Operation::Head | Operation::Delete | Operation::List) {
                    self.backend.health.succeeded(Side::Read);
                }
                "200".to_owned()
            }
            Err(error) => {
                if error.kind == BackendErrorKind::Timeout && self.begins() {
                    self.backend.health.waited(took);
                }
                let side = self.operation.side();
                self.backend.health.failed_on(side, error, Instant::now(), jitter());
                error.status_label()
            }
        };
        self.ended = true;
        self.backend.meters.metrics.request(self.operation, self.backend.name(), &status, took.as_secs_f64());
        outcome
    }

    /// It was answered, by what is of no use, and is asked once more: billed twice, and told to the breaker by its end.
    fn again(&mut self) {
        let (backend, took) = (self.backend, self.started.elapsed());
        backend.meters.metrics.request(self.operation, backend.name(), "200", took.as_secs_f64());
        backend.meters.usage.request(backend.id(), self.operation.class());
        self.started = Instant::now();
    }

    /// Whether its time is that until an answer begins. How long a PUT takes says more of its body than of the backend, and a
    /// listing does more than begin.
    const fn begins(&self) -> bool {
        matches!(self.operation, Operation::Get | Operation::Head)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (backend, took) = (self.backend, self.started.elapsed());
        backend.meters.metrics.request(self.operation, backend.name(), GIVEN_UP, took.as_secs_f64());
        // PUT and COPY take as long as their bytes do: who gives one up by its slowness says so ([`Backend::given_up`]).
        if took >= STOOD_STILL && self.operation.side() == Side::Read {
            if self.begins() {
                backend.health.waited(took);
            }
            let error = BackendError::new(BackendErrorKind::Timeout, Certainty::Unknown, "given up");
            backend.health.failed_on(Side::Read, &error, Instant::now(), jitter());
        }
    }
}

/// Counts what an upload sent, however its future ends.
struct CountOnDrop<'a> {
    backend: &'a Backend,
    watch: &'a UploadWatch,
}

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        self.backend.meters.usage.ingress(self.backend.id(), self.watch.handed());
    }
}

/// Something in 0…1 that differs between processes; nothing depends on its quality.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let bits = RandomState::new().build_hasher().finish() >> 40;
    u32::try_from(bits).map_or(0.5, |bits| f64::from(bits) / f64::from(1_u32 << 24))
}

/// All backends, replaced as a whole when the configuration changes.
pub struct BackendSet {
    backends: ArcSwap<HashMap<BackendId, Arc<Backend>>>,
    pool: HttpPool,
    meters: Meters,
    breaker: BreakerConfig,
}

impl BackendSet {
    /// An empty set.
    pub fn new(pool: HttpPool, meters: Meters, breaker: BreakerConfig) -> Self {
        Self { backends: ArcSwap::default(), pool, meters, breaker }
    }

    /// Makes the set hold exactly these. Requests under way keep what they hold.
    pub fn rebuild(&self, specs: Vec<BackendSpec>) {
        let old = self.backends.load();
        let make = |spec: BackendSpec| {
            let kept = old.get(&spec.id).filter(|backend| *backend.spec() == spec).cloned();
            let fresh =
                || Arc::new(Backend::new(spec.clone(), self.pool.clone(), self.meters.clone(), self.breaker));
            (spec.id, kept.unwrap_or_else(fresh))
        };
        self.backends.store(Arc::new(specs.into_iter().map(make).collect()));
    }

    /// One of them.
    pub fn get(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.backends.load().get(&id).cloned()
    }

    /// All of them, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Backend>> {
        let mut all: Vec<_> = self.backends.load().values().cloned().collect();
        all.sort_by_key(|backend| backend.id());
        all
    }

    /// Those that a new write should avoid.
    pub fn down(&self, now: Instant) -> Vec<BackendId> {
        self.all().iter().filter(|backend| !backend.health.is_up(now)).map(|backend| backend.id()).collect()
    }

    /// Probes those that are not up and due, all at once. Its owner calls it every second or so.
    pub async fn probe_due(&self) {
        let all = self.all();
        futures::future::join_all(all.iter().map(|backend| backend.probe())).await;
    }
}
