//! `s3o admin`: one command for each thing that can be asked for.

use clap::Subcommand;

use super::rebalance::{RebalanceArgs, rebalance};
use super::remove::{RemoveArgs, remove};
use super::runs::{ReconcileArgs, SyncArgs, reconcile, runs, sync};
use super::scrub::{ScrubArgs, scrub};
use super::workers::{TickArgs, tick, workers};
use super::{Connection, drains};

/// What can be asked for.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Background workers by replica: last success, last failure, its error, failures in a row
    Workers(Connection),
    /// Run one tick of any worker now
    Run(TickArgs),
    /// Make the copies that are missing
    Replicate(Connection),
    /// Take copies away that are too many
    OverReplication(Connection),
    /// Move copies until backends are as full as the strategy wants them
    Rebalance(RebalanceArgs),
    /// Empty a backend: copy what is there elsewhere, then delete it there
    Drain(drains::DrainArgs),
    /// Take a drain back
    Undrain(drains::DrainArgs),
    /// Backends that are being emptied
    Drains(Connection),
    /// Give a drained backend up: let go what is there instead of moving it
    Remove(RemoveArgs),
    /// Compare backends with the tables: find what is lost, attach or delete what nothing names
    Reconcile(ReconcileArgs),
    /// Import what others wrote to a backend into a bucket; the bytes stay where they are
    Sync(SyncArgs),
    /// Each backend's last reconcile or import
    Runs(Connection),
    /// Read all copies of an object now, and say of each what it is; without an object: go on with the round over all
    Scrub(ScrubArgs),
    /// Let expire what is due by the buckets' rules
    Lifecycle(Connection),
    /// Delete what is queued and due
    Cleanup(Connection),
    /// Settle the writes of data planes that are gone
    Reap(Connection),
    /// Give up multipart uploads that nobody finishes
    StaleUploads(Connection),
    /// Compare counters with rows, and put them right
    QuotaAudit(Connection),
    /// Ship what has changed to the journal
    Journal(Connection),
}

/// Does it.
pub(crate) async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Workers(connection) => workers(connection).await,
        Command::Run(args) => tick(&args.connection, &args.name).await,
        Command::Replicate(connection) => tick(connection, "replicator").await,
        Command::OverReplication(connection) => tick(connection, "over_replication").await,
        Command::Rebalance(args) => rebalance(args).await,
        Command::Drain(args) => drains::drain(args).await,
        Command::Undrain(args) => drains::undrain(args).await,
        Command::Drains(connection) => drains::drains(connection).await,
        Command::Remove(args) => remove(args).await,
        Command::Reconcile(args) => reconcile(args).await,
        Command::Sync(args) => sync(args).await,
        Command::Runs(connection) => runs(connection).await,
        Command::Scrub(args) => scrub(args).await,
        Command::Lifecycle(connection) => tick(connection, "lifecycle").await,
        Command::Cleanup(connection) => tick(connection, "cleanup_queue").await,
        Command::Reap(connection) => tick(connection, "pending_reaper").await,
        Command::StaleUploads(connection) => tick(connection, "stale_multipart").await,
        Command::QuotaAudit(connection) => tick(connection, "quota_audit").await,
        Command::Journal(connection) => tick(connection, "journal").await,
    }
}
