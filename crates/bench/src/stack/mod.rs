//! Everything that is measured, started: PostgreSQL, null backend, nginx, control planes, data planes.
//!
//! Invariant: each is a process of its own with a known id, and all end when the stack is dropped: data
//! planes before control planes, control planes before PostgreSQL.

mod config;
mod nginx;
mod services;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use s3o_localpg::LocalPostgres;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::procs::{Child, Groups, wait_for_port};
use crate::target::Target;

pub(crate) use config::{AckLevel, BUCKET, ControlOptions, DataOptions, TOKEN};
pub(crate) use services::{ControlPlane, in_bucket};

/// Where things come from and go to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StackArgs {
    /// Data of PostgreSQL, logs and configuration: a folder under this one, removed at the end. A disk,
    /// not memory: commits wait for it.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub(crate) data: PathBuf,
    /// Where `s3o-controlplane` and `s3o-dataplane` are; default: beside this program.
    #[arg(long)]
    pub(crate) binaries: Option<PathBuf>,
    /// A null backend that runs already (`s3o-bench null`), so that a rival can stand in front of the same
    /// one; with its process id, its CPU is measured.
    #[arg(long, value_name = "ADDRESS[,pid=N]", value_parser = parse_backend)]
    pub(crate) backend: Option<(SocketAddr, Option<u32>)>,
    /// The data folder is not removed.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Settings of PostgreSQL, as `postgres -c` takes them. Default: PostgreSQL's own, and fsync on.
    #[arg(long = "pg", value_name = "NAME=VALUE")]
    pub(crate) postgres: Vec<String>,
    /// Settings below `database:` of the control planes, as `lanes=1`. Default: theirs.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) database: Vec<(String, u64)>,
}

fn parse_setting(text: &str) -> Result<(String, u64)> {
    let (name, value) = text.split_once('=').context("NAME=VALUE")?;
    Ok((name.to_owned(), value.parse().with_context(|| format!("{value} is no number"))?))
}

/// See the module. Fields are dropped in their order.
#[derive(Debug)]
pub(crate) struct Stack {
    data_planes: Vec<services::DataPlane>,
    pub(crate) control_planes: Vec<ControlPlane>,
    nginx: Option<Child>,
    /// `None`: somebody else's.
    null: Option<Child>,
    null_pid: Option<u32>,
    /// The null backend's address.
    pub(crate) backend: SocketAddr,
    pub(crate) postgres: LocalPostgres,
    folder: PathBuf,
    binaries: PathBuf,
    database: Vec<(String, u64)>,
    _removed: Option<TempDir>,
}

impl Stack {
    /// Starts PostgreSQL and the null backend.
    pub(crate) async fn start(args: &StackArgs) -> Result<Self> {
        std::fs::create_dir_all(&args.data).with_context(|| format!("making {}", args.data.display()))?;
        if let Some(kind) = in_memory(&args.data) {
            eprintln!("WARNING: {} is on {kind}: commits wait for no disk there", args.data.display());
        }
        let temporary = tempfile::Builder::new().prefix("s3o-bench-").tempdir_in(&args.data)?;
        let (folder, removed) =
            if args.keep { (temporary.keep(), None) } else { (temporary.path().to_owned(), Some(temporary)) };
        let me = std::env::current_exe().context("finding this program")?;
        let beside = me.parent().context("this program has no folder")?.to_owned();
        let binaries = args.binaries.clone().unwrap_or(beside);
        let mut settings = Vec::new();
        for setting in &args.postgres {
            let (name, value) =
                setting.split_once('=').with_context(|| format!("--pg {setting}: NAME=VALUE"))?;
            settings.push((name.to_owned(), value.to_owned()));
        }
        let options = s3o_localpg::Options { settings, ..s3o_localpg::Options::new(folder.join("postgres")) };
        let postgres = LocalPostgres::start(options).await?;
        let (null, null_pid, backend) = if let Some((address, pid)) = args.backend {
            (None, pid, address)
        } else {
            let (child, address) = start_null(&me, &folder).await?;
            let pid = child.pid();
            (Some(child), Some(pid), address)
        };
        let (data_planes, control_planes, nginx) = (Vec::new(), Vec::new(), None);
        Ok(Self {
            data_planes,
            control_planes,
            nginx,
            null,
            null_pid,
            backend,
            postgres,
            folder,
            binaries,
            database: args.database.clone(),
            _removed: removed,
        })
    }

