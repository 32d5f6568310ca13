//! `s3o-dataplane --config FILE`: wiring only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use s3o_dataplane::{DataPlane, DataPlaneConfig};
use s3o_runtime::lifecycle::run_until_stopped;
use s3o_runtime::{Reload, Shutdown};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The S3 endpoint of an s3-orchestrator cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// YAML file; see config/dataplane.example.yaml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `true`: everything ended by itself.
#[tokio::main]
async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let config: DataPlaneConfig = s3o_runtime::config::load(&arguments.config)?;
    let grace = DataPlane::grace(&config);
    let (shutdown, reload) = (Shutdown::new(), Reload::new());
    let _running = DataPlane::start_with_reload(config, shutdown.clone(), &reload).await?;
    Ok(run_until_stopped(&shutdown, &reload, grace).await?)
}
