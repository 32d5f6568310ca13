//! The outermost layer: request ids in and out, and panics caught.
//!
//! Invariant: every answer carries `X-Amz-Request-Id`; a handler that panics is answered 500, counted
//! and audited, and its thread goes on.

use std::any::Any;
use std::fmt;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest, web};
use futures::FutureExt as _;
use s3o_runtime::audit;
use tracing::{Instrument as _, debug, error, info_span};
use uuid::Uuid;

use crate::failure::Failure;
use crate::server::State;

/// On every answer.
pub(crate) const AMZ_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one is not taken over: it goes into every log line.
const MAX_REQUEST_ID: usize = 128;

/// What names a request in logs: the client's own, or one of ours. Visible ASCII only.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    fn of(given: Option<&HeaderValue>) -> Self {
        let fits = |text: &&str| {
            (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let given = given.and_then(|value| value.to_str().ok()).filter(fits);
        Self(given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromRequest for RequestId {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().cloned();
        ready(Ok(known.unwrap_or_else(|| Self::of(None))))
    }
}

/// The middleware.
pub(crate) async fn guard<B: MessageBody + 'static>(
    state: web::Data<State>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let id = RequestId::of(request.headers().get(REQUEST_ID));
    request.extensions_mut().insert(id.clone());
    let route = request.match_pattern().unwrap_or_else(|| "unknown".to_owned());
    let (method, path) = (request.method().to_string(), request.path().to_owned());
    let span = info_span!("http", request_id = id.as_str(), method, route);
    let called = AssertUnwindSafe(async move { next.call(request).await }.instrument(span)).catch_unwind();
    match called.await {
        Ok(Ok(mut response)) => {
            if let Ok(value) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(AMZ_REQUEST_ID, value);
            }
            debug!(request_id = id.as_str(), method, path, status = response.status().as_u16(), "request");
            Ok(response)
        }
        Ok(Err(error)) if error.as_error::<Failure>().is_some() => Err(error),
        Ok(Err(error)) => {
            let status = error.as_response_error().status_code().as_u16();
            Err(Failure::new(status, "the request cannot be read", &id).into())
        }
        Err(panic) => {
            state.panics.get_or_create(&[("route", route.clone())]).inc();
            let said = text_of(panic.as_ref());
            error!(
                request_id = id.as_str(),
                component = "http",
                route,
                method,
                path,
                panic = said,
                "a handler panicked"
            );
            audit!("http.PanicRecovered", request_id = id.as_str(), route, method, path, panic = said);
            Err(Failure::new(500, "an internal error was recovered from", &id).into())
        }
    }
}

/// What a panic said, where it said it as text.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
