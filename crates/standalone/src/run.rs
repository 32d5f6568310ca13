//! A standalone from its start to its end.
//!
//! Invariant: what serves ends before what it needs: data plane, control plane, folder backends,
//! PostgreSQL. It is the same order when a start fails half way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use s3o_controlplane::{ControlPlane, ControlPlaneConfig, Phase};
use s3o_dataplane::{DataPlane, DataPlaneConfig};
use s3o_localpg::{LocalPostgres, Options as PostgresOptions};
use s3o_runtime::lifecycle::run_until_stopped;
use s3o_runtime::{LogConfig, LogFormat, Reload, Shutdown};
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::announce::Ready;
use crate::declared::Declared;
use crate::folder::{FolderOptions, serve_folder};
use crate::planes::{self, RunningFolder};
use crate::state::{State, random_hex};
use crate::{StandaloneOptions, lock};

/// How long running requests get when it ends.
const DRAIN: Duration = Duration::from_mins(1);
/// How long everything else gets: nobody uses it any more.
const CLOSE: Duration = Duration::from_secs(15);
/// A first start makes a database, applies migrations and marks backends.
const START_PATIENCE: Duration = Duration::from_mins(2);

/// Starts everything, tells it, and runs until a signal ends it. Fails with a sentence for a person.
pub async fn run(options: StandaloneOptions) -> anyhow::Result<()> {
    let log = LogConfig { filter: options.log_filter.clone(), format: LogFormat::Text };
    s3o_runtime::telemetry::init(&log)?;
    let declared = Declared::load(options.config.as_deref())?;
    let data = make_data(&options.data)?;
    let _lock = lock::take(&data)?;
    if let Some(path) = &options.ready_file {
        // Of a process that was killed: nobody may take it for ours.
        let _ = std::fs::remove_file(path);
    }
    // Before anything is made: without it nothing can be.
    LocalPostgres::find_binaries()?;
    let mut state = State::load_or_create(&data)?;
    let mut postgres = LocalPostgres::start(PostgresOptions::new(data.join("postgres"))).await?;
    let stages = Stages::default();
    let reload = Reload::new();
    let served = serve(&options, &declared, &mut state, &data, &postgres, &stages, &reload).await;
    let ended = match served {
        Ok(ready) => until_stopped(&ready, options.ready_file.as_deref(), &stages, &reload).await,
        Err(error) => Err(error),
    };
    stages.end().await;
    let stopped = postgres.stop().await;
    ended.and(stopped)
}

/// The parts, each ended before the next.
#[derive(Default)]
struct Stages {
    data_plane: Shutdown,
    control_plane: Shutdown,
    folders: Shutdown,
}

impl Stages {
    async fn end(&self) {
        for stage in [&self.data_plane, &self.control_plane, &self.folders] {
            stage.finish(CLOSE).await;
        }
    }

    /// Returns when a part ended that nobody asked to.
    async fn failed(&self) -> &'static str {
        tokio::select! {
            () = self.data_plane.stopping() => "data plane",
            () = self.control_plane.stopping() => "control plane",
            () = self.folders.stopping() => "folder backends",
        }
    }
}

