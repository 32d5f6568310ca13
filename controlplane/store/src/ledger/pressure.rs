//! Quota pressure: when a Begin finds no room, what only waits for readers is deleted at once (DESIGN §4).
//!
//! Invariant: only `read_grace` is cut short. A row is never due before `queued + cleanup_delay`, which the
//! operator asked for, nor is a wait after a failure shortened.

use std::time::Duration;

use s3o_core::call::{Call, Outcome, Request};
use s3o_core::cleanup::CleanupTimes;
use s3o_core::usage::signed;
use s3o_types::ErrorCode;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::Failure;

/// Between two looks: refusals come by the thousand.
const EVERY: Duration = Duration::from_secs(1);

/// The full ones are those where the refused object does not fit, or that are over 90% full. Of the queue,
/// the rows that are due next are looked at, 20,000 at most: a look stays short, the next one goes on where
/// this one has moved rows out of the way.
const PULL_FORWARD: &str = "
    WITH full_backends AS MATERIALIZED (
        SELECT b.id FROM backends b,
        LATERAL (
            SELECT COALESCE(sum(used + reserved + orphaned), 0)::bigint AS bytes
            FROM backend_usage WHERE backend_usage.backend = b.id
        ) AS u
        WHERE b.state <> 'removed' AND (u.bytes + $1::bigint > b.quota_bytes OR u.bytes > b.quota_bytes / 10 * 9)
    ),
    waiting AS MATERIALIZED (
        SELECT id, kind, version, backend, reason, attempts, second_pass, last_error, claimed_by, queued, not_before
        FROM cleanup_queue WHERE not_before > now() ORDER BY not_before LIMIT 20000
    )
    UPDATE cleanup_queue q
    SET not_before = greatest(now(), q.queued + $2::bigint * interval '1 microsecond')
    FROM waiting w
    WHERE q.id = w.id
      AND (w.backend IN (SELECT id FROM full_backends)
           -- A version of many extents names no backend: its copies do.
           OR (w.kind = 'version' AND EXISTS (
               SELECT FROM copies c WHERE c.version = w.version AND c.backend IN (SELECT id FROM full_backends))))
      AND w.reason IN ('displaced', 'deleted', 'surplus', 'repaired') AND w.claimed_by IS NULL AND w.attempts = 0
      AND NOT w.second_pass AND w.last_error IS NULL
      AND w.not_before > greatest(now(), w.queued + $2::bigint * interval '1 microsecond')
      AND q.claimed_by IS NULL AND q.not_before = w.not_before
    RETURNING q.id";

/// Whether room is short, as one lane has seen it.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// Bytes of the largest object that found no room since the last look.
    refused: Option<u64>,
    looked: Option<Instant>,
}

impl Pressure {
    /// Notes what came of a call.
    pub(super) fn note(&mut self, request: &Request, outcome: &Outcome) {
        // A monthly limit that is told of may be one backend's, and another one be full.
        let full =
            matches!(outcome, Outcome::Refused(refusal) if refusal.code == ErrorCode::InsufficientStorage);
        let size = match &request.call {
            Call::Begin(begin) => begin.size,
            Call::Retarget(retarget) => retarget.intent.size,
            _ => return,
        };
        if full {
            self.refused = Some(self.refused.unwrap_or(0).max(size));
        }
    }

    /// The object that room is to be made for, if there is one and it is time for a look.
    pub(super) fn take(&mut self) -> Option<u64> {
        if self.refused.is_none() || self.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        self.refused.take()
    }
}

/// A statement of its own after the batch. Rows that are due sooner; what fails is tried at the next refusal.
pub(super) async fn relieve(
    connection: &mut Connection,
    bytes: u64,
    times: &CleanupTimes,
) -> Result<usize, Failure> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&signed(bytes), &times.cleanup_delay_us];
    Ok(connection.run(PULL_FORWARD, &params).await?.len())
}
