//! Processes that are started again.

use anyhow::Result;

use crate::process::Process;

/// Starts it unless it runs.
pub(super) fn start(process: &mut Process) -> Result<()> {
    if process.pid().is_some() { Ok(()) } else { process.start() }
}
