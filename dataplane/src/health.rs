//! `/health`, `/health/ready` and `/metrics`, on a listener of their own: on the S3 port they would
//! shadow legal bucket names.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use s3o_backend::BreakerState;
use serde_json::json;

use crate::plane::Plane;

/// Answers one request.
pub(crate) fn answer(plane: &Arc<Plane>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/health" => json_of(StatusCode::OK, &health(plane)),
        "/health/ready" if plane.is_ready() => json_of(StatusCode::OK, &json!({"status": "ready"})),
        "/health/ready" => json_of(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not ready"})),
        "/metrics" => {
            plane.metrics.set_breakers(&plane.backends, plane.control.database().breaker());
            text(StatusCode::OK, s3o_runtime::metrics::CONTENT_TYPE, plane.metrics.encode())
        }
        _ => text(StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned()),
    }
}

/// Always 200: being degraded is no reason to be killed.
fn health(plane: &Plane) -> serde_json::Value {
    let now = std::time::Instant::now();
    let (connected, database) = (plane.control.is_connected(), plane.control.database_reachable());
    let backends: serde_json::Map<_, _> = plane
        .backends
        .all()
        .iter()
        .map(|backend| (backend.name().to_owned(), backend.health().state(now).as_str().into()))
        .collect();
    let down = plane.backends.down(now).len();
    let breaker = plane.control.database().breaker().state(now);
    let decides = connected && database && breaker == BreakerState::Closed;
    let fine = decides && down == 0 && !plane.control.lacks_feature();
    json!({
        "status": if fine { "ok" } else { "degraded" },
        "control_plane": if connected { "connected" } else { "unreachable" },
        "database": if connected && database { "ok" } else { "unreachable" },
        "database_breaker": breaker.as_str(),
        "generation": plane.snapshot.load().generation,
        "backends": backends,
    })
}

fn json_of(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    text(status, "application/json", format!("{value}\n"))
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
