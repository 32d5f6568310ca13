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

    /// For configuration files: another database of the same server.
    pub fn url_for(&self, database: &str) -> String {
        self.server.url_for(database)
    }

    /// A connection; it ends when the client is dropped.
    pub async fn connect(&self) -> Result<Client> {
        connect(&self.server.url()).await
    }

    /// The same, to another database of the server.
    pub async fn connect_to(&self, database: &str) -> Result<Client> {
        connect(&self.server.url_for(database)).await
    }

    /// Makes another database on the server, in the place of the one of that name if there is one. It is empty.
    pub async fn make_anew(&self, database: &str) -> Result<()> {
        let sql = self.connect().await?;
        // One by one: neither may be part of a transaction.
        sql.batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
        sql.batch_execute(&format!("CREATE DATABASE {database}")).await?;
        Ok(())
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

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connecting")?;
    // Ends with the client or the server.
    tokio::spawn(connection);
    Ok(client)
}
