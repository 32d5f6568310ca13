//! GET, HEAD and listings.
//!
//! Invariant: a degraded answer is outside of the history, since it may be old; its bytes must be whole all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use s3o_testkit::history::{Call, Event, Outcome, Value};

use super::{Target, Worker};
use crate::campaign::buckets::Bucket;
use crate::s3::{Failure, md5, unquoted};

/// Says that an answer may be old.
const DEGRADED: &str = "x-s3o-degraded";

/// Remembers an answer's status, and whether it was degraded.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<(AtomicBool, AtomicU16)>);

impl Heard {
    pub(super) fn is_degraded(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> u16 {
        self.0.1.load(Ordering::Relaxed)
    }
}

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "heard"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        self.0.0.store(response.headers().get(DEGRADED).is_some(), Ordering::Relaxed);
        self.0.1.store(response.status().as_u16(), Ordering::Relaxed);
        Ok(())
    }
}

/// What a reader saw.
pub(super) type Seen = Result<Option<String>, Failure>;

impl Worker {
    pub(super) async fn get(&mut self, target: &Target) -> bool {
        let (plane, heard) = (self.plane(), Heard::default());
        let pending = self.board.recorder.invoke(&self.name, &target.name(), Call::Read);
        let call = plane.get_object().bucket(target.bucket.name).key(&target.key);
        let seen = match call.customize().interceptor(heard.clone()).send().await {
            Ok(object) => {
                let (etag, expected) = (unquoted(object.e_tag()), object.content_length());
                match object.body.collect().await {
                    Ok(body) => self.judge(&etag, expected, &body.into_bytes(), heard.is_degraded()),
                    Err(error) => Err(Failure::Silence(format!("body: {error}"))),
                }
            }
            Err(error) => absent(Failure::of(&error)),
        };
        pending.end(self.outcome(&seen, heard.is_degraded()));
        self.count("get", &target.name(), &seen.map(drop))
    }

    /// What the bytes are: the value, or one that nobody wrote.
    fn judge(&self, etag: &str, expected: Option<i64>, body: &[u8], degraded: bool) -> Seen {
        if expected != i64::try_from(body.len()).ok() {
            return Err(Failure::Silence(format!("{} of {expected:?} bytes came", body.len())));
        }
        let found = md5(body);
        if self.board.is_content(etag, &found) {
            return Ok(Some(etag.to_owned()));
        }
        if degraded && self.board.is_damaged(etag) {
            // The damage is ours, and what the bytes should be only the database knows.
            self.board.count("get of a damaged object", "other bytes".to_owned());
            return Err(Failure::Silence("damaged".to_owned()));
        }
        Ok(Some(format!("torn: etag {etag}, but {} bytes with MD5 {found}", body.len())))
    }

    pub(super) async fn head(&mut self, target: &Target) -> bool {
        let seen = self.look(target).await;
        self.count("head", &target.name(), &seen.map(drop))
    }

    /// The ETag that HEAD says, or that there is none.
    pub(super) async fn look(&mut self, target: &Target) -> Seen {
        let (plane, heard) = (self.plane(), Heard::default());
        let pending = self.board.recorder.invoke(&self.name, &target.name(), Call::Read);
        let call = plane.head_object().bucket(target.bucket.name).key(&target.key);
        let seen = match call.customize().interceptor(heard.clone()).send().await {
            Ok(object) => Ok(Some(unquoted(object.e_tag()))),
            Err(error) => absent(Failure::of(&error)),
        };
        pending.end(self.outcome(&seen, heard.is_degraded()));
        seen
    }

    pub(super) fn outcome(&self, seen: &Seen, degraded: bool) -> Outcome {
        if degraded {
            let is_torn = matches!(seen, Ok(Some(etag)) if etag.starts_with("torn"));
            self.board.count("degraded read", if is_torn { "torn" } else { "whole or refused" }.to_owned());
            // Bytes that nobody wrote are wrong even there.
            return if is_torn { saw(seen) } else { Outcome::Unknown };
        }
        saw(seen)
    }

    /// Each key of the epoch, in the list or not, was read at some moment of the call.
    pub(super) async fn list(&mut self, bucket: &'static Bucket) -> bool {
        let (plane, heard) = (self.plane(), Heard::default());
        let prefix = format!("hot/{}/", self.board.epoch());
        let invoked = self.board.recorder.now();
        let call = plane.list_objects_v2().bucket(bucket.name).prefix(&prefix);
        let listed = call.customize().interceptor(heard.clone()).send().await;
        let returned = self.board.recorder.now();
        let listed = listed.map_err(|error| Failure::of(&error));
        let answered = self.count("list", bucket.name, &listed.as_ref().map(drop).map_err(Clone::clone));
        let Ok(page) = listed else { return answered };
        for key in super::KEYS.iter().filter(|_| !heard.is_degraded()) {
            let key = format!("{prefix}{key}");
            let found = page.contents().iter().find(|object| object.key() == Some(&key));
            self.board.recorder.push(Event {
                key: format!("{}/{key}", bucket.name),
                client: format!("{} list", self.name),
                call: Call::Read,
                outcome: Outcome::Saw(found.map(|object| Value::from(unquoted(object.e_tag())))),
                invoked,
                returned,
            });
        }
        answered
    }
}

/// An absent key is an answer.
pub(super) fn absent(failure: Failure) -> Seen {
    match failure {
        // HEAD has no body that would say the code.
        Failure::Answer { status: 404, code } if code != "NoSuchBucket" => Ok(None),
        failure => Err(failure),
    }
}

fn saw(seen: &Seen) -> Outcome {
    match seen {
        Ok(etag) => Outcome::Saw(etag.as_deref().map(Value::from)),
        Err(_) => Outcome::Unknown,
    }
}
