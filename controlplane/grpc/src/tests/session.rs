//! The session's conversation: hello, configuration, leases, usage, health, commands, goodbye.

use std::sync::atomic::Ordering;
use std::time::Duration;

use s3o_proto::v1;
use s3o_proto::v1::session_down::Message as Down;
use s3o_proto::v1::session_up::Message as Up;
use s3o_types::BackendId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::Plane;
use super::fakes::config;
use crate::status::fields;
use crate::{Breaker, DataPlaneCommand, SeenBackend};

const SESSION: Uuid = Uuid::from_u128(6);

fn hello(features: &[&str]) -> Up {
    Up::Hello(v1::Hello {
        session: SESSION.as_bytes().to_vec().into(),
        name: "dp-1".into(),
        version: "0.1.0".into(),
        features: features.iter().map(|&feature| feature.to_owned()).collect(),
        generation: 0,
    })
}

struct Session {
    up: mpsc::Sender<v1::SessionUp>,
    down: Streaming<v1::SessionDown>,
}

impl Session {
    async fn open(plane: &Plane, first: Up) -> Result<Self, Status> {
        let (up, messages) = mpsc::channel(4);
        up.send(v1::SessionUp { message: Some(first) }).await.unwrap();
        let down = plane.dataplane().session(ReceiverStream::new(messages)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn send(&self, message: Up) {
        self.up.send(v1::SessionUp { message: Some(message) }).await.unwrap();
    }

    async fn next(&mut self) -> Down {
        self.down.message().await.unwrap().expect("the stream ended").message.unwrap()
    }

    /// The first message that `pick` takes.
    async fn until<T>(&mut self, pick: impl Fn(Down) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }
}

fn configuration(message: Down) -> Option<v1::Configuration> {
    match message {
        Down::Configuration(configuration) => Some(configuration),
        _ => None,
    }
}

#[tokio::test]
async fn hello_is_answered_with_welcome_health_and_configuration() {
    let plane = Plane::start().await;
    let mut session = Session::open(&plane, hello(&["x"])).await.unwrap();
    let Down::Welcome(v1::Welcome { control_plane, lease_ms }) = session.next().await else {
        panic!("welcome comes first")
    };
    assert_eq!((control_plane.as_str(), lease_ms), ("replica-1", 60_000));
    let (one, two) = (session.next().await, session.next().await);
    let reachable = Down::Database(v1::DatabaseHealth { reachable: true });
    assert!(one == reachable || two == reachable);
    let found = configuration(one).or(configuration(two)).unwrap();
    assert_eq!((found.generation, found.cluster), (1, Uuid::from_u128(99).to_string()));
    let backend = &found.backends[0];
    assert_eq!((backend.id, backend.name.as_str(), backend.bucket.as_str()), (3, "b3", "real"));
    assert!(
        matches!(&backend.credentials, Some(v1::backend::Credentials::Static(keys)) if keys.secret_access_key == "sk")
    );
    let quirks = backend.quirks.as_ref().unwrap();
    assert!(quirks.path_style && quirks.unsigned_payload && quirks.checksum == 1 && quirks.etag == 0);
    let names: Vec<_> = found.buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    assert_eq!(names, ["photos"], "a bucket that is being deleted is not shown");
    assert_eq!(found.credentials[0].grants, [v1::Grant { bucket: 1, write: true }]);
    assert_eq!(found.buckets[0].cors[0].max_age_seconds, Some(9));
    assert_eq!(found.buckets[0].lifecycle[0].expire_after_days, Some(7));
    let without = (found.buckets[0].degraded_reads(), found.buckets[0].versioning());
    assert_eq!(without, (v1::DegradedReads::Cache, v1::Versioning::Off));
    let scope = v1::ScopedGrant { bucket: 2, prefix: "p/".into(), rights: 0b101 };
    assert_eq!(found.credentials[0].scopes, [scope]);
    let opened = plane.fakes.hellos.lock().unwrap().pop().unwrap();
    assert_eq!((opened.session, opened.name.as_str(), opened.features), (SESSION, "dp-1", vec!["x".into()]));

    plane.fakes.config.send_replace(config(4).into());
    assert_eq!(session.until(configuration).await.generation, 4);
}

#[tokio::test]
async fn a_data_plane_without_a_required_feature_is_refused() {
    let plane = Plane::requiring(vec!["sealed-blobs".into()]).await;
    let status = Session::open(&plane, hello(&[])).await.map(drop).unwrap_err();
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::FailedPrecondition, vec!["hello.features".to_owned()])
    );
    assert!(status.message().contains("sealed-blobs"));
    assert!(plane.fakes.hellos.lock().unwrap().is_empty());
    assert!(Session::open(&plane, hello(&["sealed-blobs"])).await.is_ok());
}

#[tokio::test]
async fn hello_comes_first_and_is_well_formed() {
    let plane = Plane::start().await;
    let status = Session::open(&plane, Up::Goodbye(v1::Goodbye {})).await.map(drop).unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["message".to_owned()]));
    let status = Session::open(&plane, Up::Hello(v1::Hello::default())).await.map(drop).unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["hello.session".to_owned()]));
}

