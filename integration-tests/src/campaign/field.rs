//! What faults work on: the cluster, what is declared in it, and the board of what is known.
//!
//! Invariant: a process that ends without having been killed is started again, as whoever runs it would, and told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::board::Board;
use super::buckets::Declared;
use crate::cluster::Cluster;
use crate::wait;

/// How long a control plane may take to answer before it is passed over: it may be paused, and whoever asks has to
/// wake it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Everything that faults may touch.
#[derive(Debug)]
pub struct Field {
    /// The system.
    pub cluster: Cluster,
    /// What its files say.
    pub declared: Declared,
    /// What is known of what was done.
    pub board: Arc<Board>,
    /// Processes that ended by themselves, each with how.
    pub ended: BTreeSet<String>,
}

impl Field {
    /// Changes what is declared: writes all files, then tells the control planes that can be told.
    pub async fn declare(&mut self, change: impl FnOnce(&mut Declared)) -> Result<()> {
        change(&mut self.declared);
        let declared = self.declared.clone();
        self.cluster.write_files(|file| declared.write(file))?;
        for control in &self.cluster.control {
            // SIGHUP ends a process that has not come so far as to listen for it. It will read the file anyway.
            let asked = tokio::time::timeout(PATIENCE, wait::http_get(control.http, "/health/ready"));
            let is_ready = matches!(asked.await, Ok(Ok((200, _))));
            if is_ready && control.process.pid().is_some() {
                control.process.signal(Signal::SIGHUP)?;
            }
        }
        Ok(())
    }

    /// Looks for processes that ended by themselves.
    pub fn supervise(&mut self) -> Result<()> {
        let control = self.cluster.control.iter_mut().map(|control| &mut control.process);
        for process in control.chain(self.cluster.data.iter_mut().map(|data| &mut data.process)) {
            if let Err(why) = process.check_alive() {
                self.ended.insert(format!("{why:#}"));
                process.restart()?;
            }
        }
        Ok(())
    }
}
