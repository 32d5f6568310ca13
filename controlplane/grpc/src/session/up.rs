//! What a data plane says in its session.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use s3o_core::session::{BackendUsage, Hello, UsageReport};
use s3o_proto::v1;
use s3o_proto::v1::session_down::Message as DownMessage;
use s3o_proto::v1::session_up::Message;
use s3o_types::BackendId;
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tracing::{debug, warn};
use uuid::Uuid;

use super::down::Down;
use super::reports::{Breaker, Reporting, SeenBackend};
use crate::field::{self, Bad};
use crate::status::port_failed;
use crate::wiring::Ports;

/// How a stream ended.
pub(super) enum End {
    /// Its lease is over.
    Goodbye,
    /// It may come back.
    Broken,
}

/// Reads until the stream ends. An error is what the data plane is told as the stream's end.
pub(super) async fn read(
    ports: &Ports,
    session: Uuid,
    mut messages: Streaming<v1::SessionUp>,
    down: &Down,
    report: &Reporting,
) -> Result<End, Status> {
    let mut views = Views::default();
    while let Ok(Some(v1::SessionUp { message })) = messages.message().await {
        match message {
            Some(Message::Heartbeat(wire)) => heartbeat(ports, session, wire, down, report).await?,
            Some(Message::Usage(wire)) => usage(ports, session, wire, down).await?,
            Some(Message::Backends(wire)) => views.note(ports, session, backends(wire, report)).await,
            Some(Message::Goodbye(v1::Goodbye {})) => {
                ports.sessions.close(session).await.map_err(|error| port_failed(&error))?;
                return Ok(End::Goodbye);
            }
            Some(Message::Hello(_)) => {
                return Err(Bad::new("message", "a second hello in one stream").into());
            }
            // Of a newer release; it is not required, or Hello would have been refused.
            None => {}
        }
    }
    Ok(End::Broken)
}

pub(super) fn hello(wire: v1::Hello) -> Result<Hello, Bad> {
    // The newest configuration is sent whatever generation the data plane has.
    let v1::Hello { session, name, version, features, generation: _ } = wire;
    Ok(Hello {
        session: field::uuid("session", &session)?,
        name: field::no_nul("name", name)?,
        version: field::no_nul("version", version)?,
        features,
    })
}

async fn heartbeat(
    ports: &Ports,
    session: Uuid,
    wire: v1::Heartbeat,
    down: &Down,
    report: &Reporting,
) -> Result<(), Status> {
    let v1::Heartbeat { number, open_ops, requests_in_flight } = wire;
    let ops: Result<Vec<Uuid>, Bad> =
        open_ops.iter().map(|op| field::uuid("heartbeat.open_ops", op)).collect();
    report.update(|report| report.requests_in_flight = requests_in_flight);
    match ports.sessions.renew(session, ops?).await {
        Ok(()) => _ = down.send(DownMessage::HeartbeatAck(v1::HeartbeatAck { number })).await,
        // Without an acknowledgement the data plane knows that its lease was not renewed.
        Err(error) => warn!(%session, %error, "a lease was not renewed"),
    }
    Ok(())
}

async fn usage(ports: &Ports, session: Uuid, wire: v1::UsageReport, down: &Down) -> Result<(), Status> {
    let v1::UsageReport { number, usage } = wire;
    let usage = usage.into_iter().map(backend_usage).collect();
    match ports.sessions.add_usage(session, UsageReport { number, usage }).await {
        Ok(()) => _ = down.send(DownMessage::UsageAck(v1::UsageAck { number })).await,
        // It is sent again under the same number.
        Err(error) => warn!(%session, %error, "a usage report was not recorded"),
    }
    Ok(())
}

fn backend_usage(wire: v1::BackendUsage) -> (BackendId, BackendUsage) {
    let v1::BackendUsage { backend, requests, ingress_bytes, egress_bytes } = wire;
    let requests = requests.into_iter().collect();
    (BackendId(backend), BackendUsage { requests, ingress_bytes, egress_bytes })
}

fn backends(wire: v1::BackendReport, report: &Reporting) -> BTreeMap<BackendId, SeenBackend> {
    let v1::BackendReport { backends } = wire;
    let seen: BTreeMap<BackendId, SeenBackend> = backends.into_iter().filter_map(seen_backend).collect();
    report.update(|report| report.backends.clone_from(&seen));
    seen
}

/// What the data plane sees is a word in whether a backend is lost. Kept in the database where it changes, and now and
/// then, since what is old does not count.
#[derive(Default)]
struct Views(Option<(Instant, Said)>);

/// Of each backend for how long it has been down, in microseconds; `None`: it is up.
type Said = Vec<(BackendId, Option<i64>)>;

impl Views {
    const EVERY: Duration = Duration::from_secs(20);
    const PATIENCE: Duration = Duration::from_secs(1);

    async fn note(&mut self, ports: &Ports, session: Uuid, seen: BTreeMap<BackendId, SeenBackend>) {
        // For how long it has been down, the control planes know: a data plane agrees or does not.
        let view = |is_up: bool| if is_up { None } else { Some(0) };
        let views: Vec<_> = seen.iter().filter_map(|(id, seen)| Some((*id, view(seen.is_up()?)))).collect();
        let is_known =
            self.0.as_ref().is_some_and(|(at, known)| at.elapsed() < Self::EVERY && *known == views);
        if is_known || views.is_empty() {
            return;
        }
        // Heartbeats wait behind it.
        match timeout(Self::PATIENCE, ports.replication.note_views(session, views.clone())).await {
            Ok(Ok(())) => self.0 = Some((Instant::now(), views)),
            // Its next report is as good.
            Ok(Err(error)) => debug!(%session, %error, "how a data plane sees the backends was not recorded"),
            Err(_) => debug!(%session, "how a data plane sees the backends was not recorded in time"),
        }
    }
}

/// `None` for a state that this release does not know: better not shown than shown wrong.
fn seen_backend(wire: v1::BackendHealth) -> Option<(BackendId, SeenBackend)> {
    let v1::BackendHealth { backend, breaker, latency_us, answered_ago_us } = wire;
    let breaker = match v1::BreakerState::try_from(breaker) {
        Ok(v1::BreakerState::Closed) => Breaker::Closed,
        Ok(v1::BreakerState::Open) => Breaker::Open,
        Ok(v1::BreakerState::HalfOpen) => Breaker::HalfOpen,
        Ok(v1::BreakerState::Unspecified) | Err(_) => return None,
    };
    let (latency, answered_ago) =
        (Duration::from_micros(latency_us), answered_ago_us.map(Duration::from_micros));
    Some((BackendId(backend), SeenBackend { breaker, latency, answered_ago }))
}
