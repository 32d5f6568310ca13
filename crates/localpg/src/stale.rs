//! A server that an earlier process left behind, or the lock file of one that died.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::process::{End, send};

/// An old server that is still writing its last checkpoint gets this long before it is ended at once.
const FAST_PATIENCE: Duration = Duration::from_secs(20);
const IMMEDIATE_PATIENCE: Duration = Duration::from_secs(10);

/// Makes sure that no server runs on `pgdata`.
pub(crate) fn clear(pgdata: &Path) -> Result<()> {
    let lock = pgdata.join("postmaster.pid");
    let Some(pid) = fs::read_to_string(&lock).ok().and_then(|text| text.lines().next()?.trim().parse().ok())
    else {
        return Ok(());
    };
    if !alive(pid) {
        return Ok(());
    }
    if !is_server_on(pid, pgdata) {
        // The number was given to another process; PostgreSQL would refuse to start because of it.
        return fs::remove_file(&lock).context("removing the lock file of a server that is gone");
    }
    tracing::warn!(pid, "stopping a PostgreSQL server that was left running");
    for (how, patience) in [(End::Fast, FAST_PATIENCE), (End::Immediate, IMMEDIATE_PATIENCE)] {
        send(pid, how);
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if !alive(pid) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    bail!("a PostgreSQL server (pid {pid}) runs on {} and does not end", pgdata.display())
}

fn alive(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None).is_ok())
}

/// A server's working directory is its data directory. Where there is no /proc, the lock file is believed.
fn is_server_on(pid: u32, pgdata: &Path) -> bool {
    if !Path::new("/proc/self/cwd").exists() {
        return true;
    }
    let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
    cwd.is_ok_and(|cwd| fs::canonicalize(pgdata).is_ok_and(|pgdata| cwd == pgdata))
}
