//! `s3o rebuild`: a lost database is made again from the backends.
//!
//! Invariant: the file is the control plane's own, and it is read by the same code: what is rebuilt is what a control plane
//! with that file goes on with.

use std::path::PathBuf;

use s3o_controlplane::ControlPlaneConfig;
use s3o_runtime::{config, telemetry};

use crate::say;

/// Its flags.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The control plane's file: its backends are read, its database is filled and must hold nothing
    #[arg(long, value_name = "FILE", env = "S3O_CONTROLPLANE_CONFIG")]
    config: PathBuf,
    /// A backend that is lost: what only it held is lost with it
    #[arg(long, value_name = "BACKEND")]
    without: Vec<String>,
}

/// Fills the database and says what was found, and what cannot be known.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let config: ControlPlaneConfig = config::load(&args.config)?;
    telemetry::init(&config.log)?;
    let report = s3o_controlplane::rebuild(&config, &args.without).await?;
    report.lines().iter().for_each(say);
    Ok(())
}
