//! A process of ours.
//!
//! Invariants: it ends when its owner is dropped, and the kernel ends it when we are killed; only
//! processes that were started here are signalled. (The kernel's signal comes when the *thread* that
//! spawned the child ends, so each child has a thread of its own, which then waits for it.)

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long it may take to end in order.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Locked only because a receiver is not `Sync`.
    ended: Mutex<Receiver<ExitStatus>>,
}

impl Child {
    /// Starts `program`; what it says goes to `log`.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output = output.with_context(|| format!("opening {}", log.display()))?;
        // One process throughout: setpriv replaces itself by the program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C in a terminal is for us; we end them.
        command.process_group(0);
        let (started, starting) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        std::thread::Builder::new().name(format!("child-{name}")).spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _ = started.send(Ok(child.id()));
                if let Ok(status) = child.wait() {
                    let _ = ending.send(status);
                }
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })?;
        let pid = starting.recv().context("the spawning thread ended")?;
        let pid =
            pid.with_context(|| format!("starting {} (with setpriv of util-linux)", program.display()))?;
        Ok(Self { name: name.to_owned(), pid, log: log.to_owned(), ended: Mutex::new(ended) })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Fails, with the end of its log, when it has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        let ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).try_recv();
        if ended == Err(TryRecvError::Empty) {
            return Ok(());
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!("{} ended by itself ({ended:?}); its log ends:\n{tail}", self.name)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.pid) else { return };
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            // Not when it has ended: its id may be another's by now.
            if ended.try_recv() != Err(TryRecvError::Empty) {
                return;
            }
            let _ = kill(Pid::from_raw(pid), signal);
            if ended.recv_timeout(PATIENCE).is_ok() {
                return;
            }
        }
    }
}

/// A program by its name: in `folder`, in `PATH`, or where Debian keeps servers.
pub(crate) fn binary(name: &str, folder: Option<&Path>) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = match folder {
        Some(folder) => vec![folder.to_owned()],
        None => {
            std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from)).collect()
        }
    };
    let found = places.iter().map(|place| place.join(name)).find(|path| path.is_file());
    let places = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(":");
    found.with_context(|| format!("`{name}` is not in {places}"))
}
