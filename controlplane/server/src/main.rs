//! `s3o-controlplane`: reads its file, sets the log up, runs until a signal. Wiring only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use s3o_controlplane::{ControlPlane, ControlPlaneConfig, Phase};
use s3o_runtime::{Reload, Shutdown, config, lifecycle, telemetry};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The control plane of s3-orchestrator.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The configuration file; see config/controlplane.example.yaml.
    #[arg(long, value_name = "FILE", env = "S3O_CONTROLPLANE_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Brings the database's schema up to date and ends.
    Migrate,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config: ControlPlaneConfig = config::load(&args.config)?;
    let log = telemetry::init(&config.log)?;
    if let Some(Command::Migrate) = args.command {
        return s3o_controlplane::migrate(&config).await;
    }
    let (shutdown, reload) = (Shutdown::new(), Reload::new());
    let grace = config.shutdown_grace.get();
    let plane = ControlPlane {
        config,
        file: Some(args.config),
        reload: reload.clone(),
        log: Some(log),
        database_is_private: false,
    };
    let running = plane.run(shutdown.clone()).await?;
    tracing::info!(grpc = %running.grpc_addr(), http = %running.http_addr(), "listening");
    lifecycle::run_until_stopped(&shutdown, &reload, grace).await?;
    match running.phase() {
        Phase::Failed(why) => anyhow::bail!("{why}"),
        Phase::Starting | Phase::Ready => Ok(()),
    }
}
