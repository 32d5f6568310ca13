//! The admin service for clients in the same process: the same wire, over memory, without a token.
//!
//! Invariant: nobody outside of the process reaches it, so the caller has done the authenticating.

use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use s3o_proto::v1::admin_client::AdminClient;
use s3o_proto::v1::admin_server::AdminServer;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Server};
use tracing::error;

use crate::admin::AdminService;
use crate::wiring::Wiring;

/// Bytes on their way in one direction.
const BUFFER: usize = 64 * 1024;

/// Makes a pair of ends for each connection and hands one to the server.
#[derive(Clone)]
struct Connector(mpsc::UnboundedSender<DuplexStream>);

impl Service<Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let sent = self.0.send(theirs).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
        Box::pin(ready(sent.map(|()| TokioIo::new(ours))))
    }
}

/// A client of this replica's admin service; it is served until the wiring's shutdown.
pub fn in_process_admin(wiring: &Wiring) -> AdminClient<Channel> {
    let (connect, connections) = mpsc::unbounded_channel();
    let incoming = UnboundedReceiverStream::new(connections).map(Ok::<_, io::Error>);
    let router = Server::builder().add_service(AdminServer::new(AdminService::new(wiring.clone())));
    let stopping = wiring.shutdown.soft_token().cancelled_owned();
    wiring.shutdown.spawn(async move {
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopping).await {
            error!(%error, "the admin service of this process ended");
        }
    });
    // The name is for messages only: the connector does not look at it.
    let channel = Endpoint::from_static("http://in-process").connect_with_connector_lazy(Connector(connect));
    AdminClient::new(channel)
}