async fn serve(
    options: &StandaloneOptions,
    declared: &Declared,
    state: &mut State,
    data: &Path,
    postgres: &LocalPostgres,
    stages: &Stages,
    reload: &Reload,
) -> anyhow::Result<Ready> {
    let folders =
        if declared.backends.is_empty() { start_folders(state, data, stages).await? } else { Vec::new() };
    // Made anew at every start: nothing outside of this process needs it.
    let token = random_hex(24)?;
    let name = options.config.clone().unwrap_or_else(|| PathBuf::from("standalone"));
    let config = planes::control_plane(options, declared, state, &folders, &postgres.url(), &token);
    let config: ControlPlaneConfig = planes::read(&config, &name)?;
    if options.rebuild {
        rebuild(&config).await?;
    }
    let control = ControlPlane::start(config, stages.control_plane.clone(), reload).await?;
    let config = planes::data_plane(options, control.grpc_addr(), &token, data);
    let config: DataPlaneConfig = planes::read(&config, Path::new("standalone"))?;
    let plane = DataPlane::start_with_reload(config, stages.data_plane.clone(), reload).await?;
    let ready = async {
        control.ready().await;
        plane.ready().await;
    };
    tokio::select! {
        () = ready => {}
        part = stages.failed() => match control.phase() {
            Phase::Failed(why) => anyhow::bail!("the control plane cannot start: {why}"),
            Phase::Starting | Phase::Ready => anyhow::bail!("the {part} ended while it was starting"),
        },
        () = tokio::time::sleep(START_PATIENCE) => {
            anyhow::bail!("not ready after {} s; the log says why", START_PATIENCE.as_secs())
        }
    }
    let (bucket, access_key_id, secret_access_key) = declared.shown().unwrap_or_else(|| {
        (state.bucket.clone(), state.access_key_id.clone(), state.secret_access_key.clone())
    });
    Ok(Ready {
        endpoint: format!("http://{}", planes::reachable(plane.s3_addr())),
        bucket,
        access_key_id,
        secret_access_key,
        admin_url: format!("http://{}", planes::reachable(control.http_addr())),
        grpc_addr: planes::reachable(control.grpc_addr()).to_string(),
        admin_token: state.admin_token.clone(),
        pids: std::iter::once(std::process::id()).chain(postgres.pid()).collect(),
    })
}

/// What is found is told at once: a start that fails after this must not hide it.
async fn rebuild(config: &ControlPlaneConfig) -> anyhow::Result<()> {
    let report = s3o_controlplane::rebuild(config, &[]).await?;
    for line in report.lines() {
        say(&line);
    }
    say("nothing is deleted until `s3o recover`");
    Ok(())
}

/// Tells that it serves, waits for a signal, and lets running requests finish.
async fn until_stopped(
    ready: &Ready,
    ready_file: Option<&Path>,
    stages: &Stages,
    reload: &Reload,
) -> anyhow::Result<()> {
    if let Some(path) = ready_file {
        ready.write(path)?;
    }
    say(&ready.to_string());
    // The data plane's end is ours; a part that fails takes the data plane with it.
    let failing = stages.data_plane.clone();
    let parts = (stages.control_plane.clone(), stages.folders.clone());
    stages.data_plane.spawn(async move {
        tokio::select! {
            () = failing.stopping() => {}
            () = parts.0.stopping() => { error!("the control plane ended"); failing.begin(); }
            () = parts.1.stopping() => { error!("the folder backends ended"); failing.begin(); }
        }
    });
    let drained =
        run_until_stopped(&stages.data_plane, reload, DRAIN).await.context("cannot wait for signals")?;
    if let Some(path) = ready_file {
        // It says that we serve, which is over.
        let _ = std::fs::remove_file(path);
    }
    info!(drained, "the data plane has ended");
    Ok(())
}

/// Starts the folder backends where they were, or elsewhere when somebody took their port.
async fn start_folders(
    state: &mut State,
    data: &Path,
    stages: &Stages,
) -> anyhow::Result<Vec<RunningFolder>> {
    let mut running = Vec::new();
    let mut moved = false;
    for folder in &mut state.folders {
        let root = data.join("backends").join(&folder.name);
        let listen = free_port_near(folder.port).await?;
        let options = FolderOptions {
            root,
            bucket: "blobs".to_owned(),
            listen,
            access_key_id: folder.access_key_id.clone(),
            secret_access_key: folder.secret_access_key.clone(),
        };
        let address = serve_folder(options.clone(), &stages.folders).await?;
        moved |= folder.port != address.port();
        folder.port = address.port();
        running.push(RunningFolder {
            name: folder.name.clone(),
            bucket: options.bucket,
            address,
            access_key_id: options.access_key_id,
            secret_access_key: options.secret_access_key,
        });
    }
    if moved {
        state.save(data)?;
    }
    Ok(running)
}

/// The loopback address with this port, or port 0 when it is in use.
async fn free_port_near(port: u16) -> io::Result<std::net::SocketAddr> {
    let local = |port| std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(local(port)).await {
        Ok(_) => Ok(local(port)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(local(0)),
        Err(error) => Err(error),
    }
}

fn make_data(data: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    std::fs::canonicalize(data).with_context(|| format!("cannot use {}", data.display()))
}

/// To the person who started it, if somebody still reads.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(io::stdout(), "{text}");
}
