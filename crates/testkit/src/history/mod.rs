//! Decides whether what clients saw of an S3 key can be explained by one register that changed at one
//! moment within each call: linearizability, key by key.
//!
//! Keys are independent registers (linearizability is local: Herlihy and Wing 1990, theorem 1), so a
//! history is split by key. A listing is *not* one atomic look at many keys: S3 promises none, and
//! it is checked key by key, each listed ETag (and each absence) as a read that overlaps the call.
//! A copy is a read of its source and a write of its destination, both within the call.
//!
//! # What is searched for
//! An order of the calls in which (1) a call that returned before another was invoked comes first, (2)
//! every definite call sees and leaves what a register would, (3) a call whose outcome is unknown
//! (timeout, 5xx) stands anywhere after its invocation, or nowhere. It is the search of Wing and Gong
//! with Lowe's memory of visited (set of placed calls, state), depth first, in [`search`].
//!
//! # Why what is cut from the search is not needed
//! Let π be an order that explains the history.
//! - *Calls without an effect are placed as soon as they fit* (reads, failed conditions). They may be:
//!   nothing that is not placed has to come before them, and moving such a call forward in π to a place
//!   where it sees what it saw changes nothing for others.
//! - *A call of unknown outcome is placed only right before one that looks at the state.* If a blind
//!   write or a blind delete follows it in π, nobody saw it: leave it out, which rule (3) allows.
//! - *Of several blind deletes of unknown outcome that may stand here, only the first is tried*: each
//!   may stand here and anywhere later, so they are interchangeable.
//! - *A value that somebody still has to see is not overwritten* when no call that is not placed could
//!   write it again. π cannot either. As values are unique this makes the search nearly linear.
//! - *Blind writes whose value nobody saw are placed together, right before a blind call.* Only on keys
//!   without failed conditions, so that really nobody can tell: taking such a write out of π and putting
//!   it right before an earlier blind call changes what no call sees, and it may stand there, since
//!   nothing that is not placed has to come before it.
//!
//! Each rule turns some π into a π that the search visits, so it finds one if there is one; and what it
//! finds obeys (1) to (3), since every step checks them. A budget of visited states bounds it:
//! [`Verdict::Undecided`] says so and is never taken for an acceptance.

mod model;
mod record;
mod search;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use model::{Call, Condition, Event, Outcome, Value};
pub use record::{Pending, Recorder};

/// States visited for one key before giving up: seconds, not minutes.
const BUDGET: usize = 300_000;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every key has an explanation.
    Linearizable {
        /// How many calls were explained.
        calls: usize,
    },
    /// This key has none.
    Violation {
        /// Which.
        key: String,
        /// How far the best attempt came, and what could not be placed.
        why: String,
    },
    /// The budget ran out before an answer.
    Undecided {
        /// On which key.
        key: String,
    },
}

/// Checks a history, key by key.
pub fn check(events: &[Event]) -> Verdict {
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_key.entry(&event.key).or_default().push(event);
    }
    for (key, events) in by_key {
        let history = match model::Register::read(&events) {
            Ok(history) => history,
            Err(why) => return Verdict::Violation { key: key.to_owned(), why },
        };
        match search::explain(&history, BUDGET) {
            search::Found::Order => {}
            search::Found::None { stuck } => {
                return Verdict::Violation { key: key.to_owned(), why: history.describe(&stuck) };
            }
            search::Found::OutOfBudget => return Verdict::Undecided { key: key.to_owned() },
        }
    }
    Verdict::Linearizable { calls: events.len() }
}
