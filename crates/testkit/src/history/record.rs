//! Records what clients do, from many tasks at once, by one monotonic clock.
//!
//! Invariant: a call is recorded even when its task is dropped in the middle of it: its outcome is then
//! unknown.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::model::{Call, Event, Outcome};

/// Collects events.
#[derive(Debug, Clone)]
pub struct Recorder {
    origin: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { origin: Instant::now(), events: Arc::default() }
    }
}

impl Recorder {
    /// An empty history whose clock starts now.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes that a call is about to be sent.
    pub fn invoke(&self, client: &str, key: &str, call: Call) -> Pending {
        let event = Event {
            key: key.to_owned(),
            client: client.to_owned(),
            call,
            outcome: Outcome::Unknown,
            invoked: self.now(),
            returned: u64::MAX,
        };
        Pending { recorder: self.clone(), event: Some(event) }
    }

    /// Adds an event whose times were taken by [`Self::now`].
    pub fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Everything recorded so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Pending {
    recorder: Recorder,
    event: Option<Event>,
}

impl Pending {
    /// When it was invoked.
    pub fn invoked(&self) -> u64 {
        self.event.as_ref().map_or(0, |event| event.invoked)
    }

    /// Notes its outcome.
    pub fn end(mut self, outcome: Outcome) {
        if let Some(event) = &mut self.event {
            event.outcome = outcome;
        }
    }

    /// Notes its outcome together with what was written, where only the answer tells.
    pub fn end_as(mut self, call: Call, outcome: Outcome) {
        if let Some(event) = &mut self.event {
            event.call = call;
            event.outcome = outcome;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut event) = self.event.take() {
            event.returned = self.recorder.now();
            self.recorder.push(event);
        }
    }
}
