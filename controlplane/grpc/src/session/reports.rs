//! What data planes see of the backends, kept in memory: by the time it was in a table it would be old.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use s3o_types::BackendId;
use uuid::Uuid;

/// A circuit breaker as a data plane reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// The backend is used.
    Closed,
    /// It is not.
    Open,
    /// It is tried.
    HalfOpen,
}

/// A backend as a data plane sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBackend {
    /// Its breaker.
    pub breaker: Breaker,
    /// Moving average until the first byte of an answer.
    pub latency: Duration,
    /// How long ago it last did as it should; `None`: not known.
    pub answered_ago: Option<Duration>,
}

/// An answer that is older says nothing of now: a data plane without requests asks no backend.
const RECENT: Duration = Duration::from_mins(1);

impl SeenBackend {
    /// Whether it is up now, as far as who says so can know.
    pub(crate) fn is_up(&self) -> Option<bool> {
        match self.breaker {
            Breaker::Open | Breaker::HalfOpen => Some(false),
            Breaker::Closed => self.answered_ago.is_some_and(|ago| ago < RECENT).then_some(true),
        }
    }
}

/// What a connected data plane said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionReport {
    /// Its name.
    pub name: String,
    /// Requests of clients that it is working on.
    pub requests_in_flight: u32,
    /// By backend.
    pub backends: BTreeMap<BackendId, SeenBackend>,
}

/// The reports of all sessions that this replica serves. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Reports(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// By session, with the number of the stream that wrote it: a session that came back on a new
    /// stream is not forgotten when its old stream ends.
    sessions: Mutex<HashMap<Uuid, (u64, SessionReport)>>,
    streams: AtomicU64,
}

/// The place of one stream's report; dropping it forgets the report.
#[derive(Debug)]
pub(crate) struct Reporting {
    shared: Arc<Shared>,
    session: Uuid,
    stream: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (u64, SessionReport)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reports {
    /// Sessions and what each said last.
    pub fn all(&self) -> Vec<(Uuid, SessionReport)> {
        self.0.lock().iter().map(|(session, (_, report))| (*session, report.clone())).collect()
    }

    pub(crate) fn connect(&self, session: Uuid, name: &str) -> Reporting {
        let stream = self.0.streams.fetch_add(1, Ordering::Relaxed);
        let report = SessionReport { name: name.to_owned(), ..SessionReport::default() };
        self.0.lock().insert(session, (stream, report));
        Reporting { shared: self.0.clone(), session, stream }
    }
}

impl Reporting {
    pub(crate) fn update(&self, change: impl FnOnce(&mut SessionReport)) {
        if let Some((stream, report)) = self.shared.lock().get_mut(&self.session)
            && *stream == self.stream
        {
            change(report);
        }
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        let mut sessions = self.shared.lock();
        if sessions.get(&self.session).is_some_and(|(stream, _)| *stream == self.stream) {
            sessions.remove(&self.session);
        }
    }
}
