//! What operators look at.

use std::collections::BTreeMap;

use async_trait::async_trait;
use s3o_core::ports::{Overview, PortError};
use s3o_core::session::{BackendUsage, Hello, LEASE_SECONDS, UNLISTED_SECONDS};
use s3o_core::usage::Usage;
use s3o_core::worker::WorkerStatus;
use s3o_types::{BackendId, Timestamp};

use crate::Store;
use crate::rows::{Cells, PgTime, corrupt};

const USAGE: &str = "
    SELECT b.id, COALESCE(sum(u.used), 0)::bigint AS used, COALESCE(sum(u.reserved), 0)::bigint AS reserved,
           COALESCE(sum(u.orphaned), 0)::bigint AS orphaned, COALESCE(sum(u.objects), 0)::bigint AS objects
    FROM backends b LEFT JOIN backend_usage u ON u.backend = b.id
    WHERE b.state <> 'removed' GROUP BY b.id ORDER BY b.id";

const THIS_MONTH: &str = "
    SELECT backend, api_class, requests, ingress_bytes, egress_bytes FROM monthly_usage
    WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date";

const SESSIONS: &str = "
    SELECT id, name, version, features, deadline > now() AS live FROM sessions ORDER BY name, opened";

const SUCCEEDED: &str = "
    INSERT INTO worker_status (worker, instance, last_success) VALUES ($1, $2, now())
    ON CONFLICT (worker, instance) DO UPDATE SET last_success = now(), consecutive_failures = 0";

/// Repeating it after a lost reply counts a failure twice, which is the smaller evil.
const FAILED: &str = "
    INSERT INTO worker_status (worker, instance, last_failure, last_error, consecutive_failures)
    VALUES ($1, $2, now(), $3, 1)
    ON CONFLICT (worker, instance) DO UPDATE SET last_failure = now(), last_error = excluded.last_error,
        consecutive_failures = worker_status.consecutive_failures + 1";

const WORKERS: &str = "
    SELECT worker, instance, last_success, last_failure, last_error, consecutive_failures
    FROM worker_status ORDER BY worker, instance";

pub(crate) fn usage(cells: Cells<'_>) -> Result<Usage, String> {
    Ok(Usage {
        used: cells.get("used")?,
        reserved: cells.get("reserved")?,
        orphaned: cells.get("orphaned")?,
        objects: cells.get("objects")?,
    })
}

fn session(cells: Cells<'_>) -> Result<(Hello, bool), String> {
    let hello = Hello {
        session: cells.get("id")?,
        name: cells.get("name")?,
        version: cells.get("version")?,
        features: cells.get("features")?,
    };
    Ok((hello, cells.get("live")?))
}

fn worker(cells: Cells<'_>) -> Result<WorkerStatus, String> {
    let time = |column: &str| {
        let time: Result<Option<PgTime>, String> = cells.get(column);
        time.map(|time| time.map(|PgTime(at): PgTime| -> Timestamp { at }))
    };
    Ok(WorkerStatus {
        name: cells.get("worker")?,
        instance: cells.get("instance")?,
        last_success: time("last_success")?,
        last_failure: time("last_failure")?,
        last_error: cells.get("last_error")?,
        consecutive_failures: cells.unsigned("consecutive_failures")?,
    })
}

impl Store {
    async fn this_month(&self) -> Result<BTreeMap<i32, BackendUsage>, PortError> {
        let mut month: BTreeMap<i32, BackendUsage> = BTreeMap::new();
        for row in self.inner.general.run(THIS_MONTH, &[]).await? {
            let cells = Cells(&row);
            let bad = |why| corrupt("monthly_usage", "of this month", why);
            let usage = month.entry(cells.get("backend").map_err(bad)?).or_default();
            let class: String = cells.get("api_class").map_err(bad)?;
            usage.requests.insert(class, cells.unsigned("requests").map_err(bad)?);
            usage.ingress_bytes += cells.unsigned("ingress_bytes").map_err(bad)?;
            usage.egress_bytes += cells.unsigned("egress_bytes").map_err(bad)?;
        }
        Ok(month)
    }
}

