//! `s3o status` and `s3o admin …`: clients of the Admin service.
//!
//! Invariant: what is shown is what the service said; nothing is computed here but units.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use s3o_proto::{AUTHORIZATION, MAX_MESSAGE_BYTES, v1};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::say;

mod command;
mod drains;
mod probe;
mod rebalance;
mod recover;
mod remove;
mod runs;
mod scrub;
mod table;
mod workers;

pub(crate) use command::{Command, run};
pub(crate) use probe::{BackendCommand, backend};
pub(crate) use recover::{Args as RecoverArgs, recover};
use table::{Table, bytes, percent};

/// For the whole answer; a worker's tick may take a while.
const PATIENCE: Duration = Duration::from_mins(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Between two pings, and how long one may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// Where the service is and who we are.
#[derive(clap::Args)]
pub(crate) struct Connection {
    /// Address of a control plane, `http://host:port` or `https://host:port`
    #[arg(long, value_name = "URL", env = "S3O_ENDPOINT", default_value = "http://127.0.0.1:9090")]
    endpoint: String,
    /// The admin token
    #[arg(long, value_name = "TOKEN", env = "S3O_ADMIN_TOKEN", hide_env_values = true)]
    token: String,
    /// Who signed the certificate, for https: a PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Puts the token on each call.
#[derive(Clone)]
struct Token(MetadataValue<Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(AUTHORIZATION, self.0.clone());
        Ok(request)
    }
}

type Client = v1::admin_client::AdminClient<InterceptedService<Channel, Token>>;

async fn connect(connection: &Connection) -> anyhow::Result<Client> {
    connect_for(connection, Some(PATIENCE)).await
}

/// `patience`: for the whole answer; `None`: as long as it takes, and the connection is seen to be alive meanwhile.
async fn connect_for(connection: &Connection, patience: Option<Duration>) -> anyhow::Result<Client> {
    let token = format!("Bearer {}", connection.token);
    let token = Token(token.parse().ok().context("the token may only have visible ASCII characters")?);
    let mut endpoint = Endpoint::from_shared(connection.endpoint.clone())
        .with_context(|| format!("`{}` is not an address", connection.endpoint))?
        .connect_timeout(CONNECT_PATIENCE)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1);
    if let Some(patience) = patience {
        endpoint = endpoint.timeout(patience);
    }
    if let Some(ca) = &connection.ca {
        let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
        endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))?;
    } else if connection.endpoint.starts_with("https:") {
        bail!("an https address needs --ca FILE: who signed the control plane's certificate");
    }
    let channel = endpoint
        .connect()
        .await
        .with_context(|| format!("no control plane answers at {}", connection.endpoint))?;
    Ok(v1::admin_client::AdminClient::with_interceptor(channel, token)
        .max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// A refusal as a sentence.
fn refused(status: &Status) -> anyhow::Error {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => anyhow::anyhow!("refused: {}", status.message()),
        code => anyhow::anyhow!("the control plane answered {code:?}: {}", status.message()),
    }
}

/// Shows backends, buckets, data planes and queues.
pub(crate) async fn status(connection: &Connection) -> anyhow::Result<()> {
    let mut client = connect(connection).await?;
    let status =
        client.get_status(v1::GetStatusRequest {}).await.map_err(|status| refused(&status))?.into_inner();
    let v1::Status {
        cluster,
        version,
        instance,
        database_reachable,
        generation,
        backends,
        buckets,
        sessions,
        intents,
        cleanup_queue,
        cleanup_dlq,
        recovery,
    } = status;
    let database = if database_reachable { "reachable" } else { "NOT reachable" };
    say(format_args!("cluster {cluster}, release {version}, answered by {instance}"));
    say(format_args!("database {database}, configuration generation {generation}"));
    say(format_args!("open intents {intents}, cleanup queue {cleanup_queue}, dead letters {cleanup_dlq}"));
    if !recovery.is_empty() {
        say(format_args!("RECOVERY MODE, nothing is deleted until `s3o recover`: {recovery}"));
    }
    show_backends(backends);
    let mut table = Table::new(["BUCKET", "ACK", "COPIES", "VERSIONING"]);
    for v1::BucketStatus { id: _, name, ack, replication_factor, versioning } in buckets {
        table.row([name, ack, replication_factor.to_string(), versioning]);
    }
    say(table);
    let mut table = Table::new(["DATA PLANE", "RELEASE", "ALIVE", "SESSION"]);
    for v1::SessionStatus { id, name, version, alive } in sessions {
        table.row([name, version, if alive { "yes" } else { "no" }.to_owned(), id]);
    }
    say(table);
    Ok(())
}

fn show_backends(backends: Vec<v1::BackendStatus>) {
    let mut table = Table::new([
        "BACKEND", "STATE", "QUOTA", "USED", "RESERVED", "ORPHANED", "FULL", "OBJECTS", "REQUESTS", "IN",
        "OUT",
    ]);
    for backend in backends {
        let v1::BackendStatus {
            id: _,
            name,
            state,
            quota_bytes,
            used_bytes,
            reserved_bytes,
            orphan_bytes,
            objects,
            month_requests,
            month_ingress_bytes,
            month_egress_bytes,
            limit_requests,
            limit_ingress_bytes,
            limit_egress_bytes,
        } = backend;
        let taken = used_bytes + reserved_bytes + orphan_bytes;
        table.row([
            name,
            state,
            if quota_bytes == 0 { "none".to_owned() } else { bytes(i128::from(quota_bytes)) },
            bytes(used_bytes.into()),
            bytes(reserved_bytes.into()),
            bytes(orphan_bytes.into()),
            percent(taken.into(), quota_bytes.into()),
            objects.to_string(),
            of(month_requests, limit_requests, |n| n.to_string()),
            of(month_ingress_bytes, limit_ingress_bytes, bytes),
            of(month_egress_bytes, limit_egress_bytes, bytes),
        ]);
    }
    say(table);
}

/// What was used this month, and what may be; 0: it is not limited.
fn of(used: u64, limit: u64, show: impl Fn(i128) -> String) -> String {
    let used = show(used.into());
    if limit == 0 { used } else { format!("{used} of {}", show(limit.into())) }
}
