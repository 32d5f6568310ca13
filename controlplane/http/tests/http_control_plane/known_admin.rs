//! An Admin service with known answers, over a connection of its own.

use s3o_proto::v1;
use s3o_proto::v1::admin_client::AdminClient;
use s3o_proto::v1::admin_server::{Admin, AdminServer};
use s3o_runtime::Shutdown;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::fixture::LOCAL;

/// An Admin service with known answers.
struct KnownAdmin;

#[tonic::async_trait]
impl Admin for KnownAdmin {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        let backend = v1::BackendStatus { name: "b1".to_owned(), used_bytes: 7, ..Default::default() };
        let status = v1::Status { generation: 3, backends: vec![backend], intents: 2, ..Default::default() };
        Ok(Response::new(status))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersReply>, Status> {
        let good = v1::Worker {
            name: "cleanup_queue".to_owned(),
            instance: "cp-1".to_owned(),
            last_success: Some("2026-05-12T18:42:01Z".to_owned()),
            ..Default::default()
        };
        let bad = v1::Worker {
            name: "marker".to_owned(),
            instance: "cp-1".to_owned(),
            last_failure: Some("2026-05-12T18:45:14Z".to_owned()),
            last_error: Some("connection refused".to_owned()),
            consecutive_failures: 3,
            ..Default::default()
        };
        Ok(Response::new(v1::ListWorkersReply { workers: vec![good, bad] }))
    }

    type RunWorkerStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::WorkerProgress, Status>>>;

    async fn run_worker(
        &self,
        request: Request<v1::RunWorkerRequest>,
    ) -> Result<Response<Self::RunWorkerStream>, Status> {
        match request.into_inner().name.as_str() {
            "cleanup_queue" => {
                let counts = [("success".to_owned(), 4), ("retry".to_owned(), 1)].into();
                let waits = v1::WorkerProgress { waiting: Some(5), done: None };
                let ended = v1::WorkerProgress { waiting: None, done: Some(v1::WorkerCounts { counts }) };
                Ok(Response::new(tokio_stream::iter(vec![Ok(waits), Ok(ended)])))
            }
            "away" => Err(Status::unavailable("no worker pool here")),
            name => Err(Status::not_found(format!("there is no worker `{name}`"))),
        }
    }

    type DrainBackendStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::DrainProgress, Status>>>;

    async fn drain_backend(
        &self,
        request: Request<v1::DrainBackendRequest>,
    ) -> Result<Response<Self::DrainBackendStream>, Status> {
        known(&request.into_inner().name)?;
        Ok(Response::new(tokio_stream::iter(vec![Ok(drain()), Ok(v1::DrainProgress::default())])))
    }

    async fn undrain_backend(
        &self,
        request: Request<v1::UndrainBackendRequest>,
    ) -> Result<Response<v1::UndrainBackendReply>, Status> {
        known(&request.into_inner().name)?;
        Ok(Response::new(v1::UndrainBackendReply {}))
    }

    async fn list_drains(
        &self,
        _: Request<v1::ListDrainsRequest>,
    ) -> Result<Response<v1::ListDrainsReply>, Status> {
        Ok(Response::new(v1::ListDrainsReply { drains: vec![drain()] }))
    }

    async fn preview_removal(
        &self,
        request: Request<v1::PreviewRemovalRequest>,
    ) -> Result<Response<v1::RemovalPreview>, Status> {
        let v1::PreviewRemovalRequest { name, mode, accept_losses } = request.into_inner();
        known(&name)?;
        let confirmation = format!("{name}.{mode}.{accept_losses}");
        let (objects, confirm_within_s) = (3, 60);
        Ok(Response::new(v1::RemovalPreview {
            name,
            objects,
            confirmation,
            confirm_within_s,
            ..Default::default()
        }))
    }

    type RemoveBackendStream = Self::DrainBackendStream;

    async fn remove_backend(
        &self,
        request: Request<v1::RemoveBackendRequest>,
    ) -> Result<Response<Self::RemoveBackendStream>, Status> {
        let v1::RemoveBackendRequest { name, confirmation } = request.into_inner();
        known(&name)?;
        if confirmation != "b1.purge.true" {
            return Err(Status::failed_precondition("too late"));
        }
        let removing = v1::DrainProgress { removal: "purge".to_owned(), ..drain() };
        Ok(Response::new(tokio_stream::iter(vec![Ok(removing)])))
    }

    async fn probe_backend(
        &self,
        request: Request<v1::ProbeBackendRequest>,
    ) -> Result<Response<v1::ProbeBackendReply>, Status> {
        let v1::ProbeBackendRequest { name, store } = request.into_inner();
        known(&name)?;
        let finding = |name: &str, verdict: &str, setting: &str| v1::ProbeFinding {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            detail: "so".to_owned(),
            setting: setting.to_owned(),
        };
        Ok(Response::new(v1::ProbeBackendReply {
            findings: vec![finding("range", "ok", ""), finding("checksum", "needs", "checksum: none")],
            etag: "md5".to_owned(),
            requests: 40,
            left: Vec::new(),
            stored: store,
            not_stored: String::new(),
        }))
    }

