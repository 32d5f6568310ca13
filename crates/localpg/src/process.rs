//! The server as our child process.
//!
//! The kernel's signal at the parent's death is sent when the *thread* that spawned the child ends, so
//! each server has a thread of its own, which spawns it and then waits for its end.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Recovery after a crash replays at most what was written since a checkpoint; this is generous.
const START_PATIENCE: Duration = Duration::from_mins(5);

/// How long an orderly stop may take before it is made an immediate one.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How often we look whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a server is ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// Roll back, write everything, go.
    Fast,
    /// Go.
    Immediate,
}

#[derive(Debug)]
pub(crate) struct Server {
    pid: u32,
    /// Locked only because a receiver is not `Sync`.
    ended: Mutex<Receiver<ExitStatus>>,
}

impl Server {
    /// Spawns it and waits until it takes connections.
    pub(crate) fn spawn(mut command: Command, pgdata: &Path) -> Result<Self> {
        // glibc gives memory back to the kernel and fetches it again with each statement: a tenth of a backend's
        // time (docs/performance.md). With these it keeps 16 MiB; other allocators do not look at them.
        command.env("MALLOC_TOP_PAD_", "16777216").env("MALLOC_TRIM_THRESHOLD_", "67108864");
        let (started, starting) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let keep = move || match command.spawn() {
            Ok(mut child) => {
                let _ = started.send(Ok(child.id()));
                if let Ok(status) = child.wait() {
                    let _ = ending.send(status);
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        };
        thread::Builder::new().name("localpg".to_owned()).spawn(keep).context("starting a thread")?;
        let pid = starting.recv().context("the spawning thread ended")?.context("running postgres")?;
        let server = Self { pid, ended: Mutex::new(ended) };
        match server.wait_ready(&pgdata.join("postmaster.pid")) {
            Ok(()) => Ok(server),
            Err(error) => {
                server.signal(End::Immediate);
                Err(error)
            }
        }
    }

    fn wait(&self, patience: Duration) -> Result<ExitStatus, RecvTimeoutError> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience)
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// As `pg_ctl` does: the eighth line of `postmaster.pid` says how far the server is.
    fn wait_ready(&self, pid_file: &Path) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_PATIENCE {
            match self.wait(LOOK_EVERY) {
                Ok(status) => bail!("postgres ended with {status}"),
                Err(RecvTimeoutError::Disconnected) => bail!("postgres ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let text = fs::read_to_string(pid_file).unwrap_or_default();
            let mut lines = text.lines();
            let ours = lines.next().map(str::trim) == Some(self.pid.to_string().as_str());
            if ours && lines.nth(6).is_some_and(|status| status.trim() == "ready") {
                return Ok(());
            }
        }
        bail!("postgres was not ready after {} s", START_PATIENCE.as_secs())
    }

    /// Ends it and waits until it is gone.
    pub(crate) fn end(self, how: End) -> Result<()> {
        self.signal(how);
        match self.wait(STOP_PATIENCE) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => self.signal(End::Immediate),
        }
        match self.wait(STOP_PATIENCE) {
            Err(RecvTimeoutError::Timeout) => bail!("postgres (pid {}) does not end", self.pid),
            _ => Ok(()),
        }
    }

    pub(crate) fn signal(&self, how: End) {
        send(self.pid, how);
    }
}

/// Sends the signal for `how`; a process that is gone is no error.
pub(crate) fn send(pid: u32, how: End) {
    let signal = match how {
        End::Fast => Signal::SIGINT,
        End::Immediate => Signal::SIGQUIT,
    };
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
