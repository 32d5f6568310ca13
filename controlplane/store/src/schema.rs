//! The schema: migrations, the range this release works with, and what kind of server is behind the URL.
//!
//! Invariant: migrations run under one advisory lock, so that replicas that start together take turns.

use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Connector, Profile};
use crate::error::{Failure, StoreError};
use crate::maintenance;
use crate::stats::Breaker;

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// The schema versions that this release works with.
pub const SCHEMA: RangeInclusive<i32> = 18..=18;

/// The first half of our two-part advisory lock keys ("s3o" and a number); the one-part keys are objects'.
pub(crate) const LOCK_MIGRATION: i32 = 0x7333_6F00;
/// Its second half is a bucket: shared by those who write to it, exclusive for who changes what a write does there.
/// `ledger/reads.rs` has it in its text.
pub(crate) const LOCK_BUCKET: i32 = 0x7333_6F01;
/// Making and dropping partitions.
pub(crate) const LOCK_PARTITIONS: i32 = 0x7333_6F02;
/// Where backends are: shared by those who decide by it, exclusive for who moves one.
pub(crate) const LOCK_PLACES: i32 = 0x7333_6F03;

/// How a backend, its second half, is given up: shared by those who let something of it go, exclusive for who changes that.
/// What counts is the backend's row, which both lock too; but those who share a row overtake whoever waits to change it, and
/// this lock's queue is fair. Before slot 0 of any usage. Whoever shares it tries only, and waits never.
/// `ledger/reads.rs` and `removals.rs` have it in their texts.
pub(crate) const LOCK_REMOVALS: i32 = 0x7333_6F06;

/// Repairing counters.
pub(crate) const LOCK_AUDIT: i32 = 0x7333_6F04;

/// Brings the schema of the database at `url` up to date. Safe to run by several at once and again.
pub(crate) async fn migrate(url: &str) -> Result<(), StoreError> {
    let tasks = TaskTracker::new();
    let connector = Connector::new(url, "migrate", tasks.clone(), Arc::new(Breaker::default()))?;
    let mut connection = connector.open(Profile::General).await?;
    let result = migrate_locked(&mut connection).await;
    drop(connection);
    tasks.close();
    tasks.wait().await;
    result
}

async fn migrate_locked(connection: &mut Connection) -> Result<(), StoreError> {
    check_version(connection).await?;
    // The lock ends with the connection at the latest.
    let patient = "SET lock_timeout = 0; SET statement_timeout = 0";
    let lock = format!("{patient}; SELECT pg_advisory_lock({LOCK_MIGRATION}, 0)");
    connection.client().batch_execute(&lock).await.map_err(Failure::from)?;
    let found = version(connection).await?;
    if found > *SCHEMA.end() {
        return Err(out_of_range(found));
    }
    embedded::migrations::runner()
        .run_async(connection.client_mut())
        .await
        .map_err(|error| StoreError::Migration(error.to_string()))?;
    maintenance::be_ready(connection).await?;
    let unlock = format!("SELECT pg_advisory_unlock({LOCK_MIGRATION}, 0)");
    connection.client().batch_execute(&unlock).await.map_err(Failure::from)?;
    Ok(())
}

/// Refuses servers and schemas that this release does not work with.
pub(crate) async fn check(connector: &Connector) -> Result<(), StoreError> {
    let mut connection = connector.open(Profile::General).await?;
    check_version(&connection).await?;
    let mut other = connector.open(Profile::General).await?;
    refuse_pooling(&mut connection, &mut other).await?;
    let found = version(&mut connection).await?;
    if !SCHEMA.contains(&found) {
        return Err(out_of_range(found));
    }
    refuse_half_rebuilt(&mut connection).await
}

/// What is there already looks like all there is.
async fn refuse_half_rebuilt(connection: &mut Connection) -> Result<(), StoreError> {
    let rebuilding = "SELECT FROM settings WHERE name = 'rebuilding'";
    if connection.run(rebuilding, &[]).await?.is_empty() {
        return Ok(());
    }
    let why =
        "the database is being rebuilt, or a rebuild of it was broken off: rebuild again, in an empty one";
    Err(StoreError::Config(why.to_owned()))
}

fn out_of_range(found: i32) -> StoreError {
    let advice = if found < *SCHEMA.start() {
        "run `s3o-controlplane migrate`"
    } else {
        "a newer release has migrated it; start that one"
    };
    StoreError::Schema { found, min: *SCHEMA.start(), max: *SCHEMA.end(), advice }
}

/// 0 for a database that was never migrated.
async fn version(connection: &mut Connection) -> Result<i32, Failure> {
    let known =
        connection.client().query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[]);
    if !known.await?.get::<_, bool>(0) {
        return Ok(0);
    }
    let newest = "SELECT COALESCE(max(version), 0)::int FROM refinery_schema_history";
    Ok(connection.client().query_one(newest, &[]).await?.get(0))
}

async fn check_version(connection: &Connection) -> Result<(), StoreError> {
    let ask = "SELECT current_setting('server_version_num')::int, current_setting('server_version')";
    let row = connection.client().query_one(ask, &[]).await.map_err(Failure::from)?;
    if row.get::<_, i32>(0) < 150_000 {
        return Err(StoreError::OldServer(row.get(1)));
    }
    Ok(())
}

/// A pooling proxy gives our server away between two transactions: we see whether another client's open
/// transaction gets it, and whether we still have it afterwards.
async fn refuse_pooling(ours: &mut Connection, other: &mut Connection) -> Result<(), StoreError> {
    let pid = "SELECT pg_backend_pid()";
    let before: i32 = ours.client().query_one(pid, &[]).await.map_err(Failure::from)?.get(0);
    let transaction = other.client_mut().transaction().await.map_err(Failure::from)?;
    let theirs: i32 = transaction.query_one(pid, &[]).await.map_err(Failure::from)?.get(0);
    let after: i32 = ours.client().query_one(pid, &[]).await.map_err(Failure::from)?.get(0);
    transaction.rollback().await.map_err(Failure::from)?;
    if theirs == before || after != before {
        let seen = format!("two connections were served by backends {before}, {theirs}, {after}");
        return Err(StoreError::TransactionPooling(seen));
    }
    Ok(())
}
