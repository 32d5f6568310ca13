//! The admin service: status and workers.

use std::collections::{HashMap, HashSet};

use s3o_core::config::{BackendConfig, BucketConfig, ClusterConfig};
use s3o_core::session::{BackendUsage, Hello};
use s3o_core::usage::Usage;
use s3o_core::worker::WorkerStatus;
use s3o_proto::v1;
use s3o_proto::v1::admin_server::Admin;
use s3o_types::{BackendId, Timestamp, UsageLimits};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::{Request, Response, Status};

use crate::status::port_failed;
use crate::wiring::{Ports, Wiring};
use crate::{drains, probe, rebalance, recover, removals, runs, scrub, ticks};

/// The one admin surface. REST and dashboard call it in process, the command line over gRPC.
#[derive(Clone)]
pub struct AdminService {
    wiring: Wiring,
}

impl AdminService {
    /// Over the same wiring as the listener.
    pub fn new(wiring: Wiring) -> Self {
        Self { wiring }
    }

    /// What is known without the database, which is all while it is away.
    fn without_database(&self) -> v1::Status {
        v1::Status {
            version: s3o_runtime::VERSION.to_owned(),
            instance: self.wiring.instance.to_string(),
            ..v1::Status::default()
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        let mut status = self.without_database();
        let Some(ports) = self.wiring.ports_if_ready() else { return Ok(Response::new(status)) };
        let config = ports.configs.current();
        configuration(&mut status, &config);
        status.database_reachable = ports.sessions.database_reachable();
        // Away in this moment: the configuration is still worth showing.
        if status.database_reachable && numbers(&mut status, ports).await.is_err() {
            status.database_reachable = false;
        }
        Ok(Response::new(status))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersReply>, Status> {
        let ports = self.wiring.ports()?;
        let seen = ports.overview.workers().await.map_err(|error| port_failed(&error))?;
        let here: HashSet<String> = seen
            .iter()
            .filter(|worker| worker.instance == *self.wiring.instance)
            .map(|worker| worker.name.clone())
            .collect();
        let unseen =
            ports.workers.names().into_iter().filter(|name| !here.contains(*name)).map(|name| v1::Worker {
                name: name.to_owned(),
                instance: self.wiring.instance.to_string(),
                ..v1::Worker::default()
            });
        let workers = seen.into_iter().map(worker).chain(unseen.collect::<Vec<_>>()).collect();
        Ok(Response::new(v1::ListWorkersReply { workers }))
    }

    type RunWorkerStream = ticks::Progress;

    async fn run_worker(
        &self,
        request: Request<v1::RunWorkerRequest>,
    ) -> Result<Response<Self::RunWorkerStream>, Status> {
        let v1::RunWorkerRequest { name } = request.into_inner();
        Ok(Response::new(ticks::run(self.wiring.ports()?, name)?))
    }

    type DrainBackendStream = drains::Progress;

    async fn drain_backend(
        &self,
        request: Request<v1::DrainBackendRequest>,
    ) -> Result<Response<Self::DrainBackendStream>, Status> {
        let v1::DrainBackendRequest { name } = request.into_inner();
        let drains = self.wiring.ports()?.drains.clone();
        Ok(Response::new(drains::drain(drains, name, self.wiring.shutdown.clone()).await?))
    }

    async fn undrain_backend(
        &self,
        request: Request<v1::UndrainBackendRequest>,
    ) -> Result<Response<v1::UndrainBackendReply>, Status> {
        let v1::UndrainBackendRequest { name } = request.into_inner();
        drains::undrain(&*self.wiring.ports()?.drains, &name).await?;
        Ok(Response::new(v1::UndrainBackendReply {}))
    }

    async fn list_drains(
        &self,
        _: Request<v1::ListDrainsRequest>,
    ) -> Result<Response<v1::ListDrainsReply>, Status> {
        let drains = drains::list(&*self.wiring.ports()?.drains).await?;
        Ok(Response::new(v1::ListDrainsReply { drains }))
    }

    async fn preview_removal(
        &self,
        request: Request<v1::PreviewRemovalRequest>,
    ) -> Result<Response<v1::RemovalPreview>, Status> {
        Ok(Response::new(removals::preview(&self.wiring, request.into_inner()).await?))
    }

    type RemoveBackendStream = drains::Progress;

    async fn remove_backend(
        &self,
        request: Request<v1::RemoveBackendRequest>,
    ) -> Result<Response<Self::RemoveBackendStream>, Status> {
        let name = removals::remove(&self.wiring, request.into_inner()).await?;
        let drains = self.wiring.ports()?.drains.clone();
        Ok(Response::new(drains::follow(drains, name, self.wiring.shutdown.clone())))
    }

    async fn probe_backend(
        &self,
        request: Request<v1::ProbeBackendRequest>,
    ) -> Result<Response<v1::ProbeBackendReply>, Status> {
        Ok(Response::new(probe::probe(self.wiring.ports()?, request.into_inner()).await?))
    }

    type RebalanceStream = rebalance::Progress;

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<Self::RebalanceStream>, Status> {
        let rebalancing = self.wiring.ports()?.rebalancing.clone();
        Ok(Response::new(rebalance::run(rebalancing, request.into_inner(), &self.wiring.shutdown)?))
    }

    type ScrubObjectStream = scrub::Verdicts;

    async fn scrub_object(
        &self,
        request: Request<v1::ScrubObjectRequest>,
    ) -> Result<Response<Self::ScrubObjectStream>, Status> {
        let reader = self.wiring.ports()?.scrub.clone();
        Ok(Response::new(scrub::object(reader, request.into_inner(), &self.wiring.shutdown)?))
    }

    type ReconcileStream = runs::Progress;

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<Self::ReconcileStream>, Status> {
        let ports = self.wiring.ports()?;
        let asks = runs::reconcile(&ports.configs.current(), request.into_inner())?;
        Ok(Response::new(runs::begin(ports, &self.wiring.shutdown, asks).await?))
    }

    type ImportStream = runs::Progress;

    async fn import(
        &self,
        request: Request<v1::ImportRequest>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let ports = self.wiring.ports()?;
        let ask = runs::import(&ports.configs.current(), request.into_inner())?;
        Ok(Response::new(runs::begin(ports, &self.wiring.shutdown, vec![ask]).await?))
    }

    async fn list_runs(
        &self,
        _: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsReply>, Status> {
        let runs = runs::list(&*self.wiring.ports()?.reconciliation).await?;
        Ok(Response::new(v1::ListRunsReply { runs }))
    }

    async fn recover(
        &self,
        request: Request<v1::RecoverRequest>,
    ) -> Result<Response<v1::RecoverReply>, Status> {
        Ok(Response::new(recover::recover(self.wiring.ports()?, request.into_inner()).await?))
    }
}

fn configuration(status: &mut v1::Status, config: &ClusterConfig) {
    let ClusterConfig { generation, cluster, routing: _, backends, buckets, credentials: _ } = config;
    status.generation = *generation;
    status.cluster = cluster.to_string();
    status.backends = backends.iter().map(backend).collect();
    status.buckets = buckets.iter().map(bucket).collect();
}

fn backend(config: &BackendConfig) -> v1::BackendStatus {
    let BackendConfig {
        spec,
        state,
        quota_bytes,
        max_object_size: _,
        limits,
        priority: _,
        attached,
        removal: _,
    } = config;
    let UsageLimits { api_requests, egress_bytes, ingress_bytes } = limits;
    // A backend whose marker was not read takes nothing, whatever its state says.
    let state = if *attached { state.as_str() } else { "unattached" };
    v1::BackendStatus {
        id: spec.id.0,
        name: spec.name.clone(),
        state: state.to_owned(),
        quota_bytes: quota_bytes.unwrap_or_default(),
        limit_requests: api_requests.unwrap_or_default(),
        limit_ingress_bytes: ingress_bytes.unwrap_or_default(),
        limit_egress_bytes: egress_bytes.unwrap_or_default(),
        ..v1::BackendStatus::default()
    }
}

fn bucket(config: &BucketConfig) -> v1::BucketStatus {
    let BucketConfig {
        id,
        name,
        state: _,
        ack,
        replication_factor,
        max_object_size: _,
        created: _,
        cors: _,
        lifecycle: _,
        versioning,
        lock: _,
        degraded_reads: _,
    } = config;
    v1::BucketStatus {
        id: id.0,
        name: name.as_str().to_owned(),
        ack: ack.as_str().to_owned(),
        replication_factor: u32::from(*replication_factor),
        versioning: versioning.as_str().to_owned(),
    }
}

async fn numbers(status: &mut v1::Status, ports: &Ports) -> Result<(), s3o_core::ports::PortError> {
    let usage: HashMap<BackendId, (Usage, BackendUsage)> = ports
        .overview
        .backend_usage()
        .await?
        .into_iter()
        .map(|(id, all, month)| (id, (all, month)))
        .collect();
    for backend in &mut status.backends {
        if let Some((all, month)) = usage.get(&BackendId(backend.id)) {
            add_usage(backend, *all, month);
        }
    }
    status.sessions = ports.overview.sessions().await?.into_iter().map(session).collect();
    let depths = ports.queues.depths().await?;
    status.intents = depths.intents;
    status.cleanup_queue = depths.cleanup;
    status.cleanup_dlq = depths.dead_letters;
    status.recovery = ports.recovery.recovery().await?.unwrap_or_default();
    Ok(())
}

fn add_usage(status: &mut v1::BackendStatus, all: Usage, month: &BackendUsage) {
    let Usage { used, reserved, orphaned, objects } = all;
    let BackendUsage { requests, ingress_bytes, egress_bytes } = month;
    status.used_bytes = used;
    status.reserved_bytes = reserved;
    status.orphan_bytes = orphaned;
    status.objects = objects;
    status.month_requests = requests.values().sum();
    status.month_ingress_bytes = *ingress_bytes;
    status.month_egress_bytes = *egress_bytes;
}

fn session((hello, alive): (Hello, bool)) -> v1::SessionStatus {
    let Hello { session, name, version, features: _ } = hello;
    v1::SessionStatus { id: session.to_string(), name, version, alive }
}

fn worker(status: WorkerStatus) -> v1::Worker {
    let WorkerStatus { name, instance, last_success, last_failure, last_error, consecutive_failures } =
        status;
    v1::Worker {
        name,
        instance,
        last_success: last_success.and_then(rfc3339),
        last_failure: last_failure.and_then(rfc3339),
        last_error,
        consecutive_failures,
    }
}

/// `None` for a time that no calendar has.
fn rfc3339(at: Timestamp) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000).ok()?.format(&Rfc3339).ok()
}
