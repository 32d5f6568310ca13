//! What clients did and saw, and one key's share of it in the terms of a register.
//!
//! Invariant: a call that cannot have had an effect and saw nothing constrains nothing and is dropped
//! here; everything else is a look at the state, a change of it, or both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::search::Stuck;

/// What a key holds, named so that different contents have different names (the body's MD5).
pub type Value = Arc<str>;

/// What must hold for a write or delete to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match` with this value's ETag.
    Is(Value),
}

/// A call on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// PUT, or the destination of a copy.
    Write {
        /// What is written. Several when a copy's outcome is unknown and its source held several.
        values: Vec<Value>,
        /// Its condition.
        condition: Condition,
    },
    /// DELETE.
    Delete {
        /// Its condition.
        condition: Condition,
    },
    /// GET, HEAD, a key's line (or absence) in a listing, the source of a copy.
    Read,
}

/// What the client learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A write or delete was acknowledged.
    Done,
    /// A read saw this, or nothing.
    Saw(Option<Value>),
    /// The call was refused because its condition did not hold.
    ConditionFailed,
    /// Refused for another reason, without effect.
    Refused,
    /// No answer, or a 5xx: it may take effect now, later or never.
    Unknown,
}

/// A call with its times, in nanoseconds of one monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Bucket and key.
    pub key: String,
    /// Who, for messages.
    pub client: String,
    /// What.
    pub call: Call,
    /// With what result.
    pub outcome: Outcome,
    /// Before the request was sent.
    pub invoked: u64,
    /// After the answer was read. Without meaning for unknown outcomes.
    pub returned: u64,
}

/// A value's number; equal values have equal numbers.
pub(super) type State = Option<u32>;

/// The state that stands for any value that no call looks at.
pub(super) const UNSEEN: State = Some(u32::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Always,
    Absent,
    Is(u32),
}

impl Test {
    pub(super) fn holds(self, state: State) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => state.is_none(),
            Self::Is(value) => state == Some(value),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Saw exactly this.
    Saw(State),
    /// Saw that the condition does not hold.
    Failed(Test),
    /// Makes the state one of these when the condition holds.
    Change { to: Vec<State>, when: Test },
}

impl Step {
    /// Whether the state before it matters to it.
    pub(super) fn looks(&self) -> bool {
        !matches!(self, Self::Change { when: Test::Always, .. })
    }

    /// Whether it can stand after `state`.
    pub(super) fn fits(&self, state: State) -> bool {
        match self {
            Self::Saw(saw) => *saw == state,
            Self::Failed(test) => !test.holds(state),
            Self::Change { when, .. } => when.holds(state),
        }
    }
}

#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) invoked: u64,
    pub(super) returned: u64,
    pub(super) step: Step,
    event: &'a Event,
}

/// One key's history.
#[derive(Debug)]
pub(super) struct Register<'a> {
    /// In the order of their invocation; each must be placed.
    pub(super) definite: Vec<Placed<'a>>,
    /// In the order of their invocation; each may be placed.
    pub(super) unknown: Vec<Placed<'a>>,
    /// Definite calls that need a value as it is, by value.
    pub(super) needed_by: HashMap<u32, Vec<usize>>,
    /// Definite and unknown calls that may write a value, by value.
    pub(super) definite_writers: HashMap<u32, Vec<usize>>,
    pub(super) unknown_writers: HashMap<u32, Vec<usize>>,
    /// Definite blind writes that no call can have noticed.
    pub(super) invisible: Vec<bool>,
}

