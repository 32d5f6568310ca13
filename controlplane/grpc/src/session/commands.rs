//! Commands to data planes.

use s3o_proto::v1;
use tokio::sync::broadcast;
use uuid::Uuid;

/// Commands that a slow stream may be behind by before it loses some.
const BACKLOG: usize = 64;

/// What a data plane can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataPlaneCommand {
    /// Change the log's filter.
    SetLogFilter(String),
    /// Answer "not ready" and finish what runs.
    Drain,
}

/// A command and who is meant.
#[derive(Debug, Clone)]
pub(crate) struct Addressed {
    /// `None` for everybody.
    session: Option<Uuid>,
    pub(crate) command: DataPlaneCommand,
}

impl Addressed {
    pub(crate) fn is_for(&self, session: Uuid) -> bool {
        self.session.is_none_or(|meant| meant == session)
    }
}

/// Sends commands to the sessions of this replica. Clones are the same.
#[derive(Debug, Clone)]
pub struct Commands(broadcast::Sender<Addressed>);

impl Default for Commands {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Commands {
    /// To one session, or to all for `None`. Returns how many streams there are to hear it.
    pub fn send(&self, session: Option<Uuid>, command: DataPlaneCommand) -> usize {
        self.0.send(Addressed { session, command }).unwrap_or(0)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Addressed> {
        self.0.subscribe()
    }
}

impl From<DataPlaneCommand> for v1::Command {
    fn from(command: DataPlaneCommand) -> Self {
        let command = match command {
            DataPlaneCommand::SetLogFilter(filter) => {
                v1::command::Command::SetLogFilter(v1::SetLogFilter { filter })
            }
            DataPlaneCommand::Drain => v1::command::Command::Drain(v1::Drain {}),
        };
        Self { command: Some(command) }
    }
}
