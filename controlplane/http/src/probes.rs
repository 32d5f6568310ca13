//! Health, readiness and metrics: what machines ask, without a token.
//!
//! Invariant: `/health` is 200 as long as the process answers at all: a database that is away is no
//! reason to restart it. No backend and no database is asked here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use s3o_runtime::metrics;
use serde::Serialize;

use crate::server::State;

/// Whether this replica wants traffic: set once it is up, taken back when it drains. Clones are the
/// same flag; it begins as "not ready".
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets it.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// What it is.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The body is fixed, so that log aggregators can search for it.
#[derive(Serialize)]
struct Status {
    status: &'static str,
}

pub(crate) async fn health(state: web::Data<State>) -> HttpResponse {
    let status = if (state.deps.database_reachable)() { "ok" } else { "degraded" };
    HttpResponse::Ok().json(Status { status })
}

pub(crate) async fn ready(state: web::Data<State>) -> HttpResponse {
    if state.deps.readiness.is_ready() {
        HttpResponse::Ok().json(Status { status: "ready" })
    } else {
        HttpResponse::ServiceUnavailable().json(Status { status: "not ready" })
    }
}

pub(crate) async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(state.deps.metrics.encode())
}
