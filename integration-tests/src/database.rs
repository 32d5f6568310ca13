//! A PostgreSQL of a test's own: killed as a crash would, started again on the same port.
//!
//! Invariant: nothing that was committed is lost by a kill; what only an asynchronous commit wrote may be.

use std::path::Path;

use anyhow::{Context, Result};
use s3o_localpg::{LocalPostgres, Options};
use tokio_postgres::{Client, NoTls};

/// The server.
#[derive(Debug)]
pub struct Database {
    server: LocalPostgres,
}

impl Database {
    /// Starts one below `folder`.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_in(&folder.join("postgres")).await
    }

    /// Starts one on a folder of its own, perhaps a copy of another one's.
    pub async fn start_in(folder: &Path) -> Result<Self> {
        let mut options = Options::new(folder);
        options.port = crate::ports::free()?.port();
        // A kill of the server's processes does not take the kernel's cache with it: what was written
        // is there after a restart, with or without fsync.
        options.fsync = false;
        options.settings = [("shared_buffers", "32MB"), ("max_connections", "80"), ("jit", "off")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        Ok(Self { server: LocalPostgres::start(options).await.context("starting PostgreSQL")? })
    }

    /// For configuration files.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// A connection; it ends when the client is dropped.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) =
            tokio_postgres::connect(&self.server.url(), NoTls).await.context("connecting")?;
        // Ends with the client or the server.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Ends it as a crash does.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await
    }

    /// Starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart().await
    }
}
