//! The `Session` stream: configuration and commands down; the lease, health and usage up.
//!
//! Invariants: there is one at a time, opened again for ever on whichever channel is up; the lease is
//! renewed four times within its length; a configuration is used only when it is newer; "goodbye" is
//! said only when nothing is under way any more.

use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use s3o_backend::{BackendSet, BreakerState};
use s3o_proto::v1;
use s3o_proto::v1::session_down::Message as Down;
use s3o_proto::v1::session_up::Message as Up;
use s3o_runtime::LogHandle;
use s3o_types::BackendId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::convert::uuid_bytes;
use super::{Control, UsageLedger};

/// How often backend health and usage go up.
const REPORT_EVERY: Duration = Duration::from_secs(3);
/// Until the control plane says how long a lease is.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(5);
/// The pause before the stream is opened again, doubled up to the second.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Messages that wait for the channel at most; the next heartbeat finds out when they do not leave.
const UP_BUFFER: usize = 16;

/// What the session reads and changes of the process.
pub(crate) struct SessionContext {
    pub name: String,
    pub control: Control,
    pub usage: Arc<UsageLedger>,
    pub backends: Arc<BackendSet>,
    pub log: LogHandle,
    /// The generation in use, 0 for none.
    pub generation: Box<dyn Fn() -> i64 + Send + Sync>,
    /// Requests being served.
    pub in_flight: Box<dyn Fn() -> u32 + Send + Sync>,
    /// Takes a configuration, if it is newer.
    pub configure: Box<dyn Fn(v1::Configuration) + Send + Sync>,
    /// Takes the backends whose month is used up.
    pub spent: Box<dyn Fn(Vec<BackendId>) + Send + Sync>,
    /// Answer "not ready" from now on.
    pub drain: Box<dyn Fn() + Send + Sync>,
}

/// Keeps a session until `stop`, then says goodbye.
pub(crate) async fn run(context: SessionContext, stop: CancellationToken) {
    let mut pause = RECONNECT.0;
    let mut turn = 0;
    while !stop.is_cancelled() {
        let started = tokio::time::Instant::now();
        if let Some(lane) = context.control.any_lane(turn) {
            match context.once(&lane, &stop).await {
                Ok(()) => tracing::debug!(address = %lane.address, "session ended"),
                Err(status) => tracing::warn!(address = %lane.address, %status, "session broke"),
            }
        }
        turn = turn.wrapping_add(1);
        pause = if started.elapsed() > RECONNECT.1 { RECONNECT.0 } else { (pause * 2).min(RECONNECT.1) };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())) => {}
        }
    }
}

impl SessionContext {
    async fn once(&self, lane: &super::lane::Lane, stop: &CancellationToken) -> Result<(), tonic::Status> {
        let (up, messages) = mpsc::channel(UP_BUFFER);
        send(&up, Up::Hello(self.hello())).await?;
        let mut client = lane.client.clone();
        let mut down = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            answer = client.session(ReceiverStream::new(messages)) => answer?.into_inner(),
        };
        let mut heartbeats = Heartbeats::new();
        let mut reports = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return goodbye(self, &up, &mut down).await,
                () = heartbeats.due() => {
                    heartbeats.check()?;
                    let beat = self.heartbeat(heartbeats.next());
                    send(&up, Up::Heartbeat(beat)).await?;
                }
                _ = reports.tick() => self.report(&up).await?,
                message = down.message() => match message? {
                    Some(message) => self.handle(message, &mut heartbeats),
                    None => return Ok(()),
                },
            }
        }
    }

    fn hello(&self) -> v1::Hello {
        v1::Hello {
            session: uuid_bytes(self.control.session()),
            name: self.name.clone(),
            version: s3o_runtime::VERSION.to_owned(),
            features: s3o_proto::FEATURES.iter().map(|&feature| feature.to_owned()).collect(),
            generation: (self.generation)(),
        }
    }

    fn heartbeat(&self, number: u64) -> v1::Heartbeat {
        let open_ops = self.control.open_ops().long_open().into_iter().map(uuid_bytes).collect();
        v1::Heartbeat { number, open_ops, requests_in_flight: (self.in_flight)() }
    }

    async fn report(&self, up: &mpsc::Sender<v1::SessionUp>) -> Result<(), tonic::Status> {
        let now = StdInstant::now();
        let backends = self.backends.all().iter().map(|backend| health_of(backend, now)).collect();
        send(up, Up::Backends(v1::BackendReport { backends })).await?;
        match self.usage.report() {
            Some(report) => send(up, Up::Usage(report)).await,
            None => Ok(()),
        }
    }

    fn handle(&self, message: v1::SessionDown, heartbeats: &mut Heartbeats) {
        let v1::SessionDown { message, required_features } = message;
        self.control.see_required(&required_features);
        // A message of a later release: `required_features` says when it must not be passed over.
        let Some(message) = message else { return };
        match message {
            Down::Welcome(v1::Welcome { control_plane, lease_ms }) => {
                tracing::info!(control_plane, lease_ms, "session open");
                heartbeats.set_lease(Duration::from_millis(lease_ms));
                // What is told is how that changes: what another session has said may be over.
                (self.spent)(Vec::new());
                self.control.welcome();
            }
            Down::Configuration(configuration) => {
                (self.configure)(configuration);
            }
            Down::HeartbeatAck(v1::HeartbeatAck { number }) => heartbeats.acknowledged(number),
            Down::UsageAck(v1::UsageAck { number }) => self.usage.acknowledged(number),
            Down::Database(v1::DatabaseHealth { reachable }) => {
                self.control.set_database_reachable(reachable);
            }
            Down::Spent(v1::SpentBackends { backends }) => {
                tracing::info!(?backends, "months that are used up: these backends are read last");
                (self.spent)(backends.into_iter().map(BackendId).collect());
            }
            Down::Command(v1::Command { command }) => self.obey(command),
        }
    }

    fn obey(&self, command: Option<v1::command::Command>) {
        match command {
            Some(v1::command::Command::Drain(v1::Drain {})) => (self.drain)(),
            Some(v1::command::Command::SetLogFilter(v1::SetLogFilter { filter })) => {
                match self.log.set_filter(&filter) {
                    Ok(()) => tracing::info!(filter, "log filter set by the control plane"),
                    Err(error) => tracing::warn!(%error, "log filter from the control plane refused"),
                }
            }
            None => tracing::warn!("a command that this release does not know"),
        }
    }
}

