//! Lets the reaper, the replicator and the cleaners do all that is to do.
//!
//! Invariant: only waiting is cut short here, and only by the database's clock: leases of processes
//! that may be dead, their claims, and the backoff after faults that the test has ended.

use std::collections::HashMap;

use anyhow::{Context, Result};
use s3o_proto::v1::{RunWorkerRequest, WorkerProgress};

use crate::cluster::Cluster;
use crate::wait;

/// As the list of workers has them.
pub const REAPER: &str = "pending_reaper";
/// As the list of workers has them.
pub const CLEANUP: &str = "cleanup_queue";

/// As the list of workers has them.
pub const REPLICATOR: &str = "replicator";
/// As the list of workers has them.
pub const COPY_SCAN: &str = "copy_scan";
/// As the list of workers has them.
pub const OVER_REPLICATION: &str = "over_replication";
/// As the list of workers has them.
pub const SCRUBBER: &str = "scrubber";
/// As the list of workers has them.
pub const JOURNAL: &str = "journal";

/// Runs one tick of a worker on the first control plane that answers.
pub async fn run_worker(cluster: &Cluster, name: &str) -> Result<HashMap<String, u64>> {
    let mut last = None;
    for index in 0..cluster.control.len() {
        match run_worker_on(cluster, index, name).await {
            Ok(counts) => return Ok(counts),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no control plane")?).with_context(|| format!("running {name}"))
}

/// Runs one tick of a worker on a control plane.
pub async fn run_worker_on(cluster: &Cluster, index: usize, name: &str) -> Result<HashMap<String, u64>> {
    let mut admin = cluster.admin(index).await?;
    let mut told = admin.run_worker(RunWorkerRequest { name: name.to_owned() }).await?.into_inner();
    let mut counts = HashMap::new();
    while let Some(WorkerProgress { waiting: _, done }) = told.message().await? {
        counts.extend(done.into_iter().flat_map(|done| done.counts));
    }
    Ok(counts)
}

/// Ends every lease, as if all data planes had been silent for an hour. The living renew theirs.
pub async fn expire_leases(cluster: &Cluster) -> Result<()> {
    cluster.sql().await?.execute("UPDATE sessions SET deadline = now() - interval '1 hour'", &[]).await?;
    Ok(())
}

/// Runs them until there is neither an intent, nor a queued blob, nor a version that lacks copies.
pub async fn settle(cluster: &Cluster) -> Result<()> {
    let mut state = String::new();
    let done = wait::until("no intent, no queued blob and no version that lacks copies", || async {
        expire_leases(cluster).await?;
        run_worker(cluster, REAPER).await?;
        let sql = cluster.sql().await?;
        sql.batch_execute(
            "UPDATE cleanup_queue SET not_before = now() WHERE last_error IS NOT NULL;
             UPDATE cleanup_queue SET claimed_until = now() WHERE claimed_by IS NOT NULL;
             UPDATE intents SET claimed_until = now() WHERE claimed_by IS NOT NULL;
             UPDATE replication_queue SET not_before = now(), claimed_until = now()",
        )
        .await?;
        for worker in [SCRUBBER, REPLICATOR, OVER_REPLICATION, CLEANUP] {
            run_worker(cluster, worker).await?;
        }
        let left = "SELECT (SELECT count(*) FROM intents) + (SELECT count(*) FROM cleanup_queue)
                        + (SELECT count(*) FROM replication_queue)";
        Ok(sql.query_one(left, &[]).await?.get::<_, i64>(0) == 0)
    })
    .await;
    if done.is_err() {
        state = describe(cluster).await.unwrap_or_else(|error| format!("{error:#}"));
    }
    done.context(state)
}

async fn describe(cluster: &Cluster) -> Result<String> {
    let sql = cluster.sql().await?;
    let rows = sql
        .query(
            "SELECT 'nothing is deleted in the recovery mode: ' || value::text FROM settings WHERE name = 'recovery'
             UNION ALL SELECT 'intent ' || i::text FROM intents i
             UNION ALL SELECT 'queued ' || q::text FROM cleanup_queue q
             UNION ALL SELECT 'lacks copies ' || r::text FROM replication_queue r LIMIT 20",
            &[],
        )
        .await?;
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(format!("still there:\n{}", lines.join("\n")))
}
