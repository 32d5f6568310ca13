//! One connection that is kept.
//!
//! Invariant: an exchange succeeds only with the expected status, a whole body and its expected length;
//! a connection on which something went wrong is not used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::Sliced;
use super::request::Prepared;

/// Of an answer that was not expected, this much is kept for the message.
const EXCERPT: usize = 300;

/// See the module.
pub(crate) struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Sliced>>,
    /// Bytes of request bodies that were taken, of all connections that share it.
    pub(crate) sent: Arc<AtomicU64>,
    /// Bytes of answers.
    pub(crate) received: Arc<AtomicU64>,
    /// Content of bodies is compared.
    verify: bool,
    /// Times that it had to be opened again.
    pub(crate) reopened: u64,
}

/// Opens `count` connections, to the addresses in turn. They share their counters.
pub(crate) async fn connect_all(
    addresses: &[SocketAddr],
    count: usize,
    verify: bool,
) -> Result<Vec<Connection>> {
    ensure!(!addresses.is_empty(), "there is no address to connect to");
    let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut connections = Vec::with_capacity(count);
    for address in addresses.iter().cycle().take(count) {
        let (sent, received) = (Arc::clone(&sent), Arc::clone(&received));
        let mut connection =
            Connection { address: *address, sender: None, sent, received, verify, reopened: 0 };
        connection.open().await?;
        connections.push(connection);
    }
    Ok(connections)
}

impl Connection {
    async fn open(&mut self) -> Result<()> {
        let address = self.address;
        let socket = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(socket)).await?;
        // It ends when its sender is dropped; what went wrong is told to the request under way.
        tokio::spawn(driver);
        self.sender = Some(sender);
        Ok(())
    }

    /// The sender, of a connection that is open.
    async fn ready(&mut self) -> Result<&mut SendRequest<Sliced>> {
        let is_open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            self.reopened += 1;
            self.open().await?;
        }
        let sender = self.sender.as_mut().context("no connection")?;
        sender.ready().await?;
        Ok(sender)
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn exchange(&mut self, prepared: &Prepared) -> Result<()> {
        let done = self.try_exchange(prepared).await;
        if done.is_err() {
            self.sender = None;
        }
        done
    }

    async fn try_exchange(&mut self, prepared: &Prepared) -> Result<()> {
        let request = prepared.request(&self.sent);
        let (received, verify) = (Arc::clone(&self.received), self.verify);
        let answer = self.ready().await?.send_request(request).await?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        if status != prepared.expect.status {
            let text = Limited::new(body, 1 << 20).collect().await.map(http_body_util::Collected::to_bytes);
            let text = text.unwrap_or_default();
            let text = String::from_utf8_lossy(&text[..text.len().min(EXCERPT)]).into_owned();
            bail!("status {status} in place of {}: {text}", prepared.expect.status);
        }
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if let (true, Some(wanted)) = (verify, &prepared.expect.body) {
                let same = wanted.get(length..length + chunk.len()) == Some(&chunk[..]);
                ensure!(same, "the body differs within {} bytes from offset {length}", chunk.len());
            }
            length += chunk.len();
        }
        if let Some(wanted) = prepared.expect.length() {
            ensure!(length == wanted, "a body of {length} bytes in place of {wanted}");
        }
        Ok(())
    }

    /// Sends a request and returns the answer's body, whatever it is.
    pub(crate) async fn fetch(&mut self, prepared: &Prepared) -> Result<(u16, Bytes)> {
        let request = prepared.request(&self.sent);
        let answer = self.ready().await?.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