impl<'a> Register<'a> {
    /// Translates one key's events. Fails on a value that nobody wrote.
    pub(super) fn read(events: &[&'a Event]) -> Result<Self, String> {
        let mut numbers = Numbers::default();
        let mut definite = Vec::new();
        let mut unknown = Vec::new();
        for event in events {
            let Some(step) = numbers.step(event) else { continue };
            let open = event.outcome == Outcome::Unknown;
            let returned = if open { u64::MAX } else { event.returned };
            let placed = Placed { invoked: event.invoked, returned, step, event };
            if open { unknown.push(placed) } else { definite.push(placed) }
        }
        definite.sort_by_key(|placed: &Placed<'_>| placed.invoked);
        unknown.sort_by_key(|placed: &Placed<'_>| placed.invoked);
        let mut register = Self {
            invisible: vec![false; definite.len()],
            definite,
            unknown,
            needed_by: HashMap::new(),
            definite_writers: HashMap::new(),
            unknown_writers: HashMap::new(),
        };
        register.index();
        register.refuse_values_from_nowhere()?;
        register.find_invisible();
        Ok(register)
    }

    fn index(&mut self) {
        for (at, placed) in self.definite.iter().enumerate() {
            match &placed.step {
                Step::Saw(Some(value)) => self.needed_by.entry(*value).or_default().push(at),
                Step::Change { to, when } => {
                    if let Test::Is(value) = when {
                        self.needed_by.entry(*value).or_default().push(at);
                    }
                    for value in to.iter().flatten() {
                        self.definite_writers.entry(*value).or_default().push(at);
                    }
                }
                Step::Saw(None) | Step::Failed(_) => {}
            }
        }
        for (at, placed) in self.unknown.iter().enumerate() {
            if let Step::Change { to, .. } = &placed.step {
                for value in to.iter().flatten() {
                    self.unknown_writers.entry(*value).or_default().push(at);
                }
            }
        }
    }

    fn refuse_values_from_nowhere(&self) -> Result<(), String> {
        for (value, readers) in &self.needed_by {
            if !self.definite_writers.contains_key(value) && !self.unknown_writers.contains_key(value) {
                let event = self.definite[readers[0]].event;
                return Err(format!("a value that nobody wrote was seen: {}", line(event)));
            }
        }
        Ok(())
    }

    fn find_invisible(&mut self) {
        let steps = || self.definite.iter().chain(&self.unknown).map(|placed| &placed.step);
        if steps().any(|step| matches!(step, Step::Failed(_))) {
            return;
        }
        let wanted: Vec<u32> = steps()
            .filter_map(|step| match step {
                Step::Saw(Some(value)) | Step::Change { when: Test::Is(value), .. } => Some(*value),
                _ => None,
            })
            .collect();
        for (at, placed) in self.definite.iter().enumerate() {
            if let Step::Change { to, when: Test::Always } = &placed.step {
                self.invisible[at] = matches!(to[..], [Some(value)] if !wanted.contains(&value));
            }
        }
    }

    /// What the attempt that came farthest could not place.
    pub(super) fn describe(&self, stuck: &Stuck) -> String {
        let state = match stuck.state {
            None => "absent".to_owned(),
            Some(number) => {
                self.name_of(number).map_or_else(|| "a value nobody saw".to_owned(), |v| format!("`{v}`"))
            }
        };
        let mut text = format!(
            "{} of {} calls explained; then the key is {state} and none of these can come next:",
            stuck.placed,
            self.definite.len()
        );
        for at in stuck.waiting.iter().take(12) {
            text.push_str("\n  ");
            text.push_str(&line(self.definite[*at].event));
        }
        text
    }

    fn name_of(&self, number: u32) -> Option<&Value> {
        let written = |placed: &Placed<'a>| {
            let (Step::Change { to, .. }, Call::Write { values, .. }) = (&placed.step, &placed.event.call)
            else {
                return None;
            };
            let at = to.iter().position(|state| *state == Some(number))?;
            Some(&values[at])
        };
        self.definite.iter().chain(&self.unknown).find_map(written)
    }
}

fn line(event: &Event) -> String {
    format!(
        "[{:?} … {:?}] {}: {:?} → {:?}",
        Duration::from_nanos(event.invoked),
        Duration::from_nanos(event.returned),
        event.client,
        event.call,
        event.outcome
    )
}

/// Numbers values as they come.
#[derive(Default)]
struct Numbers<'a>(HashMap<&'a str, u32>);

impl<'a> Numbers<'a> {
    fn of(&mut self, value: &'a Value) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX - 1);
        *self.0.entry(value).or_insert(next)
    }

    fn test(&mut self, condition: &'a Condition) -> Test {
        match condition {
            Condition::None => Test::Always,
            Condition::Absent => Test::Absent,
            Condition::Is(value) => Test::Is(self.of(value)),
        }
    }

    /// `None` for what constrains nothing.
    fn step(&mut self, event: &'a Event) -> Option<Step> {
        let (to, condition) = match (&event.call, &event.outcome) {
            (_, Outcome::Refused)
            | (Call::Read, Outcome::Unknown | Outcome::Done | Outcome::ConditionFailed) => return None,
            (_, Outcome::Saw(saw)) => return Some(Step::Saw(saw.as_ref().map(|value| self.of(value)))),
            (Call::Write { values, condition }, _) => {
                (values.iter().map(|value| Some(self.of(value))).collect(), condition)
            }
            (Call::Delete { condition }, _) => (vec![None], condition),
        };
        let when = self.test(condition);
        Some(match event.outcome {
            Outcome::ConditionFailed => Step::Failed(when),
            _ => Step::Change { to, when },
        })
    }
}
