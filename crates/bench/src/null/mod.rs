//! The null backend: an S3 server in memory that is far faster than what is measured, yet answers with
//! the correct MD5 as `ETag`.
//!
//! It speaks path style over HTTP/1.1, looks at no signature, makes buckets as they are named, and knows
//! `PutObject`, `GetObject` (Range), `HeadObject`, `DeleteObject`, `DeleteObjects`, `ListObjectsV2`,
//! `HeadBucket` and `CreateBucket`, and of multipart uploads `CreateMultipartUpload`, `UploadPart`,
//! `CompleteMultipartUpload` (no part is too small) and `AbortMultipartUpload`. A body in `aws-chunked` framing is taken
//! with an unsigned CRC-64/NVME behind it, which is compared and answered; any other framing is refused with 501.
//! Beside S3: `POST /-/clear?bucket=…&prefix=…` forgets objects, `GET /-/requests` counts requests.
//!
//! Invariant: a PUT is stored only when its body arrived whole; what is read is what was written.

mod bodies;
mod content;
mod multipart;
mod objects;
mod serve;
mod xml;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;

pub(crate) use serve::Requests;
use serve::Server;

/// `s3o-bench null`.
#[derive(Debug, clap::Args)]
pub(crate) struct NullArgs {
    /// Where it listens; port 0 for any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Its address is written here once it listens.
    #[arg(long)]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Serves until the process is ended.
pub(crate) async fn run(args: NullArgs) -> Result<()> {
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("binding {}", args.listen))?;
    let address = listener.local_addr()?;
    println!("null backend: http://{address}");
    if let Some(file) = &args.ready_file {
        // Renamed into place, so that a reader never sees half an address.
        let part = file.with_extension("part");
        std::fs::write(&part, address.to_string()).with_context(|| format!("writing {}", part.display()))?;
        std::fs::rename(&part, file)?;
    }
    accept(listener).await
}

/// Serves every connection of `listener`.
pub(crate) async fn accept(listener: TcpListener) -> Result<()> {
    let server = Arc::new(Server::default());
    loop {
        let (socket, _) = listener.accept().await?;
        // As every S3 server has it; without it small answers wait for an acknowledgement.
        socket.set_nodelay(true)?;
        tokio::spawn(serve::connection(Arc::clone(&server), socket));
    }
}

#[cfg(test)]
mod tests;
