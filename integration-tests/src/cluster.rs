//! A whole system on loopback: PostgreSQL, backends, control planes, data planes, and a proxy between
//! every data plane and every control plane.
//!
//! Invariant: [`Cluster::finish`] ends a test that passed, with everything settled and audited; a
//! cluster that is dropped without it prints the logs of its processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use s3o_proto::v1::admin_client::AdminClient;
use serde_json::Value;
use tempfile::TempDir;

use crate::backend::Backend;
use crate::binaries::binaries;
use crate::config::{self, BackendEntry, Times, Tls};
use crate::database::Database;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::raw::Raw;
use crate::{audit, ports, s3, settle, wait, wire};

/// Patience of a test's client with one call.
const CALL: Duration = Duration::from_secs(120);

/// What a test needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Backends.
    pub backends: usize,
    /// Bytes of each.
    pub quota_bytes: Option<u64>,
    /// `pack` or `spread`.
    pub routing: &'static str,
    /// Copies that [`config::BUCKET`] wants.
    pub copies: usize,
    /// Its ack level.
    pub ack: &'static str,
    /// Control planes.
    pub control_planes: usize,
    /// Data planes.
    pub data_planes: usize,
    /// `S3O_FAILPOINT` of the last data plane; see [`Cluster::release_failpoint`].
    pub failpoint: Option<&'static str>,
    /// What the second control plane's clock is off by, as `faketime` takes it (`+60s`).
    pub skew: Option<&'static str>,
    /// The waits of the cleanup queue.
    pub times: Times,
    /// TLS; none by default.
    pub tls: Tls,
    /// What control planes' files say besides the usual, or instead of it, by section.
    pub sections: serde_json::Map<String, Value>,
    /// What runs under callgrind, which counts its instructions into the file `callgrind` of the folder.
    pub profiled: Option<Profiled>,
}

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profiled {
    /// The control planes.
    ControlPlane,
    /// The data planes.
    DataPlane,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backends: 2,
            quota_bytes: None,
            routing: "pack",
            copies: 1,
            ack: "one",
            control_planes: 1,
            data_planes: 1,
            failpoint: None,
            skew: None,
            times: Times { read_grace_s: 1, late_put_window_s: 1, worker_interval_s: 3600 },
            tls: Tls::default(),
            sections: serde_json::Map::new(),
            profiled: None,
        }
    }
}

/// A control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// The process.
    pub process: Process,
    /// Its gRPC listener.
    pub grpc: SocketAddr,
    /// Its HTTP listener.
    pub http: SocketAddr,
    /// Its file.
    pub config: PathBuf,
}

/// A data plane.
#[derive(Debug)]
pub struct DataPlane {
    /// The process.
    pub process: Process,
    /// Its S3 listener.
    pub s3: SocketAddr,
    /// Its HTTP listener.
    pub http: SocketAddr,
    /// The way to each control plane.
    pub links: Vec<Proxy>,
}

/// Everything.
#[derive(Debug)]
pub struct Cluster {
    /// Control planes.
    pub control: Vec<ControlPlane>,
    /// Data planes.
    pub data: Vec<DataPlane>,
    /// Backends, in the order of the configuration.
    pub backends: Vec<Backend>,
    /// PostgreSQL.
    pub database: Database,
    options: Options,
    finished: bool,
    folder: TempDir,
}

