//! What the recovery mode needs.

use async_trait::async_trait;

use super::PortError;

/// The recovery mode: the database may lack what the backends have, and nothing is deleted.
#[async_trait]
pub trait Recovery: Send + Sync {
    /// Why it is on; `None`: it is not.
    async fn recovery(&self) -> Result<Option<String>, PortError>;
    /// Whether it is on and nothing is shipped: what was done since the database was restored is still to be told from what
    /// was lost. It is shipped again after a rebuild, whatever the mode.
    async fn holds_journal(&self) -> Result<bool, PortError>;
    /// Turns it on. What gets a number from now on gets a greater one than any that was lost.
    async fn enter_recovery(&self, why: &str) -> Result<(), PortError>;
    /// The same, where a file of the journal that was lost says in its header how far the numbers were.
    async fn pass_numbers(&self, header: &str) -> Result<(), PortError>;
    /// No journal is ahead, of any backend that has it: until then, from the start of the database's server on, nothing is
    /// deleted. `start`: of the server, as it was before they were asked.
    async fn journal_looked_at(&self, start: &str) -> Result<(), PortError>;
    /// When the database's server was started, as [`Self::journal_looked_at`] takes it.
    async fn server_start(&self) -> Result<String, PortError>;
    /// Whether anything may be deleted for good: the mode is off, and somebody has looked.
    async fn may_delete(&self) -> Result<bool, PortError>;
    /// Turns it off, if what was staged last in this process still is.
    async fn end_recovery(&self) -> Result<(), PortError>;
}