/// The last usage, and that nothing is under way any more.
async fn goodbye(
    context: &SessionContext,
    up: &mpsc::Sender<v1::SessionUp>,
    down: &mut tonic::Streaming<v1::SessionDown>,
) -> Result<(), tonic::Status> {
    let acknowledge = async {
        while let Some(report) = context.usage.report() {
            send(up, Up::Usage(report)).await?;
            let Some(message) = down.message().await? else { break };
            if let Some(Down::UsageAck(v1::UsageAck { number })) = message.message {
                context.usage.acknowledged(number);
            }
        }
        send(up, Up::Goodbye(v1::Goodbye {})).await?;
        // The peer ends the stream when it has read it.
        while down.message().await?.is_some() {}
        Ok(())
    };
    tokio::time::timeout(RECONNECT.1, acknowledge).await.unwrap_or(Ok(()))
}

async fn send(up: &mpsc::Sender<v1::SessionUp>, message: Up) -> Result<(), tonic::Status> {
    up.send(v1::SessionUp { message: Some(message) })
        .await
        .map_err(|_| tonic::Status::unavailable("the stream takes no messages"))
}

fn health_of(backend: &s3o_backend::Backend, now: StdInstant) -> v1::BackendHealth {
    let breaker = match backend.health().state(now) {
        BreakerState::Closed => v1::BreakerState::Closed,
        BreakerState::Open => v1::BreakerState::Open,
        BreakerState::HalfOpen => v1::BreakerState::HalfOpen,
    };
    let latency = backend.health().latency().unwrap_or_default().as_micros();
    let answered = backend.health().answered_ago();
    v1::BackendHealth {
        backend: backend.id().0,
        breaker: breaker.into(),
        latency_us: u64::try_from(latency).unwrap_or(u64::MAX),
        answered_ago_us: answered.map(|ago| u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)),
    }
}

/// When to renew the lease, and whether it was.
struct Heartbeats {
    every: Duration,
    next: tokio::time::Instant,
    sent: u64,
    acknowledged: u64,
}

impl Heartbeats {
    fn new() -> Self {
        Self { every: FIRST_HEARTBEAT, next: tokio::time::Instant::now(), sent: 0, acknowledged: 0 }
    }

    fn set_lease(&mut self, lease: Duration) {
        self.every = (lease / 4).max(Duration::from_millis(100));
        self.next = self.next.min(tokio::time::Instant::now() + self.every);
    }

    async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    fn next(&mut self) -> u64 {
        self.next = tokio::time::Instant::now() + self.every;
        self.sent += 1;
        self.sent
    }

    fn acknowledged(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number);
    }

    /// Two unanswered: another control plane may still reach the database before the lease is over.
    fn check(&self) -> Result<(), tonic::Status> {
        if self.sent - self.acknowledged.min(self.sent) >= 2 {
            return Err(tonic::Status::deadline_exceeded("heartbeats are not acknowledged"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_lost_heartbeats_end_a_session() {
        let mut beats = Heartbeats::new();
        beats.set_lease(Duration::from_mins(1));
        assert_eq!(beats.every, Duration::from_secs(15));
        assert!(beats.check().is_ok());
        let first = beats.next();
        assert!(beats.check().is_ok());
        beats.next();
        assert!(beats.check().is_err());
        beats.acknowledged(first);
        assert!(beats.check().is_ok());
    }
}