impl Cluster {
    /// Starts everything and waits until it is ready.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("s3o-it-").tempdir()?;
        let database = Database::start(folder.path()).await?;
        let mut backends = Vec::new();
        for index in 0..options.backends {
            backends.push(Backend::start(&format!("b{index}")).await?);
        }
        let (control, data) = (Vec::new(), Vec::new());
        let finished = false;
        let mut cluster = Self { control, data, backends, database, options, finished, folder };
        for index in 0..cluster.options.control_planes {
            cluster.add_control_plane(index).await?;
        }
        for index in 0..cluster.options.data_planes {
            cluster.add_data_plane(index).await?;
        }
        cluster.wait_attached().await?;
        Ok(cluster)
    }

    async fn add_control_plane(&mut self, index: usize) -> Result<()> {
        let (grpc, http) = (ports::free()?, ports::free()?);
        let name = format!("control{index}");
        let path = self.folder.path().join(format!("{name}.yaml"));
        write(&path, &self.control_config(&name, grpc, http))?;
        let log = self.folder.path().join(format!("{name}.log"));
        let arguments = ["--config", path.to_str().context("the temporary folder is not UTF-8")?];
        let mut process = Process::new(&name, &binaries()?.control_plane, &arguments, log);
        if let Some(skew) = self.options.skew.filter(|_| index == 1) {
            process.wrap("faketime", &["-f", skew]);
        }
        self.profile(&mut process, Profiled::ControlPlane);
        process.start()?;
        self.control.push(ControlPlane { process, grpc, http, config: path });
        wait::ready(http).await
    }

    async fn add_data_plane(&mut self, index: usize) -> Result<()> {
        let point = self.options.failpoint.filter(|_| index + 1 == self.options.data_planes);
        let data = self.spawn_data_plane(&format!("data{index}"), point, |_| {}).await?;
        let http = data.http;
        self.data.push(data);
        wait::ready(http).await
    }

    /// Starts one more data plane, with its file changed, and does not wait for it. It is no part of
    /// the cluster and ends when it is dropped.
    pub async fn spawn_data_plane(
        &self,
        name: &str,
        failpoint: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> Result<DataPlane> {
        let (s3, http) = (ports::free()?, ports::free()?);
        let mut links = Vec::new();
        for control in &self.control {
            links.push(Proxy::start(control.grpc).await?);
        }
        let addresses: Vec<SocketAddr> = links.iter().map(Proxy::address).collect();
        let path = self.folder.path().join(format!("{name}.yaml"));
        let snapshot = self.folder.path().join(format!("{name}.snapshot"));
        let mut file = config::data_plane(name, s3, http, &addresses, &snapshot);
        self.options.tls.add_to_data_plane(&mut file);
        change(&mut file);
        write(&path, &file)?;
        let log = self.folder.path().join(format!("{name}.log"));
        let arguments = ["--config", path.to_str().context("the temporary folder is not UTF-8")?];
        let mut process = Process::new(name, &binaries()?.data_plane, &arguments, log);
        if let Some(point) = failpoint {
            let until = self.failpoint_release();
            let until = until.to_str().context("the temporary folder is not UTF-8")?;
            process.set_environment(&[("S3O_FAILPOINT", point), ("S3O_FAILPOINT_UNTIL", until)]);
        }
        self.profile(&mut process, Profiled::DataPlane);
        process.start()?;
        Ok(DataPlane { process, s3, http, links })
    }

    fn failpoint_release(&self) -> PathBuf {
        self.folder.path().join("release")
    }

    /// Lets what stands still at the failpoint go on, and never stand still there again.
    pub fn release_failpoint(&self) -> Result<()> {
        Ok(std::fs::write(self.failpoint_release(), "")?)
    }

    fn profile(&self, process: &mut Process, kind: Profiled) {
        if self.options.profiled == Some(kind) {
            let out = format!("--callgrind-out-file={}", self.folder.path().join("callgrind").display());
            process.wrap("valgrind", &["--tool=callgrind", &out]);
        }
    }

    /// The file of a control plane as the cluster is now.
    pub fn control_config(&self, name: &str, grpc: SocketAddr, http: SocketAddr) -> Value {
        let entries: Vec<BackendEntry> =
            self.backends.iter().map(|backend| backend.entry(self.options.quota_bytes)).collect();
        let options = &self.options;
        let mut file = config::control_plane(
            name,
            grpc,
            http,
            &self.database.url(),
            &entries,
            options.routing,
            &options.times,
        );
        let bucket = &mut file["buckets"][0];
        bucket["replication_factor"] = options.copies.into();
        bucket["ack"] = options.ack.into();
        options.tls.add_to_control_plane(&mut file);
        for (name, section) in &options.sections {
            match (file[name].as_object_mut(), section) {
                (Some(usual), Value::Object(section)) => usual.extend(section.clone()),
                _ => file[name] = section.clone(),
            }
        }
        file
    }

    /// How many copies the file says from the next [`Self::reload`] on.
    pub fn want_copies(&mut self, copies: usize) {
        self.options.copies = copies;
    }

    /// Writes every control plane's file anew, after `change`, and sends SIGHUP.
    pub fn reload(&self, change: impl Fn(&mut Value)) -> Result<()> {
        self.write_files(change)?;
        for control in &self.control {
            control.process.signal(nix::sys::signal::Signal::SIGHUP)?;
        }
        Ok(())
    }

    /// Writes every control plane's file anew, after `change`: they read it at their next start or SIGHUP.
    pub fn write_files(&self, change: impl Fn(&mut Value)) -> Result<()> {
        for (index, control) in self.control.iter().enumerate() {
            let mut value = self.control_config(&format!("control{index}"), control.grpc, control.http);
            change(&mut value);
            write(&control.config, &value)?;
        }
        Ok(())
    }

    /// An empty database in the place of the one that there is. Control planes must not run.
    pub async fn replace_database(&mut self) -> Result<()> {
        let folder = self.folder.path().join(format!("postgres-{}", ports::free()?.port()));
        self.use_copy(folder).await
    }

    /// A copy of the database as it is now, as of a crash: a folder for [`Self::use_copy`]. Control planes must run.
    pub async fn copy_database(&mut self) -> Result<PathBuf> {
        self.database.kill().await?;
        let copy = self.folder.path().join(format!("postgres-{}", ports::free()?.port()));
        let from = self.database.folder()?;
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(&copy).status()?;
        anyhow::ensure!(copied.success(), "copying the database");
        self.database.restart().await?;
        self.wait_decided().await?;
        Ok(copy)
    }

    /// The database in that folder takes the place of the one that there is. Control planes must not run.
    pub async fn use_copy(&mut self, folder: PathBuf) -> Result<()> {
        self.database.kill().await?;
        self.database = Database::start_in(&folder).await?;
        self.write_files(|_| {})
    }

    /// A standby that follows the database as a stream.
    pub async fn start_standby(&self) -> Result<Database> {
        self.database.standby(&self.folder.path().join("standby")).await
    }

    /// The database is lost, and a standby takes its place, address and all. Control planes go on.
    pub async fn fail_over(&mut self, standby: Database) -> Result<()> {
        self.database = standby.take_over(&mut self.database).await?;
        Ok(())
    }

    /// An SDK client of a data plane, with all rights.
    pub fn s3(&self, data: usize) -> aws_sdk_s3::Client {
        s3::client(self.data[data].s3, config::KEY.0, config::KEY.1, CALL)
    }

    /// An SDK client that gives up early, for calls whose answer may never come.
    pub fn impatient(&self, data: usize, patience: Duration) -> aws_sdk_s3::Client {
        s3::client(self.data[data].s3, config::KEY.0, config::KEY.1, patience)
    }

    /// A raw client of a data plane, with all rights.
    pub fn raw(&self, data: usize) -> Raw {
        Raw::new(self.data[data].s3, config::KEY.0, config::KEY.1)
    }

    /// A connection to the database, ended when it is dropped.
    pub async fn sql(&self) -> Result<tokio_postgres::Client> {
        self.database.connect().await
    }

    /// The admin service of a control plane.
    pub async fn admin(&self, control: usize) -> Result<AdminClient<wire::Authorized>> {
        let (address, tls) = (self.control[control].grpc, &self.options.tls);
        if tls.grpc.is_some() {
            wire::admin_over_tls(address, config::TOKEN, &tls.dial).await
        } else {
            wire::admin(address, config::TOKEN).await
        }
    }

    /// A session of our own at a control plane's gRPC port.
    pub async fn wire(&self, control: usize) -> Result<wire::Wire> {
        wire::Wire::open(self.control[control].grpc, config::TOKEN, uuid::Uuid::now_v7()).await
    }

    /// The row of [`config::BUCKET`].
    pub async fn bucket_id(&self) -> Result<i32> {
        Ok(self
            .sql()
            .await?
            .query_one("SELECT id FROM buckets WHERE name = $1", &[&config::BUCKET])
            .await?
            .get(0))
    }

    /// How many intents there are.
    pub async fn intents(&self) -> Result<i64> {
        Ok(self.sql().await?.query_one("SELECT count(*) FROM intents", &[]).await?.get(0))
    }

    /// Kills a data plane and starts it again, without failpoint.
    pub async fn restart_data_plane(&mut self, index: usize) -> Result<()> {
        let data = &mut self.data[index];
        data.process.kill()?;
        data.process.set_environment(&[]);
        data.process.start()?;
        wait::ready(data.http).await
    }

    /// Starts a control plane that was killed.
    pub async fn start_control_plane(&mut self, index: usize) -> Result<()> {
        let control = &mut self.control[index];
        control.process.start()?;
        wait::ready(control.http).await
    }

    /// Settles, audits, and ends. A test that passed ends with it.
    pub async fn finish(mut self) -> Result<()> {
        for process in self
            .control
            .iter_mut()
            .map(|c| &mut c.process)
            .chain(self.data.iter_mut().map(|d| &mut d.process))
        {
            process.check_alive()?;
        }
        self.backends.iter().for_each(Backend::heal);
        settle::settle(&self).await?;
        audit::audit(&self).await?;
        self.finished = true;
        Ok(())
    }

    /// Ends a test whose system was broken on purpose: neither settled nor audited.
    pub fn pass(mut self) {
        self.finished = true;
    }

    /// The folder with all files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for data in &mut self.data {
            if !self.finished {
                data.process.print_log(60);
            }
            // Data planes first, so that nothing of them is left waiting for a control plane.
            let _ = data.process.kill();
        }
        for control in &mut self.control {
            if !self.finished {
                control.process.print_log(60);
            }
            let _ = control.process.kill();
        }
    }
}

fn write(path: &Path, value: &Value) -> Result<()> {
    std::fs::write(path, serde_json::to_vec_pretty(value)?)
        .with_context(|| format!("writing {}", path.display()))
}
