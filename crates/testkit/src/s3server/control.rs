//! The handle with which a test starts, breaks, heals and inspects the server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use s3o_types::{BackendId, BackendSpec, Credentials, Place, Quirks, Secret};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::fault::{Operation, Rule};
use super::serve;
use super::store::{Blob, Shared};

/// A running server; ends when dropped.
pub struct FaultyBackend {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Mutex<Option<JoinHandle<()>>>,
    /// Has the port while it does not run: the kernel gives it to nobody, and nobody listens.
    held: Mutex<Option<TcpSocket>>,
}

impl FaultyBackend {
    /// The bucket in [`Self::spec`].
    pub const BUCKET: &'static str = "data";

    /// Starts on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on an address.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let server = tokio::spawn(serve::run(listener, Arc::clone(&shared)));
        Ok(Self { shared, address, server: Mutex::new(Some(server)), held: Mutex::default() })
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How to speak to it.
    pub fn spec(&self, id: i32, name: &str) -> BackendSpec {
        BackendSpec {
            id: BackendId(id),
            name: name.to_owned(),
            endpoint: self.endpoint(),
            region: "us-east-1".to_owned(),
            bucket: Self::BUCKET.to_owned(),
            place: Place::FIRST,
            credentials: Credentials::Static {
                access_key_id: "test".to_owned(),
                secret_access_key: Secret::new("test-secret"),
                session_token: None,
            },
            quirks: Quirks::default(),
        }
    }

    /// Adds a rule; rules are looked at in the order in which they came.
    pub fn inject(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
    }

    /// Stops at once: all connections are reset and the port is closed. The data stays.
    pub async fn kill(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
            // Its end is what we wait for; that it was aborted is no news.
            let _ = server.await;
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = hold(self.address).ok();
        }
    }

    /// Listens again on the same port. Does nothing while it runs.
    pub async fn restart(&self) -> io::Result<()> {
        if self.server.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address).await?;
        let server = tokio::spawn(serve::run(listener, Arc::clone(&self.shared)));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// How many requests of this kind arrived, failed ones included.
    pub fn count(&self, operation: Operation) -> u64 {
        self.shared.lock().counts.get(&operation).copied().unwrap_or_default()
    }

    /// Bytes of the bodies of PUTs that arrived whole, and of the answers to GETs, as far as they were to be sent.
    pub fn bytes(&self) -> (u64, u64) {
        self.shared.lock().moved
    }

    /// All storage keys, sorted, of all buckets.
    pub fn keys(&self) -> Vec<String> {
        self.shared.lock().blobs.keys().map(|(_, key)| key.clone()).collect()
    }

    /// All blobs, sorted by key.
    pub fn blobs(&self) -> Vec<(String, Blob)> {
        self.shared.lock().blobs.iter().map(|((_, key), blob)| (key.clone(), blob.clone())).collect()
    }

    /// One blob.
    pub fn blob(&self, key: &str) -> Option<Blob> {
        let place = (Self::BUCKET.to_owned(), key.to_owned());
        self.shared.lock().blobs.get(&place).cloned()
    }

    /// Bytes of all blobs together.
    pub fn stored_bytes(&self) -> u64 {
        self.shared.lock().blobs.values().map(|blob| blob.bytes.len() as u64).sum()
    }

    /// Puts a blob there behind everybody's back.
    pub fn plant(&self, key: &str, bytes: impl Into<Bytes>) {
        let blob = Blob::new(bytes.into(), &http::HeaderMap::new());
        self.shared.store((Self::BUCKET.to_owned(), key.to_owned()), blob);
    }

    /// The same, with headers.
    pub fn plant_with(&self, key: &str, bytes: impl Into<Bytes>, headers: &http::HeaderMap) {
        let blob = Blob::new(bytes.into(), headers);
        self.shared.store((Self::BUCKET.to_owned(), key.to_owned()), blob);
    }

    /// Takes over all blobs of another server, as an operator copies a bucket.
    pub fn copy_from(&self, other: &Self) {
        let blobs = other.shared.lock().blobs.clone();
        self.shared.lock().blobs.extend(blobs);
    }

    /// Removes a blob behind everybody's back; says whether it was there.
    pub fn remove(&self, key: &str) -> bool {
        self.shared.lock().blobs.remove(&(Self::BUCKET.to_owned(), key.to_owned())).is_some()
    }

    /// Loses everything.
    pub fn drop_all_blobs(&self) {
        self.shared.lock().blobs.clear();
    }

    /// Flips a bit in the middle of a blob and leaves its ETag; says whether there was a byte to flip.
    pub fn corrupt(&self, key: &str) -> bool {
        let mut state = self.shared.lock();
        let place = (Self::BUCKET.to_owned(), key.to_owned());
        let Some(blob) = state.blobs.get_mut(&place).filter(|blob| !blob.bytes.is_empty()) else {
            return false;
        };
        blob.bytes = flip_bit(&blob.bytes);
        true
    }

    /// From now on bodies are read and hashed, but not kept: for load, where only ETags matter.
    pub fn discard_bodies(&self) {
        self.shared.lock().discard = true;
    }
}

impl Drop for FaultyBackend {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }
}

pub(super) fn flip_bit(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}

/// A socket that has the address and does not listen.
fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // So that a listener may have it, too.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
