//! The services over a loopback connection, with ports that remember what they were asked.

mod admin;
mod buckets;
mod fakes;
mod operations;
mod probe;
mod reads;
mod removals;
mod runs;
mod session;
mod stream;
mod uploads;
mod values;
mod versions;

use std::sync::Arc;

use s3o_proto::v1::data_plane_client::DataPlaneClient;
use s3o_runtime::Shutdown;
use s3o_types::Secret;
use tokio::net::TcpListener;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::{GrpcConfig, GrpcServer, Ports, Tokens, Wiring};
use fakes::Fakes;

type Authorized = InterceptedService<Channel, WithToken>;

#[derive(Clone)]
struct WithToken(&'static str);

impl tonic::service::Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.0)).unwrap();
        request.metadata_mut().insert(s3o_proto::AUTHORIZATION, value);
        Ok(request)
    }
}

/// A served replica and what stands behind it.
struct Plane {
    channel: Channel,
    wiring: Wiring,
    fakes: Arc<Fakes>,
    shutdown: Shutdown,
}

impl Plane {
    async fn start() -> Self {
        Self::requiring(Vec::new()).await
    }

    async fn requiring(features: Vec<String>) -> Self {
        let plane = Self::starting(features).await;
        let fakes = plane.fakes.clone();
        plane.wiring.ready(Ports {
            ledger: fakes.clone(),
            versions: fakes.clone(),
            uploads: fakes.clone(),
            sessions: fakes.clone(),
            buckets: fakes.clone(),
            configs: fakes.clone(),
            queues: fakes.clone(),
            overview: fakes.clone(),
            drains: fakes.clone(),
            removals: fakes.clone(),
            replication: fakes.clone(),
            reconciliation: fakes.clone(),
            workers: fakes.clone(),
            rebalancing: fakes.clone(),
            scrub: fakes.clone(),
            recovery: fakes.clone(),
            recovering: fakes.clone(),
            probing: fakes.clone(),
        });
        plane
    }

    async fn starting(features: Vec<String>) -> Self {
        let shutdown = Shutdown::new();
        let wiring = Wiring::new("replica-1", None, shutdown.clone(), move || features.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tokens =
            Tokens { dataplane: Some(Secret::new("dp-token")), admin: Some(Secret::new("admin-token")) };
        let server =
            GrpcServer::start(listener, GrpcConfig { tokens, ..GrpcConfig::default() }, &wiring).unwrap();
        let channel =
            Endpoint::from_shared(format!("http://{}", server.addr())).unwrap().connect().await.unwrap();
        Self { channel, wiring, fakes: Arc::default(), shutdown }
    }

    fn dataplane(&self) -> DataPlaneClient<Authorized> {
        DataPlaneClient::with_interceptor(self.channel.clone(), WithToken("dp-token"))
    }
}
