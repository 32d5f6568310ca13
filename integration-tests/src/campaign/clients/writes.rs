//! PUT, DELETE and copies.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use rand::RngExt as _;
use s3o_testkit::history::{Call, Condition, Outcome};

use super::{Target, Worker, written};
use crate::campaign::board::KeptVersion;
use crate::campaign::buckets::BUCKETS;
use crate::campaign::content::Content;
use crate::s3::{self, Failure, md5, unquoted};

impl Worker {
    /// A body that nobody else writes and its ETag, noted.
    fn new_value(&mut self, size: usize) -> (Bytes, String) {
        let piece = self.piece(size);
        let body = piece.bytes();
        let etag = md5(&body);
        self.board.will_write(&etag, Content::new(vec![piece], &body));
        (body, etag)
    }

    pub(super) async fn put(&mut self, target: &Target, condition: Condition) -> bool {
        let size = self.draw_size();
        let (body, etag) = self.new_value(size);
        let call = Call::Write { values: vec![etag.as_str().into()], condition: condition.clone() };
        let plane = self.plane();
        let request = plane.put_object().bucket(target.bucket.name).key(&target.key);
        let request = match &condition {
            Condition::None => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Is(value) => request.if_match(format!("\"{value}\"")),
        };
        let pending = self.board.recorder.invoke(&self.name, &target.name(), call);
        let done = request.body(ByteStream::from(body)).send().await;
        let done = done.map_err(|error| Failure::of(&error));
        let id = done.as_ref().ok().and_then(|put| put.version_id().map(str::to_owned));
        let done = done.map(drop);
        pending.end(written(&done, &condition));
        self.note_version(target, id, &etag);
        self.count("put", &target.name(), &done)
    }

    /// Remembers a version that was acknowledged.
    pub(super) fn note_version(&self, target: &Target, id: Option<String>, etag: &str) {
        if let Some(id) = id.filter(|_| target.bucket.versioned) {
            let (bucket, key, etag) = (target.bucket.name.to_owned(), target.key.clone(), etag.to_owned());
            self.board.kept(KeptVersion { bucket, key, id, etag });
        }
    }

    pub(super) async fn put_if_match(&mut self, target: &Target) -> bool {
        match self.look(target).await {
            Ok(Some(etag)) => self.put(target, Condition::Is(etag.into())).await,
            Ok(None) => true,
            Err(failure) => self.count("head", &target.name(), &Err(failure)),
        }
    }

    pub(super) async fn delete(&mut self, target: &Target) -> bool {
        let plane = self.plane();
        let call = Call::Delete { condition: Condition::None };
        let pending = self.board.recorder.invoke(&self.name, &target.name(), call);
        let done = s3::delete(&plane, target.bucket.name, &target.key).await;
        pending.end(written(&done, &Condition::None));
        self.count("delete", &target.name(), &done)
    }

    /// Two keys in one call: each is deleted at a moment of its own.
    pub(super) async fn delete_many(&mut self, target: &Target) -> bool {
        let mut second = self.draw_target();
        second.bucket = target.bucket;
        let targets: Vec<&Target> =
            if second.key == target.key { vec![target] } else { vec![target, &second] };
        let plane = self.plane();
        let pending: Vec<_> = targets
            .iter()
            .map(|target| {
                let call = Call::Delete { condition: Condition::None };
                self.board.recorder.invoke(&self.name, &target.name(), call)
            })
            .collect();
        let ids =
            targets.iter().filter_map(|target| ObjectIdentifier::builder().key(&target.key).build().ok());
        let Ok(list) = Delete::builder().set_objects(Some(ids.collect())).build() else { return false };
        let done = plane.delete_objects().bucket(target.bucket.name).delete(list).send().await;
        let done = done.map_err(|error| Failure::of(&error));
        for (pending, target) in pending.into_iter().zip(&targets) {
            pending.end(match &done {
                Ok(answer) if answer.deleted().iter().any(|gone| gone.key() == Some(&target.key)) => {
                    Outcome::Done
                }
                // An error of a single key does not say that nothing was done.
                Ok(_) => Outcome::Unknown,
                Err(failure) => written(&Err(failure.clone()), &Condition::None),
            });
        }
        self.count("delete many", &target.name(), &done.map(drop))
    }

    /// Copies a source that only this client knows, from any bucket: what is written is then known before.
    pub(super) async fn copy(&mut self, target: &Target) -> bool {
        let from = &BUCKETS[self.random.random_range(0..BUCKETS.len())];
        let source = Target { bucket: from, key: format!("source/{}/{}", self.name, self.made) };
        let (size, plane) = (self.draw_size(), self.plane());
        let (body, etag) = self.new_value(size);
        let call = Call::Write { values: vec![etag.as_str().into()], condition: Condition::None };
        let pending = self.board.recorder.invoke(&self.name, &source.name(), call.clone());
        let stored = s3::put(&plane, from.name, &source.key, body).await.map(drop);
        pending.end(written(&stored, &Condition::None));
        if stored.is_err() {
            return self.count("put", &source.name(), &stored);
        }
        let plane = self.plane();
        let read = self.board.recorder.invoke(&self.name, &source.name(), Call::Read);
        let pending = self.board.recorder.invoke(&self.name, &target.name(), call);
        let request = plane.copy_object().bucket(target.bucket.name).key(&target.key);
        let done = request.copy_source(format!("{}/{}", from.name, source.key)).send().await;
        let done = done.map_err(|error| Failure::of(&error));
        read.end(match &done {
            Ok(copy) => {
                let etag = unquoted(copy.copy_object_result().and_then(|result| result.e_tag()));
                Outcome::Saw(Some(etag.into()))
            }
            Err(Failure::Answer { status: 404, .. }) => Outcome::Saw(None),
            Err(_) => Outcome::Unknown,
        });
        let id = done.as_ref().ok().and_then(|copy| copy.version_id().map(str::to_owned));
        let done = done.map(drop);
        pending.end(written(&done, &Condition::None));
        self.note_version(target, id, &etag);
        let answered = self.count("copy", &target.name(), &done);
        if self.random.random_bool(0.5) { self.delete(&source).await } else { answered }
    }
}
