//! A data plane that does what it is told: every call at the gRPC port, repeated, late or out of order.
//!
//! Invariant: a call is sent exactly once for each `call`, with exactly the operation id given.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use s3o_proto::v1;
use s3o_proto::v1::admin_client::AdminClient;
use s3o_proto::v1::data_plane_client::DataPlaneClient;
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_proto::v1::session_up::Message as Up;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use uuid::Uuid;

use crate::wait::DEADLINE;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>;

/// Puts the token on every call.
#[derive(Clone)]
pub struct Token(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(s3o_proto::AUTHORIZATION, self.0.clone());
        Ok(request)
    }
}

/// A channel with the token.
pub type Authorized = InterceptedService<Channel, Token>;

async fn connect(address: SocketAddr, token: &str) -> Result<(Channel, Token)> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    Ok((channel, Token(format!("Bearer {token}").parse()?)))
}

/// The admin service at one control plane.
pub async fn admin(address: SocketAddr, token: &str) -> Result<AdminClient<Authorized>> {
    let (channel, token) = connect(address, token).await?;
    Ok(AdminClient::with_interceptor(channel, token))
}

/// The admin service of a control plane with TLS.
pub async fn admin_over_tls(
    address: SocketAddr,
    token: &str,
    dial: &crate::config::Dial,
) -> Result<AdminClient<Authorized>> {
    let ca = Certificate::from_pem(tokio::fs::read(&dial.ca).await?);
    let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(&dial.domain);
    if let Some((cert, key)) = &dial.pair {
        tls = tls.identity(Identity::from_pem(tokio::fs::read(cert).await?, tokio::fs::read(key).await?));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
    let token = Token(format!("Bearer {token}").parse()?);
    Ok(AdminClient::with_interceptor(endpoint.connect().await?, token))
}

/// A session with its operation stream.
pub struct Wire {
    /// The session's id.
    pub session: Uuid,
    /// The first configuration that came.
    pub configuration: v1::Configuration,
    up: mpsc::Sender<v1::SessionUp>,
    calls: mpsc::Sender<v1::OperationBatch>,
    waiting: Waiting,
    next: std::sync::atomic::AtomicU64,
    tasks: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Opens a session and a stream of calls; returns when it has a configuration.
    pub async fn open(address: SocketAddr, token: &str, session: Uuid) -> Result<Self> {
        let (channel, token) = connect(address, token).await?;
        let mut client = DataPlaneClient::with_interceptor(channel, token);
        let (up, up_rx) = mpsc::channel(16);
        let hello = v1::Hello {
            session: session.as_bytes().to_vec().into(),
            name: "test".into(),
            version: "0.1.0".into(),
            features: s3o_proto::FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
            generation: 0,
        };
        up.send(v1::SessionUp { message: Some(Up::Hello(hello)) }).await?;
        let mut down = client.session(ReceiverStream::new(up_rx)).await?.into_inner();
        let configuration = tokio::time::timeout(DEADLINE, first_configuration(&mut down)).await??;
        let drain = tokio::spawn(async move { while let Ok(Some(_)) = down.message().await {} });
        let (calls, calls_rx) = mpsc::channel(64);
        let mut outcomes = client.operations(ReceiverStream::new(calls_rx)).await?.into_inner();
        let waiting = Waiting::default();
        let receivers = Arc::clone(&waiting);
        let receive = tokio::spawn(async move {
            while let Ok(Some(batch)) = outcomes.message().await {
                for outcome in batch.outcomes {
                    let receiver = lock(&receivers).remove(&outcome.number);
                    if let (Some(receiver), Some(result)) = (receiver, outcome.result) {
                        // Its caller may have gone.
                        let _ = receiver.send(result);
                    }
                }
            }
            lock(&receivers).clear();
        });
        Ok(Self {
            session,
            configuration,
            up,
            calls,
            waiting,
            next: std::sync::atomic::AtomicU64::new(1),
            tasks: vec![drain, receive],
        })
    }

    /// Sends one call and waits for its outcome.
    pub async fn call(&self, op: Uuid, call: Call) -> Result<Outcome> {
        self.batch(vec![(op, call)]).await?.pop().context("no outcome")
    }

    /// Sends calls in one message and waits for all outcomes, in the order of the calls.
    pub async fn batch(&self, calls: Vec<(Uuid, Call)>) -> Result<Vec<Outcome>> {
        let mut receivers = Vec::new();
        let mut operations = Vec::new();
        for (op, call) in calls {
            let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            lock(&self.waiting).insert(number, sender);
            receivers.push(receiver);
            operations.push(v1::Operation {
                number,
                op: op.as_bytes().to_vec().into(),
                item: 0,
                request_id: format!("test-{number}"),
                traceparent: String::new(),
                access_key: crate::config::KEY.0.into(),
                source: "127.0.0.1".into(),
                session: self.session.as_bytes().to_vec().into(),
                bulk: false,
                call: Some(call),
            });
        }
        self.calls.send(v1::OperationBatch { operations }).await.context("the stream has ended")?;
        let mut outcomes = Vec::new();
        for receiver in receivers {
            let outcome = tokio::time::timeout(DEADLINE, receiver).await.context("no outcome in time")?;
            outcomes.push(outcome.context("the stream ended before the outcome")?);
        }
        Ok(outcomes)
    }

    /// Renews the lease.
    pub async fn heartbeat(&self, number: u64, open_ops: Vec<Uuid>) -> Result<()> {
        let open_ops = open_ops.iter().map(|op| op.as_bytes().to_vec().into()).collect();
        let beat = v1::Heartbeat { number, open_ops, requests_in_flight: 0 };
        Ok(self.up.send(v1::SessionUp { message: Some(Up::Heartbeat(beat)) }).await?)
    }

    /// Begins a PUT. The intent as Commit and Abort carry it.
    pub async fn begin(&self, op: Uuid, bucket: i32, key: &str, size: u64) -> Result<v1::Intent> {
        self.begin_if(op, bucket, key, size, v1::Conditions::default()).await
    }

    /// Begins a conditional PUT.
    pub async fn begin_if(
        &self,
        op: Uuid,
        bucket: i32,
        key: &str,
        size: u64,
        conditions: v1::Conditions,
    ) -> Result<v1::Intent> {
        let begin = begin(bucket, key, size, conditions.clone());
        match self.call(op, begin).await? {
            Outcome::Begun(begun) => Ok(v1::Intent {
                upload: bytes::Bytes::new(),
                bucket,
                key: key.to_owned(),
                version: begun.version,
                size,
                conditions: Some(conditions),
                targets: begun.targets,
            }),
            other => bail!("begin of {key}: {other:?}"),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn first_configuration(down: &mut tonic::Streaming<v1::SessionDown>) -> Result<v1::Configuration> {
    while let Some(message) = down.message().await? {
        if let Some(v1::session_down::Message::Configuration(configuration)) = message.message {
            return Ok(configuration);
        }
    }
    bail!("the session ended without a configuration")
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begin of a PUT.
pub fn begin(bucket: i32, key: &str, size: u64, conditions: v1::Conditions) -> Call {
    Call::Begin(v1::Begin {
        part: None,
        bucket,
        key: key.to_owned(),
        size,
        conditions: Some(conditions),
        kind: v1::WriteKind::Put.into(),
        down: Vec::new(),
        prefer: Vec::new(),
        lock: None,
    })
}

/// Commit of a whole blob on the intent's first target.
pub fn commit(intent: &v1::Intent, etag: &str) -> Call {
    let copies = intent.targets.iter().take(1).map(|target| v1::StoredCopy {
        backend: target.backend,
        extent: target.extent,
        r#gen: target.r#gen,
        stored_size: intent.size,
        backend_etag: etag.to_owned(),
        backend_version: String::new(),
        encoding: None,
        digest: Vec::new().into(),
    });
    Call::Commit(v1::Commit {
        intent: Some(intent.clone()),
        etag: etag.to_owned(),
        attributes: Some(v1::ObjectAttributes::default()),
        checksums: HashMap::new(),
        copies: copies.collect(),
        failed: Vec::new(),
        copied: Vec::new(),
    })
}

/// Abort with every target left like this.
pub fn abort(intent: &v1::Intent, end: v1::TargetEnd) -> Call {
    let targets = intent.targets.iter().map(|target| v1::FinishedTarget {
        backend: target.backend,
        extent: target.extent,
        r#gen: target.r#gen,
        end: end.into(),
        ..v1::FinishedTarget::default()
    });
    Call::Abort(v1::Abort { intent: Some(intent.clone()), targets: targets.collect() })
}

/// Delete.
pub fn delete(bucket: i32, key: &str) -> Call {
    Call::Delete(v1::Delete { bucket, key: key.to_owned(), ..v1::Delete::default() })
}

/// Locate.
pub fn locate(bucket: i32, key: &str) -> Call {
    Call::Locate(v1::Locate { bucket, key: key.to_owned(), ..Default::default() })
}

/// A fresh operation id.
pub fn op() -> Uuid {
    Uuid::now_v7()
}
