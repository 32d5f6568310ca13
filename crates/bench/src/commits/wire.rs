//! A data plane without bodies: a session and its stream of calls.
//!
//! As in the data plane, what is queued when the stream can take a message travels in it together.
//!
//! Invariant: a call that is not answered with success is an error, and a stream that ends is one for
//! everybody who waits on it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::Stream;
use s3o_proto::v1;
use s3o_proto::v1::data_plane_client::DataPlaneClient;
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_proto::v1::session_up::Message as Up;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// Calls in a message, as in the data plane.
const BATCH: usize = 256;

/// What is said to be stored.
const SIZE: u64 = 4096;
const ETAG: &str = "0f343b0931126a20f133d67c2b018a3b";

#[derive(Clone)]
struct Token(MetadataValue<Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert(s3o_proto::AUTHORIZATION, self.0.clone());
        Ok(request)
    }
}

/// See the module.
pub(super) struct Wire {
    session: Uuid,
    bucket: i32,
    queue: Arc<Queue>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>,
    number: AtomicU64,
    /// Keeps the session open.
    _up: mpsc::Sender<v1::SessionUp>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    calls: Mutex<VecDeque<v1::Operation>>,
    queued: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Opens a session and a stream of calls.
    pub(super) async fn open(address: SocketAddr, token: &str, bucket: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?;
        let token = Token(format!("Bearer {token}").parse()?);
        let mut client = DataPlaneClient::with_interceptor(channel, token);
        let session = Uuid::now_v7();
        let (up, configuration, down) = open_session(&mut client, session).await?;
        let bucket =
            configuration.buckets.iter().find(|found| found.name == bucket).context("no such bucket")?.id;
        let queue = Arc::new(Queue::default());
        let mut outcomes = client.operations(batches(Arc::clone(&queue))).await?.into_inner();
        let waiting = Arc::new(Mutex::new(HashMap::<u64, oneshot::Sender<Outcome>>::new()));
        let receivers = Arc::clone(&waiting);
        let receive = tokio::spawn(async move {
            while let Ok(Some(batch)) = outcomes.message().await {
                let mut receivers = lock(&receivers);
                for outcome in batch.outcomes {
                    if let (Some(caller), Some(result)) = (receivers.remove(&outcome.number), outcome.result)
                    {
                        let _ = caller.send(result);
                    }
                }
            }
            // Those who wait hear that the stream has ended.
            lock(&receivers).clear();
        });
        let beats = tokio::spawn(beat(up.clone()));
        let tasks = vec![down, receive, beats];
        Ok(Self { session, bucket, queue, waiting, number: AtomicU64::new(1), _up: up, tasks })
    }

    async fn call(&self, op: Uuid, call: Call) -> Result<Outcome> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting).insert(number, sender);
        lock(&self.queue.calls).push_back(v1::Operation {
            number,
            op: op.as_bytes().to_vec().into(),
            item: 0,
            request_id: format!("bench-{number}"),
            traceparent: String::new(),
            access_key: "AKIABENCH".to_owned(),
            source: "127.0.0.1".to_owned(),
            session: self.session.as_bytes().to_vec().into(),
            bulk: false,
            call: Some(call),
        });
        self.queue.queued.notify_one();
        receiver.await.context("the stream ended before the outcome")
    }

    /// Begin and Commit of an object of 4 KiB.
    pub(super) async fn write(&self, key: &str) -> Result<()> {
        let op = Uuid::now_v7();
        let begin = v1::Begin {
            bucket: self.bucket,
            key: key.to_owned(),
            size: SIZE,
            conditions: Some(v1::Conditions::default()),
            kind: v1::WriteKind::Put.into(),
            ..v1::Begin::default()
        };
        let begun = match self.call(op, Call::Begin(begin)).await? {
            Outcome::Begun(begun) => begun,
            other => bail!("Begin of {key}: {other:?}"),
        };
        let intent = v1::Intent {
            upload: bytes::Bytes::new(),
            bucket: self.bucket,
            key: key.to_owned(),
            version: begun.version,
            size: SIZE,
            conditions: Some(v1::Conditions::default()),
            targets: begun.targets,
        };
        match self.call(op, Call::Commit(commit(intent))).await? {
            Outcome::Committed(_) => Ok(()),
            other => bail!("Commit of {key}: {other:?}"),
        }
    }
}

fn commit(intent: v1::Intent) -> v1::Commit {
    let copies = intent.targets.iter().take(1).map(|target| v1::StoredCopy {
        backend: target.backend,
        extent: target.extent,
        r#gen: target.r#gen,
        stored_size: SIZE,
        backend_etag: ETAG.to_owned(),
        ..v1::StoredCopy::default()
    });
    let copies = copies.collect();
    let attributes = Some(v1::ObjectAttributes::default());
    v1::Commit { intent: Some(intent), etag: ETAG.to_owned(), attributes, copies, ..v1::Commit::default() }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

type Client = DataPlaneClient<InterceptedService<Channel, Token>>;

/// Says hello and waits for the configuration; what follows is read and dropped.
async fn open_session(
    client: &mut Client,
    session: Uuid,
) -> Result<(mpsc::Sender<v1::SessionUp>, v1::Configuration, JoinHandle<()>)> {
    let (up, messages) = mpsc::channel(4);
    let hello = v1::Hello {
        session: session.as_bytes().to_vec().into(),
        name: "bench".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: s3o_proto::FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
        generation: 0,
    };
    up.send(v1::SessionUp { message: Some(Up::Hello(hello)) }).await?;
    let mut down = client.session(ReceiverStream::new(messages)).await?.into_inner();
    let configuration = async {
        while let Some(message) = down.message().await? {
            if let Some(v1::session_down::Message::Configuration(configuration)) = message.message {
                return Ok(configuration);
            }
        }
        bail!("the session ended without a configuration")
    };
    let configuration = tokio::time::timeout(Duration::from_secs(60), configuration).await??;
    let drain = tokio::spawn(async move { while let Ok(Some(_)) = down.message().await {} });
    Ok((up, configuration, drain))
}

/// Renews the lease, as a data plane does.
async fn beat(up: mpsc::Sender<v1::SessionUp>) {
    for number in 1.. {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let beat = v1::Heartbeat { number, open_ops: Vec::new(), requests_in_flight: 0 };
        if up.send(v1::SessionUp { message: Some(Up::Heartbeat(beat)) }).await.is_err() {
            return;
        }
    }
}

fn batches(queue: Arc<Queue>) -> impl Stream<Item = v1::OperationBatch> + Send {
    futures::stream::unfold(queue, |queue| async move {
        loop {
            let operations: Vec<_> = {
                let mut calls = lock(&queue.calls);
                let count = calls.len().min(BATCH);
                calls.drain(..count).collect()
            };
            if !operations.is_empty() {
                return Some((v1::OperationBatch { operations }, queue));
            }
            queue.queued.notified().await;
        }
    })
}