/// Of workers that have a queue, by their names (`s3o-workers` has the list): rows that are due, and what is claimed of them.
/// Counting stops at 100,001, as that of the queues' depths does. Others find out what there is to do only while they do it.
/// $2 and $3 as for who claims expired intents.
const WAITING: &str = "
    SELECT CASE $1::text
        WHEN 'cleanup_queue' THEN (SELECT count(*) FROM (
            SELECT FROM cleanup_queue WHERE not_before <= now() LIMIT 100001) AS q)
        WHEN 'pending_reaper' THEN (SELECT count(*) FROM (
            SELECT FROM intents i LEFT JOIN sessions s ON s.id = i.session
            WHERE (s.id IS NULL AND i.begun < now() - $3::bigint * interval '1 second') OR s.deadline <= now()
               OR (i.begun < now() - $2::bigint * interval '1 second' AND NOT i.op = ANY (s.open_ops))
            LIMIT 100001) AS q)
        WHEN 'journal' THEN (SELECT count(*) FROM (
            SELECT FROM changes WHERE (xid, n) > ((SELECT xid FROM journal), (SELECT n FROM journal))
            LIMIT 100001) AS q)
        WHEN 'replicator' THEN (SELECT count(*) FROM (
            SELECT FROM replication_queue WHERE task = 'add' AND not_before <= now() LIMIT 100001) AS q)
        WHEN 'over_replication' THEN (SELECT count(*) FROM (
            SELECT FROM replication_queue WHERE task = 'trim' AND not_before <= now() LIMIT 100001) AS q)
        WHEN 'scrubber' THEN (SELECT count(*) FROM (
            SELECT FROM replication_queue WHERE task = 'verify' AND not_before <= now() LIMIT 100001) AS q)
        WHEN 'copy_scan' THEN (SELECT count(*) FROM copy_scans WHERE NOT finished)
        WHEN 'reconciler' THEN (SELECT count(*) FROM reconcile_runs WHERE state = 'running')
    END AS waiting";

#[async_trait]
impl Overview for Store {
    async fn backend_usage(&self) -> Result<Vec<(BackendId, Usage, BackendUsage)>, PortError> {
        let mut month = self.this_month().await?;
        let rows = self.inner.general.run(USAGE, &[]).await?;
        let read = |row| {
            let cells = Cells(row);
            let id: i32 = cells.get("id")?;
            Ok::<_, String>((id, usage(cells)?))
        };
        rows.iter()
            .map(|row| {
                let (id, bytes) = read(row).map_err(|why| corrupt("backend_usage", "?", why))?;
                Ok((BackendId(id), bytes, month.remove(&id).unwrap_or_default()))
            })
            .collect()
    }

    async fn sessions(&self) -> Result<Vec<(Hello, bool)>, PortError> {
        let rows = self.inner.general.run(SESSIONS, &[]).await?;
        rows.iter().map(|row| Ok(session(Cells(row)).map_err(|why| corrupt("sessions", "?", why))?)).collect()
    }

    async fn record_tick(
        &self,
        worker: &str,
        instance: &str,
        result: Result<(), String>,
    ) -> Result<(), PortError> {
        match result {
            Ok(()) => self.inner.general.run(SUCCEEDED, &[&worker, &instance]).await?,
            Err(why) => {
                let why: String = why.chars().filter(|&c| c != '\0').take(2000).collect();
                self.inner.general.run(FAILED, &[&worker, &instance, &why]).await?
            }
        };
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<WorkerStatus>, PortError> {
        let rows = self.inner.general.run(WORKERS, &[]).await?;
        rows.iter()
            .map(|row| Ok(worker(Cells(row)).map_err(|why| corrupt("worker_status", "?", why))?))
            .collect()
    }

    async fn waiting(&self, worker: &str) -> Result<Option<u64>, PortError> {
        let (unlisted, lease) = (i64::from(UNLISTED_SECONDS), i64::from(LEASE_SECONDS));
        let rows = self.inner.general.run(WAITING, &[&worker, &unlisted, &lease]).await?;
        let read = |row| Cells(row).optional_unsigned("waiting");
        let waiting = rows.first().map_or(Ok(None), read);
        Ok(waiting.map_err(|why| corrupt("worker_status", worker, why))?)
    }
}
