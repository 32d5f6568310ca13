//! What the workers do on demand: implemented by them, called by the admin service.

use async_trait::async_trait;

use crate::call::Refusal;
use crate::rebalance::{Move, RebalanceTotals, RebalanceWish};
use crate::restore::RestoreReport;
use crate::scrub::{ScrubObject, ScrubbedCopy};
use crate::worker::Counts;

/// Moves copies on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait Rebalancing: Send + Sync {
    /// Plans and moves, or only says what would be moved; tells of each copy with the totals so far. An error says why
    /// nothing, or nothing more, was done.
    async fn rebalance(
        &self,
        wish: RebalanceWish,
        tell: Box<dyn FnMut(Move, RebalanceTotals) + Send>,
    ) -> Result<RebalanceTotals, String>;
    /// What is done where nothing else is wished.
    fn usual(&self) -> RebalanceWish;
}

/// Reads an object's copies on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait ObjectScrub: Send + Sync {
    /// Reads all copies of a version and tells of each; what is wrong is marked, and repaired by the replicator.
    async fn scrub_object(
        &self,
        object: ScrubObject,
        tell: Box<dyn FnMut(ScrubbedCopy) + Send>,
    ) -> Result<(), Refusal>;
}

/// Ends the recovery mode on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait Recovering: Send + Sync {
    /// Merges what the backends have newer than the database, and turns the recovery mode off; `without`: backends that are
    /// given up, by name. An error says why it is on still.
    async fn recover(&self, without: Vec<String>) -> Result<RestoreReport, String>;
}

/// Runs workers on demand; implemented by the workers, called by the admin service.
#[async_trait]
pub trait WorkerControl: Send + Sync {
    /// Runs one tick of the named worker. `Err(None)`: there is no such worker.
    async fn run(&self, name: &str) -> Result<Counts, Option<String>>;
    /// Their names.
    fn names(&self) -> Vec<&'static str>;
}
