//! A TCP proxy that loses, holds and cuts: between a data plane and a control plane, or a client and a
//! data plane.
//!
//! Invariant: bytes are never changed or reordered; a connection that is cut is cut on both sides, so
//! that both ends learn of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They go through.
    Pass,
    /// Requests go through, replies wait here.
    HoldReplies,
    /// Both wait here.
    Blackhole,
    /// New connections are closed at once.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections of an older epoch are cut.
    epoch: u64,
}

/// A proxy in front of one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own and forwards to `target`, which need not listen yet.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(crate::ports::free()?).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(watch::Sender::new(State { mode: Mode::Pass, epoch: 0 }));
        let sent = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, target, Arc::clone(&state), Arc::clone(&sent)));
        Ok(Self { address, state, sent, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of bytes, at once, on every connection.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Cuts every connection; what is held is lost.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    /// Bytes that went towards the target so far.
    pub fn forwarded(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    state: Arc<watch::Sender<State>>,
    sent: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().mode == Mode::Refuse {
            continue;
        }
        let (state, sent) = (state.subscribe(), Arc::clone(&sent));
        // Ends with either side, or by a cut at the latest when the proxy is dropped.
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(target).await {
                forward(client, server, state, &sent).await;
            }
        });
    }
}

async fn forward(client: TcpStream, server: TcpStream, mut state: watch::Receiver<State>, sent: &AtomicU64) {
    // A small reply must not wait for another one.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let epoch = state.borrow().epoch;
    let (requests, replies) = (state.clone(), state.clone());
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let up = pump(client_read, server_write, requests, |mode| mode != Mode::Blackhole, Some(sent));
    let down =
        pump(server_read, client_write, replies, |mode| matches!(mode, Mode::Pass | Mode::Refuse), None);
    tokio::select! {
        _ = async { tokio::join!(up, down) } => {}
        _ = state.wait_for(|state| state.epoch != epoch) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    passes: impl Fn(Mode) -> bool,
    count: Option<&AtomicU64>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        if state.wait_for(|state| passes(state.mode)).await.is_err()
            || to.write_all(&buffer[..n]).await.is_err()
        {
            break;
        }
        if let Some(count) = count {
            count.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
    // The other direction may still have something to say.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every byte with the same byte.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn holds_cuts_and_refuses() {
        let proxy = Proxy::start(echo().await).await.expect("start");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connect");
        let mut byte = [0];
        stream.write_all(b"a").await.expect("write");
        stream.read_exact(&mut byte).await.expect("read");
        assert_eq!(&byte, b"a");

        proxy.set(Mode::HoldReplies);
        stream.write_all(b"b").await.expect("write");
        let held =
            tokio::time::timeout(std::time::Duration::from_millis(200), stream.read_exact(&mut byte)).await;
        assert!(held.is_err(), "a reply came through");
        proxy.set(Mode::Pass);
        stream.read_exact(&mut byte).await.expect("the reply is released");
        assert_eq!((&byte, proxy.forwarded()), (b"b", 2));

        proxy.cut();
        assert!(!matches!(stream.read(&mut byte).await, Ok(n) if n > 0), "it was cut");
        proxy.set(Mode::Refuse);
        let mut refused = TcpStream::connect(proxy.address()).await.expect("connect");
        assert!(!matches!(refused.read(&mut byte).await, Ok(n) if n > 0), "it was refused");
    }
}
