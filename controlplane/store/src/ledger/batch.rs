//! One batch, tried once: two flights with the decision between them; three where locks are tried.
//!
//! Invariant: a transaction that failed is rolled back before the connection is used again; what was
//! decided counts only after the commit.

use s3o_core::call::{Outcome, Refusal, Request};
use s3o_core::cleanup::CleanupTimes;
use s3o_core::decide::decide;
use s3o_types::ErrorCode;

use super::facts::{self, Locking, Read, Subject};
use super::{effects, flight::Flight};
use crate::connection::Connection;
use crate::error::Failure;
use crate::stats::{LaneCounters, add};

/// What a try brought for a call.
pub(crate) enum Verdict {
    /// Its outcome, durable where it says that something was done.
    Decided(Outcome),
    /// Its key, or its intent, is locked by another transaction: not looked at.
    Later,
}

/// Where a batch is run.
pub(crate) struct Desk<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) slot: i16,
    pub(crate) times: &'a CleanupTimes,
    pub(crate) counters: &'a LaneCounters,
}

/// Decides `requests`, one verdict each, in their order.
pub(crate) async fn attempt(
    desk: &Desk<'_>,
    requests: &[&Request],
    locking: Locking,
) -> Result<Vec<Verdict>, Failure> {
    add(&desk.counters.transactions, 1);
    add(&desk.counters.round_trips, if locking == Locking::Try { 3 } else { 2 });
    let result = transaction(desk, requests, locking).await;
    if matches!(result, Err(Failure::Lost(_)) | Ok(_)) {
        return result;
    }
    roll_back(desk).await?;
    result
}

async fn roll_back(desk: &Desk<'_>) -> Result<(), Failure> {
    add(&desk.counters.round_trips, 1);
    let mut flight = Flight::new(desk.connection);
    flight.add_text("ROLLBACK").await?;
    flight.land().await.map_err(|failure| Failure::Lost(failure.to_string()))?;
    Ok(())
}

async fn transaction(
    desk: &Desk<'_>,
    requests: &[&Request],
    locking: Locking,
) -> Result<Vec<Verdict>, Failure> {
    let read = facts::read(desk.connection, requests, locking).await?;
    add(&desk.counters.round_trips, usize::from(read.late_trip));
    let mut verdicts: Vec<Option<Verdict>> =
        requests.iter().map(|request| set_aside(&read, request)).collect();
    let left: Vec<&Request> = requests
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.is_none())
        .map(|(request, _)| *request)
        .collect();
    let decision = decide(read.facts, &left);
    effects::write(desk.connection, &decision.effects, desk.slot, desk.times).await?;
    desk.counters.wrote(&decision.effects);
    let mut outcomes = decision.outcomes.into_iter();
    for verdict in &mut verdicts {
        if verdict.is_none() {
            *verdict = outcomes.next().map(Verdict::Decided);
        }
    }
    let undecided = || Verdict::Decided(internal("the call was not decided"));
    Ok(verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(undecided)).collect())
}

/// The verdict of a call that cannot be decided now, or at all.
fn set_aside(read: &Read, request: &Request) -> Option<Verdict> {
    let (bucket, key) = request.call.bucket_and_key();
    let concerns = |subject: &Subject| match subject {
        Subject::Op(op) => *op == request.op,
        Subject::Key(b, k) => *b == bucket && k == key,
        Subject::Everybody => true,
    };
    if let Some((_, why)) = read.broken.iter().find(|(subject, _)| concerns(subject)) {
        tracing::error!(op = %request.op, why, "a row cannot be read");
        return Some(Verdict::Decided(internal(why)));
    }
    read.is_held(request).then_some(Verdict::Later)
}

pub(crate) fn internal(why: &str) -> Outcome {
    Refusal::new(ErrorCode::InternalError, why).into()
}
