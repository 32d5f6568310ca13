//! An Operations stream from the data plane's side.

use std::collections::BTreeMap;

use s3o_proto::v1;
use s3o_proto::v1::operation::Call as WireCall;
use s3o_proto::v1::outcome::Result as WireResult;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;

use super::Plane;

pub(super) struct Stream {
    up: mpsc::Sender<v1::OperationBatch>,
    pub(super) down: Streaming<v1::OutcomeBatch>,
}

impl Stream {
    pub(super) async fn open(plane: &Plane) -> Self {
        let (up, calls) = mpsc::channel(4);
        let down = plane.dataplane().operations(ReceiverStream::new(calls)).await.unwrap().into_inner();
        Self { up, down }
    }

    pub(super) async fn send(&self, calls: Vec<(u64, Option<WireCall>)>) {
        let operations = calls.into_iter().map(|(number, call)| operation(number, call)).collect();
        self.up.send(v1::OperationBatch { operations }).await.unwrap();
    }

    pub(super) async fn outcomes(&mut self, count: usize) -> BTreeMap<u64, WireResult> {
        let mut found = BTreeMap::new();
        while found.len() < count {
            let batch = self.down.message().await.unwrap().expect("the stream ended");
            assert_eq!(batch.required_features, ["f1"]);
            for v1::Outcome { number, result } in batch.outcomes {
                assert!(found.insert(number, result.unwrap()).is_none(), "one outcome a call");
            }
        }
        found
    }
}

fn operation(number: u64, call: Option<WireCall>) -> v1::Operation {
    v1::Operation {
        number,
        op: Uuid::from_u128(5).as_bytes().to_vec().into(),
        item: 2,
        request_id: "r".into(),
        traceparent: String::new(),
        access_key: "ak".into(),
        source: "192.0.2.1".into(),
        session: Uuid::from_u128(6).as_bytes().to_vec().into(),
        bulk: true,
        call,
    }
}