    type RebalanceStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RebalanceProgress, Status>>>;

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<Self::RebalanceStream>, Status> {
        let v1::RebalanceRequest { dry_run, strategy, threshold_percent, batch } = request.into_inner();
        let wish = (dry_run, strategy.as_str(), threshold_percent, batch);
        if wish != (true, "pack", Some(5), None) {
            return Err(Status::invalid_argument("another wish was expected"));
        }
        let copy = v1::MovedCopy { key: "k".to_owned(), size: 9, ..Default::default() };
        let first = v1::RebalanceProgress { copy: Some(copy), moved: 1, ..Default::default() };
        let last = v1::RebalanceProgress { copy: None, ..first.clone() };
        Ok(Response::new(tokio_stream::iter(vec![Ok(first), Ok(last)])))
    }

    type ScrubObjectStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::ScrubbedCopy, Status>>>;

    async fn scrub_object(
        &self,
        request: Request<v1::ScrubObjectRequest>,
    ) -> Result<Response<Self::ScrubObjectStream>, Status> {
        let v1::ScrubObjectRequest { bucket, key, version_id } = request.into_inner();
        if (bucket.as_str(), version_id.as_str()) != ("photos", "") {
            return Err(Status::not_found("there is no such object"));
        }
        let copy = |backend: &str, verdict: &str| v1::ScrubbedCopy {
            backend: backend.to_owned(),
            storage_key: key.clone(),
            verdict: verdict.to_owned(),
            ..Default::default()
        };
        let broken = Err(Status::unavailable("the process was stopping"));
        Ok(Response::new(tokio_stream::iter(vec![Ok(copy("b1", "good")), Ok(copy("b2", "corrupt")), broken])))
    }

    type ReconcileStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RunProgress, Status>>>;

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Result<Response<Self::ReconcileStream>, Status> {
        let v1::ReconcileRequest { backend, dry_run, accept_losses: _ } = request.into_inner();
        let runs = match backend.as_str() {
            "" => vec![run("b1", "running"), run("b1", "done"), run("b2", "done")],
            "b1" => vec![v1::RunProgress { dry_run, ..run("b1", "done") }],
            "broken" => {
                vec![v1::RunProgress { error: Some("no marker".to_owned()), ..run("broken", "failed") }]
            }
            "ending" => vec![run("ending", "running")],
            name => return Err(Status::not_found(format!("there is no backend `{name}`"))),
        };
        Ok(Response::new(tokio_stream::iter(runs.into_iter().map(Ok).collect::<Vec<_>>())))
    }

    type ImportStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RunProgress, Status>>>;

    async fn import(
        &self,
        request: Request<v1::ImportRequest>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let v1::ImportRequest { backend, bucket, prefix, dry_run } = request.into_inner();
        assert_eq!((bucket.as_str(), prefix.as_str(), dry_run), ("photos", "a/", true));
        Ok(Response::new(tokio_stream::iter(vec![Ok(run(&backend, "done"))])))
    }

    async fn list_runs(
        &self,
        _: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsReply>, Status> {
        Ok(Response::new(v1::ListRunsReply { runs: vec![run("b1", "running")] }))
    }

    async fn recover(&self, _: Request<v1::RecoverRequest>) -> Result<Response<v1::RecoverReply>, Status> {
        Err(Status::failed_precondition("the recovery mode is not on"))
    }
}

fn run(backend: &str, state: &str) -> v1::RunProgress {
    let counts = [("marked", 57), ("attached", 1), ("imported", 2), ("skipped", 4)];
    v1::RunProgress {
        backend: backend.to_owned(),
        kind: "reconcile".to_owned(),
        state: state.to_owned(),
        counts: counts.map(|(name, n)| (name.to_owned(), n)).into(),
        ..Default::default()
    }
}

fn known(name: &str) -> Result<(), Status> {
    if name == "b1" { Ok(()) } else { Err(Status::not_found(format!("there is no backend `{name}`"))) }
}

fn drain() -> v1::DrainProgress {
    let (objects, bytes, other_bytes, waiting) = (3, 30, 7, 2);
    v1::DrainProgress {
        name: "b1".to_owned(),
        asked: true,
        objects,
        bytes,
        other_bytes,
        waiting,
        done: false,
        removal: String::new(),
    }
}

pub(crate) async fn admin(shutdown: &Shutdown) -> AdminClient<Channel> {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = shutdown.soft_token().cancelled_owned();
    let service = Server::builder().add_service(AdminServer::new(KnownAdmin));
    shutdown.spawn(service.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop));
    AdminClient::new(Channel::from_shared(format!("http://{addr}")).unwrap().connect_lazy())
}
