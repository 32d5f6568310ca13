//! The gRPC listener: both services, their tokens, and when connections move on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use s3o_proto::v1::admin_server::AdminServer;
use s3o_proto::v1::data_plane_server::DataPlaneServer;
use s3o_proto::{MAX_MESSAGE_BYTES, v1};
use s3o_runtime::TlsServer;
use s3o_types::Secret;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::error;

use crate::admin::AdminService;
use crate::auth::Bearer;
use crate::wiring::Wiring;
use crate::{buckets, incoming, list, operations, scrub, session, uploads, versions};

/// How often an idle connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// Who may call.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Of data planes.
    pub dataplane: Option<Secret>,
    /// Of admin clients. Without it the admin service is closed on the network.
    pub admin: Option<Secret>,
}

/// How to listen.
#[derive(Debug, Clone, Default)]
pub struct GrpcConfig {
    /// Who may call.
    pub tokens: Tokens,
    /// TLS; with a client CA in it, mTLS.
    pub tls: Option<TlsServer>,
    /// How long a connection lasts, give or take a tenth; `None` for ever.
    pub max_connection_age: Option<Duration>,
}

/// A listener that is being served.
#[derive(Debug)]
pub struct GrpcServer {
    addr: SocketAddr,
}

impl GrpcServer {
    /// Serves on `listener` until the wiring's shutdown. Nothing is answered before
    /// [`Wiring::ready`] but refusals and the status.
    pub fn start(listener: TcpListener, config: GrpcConfig, wiring: &Wiring) -> io::Result<Self> {
        let GrpcConfig { tokens, tls, max_connection_age: age } = config;
        let addr = listener.local_addr()?;
        let shutdown = wiring.shutdown.clone();
        let dataplane = DataPlaneServer::new(DataPlane { wiring: wiring.clone() })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let admin = AdminServer::new(AdminService::new(wiring.clone()));
        let mut builder = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE.0))
            .http2_keepalive_timeout(Some(KEEPALIVE.1));
        if let Some(age) = age {
            // GOAWAY first, so that a stream that ends at its own, jittered time is opened anew on
            // another connection. Without a grace: tonic 0.14.9 sends no GOAWAY at all where there is one, so that
            // streams would be opened anew, and ended at once, on the connection that is to be left.
            builder = builder.max_connection_age(age.mul_f64(0.9));
        }
        let router = builder
            .add_service(InterceptedService::new(dataplane, Bearer::new(tokens.dataplane)))
            .add_service(InterceptedService::new(admin, Bearer::new(tokens.admin)));
        let connections = incoming::accept(listener, tls, age, &shutdown);
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            let stopping = stop.soft_token().cancelled_owned();
            if let Err(error) = router.serve_with_incoming_shutdown(connections, stopping).await {
                error!(%error, "the gRPC listener ended");
                stop.begin();
            }
        });
        Ok(Self { addr })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// The service of data planes; each call has a module of its own.
pub(crate) struct DataPlane {
    wiring: Wiring,
}

#[tonic::async_trait]
impl v1::data_plane_server::DataPlane for DataPlane {
    type OperationsStream = ReceiverStream<Result<v1::OutcomeBatch, Status>>;
    type SessionStream = ReceiverStream<Result<v1::SessionDown, Status>>;

    async fn operations(
        &self,
        request: Request<Streaming<v1::OperationBatch>>,
    ) -> Result<Response<Self::OperationsStream>, Status> {
        operations::open(&self.wiring, request).map(Response::new)
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionUp>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        session::open(&self.wiring, request).await.map(Response::new)
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        list::list(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn list_parts(
        &self,
        request: Request<v1::ListPartsRequest>,
    ) -> Result<Response<v1::ListPartsReply>, Status> {
        uploads::parts(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn list_uploads(
        &self,
        request: Request<v1::ListUploadsRequest>,
    ) -> Result<Response<v1::ListUploadsReply>, Status> {
        uploads::uploads(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn change_bucket(
        &self,
        request: Request<v1::ChangeBucketRequest>,
    ) -> Result<Response<v1::ChangeBucketReply>, Status> {
        buckets::change(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn get_configuration(
        &self,
        request: Request<v1::GetConfigurationRequest>,
    ) -> Result<Response<v1::GetConfigurationReply>, Status> {
        buckets::configuration(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsReply>, Status> {
        versions::list(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn get_versioning(
        &self,
        request: Request<v1::GetVersioningRequest>,
    ) -> Result<Response<v1::GetVersioningReply>, Status> {
        versions::get(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn set_versioning(
        &self,
        request: Request<v1::SetVersioningRequest>,
    ) -> Result<Response<v1::SetVersioningReply>, Status> {
        versions::set(&self.wiring, request.into_inner()).await.map(Response::new)
    }

    async fn report_corruption(
        &self,
        request: Request<v1::ReportCorruptionRequest>,
    ) -> Result<Response<v1::ReportCorruptionReply>, Status> {
        scrub::report(&self.wiring, request.into_inner()).await.map(Response::new)
    }
}
