//! `s3o rebuild`, as an operator runs it.
//!
//! Invariant: it runs beside this process's own work: the backends that it reads may be served from here.

use std::path::Path;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::binaries::binaries;

/// Runs it on a control plane's file, whose database is empty. What it reports.
pub async fn rebuild(config: &Path) -> Result<String> {
    let mut command = Command::new(&binaries()?.cli);
    command.arg("rebuild").arg("--config").arg(config).kill_on_drop(true);
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
