//! A body on its way to its targets, all at once, until as many hold it as the ack level asks for or no more can.
//!
//! Invariants: success means that `required` targets hold a verified copy, all of the same MD5; a target is
//! given up only while the others still meet the level; however it ends, every target of the intent is a copy
//! or has its end, and nothing is still being sent.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use s3o_types::{BackendId, Checksums, Etag, EtagProof};
use s3s::{S3Error, S3Result, s3_error};
use tokio_util::sync::CancellationToken;

use super::body::Readings;
use super::copies::{Copies, Sent};
use super::fanout::Seat;
use super::put::Write;
use super::target::{self, Attempted, Ended};
use super::{faults, place};
use crate::control::{End, Failure, Finished, Intent, StoredCopy, Target};
use crate::plane::Plane;

/// Targets tried in the place of others for one write, at most.
const MAX_REPLACEMENTS: usize = 3;
/// From how many bytes on an MD5 costs more than the framing of a trailer: docs/performance.md.
const TRAILER_FROM: u64 = 16 * 1024;
/// How long all others wait for a target that takes less than the window (512 KiB) in this time: ADR 0010.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the rest may take when the level is met: an eighth of what the write took until then, within these
/// bounds. To make the copy later costs a read and a write more; but the client waits: ADR 0010.
const GRACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Puts the body on the targets of the intent, and on others where too few of them take it. `ends` collects what
/// became of those that are no copy in the end; on failure that is all of them. No target
/// was chosen before `chosen`; `gone` ends it.
pub(super) async fn send(
    plane: &Plane,
    write: &Write,
    (intent, chosen): (&mut Intent, Instant),
    required: usize,
    gone: Option<&CancellationToken>,
    ends: &mut Vec<Finished>,
) -> S3Result<Sent> {
    let mut sending = Sending {
        plane,
        write,
        intent,
        required,
        readings: Readings::of(&write.payload),
        puts: FuturesUnordered::new(),
        running: Vec::new(),
        waiting: Vec::new(),
        vacated: Vec::new(),
        replacements: 0,
        failed: None,
        begun: Instant::now(),
        grace_until: None,
        copies: Copies::default(),
        ends,
        error: None,
    };
    for target in sending.intent.targets.clone() {
        let target = sending.elsewhere_if_drained(target, chosen).await;
        sending.enlist(target);
    }
    sending.run(gone).await;
    sending.outcome()
}

type Put<'a> = Pin<Box<dyn Future<Output = (Target, Attempted)> + Send + 'a>>;

struct Sending<'a> {
    plane: &'a Plane,
    write: &'a Write,
    intent: &'a mut Intent,
    /// Verified copies that the level asks for.
    required: usize,
    readings: Readings<'a>,
    puts: FuturesUnordered<Put<'a>>,
    /// What is known of those.
    running: Vec<Running>,
    /// To be streamed to; and their end if they never are.
    waiting: Vec<(Target, Ended)>,
    /// Places at the body of targets that ended, until it is decided who begins there.
    vacated: Vec<Seat>,
    replacements: usize,
    /// The backend that failed last.
    failed: Option<BackendId>,
    begun: Instant,
    /// The level is met; the rest has time until then.
    grace_until: Option<Instant>,
    copies: Copies,
    ends: &'a mut Vec<Finished>,
    /// The write cannot succeed any more.
    error: Option<S3Error>,
}

struct Running {
    target: Target,
    /// `None`: the backend copies by itself.
    seat: Option<Seat>,
    cut: CancellationToken,
}

