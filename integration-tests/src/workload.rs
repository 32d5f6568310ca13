//! Clients that do everything to a few keys at once and write down what they saw.
//!
//! Invariant: each body is unique and its name in the history is the MD5 of the bytes that really came,
//! so that a torn or mixed body is a value that nobody wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use s3o_testkit::history::{Call, Condition, Event, Outcome, Recorder, Value};

use crate::s3::{self, Failure, md5};

/// What the clients share.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Where everything is written down.
    pub recorder: Recorder,
    bucket: String,
    keys: Arc<Vec<String>>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Workload {
    /// On these keys of a bucket.
    pub fn new(bucket: &str, keys: &[&str]) -> Self {
        Self {
            recorder: Recorder::new(),
            bucket: bucket.to_owned(),
            keys: Arc::new(keys.iter().map(|key| (*key).to_owned()).collect()),
            next: Arc::default(),
            stop: Arc::default(),
        }
    }

    /// Lets the clients end after their current call.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Runs one client until [`Self::stop`].
    pub async fn client(self, name: String, client: Client) {
        while !self.stop.load(Ordering::Relaxed) {
            let key = self.keys[rand::random_range(0..self.keys.len())].clone();
            match rand::random_range(0..100) {
                0..25 => self.put(&name, &client, &key, Condition::None).await,
                25..33 => self.put(&name, &client, &key, Condition::Absent).await,
                33..41 => self.put_if_match(&name, &client, &key).await,
                41..51 => self.delete(&name, &client, &key).await,
                51..59 => self.copy(&name, &client, &key).await,
                59..79 => self.get(&name, &client, &key).await,
                79..92 => self.head(&name, &client, &key).await,
                _ => self.list(&name, &client).await,
            }
        }
    }

    /// One last look at every key, after everything.
    pub async fn read_all(&self, client: &Client) {
        for key in self.keys.iter() {
            self.get("last", client, key).await;
        }
    }

    async fn put(&self, name: &str, client: &Client, key: &str, condition: Condition) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let size = [0, 100, 5_000, 300_000][rand::random_range(0..4)].max(30);
        let body = s3::body(&format!("{name} {n}"), size);
        let value: Value = md5(&body).into();
        let call = Call::Write { values: vec![value], condition: condition.clone() };
        let mut request = client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(body));
        match &condition {
            Condition::None => {}
            Condition::Absent => request = request.if_none_match("*"),
            Condition::Is(value) => request = request.if_match(format!("\"{value}\"")),
        }
        let pending = self.recorder.invoke(name, key, call);
        let done = request.send().await;
        pending.end(written(done.map(|_| ()).map_err(|error| Failure::of(&error)), &condition));
    }

    async fn put_if_match(&self, name: &str, client: &Client, key: &str) {
        let pending = self.recorder.invoke(name, key, Call::Read);
        let seen = s3::head(client, &self.bucket, key).await;
        pending.end(saw(&seen.clone().map(|seen| seen.map(|(etag, _)| etag))));
        if let Ok(Some((etag, _))) = seen {
            self.put(name, client, key, Condition::Is(etag.into())).await;
        }
    }

    async fn delete(&self, name: &str, client: &Client, key: &str) {
        let pending = self.recorder.invoke(name, key, Call::Delete { condition: Condition::None });
        let done = s3::delete(client, &self.bucket, key).await;
        pending.end(written(done, &Condition::None));
    }

    /// Copies a body that only this copy can have written. That the source is whole is the reader's to see.
    async fn copy(&self, name: &str, client: &Client, key: &str) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let body = s3::body(&format!("{name} {n}"), 2_000);
        let value: Value = md5(&body).into();
        let source = format!("source/{name}/{n}");
        let call = Call::Write { values: vec![value.clone()], condition: Condition::None };
        let pending = self.recorder.invoke(name, &source, call.clone());
        let done = s3::put(client, &self.bucket, &source, body).await;
        let stored = done.is_ok();
        pending.end(written(done.map(|_| ()), &Condition::None));
        if !stored {
            return;
        }
        let source_read = self.recorder.invoke(name, &source, Call::Read);
        let pending = self.recorder.invoke(name, key, call);
        let done = s3::copy(client, &self.bucket, &source, key).await;
        source_read.end(match &done {
            Ok(etag) => Outcome::Saw(Some(etag.as_str().into())),
            Err(Failure::Answer { status: 404, .. }) => Outcome::Saw(None),
            Err(_) => Outcome::Unknown,
        });
        pending.end(written(done.map(|_| ()), &Condition::None));
    }

    async fn get(&self, name: &str, client: &Client, key: &str) {
        let pending = self.recorder.invoke(name, key, Call::Read);
        let seen = s3::get(client, &self.bucket, key).await;
        let seen = seen
            .map(|seen| seen.map(|(etag, body)| if md5(&body) == etag { etag } else { torn(&etag, &body) }));
        pending.end(saw(&seen));
    }

    async fn head(&self, name: &str, client: &Client, key: &str) {
        let pending = self.recorder.invoke(name, key, Call::Read);
        let seen = s3::head(client, &self.bucket, key).await;
        pending.end(saw(&seen.clone().map(|seen| seen.map(|(etag, _)| etag))));
    }

    async fn list(&self, name: &str, client: &Client) {
        let invoked = self.recorder.now();
        let Ok(listed) = s3::list(client, &self.bucket, "hot/").await else { return };
        let returned = self.recorder.now();
        for key in self.keys.iter() {
            let etag =
                listed.iter().find(|(listed, _)| listed == key).map(|(_, etag)| Value::from(etag.as_str()));
            self.recorder.push(Event {
                key: key.clone(),
                client: format!("{name} list"),
                call: Call::Read,
                outcome: Outcome::Saw(etag),
                invoked,
                returned,
            });
        }
    }
}

fn torn(etag: &str, body: &[u8]) -> String {
    format!("torn: etag {etag}, but {} bytes with MD5 {}", body.len(), md5(body))
}

fn saw(seen: &Result<Option<String>, Failure>) -> Outcome {
    match seen {
        Ok(etag) => Outcome::Saw(etag.as_deref().map(Value::from)),
        Err(_) => Outcome::Unknown,
    }
}

fn written(done: Result<(), Failure>, condition: &Condition) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(Failure::Answer { status: 412, .. }) => Outcome::ConditionFailed,
        // If-Match on a key that does not exist.
        Err(Failure::Answer { status: 404, .. }) if matches!(condition, Condition::Is(_)) => {
            Outcome::ConditionFailed
        }
        Err(failure) if failure.is_unknown() => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}
