//! A PostgreSQL of a test's own: killed as a crash would, started again on the same port; a standby of it that takes its
//! place.
//!
//! Invariant: nothing that was committed is lost by a kill; what only an asynchronous commit wrote may be. A standby that was
//! cut off has nothing of after that.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use s3o_localpg::{LocalPostgres, Options};
use tokio::process::Command;
use tokio_postgres::{Client, NoTls};

use crate::wait;

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
        Self::start_on(folder, crate::ports::free()?.port()).await
    }

    async fn start_on(folder: &Path, port: u16) -> Result<Self> {
        let mut options = Options::new(folder);
        options.port = port;
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

    /// Where everything of it is.
    pub fn folder(&self) -> Result<PathBuf> {
        Ok(self.server.log_file().parent().context("the server's folder")?.to_owned())
    }

    /// A standby in that folder, which is not there yet. It follows this one as a stream.
    pub async fn standby(&self, folder: &Path) -> Result<Self> {
        let ours = self.folder()?;
        std::fs::create_dir_all(folder)?;
        let mut copy = Command::new(LocalPostgres::find_binaries()?.join("pg_basebackup"));
        copy.arg("--pgdata").arg(folder.join("pgdata")).arg("--dbname").arg(self.url());
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        run(&mut copy).await?;
        // The same superuser, and files of the user whom the server runs as.
        std::fs::copy(ours.join("password"), folder.join("password"))?;
        let mut own = Command::new("chown");
        own.arg("-R").arg(format!("--reference={}", ours.display())).arg(folder);
        run(&mut own).await?;
        Self::start_in(folder).await
    }

    /// Of a standby: from now on it hears nothing more.
    pub async fn cut_off(&self) -> Result<()> {
        let sql = self.connect().await?;
        // One by one: the first may not be part of a transaction.
        sql.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await?;
        sql.batch_execute("SELECT pg_reload_conf()").await?;
        wait::until("the standby hears nothing", || async {
            let receivers = sql.query_one("SELECT count(*) FROM pg_stat_wal_receiver", &[]).await?;
            Ok(receivers.get::<_, i64>(0) == 0)
        })
        .await
    }

    /// A standby becomes a server of its own, with what it has, in the place and on the port of one that is killed.
    pub async fn take_over(self, from: &mut Self) -> Result<Self> {
        from.kill().await?;
        let promoted = self.connect().await?.query_one("SELECT pg_promote()", &[]).await?;
        ensure!(promoted.get::<_, bool>(0), "the standby was not promoted");
        let (folder, port) = (self.folder()?, from.server.port());
        let mut server = self.server;
        server.stop().await?;
        Self::start_on(&folder, port).await
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

/// Runs a tool to its end.
async fn run(command: &mut Command) -> Result<()> {
    let done = command.kill_on_drop(true).output().await;
    let done = done.with_context(|| format!("running {command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
