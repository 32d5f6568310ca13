//! The admin API as REST: JSON out of what the Admin service answers. Every field of an answer is
//! named here, so that a new one breaks the build instead of being forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use s3o_proto::v1;
use serde::Serialize;

use crate::edge::RequestId;
use crate::failure::Failure;
use crate::server::State;

/// How long a question may take. Running a worker may take as long as there is work.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Answer = Result<HttpResponse, Failure>;

/// Waits for the Admin service, no longer than [`PATIENCE`].
pub(crate) async fn asked<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    id: &RequestId,
) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(reply) => reply.map(tonic::Response::into_inner).map_err(|error| Failure::of_status(&error, id)),
        Err(_) => Err(Failure::new(504, "the admin service did not answer in time", id)),
    }
}

/// `GET /admin/api/status`.
pub(crate) async fn status(state: web::Data<State>, id: RequestId) -> Answer {
    let mut admin = state.deps.admin.clone();
    let reply = asked(admin.get_status(v1::GetStatusRequest {}), &id).await?;
    Ok(HttpResponse::Ok().json(Status::from(reply)))
}

/// `GET /admin/api/workers`.
pub(crate) async fn workers(state: web::Data<State>, id: RequestId) -> Answer {
    let mut admin = state.deps.admin.clone();
    let v1::ListWorkersReply { workers } = asked(admin.list_workers(v1::ListWorkersRequest {}), &id).await?;
    Ok(HttpResponse::Ok().json(Workers { workers: workers.into_iter().map(Worker::from).collect() }))
}

/// `POST /admin/api/workers/{name}/run`.
pub(crate) async fn run_worker(state: web::Data<State>, id: RequestId, name: web::Path<String>) -> Answer {
    let mut admin = state.deps.admin.clone();
    let request = v1::RunWorkerRequest { name: name.into_inner() };
    let mut progress = asked(admin.run_worker(request), &id).await?;
    let mut counts = BTreeMap::new();
    let ended = |error: tonic::Status| Failure::of_status(&error, &id);
    while let Some(v1::WorkerProgress { waiting: _, done }) = progress.message().await.map_err(ended)? {
        counts.extend(done.into_iter().flat_map(|done| done.counts));
    }
    Ok(HttpResponse::Ok().json(counts))
}

#[derive(Serialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Serialize)]
struct Worker {
    name: String,
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    consecutive_failures: u64,
}

impl From<v1::Worker> for Worker {
    fn from(worker: v1::Worker) -> Self {
        let v1::Worker { name, instance, last_success, last_failure, last_error, consecutive_failures } =
            worker;
        Self { name, instance, last_success, last_failure, last_error, consecutive_failures }
    }
}

#[derive(Serialize)]
struct Status {
    cluster: String,
    version: String,
    instance: String,
    database_reachable: bool,
    generation: i64,
    backends: Vec<Backend>,
    buckets: Vec<Bucket>,
    sessions: Vec<Session>,
    intents: u64,
    cleanup_queue: u64,
    cleanup_dlq: u64,
    /// Empty: the recovery mode is off.
    recovery: String,
}

impl From<v1::Status> for Status {
    fn from(status: v1::Status) -> Self {
        let v1::Status {
            cluster,
            version,
            instance,
            database_reachable,
            generation,
            backends,
            buckets,
            sessions,
            intents,
            cleanup_queue,
            cleanup_dlq,
            recovery,
        } = status;
        Self {
            cluster,
            version,
            instance,
            database_reachable,
            generation,
            backends: backends.into_iter().map(Backend::from).collect(),
            buckets: buckets.into_iter().map(Bucket::from).collect(),
            sessions: sessions.into_iter().map(Session::from).collect(),
            intents,
            cleanup_queue,
            cleanup_dlq,
            recovery,
        }
    }
}

#[derive(Serialize)]
struct Backend {
    id: i32,
    name: String,
    state: String,
    quota_bytes: u64,
    used_bytes: i64,
    reserved_bytes: i64,
    orphan_bytes: i64,
    objects: i64,
    month_requests: u64,
    month_ingress_bytes: u64,
    month_egress_bytes: u64,
    /// 0: not limited.
    limit_requests: u64,
    limit_ingress_bytes: u64,
    limit_egress_bytes: u64,
}

impl From<v1::BackendStatus> for Backend {
    fn from(backend: v1::BackendStatus) -> Self {
        let v1::BackendStatus {
            id,
            name,
            state,
            quota_bytes,
            used_bytes,
            reserved_bytes,
            orphan_bytes,
            objects,
            month_requests,
            month_ingress_bytes,
            month_egress_bytes,
            limit_requests,
            limit_ingress_bytes,
            limit_egress_bytes,
        } = backend;
        Self {
            id,
            name,
            state,
            quota_bytes,
            used_bytes,
            reserved_bytes,
            orphan_bytes,
            objects,
            month_requests,
            month_ingress_bytes,
            month_egress_bytes,
            limit_requests,
            limit_ingress_bytes,
            limit_egress_bytes,
        }
    }
}

#[derive(Serialize)]
struct Bucket {
    id: i32,
    name: String,
    ack: String,
    replication_factor: u32,
    versioning: String,
}

impl From<v1::BucketStatus> for Bucket {
    fn from(bucket: v1::BucketStatus) -> Self {
        let v1::BucketStatus { id, name, ack, replication_factor, versioning } = bucket;
        Self { id, name, ack, replication_factor, versioning }
    }
}

#[derive(Serialize)]
struct Session {
    id: String,
    name: String,
    version: String,
    alive: bool,
}

impl From<v1::SessionStatus> for Session {
    fn from(session: v1::SessionStatus) -> Self {
        let v1::SessionStatus { id, name, version, alive } = session;
        Self { id, name, version, alive }
    }
}
