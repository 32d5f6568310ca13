//! Accepted connections, plain or TLS, each with the time at which its streams are to move.
//!
//! Invariant: a client that does not finish its handshake holds up nobody else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use s3o_runtime::{Shutdown, TlsServer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections that wait for the server to take them.
const BACKLOG: usize = 64;

/// What a service knows of the connection of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// When long streams end, so that their data plane spreads itself anew; `None` for never.
    pub(crate) retire: Option<Instant>,
}

/// A connection.
pub(crate) struct Io {
    stream: Stream,
    info: Connection,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Io {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.info
    }
}

/// Accepts until the service stops. `age`: about how long a connection's streams last.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<TlsServer>,
    age: Option<Duration>,
    shutdown: &Shutdown,
) -> ReceiverStream<io::Result<Io>> {
    let (out, connections) = mpsc::channel(BACKLOG);
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.stopping() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, _)) => {
                    let (tls, out) = (tls.clone(), out.clone());
                    let info = Connection { retire: age.map(|age| Instant::now() + jittered(age)) };
                    stop.spawn(async move {
                        if let Some(stream) = handshake(tcp, tls).await {
                            let _ = out.send(Ok(Io { stream, info })).await;
                        }
                    });
                }
                // Out of file handles, or the peer was gone: accepting goes on.
                Err(error) => {
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

/// Between nine and eleven tenths: connections that began together do not end together.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(0.9..1.1))
}

async fn handshake(tcp: TcpStream, tls: Option<TlsServer>) -> Option<Stream> {
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "a connection ended at once");
        return None;
    }
    let Some(tls) = tls else { return Some(Stream::Plain(tcp)) };
    match timeout(HANDSHAKE, TlsAcceptor::from(tls.current()).accept(tcp)).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            debug!("a TLS handshake took too long");
            None
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
