//! Calls that a lane decides together: how they are halved, and how each is answered.
//!
//! Invariant: none is dropped: whoever takes a group apart answers its calls or gives them back.

use s3o_core::call::{Outcome, Refusal, Request};
use s3o_types::{BucketId, ErrorCode, Op};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch::{Verdict, internal};
use super::facts::Locking;
use super::lane::unavailable;
use super::pressure::Pressure;
use crate::error::Rejected;
use crate::stats::LaneCounters;

/// Times that a call may find its row inserted by somebody else. The second look finds that row.
const DUPLICATES: u32 = 3;

/// A call in the queue.
pub(crate) struct Item {
    pub(crate) request: Request,
    pub(crate) bytes: usize,
    /// When its caller stops waiting.
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Outcome>,
    pub(crate) not_before: Option<Instant>,
    pub(crate) duplicates: u32,
}

impl Item {
    pub(super) fn answer(self, outcome: Outcome) {
        // A caller that is gone repeats by op and gets this outcome from the log.
        let _ = self.reply.send(outcome);
    }

    pub(super) fn turn(&self) -> Turn {
        if self.request.call.locks_key() {
            let (bucket, key) = self.request.call.bucket_and_key();
            Turn::Key(bucket, key.to_owned())
        } else {
            Turn::Op(self.request.op)
        }
    }
}

/// What may be once in a batch.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Turn {
    Key(BucketId, String),
    Op(Op),
}

/// Calls that are decided together.
pub(super) struct Group {
    pub(super) items: Vec<Item>,
    pub(super) locking: Locking,
    pub(super) losses: u32,
}

/// The second half is decided after the first: it is pushed first.
pub(super) fn halve(mut group: Group, groups: &mut Vec<Group>) {
    let second = group.items.split_off(group.items.len() / 2);
    groups.push(Group { items: second, locking: group.locking, losses: 0 });
    groups.push(Group { losses: 0, ..group });
}

/// Answers the calls whose callers have stopped waiting.
pub(super) fn expire(group: Group) -> Group {
    let now = Instant::now();
    let (late, items): (Vec<Item>, Vec<Item>) =
        group.items.into_iter().partition(|item| item.deadline <= now);
    for item in late {
        item.answer(unavailable("the database did not answer in time").into());
    }
    Group { items, ..group }
}

/// Answers what was decided and returns the rest.
pub(super) fn settle(
    items: Vec<Item>,
    verdicts: Vec<Verdict>,
    (pressure, counters): (&mut Pressure, &LaneCounters),
) -> Vec<Item> {
    let mut later = Vec::new();
    for (item, verdict) in items.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Decided(outcome) => {
                pressure.note(&item.request, &outcome);
                counters.answered(&item.request.call, &outcome);
                item.answer(outcome);
            }
            Verdict::Later => later.push(item),
        }
    }
    later
}

/// The one call that PostgreSQL will not have.
pub(super) fn refuse(items: Vec<Item>, rejected: &Rejected, put_off: &mut Vec<Item>) {
    for mut item in items {
        if rejected.is_duplicate() && item.duplicates < DUPLICATES {
            item.duplicates += 1;
            put_off.push(item);
        } else if rejected.is_bad_value() {
            let why = format!("a value of the request cannot be stored: {rejected}");
            item.answer(Refusal::new(ErrorCode::InvalidArgument, why).into());
        } else {
            let Rejected { table, constraint, .. } = rejected;
            tracing::error!(op = %item.request.op, table, constraint, %rejected, "a call was refused by the database");
            item.answer(internal("the database refused the rows of this call"));
        }
    }
}

pub(super) fn fail(items: Vec<Item>, why: &str) {
    tracing::error!(why, "a call cannot be decided");
    items.into_iter().for_each(|item| item.answer(internal(why)));
}
