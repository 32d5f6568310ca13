//! A cluster on disk: made once, launched many times.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::Options;
use crate::identity::Identity;
use crate::process::Server;

/// Tries at a free port: another process may take it between our look and the server's.
const PORT_TRIES: u32 = 5;

#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) options: Options,
    pub(crate) password: String,
    binaries: PathBuf,
    identity: Identity,
}

impl Cluster {
    pub(crate) fn open(binaries: PathBuf, mut options: Options) -> Result<Self> {
        let identity = Identity::choose()?;
        fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("making {}", options.data_dir.display()))?;
        options.data_dir = fs::canonicalize(&options.data_dir)
            .with_context(|| format!("resolving {}", options.data_dir.display()))?;
        fs::set_permissions(&options.data_dir, Permissions::from_mode(0o700))
            .with_context(|| format!("closing {} to others", options.data_dir.display()))?;
        identity.own(&options.data_dir)?;
        let password = password(&options.data_dir.join("password"), identity)?;
        Ok(Self { options, password, binaries, identity })
    }

    pub(crate) fn pgdata(&self) -> PathBuf {
        self.options.data_dir.join("pgdata")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.options.data_dir.join("postgres.log")
    }

    /// A cluster counts as made when its version file is there: initdb renamed into place at the end,
    /// so an interrupted one is never mistaken for a whole one.
    pub(crate) fn init_if_empty(&self) -> Result<()> {
        let pgdata = self.pgdata();
        let version = pgdata.join("PG_VERSION");
        if version.try_exists().with_context(|| format!("looking at {}", version.display()))? {
            return Ok(());
        }
        // It may be a cluster all the same: an unmounted or half-restored one. Nothing in it is ever removed.
        if !is_empty(&pgdata)? {
            bail!(
                "{} is not empty and holds no PG_VERSION, so it is no whole cluster; it is left as it is: \
                 restore it, or move it away to start with an empty one",
                pgdata.display()
            );
        }
        let fresh = self.options.data_dir.join("pgdata.new");
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", fresh.display()));
            }
            _ => {}
        }
        let home = self.identity.reachable(&self.options.data_dir);
        let mut initdb = self.identity.command(&self.binaries.join("initdb"), &self.options.data_dir)?;
        initdb
            .arg("--pgdata")
            .arg(home.join("pgdata.new"))
            .arg("--pwfile")
            .arg(home.join("password"))
            .args(["--username", &self.options.superuser])
            .args(["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums"]);
        if !self.options.fsync {
            initdb.arg("--no-sync");
        }
        let done = initdb.output().context("running initdb")?;
        if !done.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        // Takes the place of an empty directory too, never of one that is not.
        fs::rename(&fresh, &pgdata).context("putting the new cluster in its place")?;
        if self.options.fsync {
            let dir = fs::File::open(&self.options.data_dir).context("opening the data directory")?;
            dir.sync_all().context("making the new cluster's name durable")?;
        }
        Ok(())
    }

    /// Starts the server and waits until it takes connections.
    pub(crate) fn launch(&self, port: u16) -> Result<(Server, u16)> {
        let tries = if port == 0 { PORT_TRIES } else { 1 };
        let mut last = None;
        for _ in 0..tries {
            let port = if port == 0 { free_port()? } else { port };
            match self.launch_on(port) {
                Ok(server) => return Ok((server, port)),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| anyhow::anyhow!("PostgreSQL was not started"));
        Err(error.context(format!("starting PostgreSQL (its log is {})", self.log_file().display())))
    }

    fn launch_on(&self, port: u16) -> Result<Server> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.log_file())
            .context("opening the server's log")?;
        let home = self.identity.reachable(&self.options.data_dir);
        let mut command = self.identity.command(&self.binaries.join("postgres"), &self.options.data_dir)?;
        command.arg("-D").arg(home.join("pgdata"));
        for (name, value) in self.settings(port)? {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(Stdio::from(log.try_clone().context("sharing the server's log")?));
        command.stderr(Stdio::from(log));
        Server::spawn(command, &self.pgdata())
    }

    fn settings(&self, port: u16) -> Result<Vec<(String, String)>> {
        let sockets = match &self.options.socket_dir {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
                self.identity.own(dir)?;
                dir.display().to_string()
            }
            None => String::new(),
        };
        let on_off = if self.options.fsync { "on" } else { "off" };
        let own = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("unix_socket_directories", sockets),
            ("fsync", on_off.to_owned()),
            ("full_page_writes", on_off.to_owned()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Ok(own.into_iter().chain(self.options.settings.iter().cloned()).collect())
    }
}

/// A directory that is not there is empty.
fn is_empty(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("reading {}", dir.display())),
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

/// The superuser's password: made at the first start, readable by the server's user and root only.
fn password(file: &Path, identity: Identity) -> Result<String> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("reading {}", file.display()));
        }
        _ => {}
    }
    let fresh = format!("{:032x}{:016x}", rand::random::<u128>(), rand::random::<u64>());
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("writing {}", file.display()))?;
    writeln!(out, "{fresh}").and_then(|()| out.sync_all()).context("writing the superuser's password")?;
    identity.own(file)?;
    Ok(fresh)
}