impl Sending<'_> {
    async fn run(&mut self, gone: Option<&CancellationToken>) {
        loop {
            self.replace_missing().await;
            self.stream();
            self.vacated.drain(..).for_each(|seat| seat.give_up());
            let has_spare = self.copies.agreed() + self.running.len() > self.required;
            tokio::select! {
                biased;
                ended = self.puts.next() => match ended {
                    Some((target, attempted)) => self.ended(target, attempted),
                    None => return,
                },
                index = laggard(&self.running), if has_spare => self.running[index].cut.cancel(),
                () = cancelled(gone), if self.error.is_none() => {
                    self.fail(faults::unavailable("Whoever asked for the copy has gone."));
                }
                () = until(self.grace_until), if self.grace_until.is_some() => {
                    self.grace_until = None;
                    self.cut_all();
                }
            }
        }
    }

    /// Before a byte is read: another target for one whose backend began to be drained meanwhile, if there is one.
    async fn elsewhere_if_drained(&mut self, target: Target, chosen: Instant) -> Target {
        if !place::is_drained_since(self.plane, &target, chosen) {
            return target;
        }
        match self.another(target.backend).await {
            Ok(other) => {
                self.plane.metrics.drain_race();
                self.ends.push(finished(target, End::NotSent.into()));
                other
            }
            Err(failure) => {
                tracing::info!(backend = target.backend.0, ?failure, "written to a backend that is drained");
                target
            }
        }
    }

    /// Another target in the place of the one at that backend. It stands in the intent from now on, as the one before does.
    async fn another(&mut self, backend: BackendId) -> Result<Target, Failure> {
        let down = self.plane.backends.down(Instant::now());
        let other = self.write.caller.retarget(self.intent, backend, &down).await?;
        self.intent.targets.push(other.clone());
        Ok(other)
    }

    /// Begins with a target: within its backend where the source lies there too, else with the next stream.
    fn enlist(&mut self, target: Target) {
        let (plane, write) = (self.plane, self.write);
        let Some((_, source)) = write.server_side.iter().find(|(id, _)| *id == target.backend) else {
            return self.waiting.push((target, End::NotSent.into()));
        };
        let cut = CancellationToken::new();
        self.running.push(Running { target: target.clone(), seat: None, cut: cut.clone() });
        self.puts.push(Box::pin(async move {
            let attempted = target::copy(plane, write, &target, source, &cut).await;
            (target, attempted)
        }));
    }

    /// Begins to stream to those that wait, by one reading. First the copies within backends are awaited: one
    /// that is refused would else need a reading of its own, and each reading of a source may cost money.
    fn stream(&mut self) {
        if self.waiting.is_empty() || self.running.iter().any(|running| running.seat.is_none()) {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let needed = self.error.is_none() && self.copies.agreed() < self.required;
        let takes_trailers = self.write.size >= TRAILER_FROM
            && waiting.iter().all(|(target, _)| takes_trailers(self.plane, target.backend));
        let bodies = if needed { self.readings.take(waiting.len(), takes_trailers) } else { None };
        let Some(bodies) = bodies else {
            self.ends.extend(waiting.into_iter().map(|(target, ended)| finished(target, ended)));
            if needed {
                self.fail(too_late());
            }
            return;
        };
        let (plane, write) = (self.plane, self.write);
        for ((target, _), outgoing) in waiting.into_iter().zip(bodies) {
            let (cut, seat) = (CancellationToken::new(), Some(outgoing.seat.clone()));
            self.running.push(Running { target: target.clone(), seat, cut: cut.clone() });
            self.puts.push(Box::pin(async move {
                let attempted = target::stream(plane, write, &target, outgoing, &cut).await;
                (target, attempted)
            }));
        }
    }

    /// Finds others while too few are left. The connections of those that are go on meanwhile.
    async fn replace_missing(&mut self) {
        while self.error.is_none()
            && self.copies.agreed() + self.running.len() + self.waiting.len() < self.required
            && let Some(failed) = self.failed
        {
            if self.replacements == MAX_REPLACEMENTS || !self.write.payload.can_be_sent() {
                return self.fail(too_late());
            }
            self.replacements += 1;
            match self.another(failed).await {
                Ok(target) => self.enlist(target),
                Err(failure) => {
                    tracing::warn!(?failure, "no other target");
                    let message = "A backend failed and no other took its place. Please try again.";
                    return self.fail(faults::unavailable(message));
                }
            }
        }
    }

    fn ended(&mut self, target: Target, attempted: Attempted) {
        let at = self.running.iter().position(|running| running.target == target);
        let seat = at.and_then(|at| self.running.swap_remove(at).seat);
        let was_streamed = seat.is_some();
        self.vacated.extend(seat);
        match attempted {
            Attempted::Stored(copy, md5, checksums) => self.stored(copy, md5, checksums),
            Attempted::BodyFailed(end, fault) if self.write.payload.is_clients() => {
                self.ends.push(finished(target, end));
                if self.error.is_none() {
                    self.plane.metrics.body_fault(&fault);
                }
                self.fail(faults::of_body(&fault));
            }
            Attempted::BodyFailed(end, fault) => self.backend_failed(target, end, &fault),
            Attempted::BodyStalled(end) => {
                self.ends.push(finished(target, end));
                self.fail(s3_error!(RequestTimeout));
            }
            Attempted::GivenUp(end) => self.gave_up(target, end),
            // The backend will not copy, and nothing is at the target's key: then we do it.
            Attempted::BackendFailed(end @ Ended { end: End::NotSent | End::Cut, .. }, error)
                if !was_streamed =>
            {
                tracing::info!(backend = target.backend.0, %error, "no copy within the backend, streaming instead");
                self.waiting.push((target, end));
            }
            Attempted::BackendFailed(end, error) => self.backend_failed(target, end, &error),
        }
    }

    fn stored(&mut self, copy: StoredCopy, md5: Etag, checksums: Checksums) {
        if let Some(other) = self.copies.other_than(&md5) {
            tracing::warn!(backend = copy.target.backend.0, %md5, %other, "backends name different MD5s");
            self.failed = Some(copy.target.backend);
        }
        let was_met = self.copies.agreed() >= self.required;
        self.copies.add(copy, md5, checksums);
        if !was_met && self.copies.agreed() >= self.required && self.error.is_none() {
            let grace = (self.begun.elapsed() / 8).clamp(GRACE.0, GRACE.1);
            self.grace_until = Some(Instant::now() + grace);
        }
    }

    fn backend_failed(&mut self, target: Target, ended: Ended, why: &dyn std::fmt::Display) {
        tracing::warn!(backend = target.backend.0, ?ended, %why, "a target failed");
        self.failed = Some(target.backend);
        self.ends.push(finished(target, ended));
    }

    /// It was too slow, or the write had failed elsewhere.
    fn gave_up(&mut self, target: Target, ended: Ended) {
        if self.error.is_none() {
            tracing::warn!(backend = target.backend.0, ?ended, "a target was too slow beside the others");
            let was_at_it = matches!(ended.end, End::Cut | End::Unknown);
            if let Some(backend) = self.plane.backends.get(target.backend).filter(|_| was_at_it) {
                backend.given_up();
            }
        }
        self.ends.push(finished(target, ended));
    }

    /// The first reason stands. What still runs is cut.
    fn fail(&mut self, error: S3Error) {
        self.error.get_or_insert(error);
        self.grace_until = None;
        self.cut_all();
    }

    fn cut_all(&self) {
        self.running.iter().for_each(|running| running.cut.cancel());
    }

    fn outcome(self) -> S3Result<Sent> {
        if let Some(error) = self.error {
            self.ends.extend(self.copies.all().into_iter().map(stored));
            return Err(error);
        }
        let (sent, others) = self.copies.counted(self.required);
        self.ends.extend(others.into_iter().map(stored));
        sent.ok_or_else(|| faults::unavailable("No backend took the object. Please try again."))
    }
}

/// The first target that all others have waited for too long.
async fn laggard(running: &[Running]) -> usize {
    loop {
        tokio::time::sleep(PATIENCE / 4).await;
        let now = Instant::now();
        let holds_up = |seat: &Seat| seat.holds_up(PATIENCE, now);
        if let Some(at) = running.iter().position(|running| running.seat.as_ref().is_some_and(holds_up)) {
            return at;
        }
    }
}

async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// As far as this process knows the backend now.
fn takes_trailers(plane: &Plane, backend: BackendId) -> bool {
    plane.backends.get(backend).is_some_and(|backend| backend.etag_proof() == EtagProof::Md5Trailer)
}

fn too_late() -> S3Error {
    faults::unavailable("A backend failed while it took the object. Please try again.")
}

/// The end of a target that is no copy.
pub(super) fn finished(target: Target, ended: Ended) -> Finished {
    Finished { target, end: ended.end, backend_version: ended.version }
}

/// The end of a copy that does not count.
pub(super) fn stored(copy: StoredCopy) -> Finished {
    Finished { target: copy.target, end: End::Stored, backend_version: copy.backend_version }
}
