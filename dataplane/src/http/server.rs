//! Listeners: accept, TLS, one task a connection, an orderly end.
//!
//! Invariants: connections and the memory of each are bounded; headers must come in time; on the soft
//! stage of a shutdown running requests are finished and idle connections closed.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use s3o_runtime::{Shutdown, TlsServer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::linger::linger;
use super::progress::Progress;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Read and write buffer of a connection, to which it grows while a body fills it: 64 MiB take a tenth less of a processor than by
/// 64 KiB, and 256 such bodies at once 190 MiB (docs/performance.md).
const BUFFER: usize = 256 * 1024;
/// The longest head of an HTTP/1 request: what comes is held before anybody knows who sends it.
const MAX_HEAD: usize = 64 * 1024;
/// Headers of an HTTP/1 request. S3 has a bound for their bytes only, 8 KiB, which as many of the shortest metadata fill
/// (Amazon S3 User Guide, "Working with object metadata").
const MAX_HEADERS: usize = 512;
/// Window of an HTTP/2 stream and of its connection: what a client may send ahead of the backend.
const WINDOW: u32 = 256 * 1024;
/// The pause after accept failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a listener serves.
#[derive(Clone)]
pub(crate) struct Serving {
    pub tls: Option<TlsServer>,
    pub max_connections: usize,
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_idle: Duration,
    pub shutdown: Shutdown,
    /// No connection is accepted after it, and those there are end with their request.
    pub stop: CancellationToken,
}

/// Accepts until told to stop; every connection runs in a tracked task.
pub(crate) async fn serve<H, F, B>(listener: TcpListener, serving: Serving, handler: H)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let places = Arc::new(Semaphore::new(serving.max_connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = serving.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (this, handler) = (serving.clone(), handler.clone());
        serving.shutdown.spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, peer, &this, handler).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
}

async fn connection<H, F, B>(
    stream: TcpStream,
    peer: SocketAddr,
    serving: &Serving,
    handler: H,
) -> Result<(), BoxError>
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    stream.set_nodelay(true)?;
    let mut stream = Progress::new(stream, serving.write_idle);
    let Some(tls) = &serving.tls else {
        over_http1(&mut stream, peer, serving, handler).await?;
        lingering(&mut stream, serving).await;
        return Ok(());
    };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.current());
    let mut stream = tokio::time::timeout(serving.header_timeout, acceptor.accept(stream)).await??;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        over_http2(&mut stream, peer, serving, handler).await?;
    } else {
        over_http1(&mut stream, peer, serving, handler).await?;
    }
    lingering(&mut stream, serving).await;
    Ok(())
}

/// Of a connection whose answers went to their end: hyper has ended our side. It keeps its place meanwhile; a shutdown
/// waits for nobody.
async fn lingering<I: AsyncRead + Unpin>(io: &mut I, serving: &Serving) {
    tokio::select! {
        () = linger(io) => {}
        () = serving.stop.cancelled() => {}
    }
}

async fn over_http1<I, H, F, B>(
    io: &mut I,
    peer: SocketAddr,
    serving: &Serving,
    handler: H,
) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service_fn(move |request| {
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(serving.header_timeout)
        .max_buf_size(BUFFER)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        () = serving.stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

async fn over_http2<I, H, F, B>(
    io: &mut I,
    peer: SocketAddr,
    serving: &Serving,
    handler: H,
) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service_fn(move |request| {
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(serving.header_timeout)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        () = serving.stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}
