//! Backends that answer wrongly, late or not at all.

use std::time::Duration;

use s3o_testkit::s3server::{Fault as Answer, Operation, Rule};

use super::{Fault, Kind};
use crate::backend::Backend;

/// In every storage key, and not in the marker's.
const BLOBS: &str = "~";

pub(super) fn inject(fault: &Fault, backend: &Backend) {
    let delay = Duration::from_millis(fault.amount);
    let rules = match fault.kind {
        Kind::Slow => vec![Rule::new(Answer::Latency(delay))],
        Kind::Errors => vec![Rule::new(Answer::Status(u16::try_from(fault.amount).unwrap_or(500)))],
        Kind::LostReplies => vec![Rule::new(Answer::LostReply).key_contains(BLOBS)],
        Kind::LatePuts => {
            vec![Rule::new(Answer::Late(delay)).on(Operation::Put).key_contains(BLOBS).times(5)]
        }
        Kind::BrokenBodies => vec![
            Rule::new(Answer::ResetReceiving { after: 1_000 }).on(Operation::Put).key_contains(BLOBS),
            Rule::new(Answer::ResetSending { after: 1_000 }).on(Operation::Get).key_contains(BLOBS),
        ],
        _ => vec![Rule::new(Answer::Status(403))],
    };
    rules.into_iter().for_each(|rule| backend.server.inject(rule));
}
