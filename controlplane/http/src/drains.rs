//! Backends that are emptied, as REST. A drain goes on by itself: how far it is, is asked for.

use actix_web::{HttpResponse, web};
use s3o_proto::v1;
use serde::Serialize;
use tonic::Streaming;

use crate::admin::{Answer, asked};
use crate::edge::RequestId;
use crate::failure::Failure;
use crate::server::State;

#[derive(Serialize)]
struct Drains {
    drains: Vec<Drain>,
}

#[derive(Serialize)]
struct Drain {
    name: String,
    asked: bool,
    objects: u64,
    bytes: u64,
    other_bytes: u64,
    waiting: u64,
    done: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    removal: String,
}

impl From<v1::DrainProgress> for Drain {
    fn from(drain: v1::DrainProgress) -> Self {
        let v1::DrainProgress { name, asked, objects, bytes, other_bytes, waiting, done, removal } = drain;
        Self { name, asked, objects, bytes, other_bytes, waiting, done, removal }
    }
}

/// `GET /admin/api/drains`.
pub(crate) async fn all(state: web::Data<State>, id: RequestId) -> Answer {
    let mut admin = state.deps.admin.clone();
    let v1::ListDrainsReply { drains } = asked(admin.list_drains(v1::ListDrainsRequest {}), &id).await?;
    Ok(HttpResponse::Ok().json(Drains { drains: drains.into_iter().map(Drain::from).collect() }))
}

/// `POST /admin/api/backends/{name}/drain`: 202, with how far it is.
pub(crate) async fn begin(state: web::Data<State>, id: RequestId, name: web::Path<String>) -> Answer {
    let mut admin = state.deps.admin.clone();
    let request = v1::DrainBackendRequest { name: name.into_inner() };
    let progress = asked(admin.drain_backend(request), &id).await?;
    accepted(progress, &id).await
}

/// 202, with how far it is; it goes on by itself.
pub(crate) async fn accepted(mut progress: Streaming<v1::DrainProgress>, id: &RequestId) -> Answer {
    let first = async { progress.message().await.map(tonic::Response::new) };
    let first = asked(first, id).await?.ok_or_else(|| Failure::new(503, "the service is ending", id))?;
    Ok(HttpResponse::Accepted().json(Drain::from(first)))
}

/// `DELETE /admin/api/backends/{name}/drain`.
pub(crate) async fn take_back(state: web::Data<State>, id: RequestId, name: web::Path<String>) -> Answer {
    let mut admin = state.deps.admin.clone();
    let request = v1::UndrainBackendRequest { name: name.into_inner() };
    let v1::UndrainBackendReply {} = asked(admin.undrain_backend(request), &id).await?;
    Ok(HttpResponse::NoContent().finish())
}
