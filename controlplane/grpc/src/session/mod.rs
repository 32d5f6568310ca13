//! The Session stream: a data plane's lease, its configuration, and what it reports.
//!
//! Invariants: nothing is granted before Hello and its features; an acknowledgement goes out after
//! the table has it; a stream that breaks ends no lease, since the data plane opens another.

pub(crate) mod commands;
pub(crate) mod configuration;
mod down;
pub(crate) mod reports;
mod up;

use std::time::Duration;

use s3o_core::session::{Hello, LEASE_SECONDS};
use s3o_proto::v1;
use s3o_types::ErrorCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tracing::{info, warn};

use crate::field::Bad;
use crate::incoming::Connection;
use crate::status::{about_field, port_failed};
use crate::wiring::{Ports, Wiring};
use down::Down;

/// How long a stream may be open without Hello.
const HELLO: Duration = Duration::from_secs(10);

/// Messages that wait for the connection.
const OUTGOING: usize = 16;

pub(crate) type Messages = ReceiverStream<Result<v1::SessionDown, Status>>;

/// Takes Hello, opens the lease and serves the stream.
pub(crate) async fn open(
    wiring: &Wiring,
    request: Request<Streaming<v1::SessionUp>>,
) -> Result<Messages, Status> {
    let ports = wiring.ports()?.clone();
    let retire = request.extensions().get::<Connection>().and_then(|connection| connection.retire);
    let mut messages = request.into_inner();
    let first = timeout(HELLO, messages.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came"))??
        .ok_or_else(|| Status::cancelled("the stream ended before hello"))?;
    let hello = hello(first)?;
    features_suffice(&hello, wiring)?;
    ports.sessions.open(hello.clone()).await.map_err(|error| port_failed(&error))?;
    info!(session = %hello.session, name = hello.name, version = hello.version, "data plane connected");

    let (out, down) = mpsc::channel(OUTGOING);
    wiring.shutdown.spawn(serve(wiring.clone(), ports, hello, messages, out, retire));
    Ok(ReceiverStream::new(down))
}

fn hello(first: v1::SessionUp) -> Result<Hello, Bad> {
    let v1::SessionUp { message } = first;
    let Some(v1::session_up::Message::Hello(hello)) = message else {
        return Err(Bad::new("message", "the first one of a session must be hello"));
    };
    up::hello(hello).map_err(|bad| bad.within("hello"))
}

fn features_suffice(hello: &Hello, wiring: &Wiring) -> Result<(), Status> {
    let mut required = wiring.required_features();
    required.retain(|feature| !hello.features.contains(feature));
    if required.is_empty() {
        return Ok(());
    }
    let missing = required.join(", ");
    let code = Code::from_i32(ErrorCode::FeatureRequired.info().grpc);
    let text = format!("this data plane ({}) lacks {missing}, which the cluster requires", hello.version);
    Err(about_field(code, "hello.features", &text))
}

async fn serve(
    wiring: Wiring,
    ports: Ports,
    hello: Hello,
    messages: Streaming<v1::SessionUp>,
    out: mpsc::Sender<Result<v1::SessionDown, Status>>,
    retire: Option<Instant>,
) {
    let session = hello.session;
    let report = wiring.reports.connect(session, &hello.name);
    let down = Down { wiring: wiring.clone(), out };
    let welcome = v1::Welcome {
        control_plane: wiring.instance.to_string(),
        lease_ms: u64::from(LEASE_SECONDS) * 1_000,
    };
    let retired = async {
        match retire {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    // Nobody listens any more: the stream is over.
    if down.send(v1::session_down::Message::Welcome(welcome)).await.is_err() {
        return;
    }
    tokio::select! {
        () = wiring.shutdown.stopping() => {}
        () = retired => {}
        _ = down.push(&ports, session) => {}
        result = up::read(&ports, session, messages, &down, &report) => match result {
            Ok(up::End::Goodbye) => info!(%session, "data plane said goodbye"),
            Ok(up::End::Broken) => info!(%session, "data plane's stream ended"),
            Err(status) => {
                warn!(%session, error = %status, "session stream refused");
                let _ = down.refuse(status).await;
            }
        },
    }
}