#[tokio::test]
async fn heartbeats_renew_and_are_acknowledged_only_then() {
    let plane = Plane::start().await;
    let mut session = Session::open(&plane, hello(&[])).await.unwrap();
    let op = Uuid::from_u128(77);
    let beat = |number| {
        let open_ops = vec![op.as_bytes().to_vec().into()];
        Up::Heartbeat(v1::Heartbeat { number, open_ops, requests_in_flight: 9 })
    };
    let ack = |message| match message {
        Down::HeartbeatAck(v1::HeartbeatAck { number }) => Some(number),
        _ => None,
    };
    session.send(beat(1)).await;
    assert_eq!(session.until(ack).await, 1);
    assert_eq!(*plane.fakes.renewed.lock().unwrap(), [(SESSION, vec![op])]);
    plane.fakes.reachable.store(false, Ordering::SeqCst);
    session.send(beat(2)).await;
    let health = |message| match message {
        Down::Database(v1::DatabaseHealth { reachable }) => Some(reachable),
        _ => None,
    };
    while session.until(health).await {}
    plane.fakes.reachable.store(true, Ordering::SeqCst);
    assert!(session.until(health).await, "and back");
    session.send(beat(3)).await;
    assert_eq!(session.until(ack).await, 3, "the second was never acknowledged");
}

#[tokio::test]
async fn usage_is_recorded_and_acknowledged_by_its_number() {
    let plane = Plane::start().await;
    let mut session = Session::open(&plane, hello(&[])).await.unwrap();
    let usage = v1::BackendUsage {
        backend: 3,
        requests: [("put".to_owned(), 4)].into(),
        ingress_bytes: 5,
        egress_bytes: 6,
    };
    let ack = |message| match message {
        Down::UsageAck(v1::UsageAck { number }) => Some(number),
        _ => None,
    };
    for _ in 0..2 {
        session.send(Up::Usage(v1::UsageReport { number: 1, usage: vec![usage.clone()] })).await;
        assert_eq!(session.until(ack).await, 1);
    }
    let recorded = plane.fakes.usage.lock().unwrap();
    let found = &recorded[&(SESSION, 1)].usage[&BackendId(3)];
    assert_eq!((recorded.len(), found.requests["put"]), (1, 4));
    assert_eq!((found.ingress_bytes, found.egress_bytes), (5, 6));
}

#[tokio::test]
async fn reports_are_shown_while_the_stream_is_there() {
    let plane = Plane::start().await;
    let mut session = Session::open(&plane, hello(&[])).await.unwrap();
    let health = v1::BackendHealth {
        backend: 3,
        breaker: v1::BreakerState::Open.into(),
        latency_us: 1500,
        answered_ago_us: None,
    };
    let closed = v1::BreakerState::Closed.into();
    let unknown = v1::BackendHealth { backend: 4, breaker: 99, ..health };
    let good = v1::BackendHealth { backend: 5, breaker: closed, answered_ago_us: Some(59_000_000), ..health };
    let idle = v1::BackendHealth { backend: 6, breaker: closed, answered_ago_us: Some(61_000_000), ..health };
    let new = v1::BackendHealth { backend: 7, breaker: closed, ..health };
    session.send(Up::Backends(v1::BackendReport { backends: vec![health, unknown, good, idle, new] })).await;
    // The acknowledgement says that the report before it was read.
    session.send(Up::Heartbeat(v1::Heartbeat { number: 1, open_ops: vec![], requests_in_flight: 2 })).await;
    session.until(|message| matches!(message, Down::HeartbeatAck(_)).then_some(())).await;
    let (id, report) = plane.wiring.reports.all().pop().unwrap();
    assert_eq!((id, report.name.as_str(), report.requests_in_flight), (SESSION, "dp-1", 2));
    let latency = Duration::from_micros(1500);
    let seen = SeenBackend { breaker: Breaker::Open, latency, answered_ago: None };
    assert_eq!(report.backends[&BackendId(3)], seen);
    assert_eq!(report.backends.keys().map(|id| id.0).collect::<Vec<_>>(), [3, 5, 6, 7]);
    // One that is not asked cannot say that a backend is up.
    let views = vec![(BackendId(3), Some(0)), (BackendId(5), None)];
    assert_eq!(*plane.fakes.views.lock().unwrap(), [(SESSION, views)]);
    session.send(Up::Goodbye(v1::Goodbye {})).await;
    while session.down.message().await.unwrap().is_some() {}
    while !plane.wiring.reports.all().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*plane.fakes.closed.lock().unwrap(), [SESSION]);
}

#[tokio::test]
async fn commands_reach_the_session_they_are_for() {
    let plane = Plane::start().await;
    let mut session = Session::open(&plane, hello(&[])).await.unwrap();
    session.until(configuration).await;
    let filter = DataPlaneCommand::SetLogFilter("debug".into());
    while plane.wiring.commands.send(Some(Uuid::from_u128(1)), filter.clone()) == 0 {
        tokio::task::yield_now().await;
    }
    plane.wiring.commands.send(Some(SESSION), filter);
    plane.wiring.commands.send(None, DataPlaneCommand::Drain);
    let command = |message| match message {
        Down::Command(v1::Command { command }) => command,
        _ => None,
    };
    let set = v1::command::Command::SetLogFilter(v1::SetLogFilter { filter: "debug".into() });
    assert_eq!(session.until(command).await, set);
    assert_eq!(session.until(command).await, v1::command::Command::Drain(v1::Drain {}));
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_and_no_lease() {
    let plane = Plane::start().await;
    let mut session = Session::open(&plane, hello(&[])).await.unwrap();
    session.until(configuration).await;
    plane.shutdown.begin();
    while let Ok(Some(_)) = session.down.message().await {}
    assert!(plane.fakes.closed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_session_is_told_whose_month_is_used_up() {
    let plane = Plane::start().await;
    let mut limited = config(2);
    limited.backends[0].limits.egress_bytes = Some(9);
    plane.fakes.config.send_replace(limited.into());
    let mut session = Session::open(&plane, hello(&[])).await.unwrap();
    let spent = |message| match message {
        Down::Spent(v1::SpentBackends { backends }) => Some(backends),
        _ => None,
    };
    assert_eq!(session.until(spent).await, [3], "9 bytes were read of it");
}
