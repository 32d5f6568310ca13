//! A folder as an S3 backend: a real S3 server on loopback, for a single machine and for tests.
//!
//! Invariant: an object appears whole, with its headers, or not at all, and what was answered with 200
//! is on the disk: each object is one file that is synced before it is renamed into place.
//!
//! The protocol is the `s3s` crate's. Why not its `s3s-fs`: docs/adr/0004-folder-backends.md.
//! Absent on purpose: multipart, versioning, conditional writes. The orchestrator needs none of them
//! here, and what is absent answers `NotImplemented`.

mod file;
mod list;
mod ops;
mod paths;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3o_runtime::Shutdown;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tracing::debug;

use paths::Root;

/// What a folder backend is told.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// Where its buckets lie, a folder each.
    pub root: PathBuf,
    /// The bucket that is made if it is not there.
    pub bucket: String,
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The only access key it takes.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
}

/// Starts a folder backend and returns the address it listens on. It runs until `shutdown`.
pub async fn serve_folder(options: FolderOptions, shutdown: &Shutdown) -> anyhow::Result<SocketAddr> {
    let root = Root::open(&options.root, &options.bucket)
        .with_context(|| format!("cannot use {} as a folder backend", options.root.display()))?;
    let mut service = S3ServiceBuilder::new(root);
    service.set_auth(SimpleAuth::from_single(options.access_key_id, options.secret_access_key));
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("a folder backend cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    shutdown.spawn(accept(listener, service.build(), shutdown.clone()));
    Ok(address)
}

async fn accept(listener: TcpListener, service: S3Service, shutdown: Shutdown) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                // Answers are small and follow each other: waiting to fill a packet only delays them.
                let _ = socket.set_nodelay(true);
                shutdown.spawn(connection(TokioIo::new(socket), service.clone(), shutdown.clone()));
            }
            Err(error) => {
                // Out of file descriptors, mostly: it passes when connections end.
                debug!(%error, "accept failed");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(io: TokioIo<tokio::net::TcpStream>, service: S3Service, shutdown: Shutdown) {
    let builder = Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(io, service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.stopping() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection to a folder backend ended");
    }
}

#[cfg(test)]
mod tests;
