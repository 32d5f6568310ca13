//! The outermost service: everything that holds for every request, before and after `s3s`.
//!
//! Invariant: every request that HTTP can read gets an answer with a request id: an error raised
//! here, by `s3s` or by an operation, and a panic too.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use futures::FutureExt as _;
use http::header::{CONNECTION, CONTENT_RANGE, CONTENT_TYPE, EXPECT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use s3s::service::S3Service;
use s3s::{Body, S3Error, s3_error};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use super::cors::{self, Page};
use super::document;
use super::documents;
use super::drain::{Draining, Idle};
use super::errors::{self, Asked};
use super::external;
use super::late;
use super::lines;
use super::request::{NoLength, RequestInfo};
use super::response::{Accounted, Accounting, NO_ANSWER};
use super::settled::{Checked, settle};
use super::signing;
use super::subresources;
use crate::access::OnlyGrant;
use crate::degraded;
use crate::host::Domains;
use crate::ops::post_object;
use crate::pipeline::faults;
use crate::plane::Plane;

/// The type of a form.
const FORM: &[u8] = b"multipart/form-data";

/// Shared by all connections.
pub(crate) struct Service {
    plane: Arc<Plane>,
    s3: S3Service,
    domains: Domains,
    places: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(plane: Arc<Plane>, s3: S3Service) -> Self {
        let places = Arc::new(Semaphore::new(plane.config.limits.max_in_flight));
        let domains = Domains::new(&plane.config.s3.domains);
        Self { plane, s3, domains, places }
    }

    /// One request.
    pub(crate) async fn call(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        source: SocketAddr,
    ) -> Response<Accounted> {
        external::restore(&mut request, &self.plane.config.s3.external_hosts);
        let about = Asked::of(&request);
        let is_copy = request.method() == Method::PUT && about.is_copy;
        let info = Arc::new(RequestInfo::new(request.headers(), source));
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let admitted = place.is_some();
        let (method, path) = (method_label(request.method()), request.uri().path().to_owned());
        let accounting = Accounting::start(Arc::clone(&self.plane), Arc::clone(&info), method, path, place);
        let span = tracing::info_span!("request", request_id = info.id);
        let (stalled, is_head) = (Arc::new(AtomicBool::new(false)), request.method() == Method::HEAD);
        let refusal = self.refusal(&request, admitted);
        let page = Page::of(&request, &self.domains);
        let is_preflight = request.method() == Method::OPTIONS;
        let preflight = cors::preflight(&request, &self.domains, &self.plane.snapshot.load());
        let (http1, asked) = (request.version() < Version::HTTP_2, asked(&request));
        let request = self.draining(request, &accounting, &stalled, asked.clone());
        let mut response = if let Some(error) = refusal {
            drop(request);
            let refused = errors::respond(error);
            if is_head { refused.map(|_| Body::empty()) } else { refused }
        } else if let Some(preflight) = preflight {
            drop(request);
            preflight
        } else if is_copy {
            self.answer_copy(request, &info, &about, &accounting.status).instrument(span).await
        } else {
            self.serve(request, &info).instrument(span).await
        };
        // `s3s` has no words for a body that stopped coming, and reads some bodies itself.
        let failed = response.status().is_client_error() || response.status().is_server_error();
        if failed && stalled.load(Ordering::Relaxed) {
            response = errors::respond(s3_error!(RequestTimeout));
        }
        // `s3s` knows the status of a part for GET only.
        if is_head && response.status() == StatusCode::OK && response.headers().contains_key(CONTENT_RANGE) {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        // The body never comes then, and hyper closes: a client that is not told would use the connection again.
        if http1 && asked.is_some_and(|asked| !asked.load(Ordering::Relaxed)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(page) = page.filter(|_| !is_preflight) {
            page.allow(&self.plane.snapshot.load(), response.headers_mut());
        }
        if info.is_degraded() {
            response.headers_mut().insert(degraded::HEADER, HeaderValue::from_static("true"));
        }
        self.finish(&mut response, &info, &about, &accounting.status);
        // What it becomes is told when it is known: until then its client may go.
        if response.extensions().get::<late::Begun>().is_some() {
            accounting.status.store(NO_ANSWER, Ordering::Relaxed);
        }
        response.map(|body| Accounted::new(body, accounting))
    }

    /// What makes any answer one of ours.
    fn finish(&self, response: &mut Response<Body>, info: &RequestInfo, about: &Asked, status: &AtomicU16) {
        documents::finish(response);
        errors::stamp(response, &info.id, about, &self.domains);
        status.store(response.status().as_u16(), Ordering::Relaxed);
    }

    /// What can be said without looking at the signature.
    fn refusal(&self, request: &Request<Incoming>, admitted: bool) -> Option<S3Error> {
        if !admitted {
            self.plane.metrics.admission_rejected();
            return Some(s3_error!(SlowDown));
        }
        if self.plane.control.lacks_feature() {
            return Some(faults::unavailable("This release is too old for the cluster."));
        }
        if self.plane.snapshot.load().generation == 0 {
            return Some(faults::unavailable("The service is starting."));
        }
        if post_object::is_form(request, &self.domains) {
            return None;
        }
        let refused = subresources::refusal(request, &self.domains);
        if refused.is_some() && has_form_type(request) {
            return Some(s3_error!(
                NotImplemented,
                "A form is posted to a bucket, and is all that is signed"
            ));
        }
        refused.or_else(|| signing::refusal(request))
    }

    fn draining(
        &self,
        request: Request<Incoming>,
        accounting: &Accounting,
        stalled: &Arc<AtomicBool>,
        asked: Option<Arc<AtomicBool>>,
    ) -> Request<Body> {
        let (shutdown, received) = (self.plane.shutdown.clone(), Arc::clone(&accounting.received));
        let idle = Idle::new(self.plane.config.timeouts.client_idle.get(), Arc::clone(stalled));
        request.map(|body| Body::http_body_unsync(Draining::new(body, asked, shutdown, received, idle)))
    }

    /// Of what seems to be a copy: the answer may be begun before it is known, and is finished after the call then.
    async fn answer_copy(
        self: &Arc<Self>,
        request: Request<Body>,
        info: &Arc<RequestInfo>,
        about: &Asked,
        status: &Arc<AtomicU16>,
    ) -> Response<Body> {
        let (service, served) = (Arc::clone(self), Arc::clone(info));
        let pending = async move { service.serve(request, &served).await }.in_current_span();
        let (service, served) = (Arc::clone(self), Arc::clone(info));
        let (about, status) = (about.clone(), Arc::clone(status));
        let finish = move |response: &mut Response<Body>| service.finish(response, &served, &about, &status);
        let is_copy =
            || info.found().is_some_and(|found| matches!(found.operation, "CopyObject" | "UploadPartCopy"));
        late::answer(Box::pin(pending), Box::new(finish), is_copy).await
    }

    async fn serve(&self, mut request: Request<Body>, info: &Arc<RequestInfo>) -> Response<Body> {
        request.extensions_mut().insert(Arc::clone(info));
        if let Some(no_length) = NoLength::of(&request) {
            request.extensions_mut().insert(no_length);
        }
        let answer = AssertUnwindSafe(self.dispatch(request)).catch_unwind().await;
        answer.unwrap_or_else(|_| {
            self.plane.metrics.panicked("s3");
            s3o_runtime::audit!("http.PanicRecovered", request_id = info.id, route = "s3");
            errors::respond(s3_error!(InternalError, "We encountered an internal error. Please try again."))
        })
    }

    /// Forms are ours, all else is `s3s`'s: some of it twice, first for the signature alone.
    async fn dispatch(&self, mut request: Request<Body>) -> Response<Body> {
        if post_object::is_form(&request, &self.domains) {
            let answer = post_object::answer(&self.plane, request, &self.domains).await;
            return answer.unwrap_or_else(errors::respond);
        }
        lines::join(request.headers_mut());
        hide_form_type(&mut request);
        let Some(settled) = settle(&mut request, &self.domains) else { return self.route(request).await };
        let checked = self.route(request).await;
        let Some(found) = checked.extensions().get::<Checked>().cloned() else { return checked };
        if !settled.is_document {
            return self.route(found.served(settled.head, checked.into_body())).await;
        }
        // Nothing is read for somebody who may not do what it is about.
        let (mut asking, grant) = (found.served(settled.head.clone(), Body::empty()), OnlyGrant::default());
        asking.extensions_mut().insert(grant.clone());
        let refused = self.route(asking).await;
        if !grant.is_given() {
            return refused;
        }
        let mut request = found.served(settled.head, checked.into_body());
        match document::restate(&mut request, found.trailing).await {
            Ok(()) => self.route(request).await,
            Err(error) => errors::respond(error),
        }
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        self.s3.call(request).await.unwrap_or_else(|error| {
            tracing::error!(%error, "s3s failed");
            errors::respond(s3_error!(InternalError))
        })
    }
}

/// Whether a POST says that it is a form, as one may of an object that is one.
fn has_form_type<B>(request: &Request<B>) -> bool {
    let said = request.headers().get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..FORM.len()));
    request.method() == Method::POST && said.is_some_and(|said| said.eq_ignore_ascii_case(FORM))
}

/// `s3s` would hold the fields of whatever says so, before it knows who sends them. With white space before it, which a
/// signature does not cover, it is no type to `s3s`; what is kept of it is kept without.
fn hide_form_type<B>(request: &mut Request<B>) {
    if !has_form_type(request) {
        return;
    }
    if let Some(said) = request.headers_mut().get_mut(CONTENT_TYPE)
        && let Ok(hidden) = HeaderValue::try_from([&b" "[..], said.as_bytes()].concat())
    {
        *said = hidden;
    }
}

/// For a client that waits until it is asked for the body: whether it was.
fn asked(request: &Request<Incoming>) -> Option<Arc<AtomicBool>> {
    request.headers().contains_key(EXPECT).then(Arc::default)
}

/// Labels are a closed set: a client must not be able to make new ones.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
