//! One `Operations` stream on one channel.
//!
//! Batching is opportunistic: whatever is queued when the stream can take a message travels in it, so
//! a lone call is sent at once and a busy process sends full batches. There is no timer.
//!
//! Invariant: when the stream breaks every waiting call hears of it, and none is left behind.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::Stream;
use prost::Message as _;
use s3o_proto::v1;
use s3o_proto::v1::data_plane_client::DataPlaneClient;
use tokio::sync::{Notify, oneshot};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::Control;
use super::lanes::Token;

/// As many items as the control plane puts in one transaction (DESIGN §6).
const MAX_BATCH_ITEMS: usize = 256;
/// And as many bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// The generated client over a channel with our token.
pub(super) type Client = DataPlaneClient<InterceptedService<Channel, Token>>;

/// The stream ended before the outcome came.
#[derive(Debug)]
pub(super) struct Broken;

/// A channel to one address and the stream on it.
pub(super) struct Lane {
    pub(super) address: SocketAddr,
    pub(super) client: Client,
    /// Not to be used any more: its address is gone.
    retired: AtomicBool,
    /// The stream that is open now.
    open: Mutex<Option<Arc<OpenStream>>>,
    in_flight: AtomicUsize,
}

#[derive(Default)]
struct OpenStream {
    next_number: AtomicU64,
    /// Set under the lock of `waiting`, so that no call slips in behind the end.
    waiting: Mutex<Waiting>,
    queue: Mutex<VecDeque<v1::Operation>>,
    queued: Notify,
}

#[derive(Default)]
struct Waiting {
    ended: bool,
    calls: HashMap<u64, oneshot::Sender<v1::Outcome>>,
}

impl Lane {
    pub(super) fn new(address: SocketAddr, client: Client) -> Self {
        let (retired, open, in_flight) = (AtomicBool::new(false), Mutex::new(None), AtomicUsize::new(0));
        Self { address, client, retired, open, in_flight }
    }

    pub(super) fn is_up(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && lock(&self.open).is_some()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it gets no new calls; an address that comes back gets them again.
    pub(super) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0
    }

    /// One call on the stream that is open now.
    pub(super) async fn call(&self, mut operation: v1::Operation) -> Result<v1::Outcome, Broken> {
        let stream = lock(&self.open).clone().ok_or(Broken)?;
        let number = stream.next_number.fetch_add(1, Ordering::Relaxed);
        operation.number = number;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = lock(&stream.waiting);
            if waiting.ended {
                return Err(Broken);
            }
            waiting.calls.insert(number, sender);
        }
        let _forget = Forget { lane: self, stream: &stream, number };
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        lock(&stream.queue).push_back(operation);
        stream.queued.notify_one();
        receiver.await.map_err(|_| Broken)
    }

    /// Opens the stream and hands out outcomes until it ends.
    pub(super) async fn run_once(&self, control: &Control) -> Result<(), tonic::Status> {
        let stream = Arc::new(OpenStream::default());
        let mut client = self.client.clone();
        let answer = client.operations(batches(Arc::clone(&stream))).await;
        let mut outcomes = answer?.into_inner();
        *lock(&self.open) = Some(Arc::clone(&stream));
        let _close = Close { lane: self, stream: &stream };
        tracing::info!(address = %self.address, "control plane connected");
        while let Some(batch) = outcomes.message().await? {
            let v1::OutcomeBatch { outcomes, required_features } = batch;
            control.see_required(&required_features);
            let mut waiting = lock(&stream.waiting);
            for outcome in outcomes {
                if let Some(caller) = waiting.calls.remove(&outcome.number) {
                    // A caller that gave up does not matter.
                    let _ = caller.send(outcome);
                }
            }
        }
        Ok(())
    }
}

/// Takes back what a caller that ends or is dropped left.
struct Forget<'a> {
    lane: &'a Lane,
    stream: &'a OpenStream,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.stream.waiting).calls.remove(&self.number);
        // What has not left must not be decided after its caller was told "unknown".
        lock(&self.stream.queue).retain(|operation| operation.number != self.number);
        self.lane.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends a stream for all who wait on it.
struct Close<'a> {
    lane: &'a Lane,
    stream: &'a OpenStream,
}

impl Drop for Close<'_> {
    fn drop(&mut self) {
        *lock(&self.lane.open) = None;
        let mut waiting = lock(&self.stream.waiting);
        waiting.ended = true;
        // Dropping the senders wakes the callers.
        waiting.calls.clear();
    }
}

/// The messages: each has all that was queued when the channel could take it.
fn batches(stream: Arc<OpenStream>) -> impl Stream<Item = v1::OperationBatch> + Send {
    futures::stream::unfold(stream, |stream| async move {
        loop {
            // Requests that are being read right now get one turn to join: a message costs more than a call.
            tokio::task::yield_now().await;
            let operations = take_batch(&mut lock(&stream.queue));
            if !operations.is_empty() {
                return Some((v1::OperationBatch { operations }, stream));
            }
            stream.queued.notified().await;
        }
    })
}

fn take_batch(queue: &mut VecDeque<v1::Operation>) -> Vec<v1::Operation> {
    let mut bytes = 0;
    let mut operations = Vec::new();
    while let Some(operation) = queue.pop_front() {
        let size = operation.encoded_len();
        if operations.len() == MAX_BATCH_ITEMS || (bytes + size > MAX_BATCH_BYTES && !operations.is_empty()) {
            queue.push_front(operation);
            break;
        }
        bytes += size;
        operations.push(operation);
    }
    operations
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let mut queue: VecDeque<_> =
            (0..600).map(|number| v1::Operation { number, ..Default::default() }).collect();
        let mut seen = Vec::new();
        while !queue.is_empty() {
            let batch = take_batch(&mut queue);
            assert!(!batch.is_empty() && batch.len() <= MAX_BATCH_ITEMS);
            seen.extend(batch.into_iter().map(|operation| operation.number));
        }
        assert_eq!(seen, (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn one_large_call_travels_alone() {
        let large = v1::Operation { request_id: "x".repeat(2 * MAX_BATCH_BYTES), ..Default::default() };
        let mut queue = VecDeque::from([large.clone(), large]);
        assert_eq!(take_batch(&mut queue).len(), 1);
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_is_not_sent_later() {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let client = Client::new(InterceptedService::new(channel, Token::none()));
        let lane = Lane::new(SocketAddr::from(([127, 0, 0, 1], 1)), client);
        let stream = Arc::new(OpenStream::default());
        *lock(&lane.open) = Some(Arc::clone(&stream));
        let mut call = Box::pin(lane.call(v1::Operation::default()));
        assert!(futures::poll!(&mut call).is_pending());
        assert_eq!(lock(&stream.queue).len(), 1);
        drop(call);
        assert!(lock(&stream.queue).is_empty() && lock(&stream.waiting).calls.is_empty());
        assert_eq!(lane.in_flight(), 0);
    }
}
