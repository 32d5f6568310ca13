//! What is common to keys that this client alone writes: they are stored, and deleted for good.
//!
//! Invariant: a deletion by a version's id is noted before it is asked for.

use aws_sdk_s3::primitives::ByteStream;
use rand::RngExt as _;

use super::{Target, Worker};
use crate::campaign::content::{Content, Piece};
use crate::s3::{self, Failure, md5};

/// An object that was stored under an own key.
pub(super) struct Stored {
    /// What it contains.
    pub(super) piece: Piece,
    /// Its ETag.
    pub(super) etag: String,
    /// Its version id, where the bucket keeps versions.
    pub(super) id: Option<String>,
}

impl Worker {
    /// PUT. `None`: it was not acknowledged, and may have been done, or may yet be.
    pub(super) async fn put_own(&mut self, target: &Target, size: usize) -> Option<Stored> {
        let piece = self.piece(size);
        let body = piece.bytes();
        let etag = md5(&body);
        self.board.will_write(&etag, Content::new(vec![piece.clone()], &body));
        let plane = self.plane();
        let call = plane.put_object().bucket(target.bucket.name).key(&target.key);
        let done = call.body(ByteStream::from(body)).send().await.map_err(|error| Failure::of(&error));
        let id = done.as_ref().ok().and_then(|put| put.version_id().map(str::to_owned));
        let is_stored = done.is_ok();
        self.note_version(target, id.clone(), &etag);
        self.count("put own", &target.name(), &done.map(drop));
        is_stored.then_some(Stored { piece, etag, id })
    }

    /// DELETE of one version. Without an answer it is asked for once more, now and then: it is the same wish.
    pub(super) async fn delete_version(&mut self, target: &Target, id: &str) -> bool {
        self.board.will_delete(id);
        let mut answered = self.ask_to_delete(target, id).await;
        if !answered && self.random.random_bool(0.5) {
            answered = self.ask_to_delete(target, id).await;
        }
        answered
    }

    async fn ask_to_delete(&mut self, target: &Target, id: &str) -> bool {
        let plane = self.plane();
        let call = plane.delete_object().bucket(target.bucket.name).key(&target.key).version_id(id);
        let done = call.send().await.map(drop).map_err(|error| Failure::of(&error));
        if done.is_ok() {
            self.board.deleted(id);
        }
        self.count("delete version", &target.name(), &done)
    }

    /// Takes an object away that has served its purpose.
    pub(super) async fn give_up(&mut self, target: &Target, id: Option<&str>) {
        if let Some(id) = id {
            self.delete_version(target, id).await;
            return;
        }
        let plane = self.plane();
        let done = s3::delete(&plane, target.bucket.name, &target.key).await;
        self.count("delete own", &target.name(), &done);
    }
}
