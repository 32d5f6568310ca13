//! A private PostgreSQL server: found on the machine, run as an unprivileged user, for `s3o standalone`
//! and for tests.
//!
//! Invariant: at most one server runs on a data directory, and it does not outlive its owner: it is
//! our child, the kernel ends it when we die (Linux), and a start stops one that was left over.

mod cluster;
mod find;
mod identity;
mod process;
mod stale;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::process::Server;

/// How the server is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept: the cluster (`pgdata`), the superuser's password, the log. Made when
    /// missing; when we are root it comes to belong to the user that the server runs as.
    pub data_dir: PathBuf,
    /// TCP port on 127.0.0.1; 0 for any free one.
    pub port: u16,
    /// Where to make a Unix socket; `None` for none.
    pub socket_dir: Option<PathBuf>,
    /// Name of the superuser.
    pub superuser: String,
    /// Further settings, `name = value`, as on the command line of `postgres -c`.
    pub settings: Vec<(String, String)>,
    /// Whether commits wait for the disk. Only tests that throw the data away turn it off.
    pub fsync: bool,
}

impl Options {
    /// A durable server in `data_dir` on a free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: 0,
            socket_dir: None,
            superuser: "s3o".to_owned(),
            settings: Vec::new(),
            fsync: true,
        }
    }
}

/// A running server. Dropping it stops the server at once (as a crash would; nothing that was
/// committed is lost); [`LocalPostgres::stop`] does so in order.
#[derive(Debug)]
pub struct LocalPostgres {
    cluster: Cluster,
    port: u16,
    server: Option<Server>,
}

impl LocalPostgres {
    /// The directory with `postgres` and `initdb`. The error says what to install.
    pub fn find_binaries() -> Result<PathBuf> {
        find::binaries()
    }

    /// Makes the cluster if there is none, stops a server that was left over, starts one and waits
    /// until it takes connections.
    pub async fn start(options: Options) -> Result<Self> {
        blocking(move || Self::start_blocking(options)).await
    }

    fn start_blocking(options: Options) -> Result<Self> {
        let binaries = find::binaries()?;
        let cluster = Cluster::open(binaries, options)?;
        stale::clear(&cluster.pgdata())?;
        cluster.init_if_empty()?;
        let (server, port) = cluster.launch(cluster.options.port)?;
        Ok(Self { cluster, port, server: Some(server) })
    }

    /// Connection URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// Connection URL of another database.
    pub fn url_for(&self, database: &str) -> String {
        let Cluster { options, password, .. } = &self.cluster;
        format!("postgres://{}:{password}@127.0.0.1:{}/{database}", options.superuser, self.port)
    }

    /// The port on 127.0.0.1; the same after a restart.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// The server's log.
    pub fn log_file(&self) -> PathBuf {
        self.cluster.log_file()
    }

    /// Ends it in order: open transactions are rolled back, everything is written, connections close.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(process::End::Fast).await
    }

    /// Ends it at once, as a crash does: for tests. The next start recovers.
    pub async fn kill(&mut self) -> Result<()> {
        self.end(process::End::Immediate).await
    }

    /// Starts it again on the same port, after [`Self::stop`] or [`Self::kill`]; one that runs is
    /// stopped first.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let (cluster, port) = (self.cluster.clone(), self.port);
        let (server, _) = blocking(move || {
            stale::clear(&cluster.pgdata())?;
            cluster.launch(port)
        })
        .await?;
        self.server = Some(server);
        Ok(())
    }

    async fn end(&mut self, how: process::End) -> Result<()> {
        match self.server.take() {
            Some(server) => blocking(move || server.end(how)).await,
            None => Ok(()),
        }
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.signal(process::End::Immediate);
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the thread that runs PostgreSQL's tools ended")?
}
