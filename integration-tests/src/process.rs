//! A real process of ours: started, killed without warning, started again with the same ports.
//!
//! Invariant: what was started is killed and waited for when its owner is dropped; only processes that
//! were started here are ever signalled.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// One process and where its output goes.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    /// Under another program, which may be its parent: then both end together, as a process group.
    wrapped: bool,
    child: Option<Child>,
}

impl Process {
    /// What would be started.
    pub fn new(name: &str, program: &Path, arguments: &[&str], log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment: Vec::new(),
            log,
            wrapped: false,
            child: None,
        }
    }

    /// Runs it under another program (`faketime`), from its next start on.
    pub fn wrap(&mut self, program: &str, arguments: &[&str]) {
        let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        all.push(self.program.display().to_string());
        all.append(&mut self.arguments);
        self.arguments = all;
        self.program = program.into();
        self.wrapped = true;
    }

    /// Sets the environment of its next start.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Starts it. Fails when it runs.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log).context("opening the log")?;
        let mut command = Command::new(&self.program);
        if self.wrapped {
            command.process_group(0);
        }
        let child = command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if self.wrapped {
            // Fails where the whole group has ended already.
            let _ = killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL);
        }
        let pid = child.id();
        child.kill().with_context(|| format!("killing {}", self.name))?;
        if self.wrapped {
            // faketime takes them away when it ends by itself; the next one with this id would not start. Until it is
            // waited for, there is none.
            for left in ["sem.faketime_sem", "faketime_shm"] {
                let _ = std::fs::remove_file(format!("/dev/shm/{left}_{pid}"));
            }
        }
        child.wait()?;
        Ok(())
    }

    /// SIGKILL and start.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
        Ok(())
    }

    /// Waits until it has ended by itself and says with which code.
    pub async fn ended(&mut self, patience: Duration) -> Result<Option<i32>> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status.code());
            }
            if tokio::time::Instant::now() > end {
                bail!("{} still runs after {patience:?}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Fails when it has ended although nobody ended it.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => bail!("{} ended by itself: {status}", self.name),
            _ => Ok(()),
        }
    }

    /// The greatest resident memory so far, in bytes (`VmHWM` of proc(5)).
    pub fn peak_memory(&self) -> Result<u64> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// All it has written so far, over all its starts.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Prints the end of its log to standard error.
    pub fn print_log(&self, lines: usize) {
        let text = self.output();
        let all: Vec<&str> = text.lines().collect();
        eprintln!("---- {} (last {lines} of {} lines)", self.name, all.len());
        for line in &all[all.len().saturating_sub(lines)..] {
            eprintln!("{line}");
        }
    }

    /// Forgets the log, so that what follows can be searched alone.
    pub fn clear_log(&self) -> Result<()> {
        File::options().write(true).open(&self.log)?.set_len(0)?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.kill();
    }
}
