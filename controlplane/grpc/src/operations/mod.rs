//! The Operations stream: numbered calls in, outcomes out as they are decided.
//!
//! Invariants: every call that was read gets exactly one outcome, whatever is wrong with it; a stream
//! holds a bounded number of calls, and reads no further while it is full; nothing waits for a timer:
//! outcomes that are ready together travel together. When the stream ends, what was read is decided.

mod commit;
mod located;
pub(crate) mod outcome;
mod request;
mod upload;

use std::future::Future;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use prost::Message as _;
use s3o_core::ports::Ledger;
use s3o_proto::{MAX_MESSAGE_BYTES, v1};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::incoming::Connection;
use crate::wiring::Wiring;
use request::Work;

/// Calls of one stream that are being decided at once. Four full batches of the store.
const IN_FLIGHT: usize = 1024;

/// Outcomes in one message, at most.
const COALESCED: usize = 256;

/// Bytes after which a message takes no more: far below what a message may have.
const COALESCED_BYTES: usize = MAX_MESSAGE_BYTES / 4;

/// Messages that wait for the connection.
const OUTGOING: usize = 8;

pub(crate) type Outcomes = ReceiverStream<Result<v1::OutcomeBatch, Status>>;

/// Begins to serve a stream.
pub(crate) fn open(
    wiring: &Wiring,
    request: Request<Streaming<v1::OperationBatch>>,
) -> Result<Outcomes, Status> {
    let ledger = wiring.ports()?.ledger.clone();
    let retire = request.extensions().get::<Connection>().and_then(|connection| connection.retire);
    let (out, outcomes) = mpsc::channel(OUTGOING);
    let stream = Serving { ledger, wiring: wiring.clone(), out };
    wiring.shutdown.spawn(stream.run(request.into_inner(), retire));
    Ok(ReceiverStream::new(outcomes))
}

struct Serving {
    ledger: Arc<dyn Ledger>,
    wiring: Wiring,
    out: mpsc::Sender<Result<v1::OutcomeBatch, Status>>,
}

impl Serving {
    async fn run(self, mut calls: Streaming<v1::OperationBatch>, retire: Option<Instant>) {
        let end = self.end_of_reading(retire);
        tokio::pin!(end);
        let mut deciding = FuturesUnordered::new();
        let mut waiting = Vec::new().into_iter();
        let mut reading = true;
        loop {
            while deciding.len() < IN_FLIGHT
                && let Some(operation) = waiting.next()
            {
                deciding.push(self.decide(operation));
            }
            let full = deciding.len() >= IN_FLIGHT;
            if !reading && deciding.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = &mut end, if reading => reading = false,
                Some(first) = deciding.next(), if !deciding.is_empty() => {
                    let outcomes = coalesce(first, &mut deciding);
                    // A client that is gone repeats by operation id; what it asked for is still decided.
                    let _ = self.out.send(Ok(self.batch(outcomes))).await;
                }
                message = calls.message(), if reading && !full => match message {
                    Ok(Some(v1::OperationBatch { operations })) => waiting = operations.into_iter(),
                    Ok(None) | Err(_) => reading = false,
                },
            }
        }
    }

    /// Reading ends when the service stops or the connection is to be retired.
    async fn end_of_reading(&self, retire: Option<Instant>) {
        let retired = async {
            match retire {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.wiring.shutdown.stopping() => {}
            () = retired => {}
        }
    }

    fn decide(&self, operation: v1::Operation) -> impl Future<Output = v1::Outcome> + use<> {
        let ledger = self.ledger.clone();
        async move {
            let number = operation.number;
            let result = match request::work(operation) {
                Ok(Work::Submit(request)) => outcome::of_call(ledger.submit(*request).await),
                Ok(Work::Locate(query)) => {
                    let named = query.version.is_some();
                    located::answer(ledger.locate(query).await, named)
                }
                Err(bad) => outcome::refused(bad.into()),
            };
            v1::Outcome { number, result: Some(result) }
        }
    }

    fn batch(&self, outcomes: Vec<v1::Outcome>) -> v1::OutcomeBatch {
        v1::OutcomeBatch { outcomes, required_features: self.wiring.required_features() }
    }
}

/// Bytes of an outcome, where they may be many: of objects in parts.
fn weight(outcome: &v1::Outcome) -> usize {
    match &outcome.result {
        Some(v1::outcome::Result::Located(located)) if located.extents.len() > 1 => located.encoded_len(),
        _ => 0,
    }
}

/// `first` and whatever else is decided by now.
fn coalesce<F: Future<Output = v1::Outcome>>(
    first: v1::Outcome,
    deciding: &mut FuturesUnordered<F>,
) -> Vec<v1::Outcome> {
    use futures::FutureExt;

    let mut bytes = weight(&first);
    let mut outcomes = vec![first];
    while outcomes.len() < COALESCED
        && bytes < COALESCED_BYTES
        && let Some(Some(next)) = deciding.next().now_or_never()
    {
        bytes += weight(&next);
        outcomes.push(next);
    }
    outcomes
}

#[cfg(test)]
mod fuzz;
