//! PUT and GET of 4 KiB right after a checkpoint, when every page that is touched first is written to the
//! log whole: second by second what PostgreSQL pays for a request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::fill::PREFIX;
use crate::keys::Keys;
use crate::load::closed::{Count, Lap};
use crate::load::{Feed, Payload, Payloads, Workshop, connect_all};
use crate::procs::Cpu;
use crate::stack::Stack;
use crate::stats::float;
use crate::target::Target;

const CONNECTIONS: usize = 32;
const SIZE: usize = 4096;
/// A run is shown in so many parts.
const PARTS: u32 = 6;
/// Objects that are read.
const READ: u64 = 10_000;
/// Requests that are signed ahead.
const AHEAD: u64 = 100_000;

/// One kind of request in one state of the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Aged {
    request: String,
    /// Generated rows.
    objects: u64,
    parts: Vec<Part>,
    failed: u64,
}

/// Some seconds of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    /// Seconds after the checkpoint at which it ended.
    at: f64,
    rate: f64,
    /// Microseconds a request.
    cpu: Cpu,
    /// Bytes of write-ahead log a request, and whole pages in it.
    wal_bytes: f64,
    wal_pages: f64,
}

#[derive(Debug, Clone, Copy)]
struct Wal {
    bytes: f64,
    pages: f64,
}

/// The log's position, and the pages that were written to it whole (PostgreSQL reports those with a delay
/// of up to a second).
async fn wal(sql: &tokio_postgres::Client) -> Result<Wal> {
    let query =
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, wal_fpi::float8 FROM pg_stat_wal";
    let row = sql.query_one(query, &[]).await?;
    Ok(Wal { bytes: row.get(0), pages: row.get(1) })
}

/// PUT for `duration` after a checkpoint, then GET for `duration` after another one.
pub(super) async fn measure(
    stack: &Stack,
    target: &Target,
    objects: u64,
    duration: Duration,
) -> Result<Vec<Aged>> {
    let payloads = Arc::new(Payloads::new(Payload::Unsigned, SIZE, 1));
    let workshop = Workshop::new(target.signer(), &target.bucket, &target.host)?;
    let (made, source, bodies) = (Keys::new(PREFIX, 1, objects * 2), workshop.clone(), Arc::clone(&payloads));
    let readable = made.clone();
    let puts = Feed::endless(AHEAD, move |n| source.put(&made.key(n), bodies.upload(n)))?;
    let (put, written) = phase(stack, target, "PUT", objects, puts, duration).await?;
    ensure!(put.failed == 0, "PUT failed {} times", put.failed);
    // A new signer: signatures live for a quarter of an hour.
    let workshop = Workshop::new(target.signer(), &target.bucket, &target.host)?;
    let gets = (0..written.min(READ)).map(|n| workshop.get(&readable.key(n), payloads.plain(n)));
    let gets = Feed::cycle(gets.collect::<Result<_>>()?);
    let (get, _) = phase(stack, target, "GET", objects, gets, duration).await?;
    Ok(vec![put, get])
}

async fn phase(
    stack: &Stack,
    target: &Target,
    request: &str,
    objects: u64,
    feed: Feed,
    duration: Duration,
) -> Result<(Aged, u64)> {
    let sql = stack.sql().await?;
    let connections = connect_all(&target.addresses, CONNECTIONS, false).await?;
    sql.batch_execute("CHECKPOINT").await?;
    let (mut before, mut log, mut counted) = (target.groups.cpu(), wal(&sql).await?, Count::default());
    let lap = Lap::start(connections, feed);
    let mut parts = Vec::new();
    for _ in 0..PARTS {
        lap.run(duration / PARTS).await;
        let (count, cpu, log_now) = (lap.count(), target.groups.cpu(), wal(&sql).await?);
        let requests = float((count.requests - counted.requests).max(1));
        parts.push(Part {
            at: count.seconds,
            rate: requests / (count.seconds - counted.seconds),
            cpu: cpu.since(&before, |seconds| seconds * 1e6 / requests),
            wal_bytes: (log_now.bytes - log.bytes) / requests,
            wal_pages: (log_now.pages - log.pages) / requests,
        });
        (before, log, counted) = (cpu, log_now, count);
    }
    let ended = lap.end().await?;
    let failed = ended.failed.count;
    eprintln!("{request}, {objects} objects: {} requests, {failed} failed", ended.latency.len());
    Ok((Aged { request: request.to_owned(), objects, parts, failed }, ended.latency.len()))
}

/// One row a part.
pub(super) fn table(aged: &[Aged], align: impl Fn(&[Vec<String>], usize) -> String) -> String {
    let head = [
        "request",
        "objects",
        "s after checkpoint",
        "/s",
        "CPU µs: front",
        "control",
        "postgres",
        "WAL bytes",
        "whole pages",
        "failed",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for run in aged {
        for part in &run.parts {
            let mut row = vec![run.request.clone(), run.objects.to_string()];
            let figures =
                [part.at, part.rate, part.cpu.front, part.cpu.control, part.cpu.postgres, part.wal_bytes];
            row.extend(figures.map(|figure| format!("{figure:.0}")));
            row.extend([format!("{:.2}", part.wal_pages), run.failed.to_string()]);
            rows.push(row);
        }
    }
    align(&rows, 2)
}