    /// Where logs and files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A connection to the database; it ends when it is dropped.
    pub(crate) async fn sql(&self) -> Result<tokio_postgres::Client> {
        let (client, driver) = tokio_postgres::connect(&self.postgres.url(), tokio_postgres::NoTls).await?;
        tokio::spawn(driver);
        Ok(client)
    }

    /// The null backend itself: the limit.
    pub(crate) fn direct(&self) -> Target {
        null_target("direct", self.backend, self.backend_group())
    }

    /// Nobody but the backend.
    fn backend_group(&self) -> Groups {
        Groups { backend: self.null_pid.into_iter().collect(), ..Groups::default() }
    }

    /// nginx in front of it.
    pub(crate) async fn nginx(&mut self) -> Result<Target> {
        let (nginx, address) = nginx::start(&self.folder, self.backend).await?;
        let groups = Groups { front: vec![nginx.pid()], ..self.backend_group() };
        self.nginx = Some(nginx);
        Ok(null_target("nginx", address, groups))
    }

    /// Forgets objects at the null backend.
    pub(crate) async fn clear(&self, bucket: &str, prefix: &str) -> Result<()> {
        let path = format!("/-/clear?bucket={bucket}&prefix={}", prefix.replace('/', "%2F"));
        match http(self.backend, "POST", &path).await? {
            (200, _) => Ok(()),
            (status, text) => bail!("clearing the null backend: status {status}: {text}"),
        }
    }

    /// Requests to the null backend so far.
    pub(crate) async fn backend_requests(&self) -> Result<u64> {
        let (_, text) = http(self.backend, "GET", "/-/requests").await?;
        Ok(serde_json::from_str::<crate::null::Requests>(&text)?.requests)
    }

    /// Fails when one of ours has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        let services = self.data_planes.iter().map(|plane| &plane.process);
        let services = services.chain(self.control_planes.iter().map(|plane| &plane.process));
        services.chain(&self.null).chain(&self.nginx).try_for_each(Child::check)
    }
}

fn null_target(name: &str, address: SocketAddr, groups: Groups) -> Target {
    Target {
        name: name.to_owned(),
        addresses: vec![address],
        host: address.to_string(),
        access_key: config::KEY.0.to_owned(),
        secret: config::KEY.1.to_owned(),
        region: "us-east-1".to_owned(),
        bucket: format!("bench-{name}"),
        groups,
        metrics: Vec::new(),
        is_null: true,
    }
}

/// `127.0.0.1:9000,pid=7`.
fn parse_backend(text: &str) -> Result<(SocketAddr, Option<u32>)> {
    let (address, pid) = match text.split_once(",pid=") {
        None => (text, None),
        Some((address, pid)) => {
            (address, Some(pid.parse().with_context(|| format!("`{pid}` is no process id"))?))
        }
    };
    Ok((address.parse().with_context(|| format!("`{address}` is no address"))?, pid))
}

async fn start_null(me: &Path, folder: &Path) -> Result<(Child, SocketAddr)> {
    let ready = folder.join("null.address");
    let ready_text = ready.to_str().context("the data folder is not UTF-8")?;
    let log = folder.join("null.log");
    let child = Child::start("null", me, &["null", "--ready-file", ready_text], &log)?;
    for _ in 0..600 {
        child.check()?;
        if let Ok(text) = std::fs::read_to_string(&ready) {
            let address = text.trim().parse().with_context(|| format!("`{text}` is no address"))?;
            wait_for_port(address, &child).await?;
            return Ok((child, address));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the null backend did not start")
}

/// A request without a body: status and text.
pub(crate) async fn http(address: SocketAddr, method: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes))
        .await
        .context("no answer")??;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// The kind of file system, where it is one in memory.
fn in_memory(path: &Path) -> Option<String> {
    let path = std::fs::canonicalize(path).ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let (_, kind) = mounts.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.len())?;
    ["tmpfs", "ramfs"].contains(&kind).then(|| kind.to_owned())
}
